"""Streams: rows 34 to 42 of the fault matrix: what breaks, who hears of it, and who pays.

Providers of these tests open their circuit at the first failure, for a millisecond, so that every
row tells whether it was one. Most models have a price, so that what was delivered has a cost.
"""
import json
import os
import re
from decimal import Decimal

import pytest

from mock import Mock
from optiroute import Daemon, eventually, in_parallel, merged
from processes import pss_kib
from streaming import (AUTO, CASES, KINDS, PRICES, WORDS, Book, assert_broken, assert_whole,
                       await_in_flight, await_rest, before, fresh_id, heal, open_stream, provider,
                       question, spoken, split, unlike)

WORDS_READ = "word word"
SPARES_MEMORY = "ASAN_OPTIONS" not in os.environ  # its quarantine grows by design
FLOOD = "m+flood=1000000000000"


def faults_of(case):
    """What breaks a stream behind its second word: orders, provider's prefix, reason, status."""
    k = before(case)
    return {
        "dies": (f"+kill={k + 2}", "", "stream_truncated", 502),
        "reset": (f"+kill={k + 2}+then=rst", "", "stream_truncated", 502),
        "ends in peace": (f"+kill={k + 2}+framing=close", "", "stream_truncated", 502),
        "falls silent": (f"+idle={k + 2}", "hasty", "stream_idle", 504),
        "is huge": (f"+hugeat={k + 3}", "", "too_large", 502),
        "no JSON": (f"+badevent={k + 3}", "", "bad_json", 502),
        "says so": (f"+errorevent={k + 3}+leak", "", "stream_error", 502),
    }


def early_faults_of(case):
    """The same before its first word."""
    k = before(case)
    return {
        "dies": (f"+kill={k}", "", "stream_truncated", 502),
        "falls silent": (f"+idle={k}", "hasty", "stream_idle|idle_timeout", 504),
        "is huge": (f"+hugeat={k + 1}", "", "too_large", 502),
        "no JSON": (f"+badevent={k + 1}", "", "bad_json", 502),
        "says so": (f"+errorevent={k + 1}+code=insufficient_quota", "", "stream_error", 502),
    }


FAULTS = list(faults_of(CASES[0]))
EARLY_FAULTS = list(early_faults_of(CASES[0]))
PRICED = sorted({"m" + row[0] for case in CASES for row in faults_of(case).values()}
                | {f"m+idle={before(case) + words}" for case in CASES for words in (0, 2)}
                | {"m", "m+delay=600000"}
                | {f"m+file={name}+type=text/event-stream" for name in (
                    "late.sse", "parts.sse", "hours.sse")})


def providers(mock):
    """Both kinds three times: patient, hasty, and the second of a route."""
    priced = {"models": {name: PRICES for name in PRICED}}
    hasty = merged(priced, {"timeouts": {"idle": "1s"}})
    return {prefix + kind: provider(mock, kind, **changes) for kind in KINDS
            for prefix, changes in (("", priced), ("hasty", hasty), ("second", priced))}


def chunk(text=None, finish=None, index=0, **members):
    delta = {} if text is None else {"content": text}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": index, "delta": delta, "finish_reason": finish}], **members}


def message(start, end):
    """The events of one, with the usage at its beginning and its end."""
    return [
        {"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"output_tokens": 1, **start}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0,
         "delta": {"type": "text_delta", "text": WORDS_READ}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
         "usage": end},
        {"type": "message_stop"}]


def lines_of(events):
    return b"".join((f"event: {event['type']}\n" if "type" in event else "").encode()
                    + f"data: {json.dumps(event)}\n\n".encode() for event in events)


USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
WRITES = {"input_tokens": 10, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 100}
HOUR = {"cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60}}
DONE = b"data: [DONE]\n\n"
FILES = {
    "nothing.sse": DONE,
    "half.sse": lines_of([chunk("one", index=0), chunk("two", index=1), chunk(finish="stop")]),
    "name.sse": b"event: \xc3\x28\n" + lines_of([chunk("one", "stop")]) + DONE,
    "late.sse": lines_of([chunk(WORDS_READ, usage={}), chunk(finish="stop"),
                          {**chunk(), "choices": [], "usage": USAGE}]) + DONE,
    "parts.sse": lines_of(message({**WRITES, **HOUR}, {"input_tokens": 12, "output_tokens": 9})),
    "hours.sse": lines_of(message({**WRITES, **HOUR}, {**WRITES, "output_tokens": 9})),
}


@pytest.fixture(scope="module")
def mock(tmp_path_factory):
    files = tmp_path_factory.mktemp("streams")
    for name, text in FILES.items():
        (files / name).write_bytes(text)
    with Mock("early", files=files) as running:
        yield running


@pytest.fixture(scope="module")
def daemon(mock):
    routes = {f"r{prefix}{kind}": {"cheap": prefix + kind, "strong": prefix + kind,
                                   "fallback": ["second" + kind]}
              for kind in KINDS for prefix in ("", "hasty")}
    early = {"early": provider(mock, "openai", url=mock.url_of("early") + "/v1")}
    with Daemon({"providers": {**providers(mock), **early},
                 "routes": {**routes, **AUTO}}) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def stalled(mock):
    """Row 40: one client of each kind that stops reading. It takes 30 s, so it begins here and is
    looked at by the last test."""
    hasty = {kind: provider(mock, kind, timeouts={"idle": "10s"}) for kind in KINDS}
    with Daemon({"providers": hasty, "routes": AUTO, "workers": 1}) as running:
        stalled = Stalled(running)
        yield stalled
        for stream in stalled.streams:
            stream.client.close()


class Stalled:
    def __init__(self, daemon):
        self.daemon = daemon
        for case in CASES:  # what is allocated once is there
            with open_stream(daemon, case) as stream:
                assert_whole(stream)
        self.pss_before = pss_kib(daemon.workers()[0])
        self.book = Book(daemon)
        self.streams = []
        for case in CASES:
            stream = open_stream(daemon, case, FLOOD[1:], receive=4096,
                                 fields=["Cache-Control: no-store", f"x-request-id: {case}"])
            stream.read_words(3)
            self.streams.append(stream)

    def cut(self):
        """How many are."""
        return self.book.added("llm_client_aborts_total")


def with_prefix(case, prefix):
    api, name = split(case)
    return f"{api}-{prefix}{name}"


# -- row 40 ----------------------------------------------------------------------------------------

def test_row_40_what_is_not_read_costs_a_buffer(stalled, mock):
    """Not the stream: the provider is stopped, and the worker has time for others."""
    await_rest(stalled.daemon)
    grown = pss_kib(stalled.daemon.workers()[0]) - stalled.pss_before
    counters = mock.counters(FLOOD)
    if stalled.cut() == 0:  # else 30 s have passed meanwhile
        assert grown < len(CASES) * 768 or not SPARES_MEMORY, f"{grown} KiB for all of them"
        assert (counters["in_flight"], counters["aborted"]) == (len(CASES), 0)


# -- rows 34, 35, 36, 38: broken behind the first word ---------------------------------------------

@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", CASES)
def test_a_stream_breaks(daemon, case, fault):
    orders, prefix, reason, status = faults_of(case)[fault]
    case, request_id = with_prefix(case, prefix), fresh_id()
    api, name = split(case)
    heal(daemon, case)
    book = Book(daemon, name)
    with open_stream(daemon, case, orders, [f"x-request-id: {request_id}"]) as stream:
        assert stream.head().status == 200
        assert_broken(stream, reason, WORDS_READ)
        text = json.dumps(stream.events)
    for secret in ("as ordered", "127.0.0.1"):
        assert secret not in text
    assert book.added("llm_upstream_errors_total", reason=reason) == 1
    assert book.added("llm_upstream_errors_total") == 1
    assert book.added("llm_circuit_transitions_total", to="open") == 1
    assert book.total("llm_cache_events_total", event_type="store") == 0
    assert book.total("llm_fallbacks_total") == 0 and book.total("llm_client_aborts_total") == 0
    # the question was read, two words came: four tokens at 1, nine bytes at 2 dollars a million
    assert book.added("llm_total_cost_usd_total") == Decimal("0.000010")
    line = daemon.access_line(request_id)
    assert line["status"] == status and line["outcome"] == reason and line["attempts"] == 1
    assert line["estimated"] and line["cost_usd"] == Decimal("0.000010")
    assert (line["prompt_tokens"], line["completion_tokens"]) == (4, 3)
    assert book.total("http_requests_total", status=str(status)) == 1


@pytest.mark.parametrize("case", CASES)
def test_a_broken_stream_is_asked_anew(daemon, mock, case):
    """It was no answer for anybody else, as a stream or whole."""
    orders = unlike(f"+kill={before(case) + 2}")
    for _ in range(2):
        heal(daemon, case)
        with open_stream(daemon, case, orders) as stream:
            assert_broken(stream, "stream_truncated", WORDS_READ)
    path, body = question(case, orders, stream=False)
    heal(daemon, case)
    answer = daemon.request("POST", path, body)
    assert answer.status == 200 and answer.field("x-optiroute-cache") == "miss"
    assert mock.counters("m" + orders)["requests"] == 3


# -- what is held back -----------------------------------------------------------------------------

@pytest.mark.parametrize("fault", EARLY_FAULTS)
@pytest.mark.parametrize("case", CASES)
def test_a_stream_breaks_before_its_first_word(daemon, case, fault):
    """Nothing was said yet, so it is an error like any other."""
    orders, prefix, reason, status = early_faults_of(case)[fault]
    case = with_prefix(case, prefix)
    heal(daemon, case)
    book = Book(daemon, split(case)[1])
    with open_stream(daemon, case, orders) as stream:
        answer = stream.head()
    assert answer.status == status, answer
    assert re.fullmatch(reason, answer.json()["error"]["code"])
    assert sum(book.added("llm_upstream_errors_total", reason=one)
               for one in reason.split("|")) == 1
    assert book.added("llm_circuit_transitions_total", to="open") == 1
    assert book.total("llm_total_cost_usd_total") == 0


@pytest.mark.parametrize("fault", EARLY_FAULTS)
@pytest.mark.parametrize("case", CASES)
def test_a_stream_breaks_before_its_first_word_and_the_next_provider_answers(
        daemon, mock, case, fault):
    orders, prefix, reason, _ = early_faults_of(case)[fault]
    orders = unlike(f"{orders}+times=1")
    api, name = split(with_prefix(case, prefix))
    heal(daemon, f"{api}-{name}")
    book = Book(daemon)
    with open_stream(daemon, f"{api}-r{name}", orders) as stream:
        head = stream.head()
        assert head.status == 200
        assert head.field("x-optiroute-provider") == "second" + split(case)[1]
        assert_whole(stream)
        events = stream.data()
    begins = {"chat": '"role"', "messages": "message_start", "responses": "response.created"}
    if api in begins:
        assert sum(begins[api] in "".join(map(str, event)) for event in events) == 1
    assert sum(book.total("llm_fallbacks_total", reason=one, **{"from": name})
               for one in reason.split("|")) == 1
    assert mock.counters("m" + orders)["requests"] == 2


@pytest.mark.parametrize("case", CASES)
def test_behind_the_first_word_there_is_no_fallback(daemon, mock, case):
    orders = unlike(f"+kill={before(case) + 1}+times=1")
    api, name = split(case)
    heal(daemon, case)
    with open_stream(daemon, f"{api}-r{name}", orders) as stream:
        assert stream.head().field("x-optiroute-provider") == name
        assert_broken(stream, "stream_truncated", "word")
    assert mock.counters("m" + orders)["requests"] == 1


# -- row 37 ----------------------------------------------------------------------------------------

FORMS = ["", "+eol=crlf", "+eol=cr", "+comments", "+bom", "+nospace", "+multiline",
         "+bom+comments+multiline+nospace+eol=crlf", "+bom+comments+multiline+eol=cr"]


def said(daemon, case, orders):
    """Names and data of the events, without what differs from answer to answer."""
    with open_stream(daemon, case, orders, ["Cache-Control: no-store"]) as stream:
        events = stream.rest()
        assert stream.end == "whole", stream.events[-3:]
        words = stream.words()
    text = json.dumps([event for event in events if '"usage":{' not in event.data
                       and split(case)[0] != "generate"])
    for what in (r'\w+[-_]mock-\d+', r'm\+[a-z0-9+=]*', r'(chatcmpl-|cmpl-|msg_)[0-9a-f]{24}',
                 r'\\"created(_at)?\\":\d+', r'\{ *', r'\\"sequence_number\\":\d+'):
        text = re.sub(what, "", text)
    return words, text


@pytest.mark.parametrize("case", CASES)
def test_row_37_lines_may_differ_and_mean_the_same(daemon, case):
    heal(daemon, case)
    words, text = said(daemon, case, "+tokens=3+utf8")
    assert words == "wörd€😀 wörd€😀 wörd€😀"
    for form in FORMS[1:]:
        assert said(daemon, case, "+tokens=3+utf8" + form) == (words, text), form


@pytest.mark.parametrize("split_at", [1, 2, 7])
def test_row_37_a_stream_may_be_cut_anywhere(daemon, split_at):
    """Behind every byte, in every form, all at once."""
    for case in CASES:
        heal(daemon, case)
    runs = [(case, form) for case in CASES for form in FORMS]
    plain = {case: said(daemon, case, "+tokens=2+utf8") for case in CASES}

    def one(i):
        case, form = runs[i]
        assert said(daemon, case, f"+tokens=2+utf8{form}+split={split_at}") == plain[case], runs[i]

    in_parallel(len(runs), one)


# -- row 39, 42 ------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", CASES)
def test_row_39_done_and_holds_the_connection(daemon, mock, case):
    heal(daemon, case)
    orders = unlike("+hold")
    book = Book(daemon, split(case)[1])
    with open_stream(daemon, case, orders) as stream:
        assert_whole(stream)
        eventually(lambda: mock.counters("m" + orders)["in_flight"] == 0,
                   what="the upstream is cut")
    assert book.added("llm_upstream_errors_total") == 0
    assert book.added("llm_circuit_transitions_total", to="open") == 0


@pytest.mark.parametrize("case", CASES)
def test_a_stream_ends_without_its_last_event(daemon, case):
    """Where every choice has said why it ended, [DONE] may be missing; message_stop and
    response.completed say something themselves."""
    heal(daemon, case)
    with open_stream(daemon, case, "+nodone") as stream:
        if spoken(case) in ("chat", "completions"):
            assert_whole(stream)
        else:
            assert_broken(stream, "stream_truncated", WORDS)


def test_row_42_an_answer_before_the_body_is_sent(daemon):
    """A provider that answers a head, and does not read 3 MB: its answer counts. It is no stream
    either, and becomes one."""
    messages = [{"role": "user", "content": "four byte words " * 200000}]
    with open_stream(daemon, "chat-early", messages=messages) as stream:
        assert_whole(stream)


# -- streams that no server should send ------------------------------------------------------------

def sse(name):
    return f"+file={name}+type=text/event-stream"


@pytest.mark.parametrize("case", [case for case in CASES if spoken(case) == "chat"])
def test_a_stream_of_nothing_is_no_answer(daemon, case):
    """It was taken for a whole answer of no bytes: 503, and paid. The next provider is asked."""
    heal(daemon, case)
    api, name = split(case)
    book = Book(daemon)
    with open_stream(daemon, case, sse("nothing.sse")) as stream:
        answer = stream.head()
    assert answer.status == 502 and answer.json()["error"]["code"] == "bad_schema"
    assert book.total("llm_total_cost_usd_total") == 0
    assert book.added("llm_upstream_errors_total", reason="bad_schema") == 1
    heal(daemon, case)
    with open_stream(daemon, f"{api}-r{name}", unlike(sse("nothing.sse") + "+times=1")) as stream:
        assert stream.head().field("x-optiroute-provider") == "second" + name
        assert_whole(stream)


def test_a_stream_ends_without_its_last_event_and_one_choice_is_not_over(daemon):
    """Another one was, and that was taken for all of them."""
    heal(daemon, "chat-openai")
    with open_stream(daemon, "chat-openai", sse("half.sse"), n=2) as stream:
        events = stream.rest()
    assert stream.end == "broken"
    assert json.loads(events[-1].data)["error"]["code"] == "stream_truncated"
    assert "[DONE]" not in [event.data for event in events]


def test_a_name_of_an_event_is_utf_8_too(daemon):
    heal(daemon, "chat-openai")
    with open_stream(daemon, "chat-openai", sse("name.sse")) as stream:
        answer = stream.head()
    assert answer.status == 502 and answer.json()["error"]["code"] == "bad_utf8"


@pytest.mark.parametrize("case", ["chat-openai", "generate-openai", "messages-openai"])
def test_the_last_usage_counts(daemon, case):
    """An empty one before it made all of it an estimate, which was less."""
    heal(daemon, case)
    request_id, book = fresh_id(), Book(daemon, split(case)[1])
    with open_stream(daemon, case, sse("late.sse"), [f"x-request-id: {request_id}"]) as stream:
        assert_whole(stream, WORDS_READ)
    line = daemon.access_line(request_id)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (11, 7) and not line["estimated"]
    assert line["cost_usd"] == book.added("llm_total_cost_usd_total") == Decimal("0.000025")


@pytest.mark.parametrize("file, tokens, cost", [
    # 10 + 1000 + 40 x 1.25 + 60 x 2, and 9 x 2: message_delta says nothing of the hour
    ("hours.sse", 1110, "1198"),
    # the same with 12 for 10: it says nothing of the cache at all
    ("parts.sse", 1112, "1200"),
])
@pytest.mark.parametrize("case", ["messages-anthropic", "chat-anthropic", "generate-anthropic"])
def test_what_was_said_once_of_the_tokens_is_not_forgotten(daemon, case, file, tokens, cost):
    """Reads and writes of the provider's cache, which message_start tells and message_delta does
    not repeat, or not as exactly: an hour was paid as five minutes, or not at all."""
    heal(daemon, case)
    request_id, book = fresh_id(), Book(daemon, split(case)[1])
    with open_stream(daemon, case, sse(file), [f"x-request-id: {request_id}"]) as stream:
        assert_whole(stream, WORDS_READ)
    line = daemon.access_line(request_id)
    assert (line["prompt_tokens"], line["cached_tokens"]) == (tokens, 1000)
    assert line["completion_tokens"] == 9 and not line["estimated"]
    assert line["cost_usd"] == book.added("llm_total_cost_usd_total") \
        == Decimal(cost) * Decimal("0.000001")


# -- row 41 ----------------------------------------------------------------------------------------

def leave(daemon, mock, case, orders, words, tokens):
    """Opens, reads so many words, leaves; holds the books against it."""
    heal(daemon, case)
    model, request_id, name = "m" + orders, fresh_id(), split(case)[1]
    before_it = mock.counters(model)
    book = Book(daemon, name)
    with open_stream(daemon, case, orders, [f"x-request-id: {request_id}"]) as stream:
        await_in_flight(mock, model, before_it["in_flight"] + 1)
        stream.read_words(words) if words else None
    eventually(lambda: mock.counters(model)["aborted"] == before_it["aborted"] + 1,
               what="the upstream is cut")
    line = daemon.access_line(request_id)
    cost = Decimal(4 + 2 * tokens) * Decimal("0.000001")
    assert line["status"] == 499 and line["outcome"] == "client_gone"
    assert (line["prompt_tokens"], line["completion_tokens"]) == (4, tokens)
    assert line["estimated"] and line["cost_usd"] == cost
    assert book.added("llm_total_cost_usd_total") == cost
    assert book.added("llm_client_aborts_total") == 1
    assert book.added("llm_upstream_errors_total") == 0
    assert book.added("llm_circuit_transitions_total", to="open") == 0
    assert book.total("llm_cache_events_total", event_type="store") == 0
    assert book.total("http_requests_total", status="499") == 1


@pytest.mark.parametrize("case", CASES)
def test_row_41_the_client_leaves_before_the_first_byte(daemon, mock, case):
    leave(daemon, mock, case, "+delay=600000", 0, 0)


@pytest.mark.parametrize("case", [case for case in CASES if before(case) > 0])
def test_row_41_the_client_leaves_before_the_first_word(daemon, mock, case):
    leave(daemon, mock, case, f"+idle={before(case)}", 0, 0)


@pytest.mark.parametrize("case", CASES)
def test_row_41_the_client_leaves_in_the_middle(daemon, mock, case):
    leave(daemon, mock, case, f"+idle={before(case) + 2}", 2, 3)


# -- row 40, the end of what the fixture began -----------------------------------------------------

def test_row_40_a_client_that_stops_reading_is_cut(stalled, mock):
    """After 30 s, and it is nobody else's fault: the provider was silent for longer than it may be,
    because it was not listened to."""
    eventually(lambda: stalled.cut() == len(CASES), 60, "the stalled are cut")
    eventually(lambda: mock.counters(FLOOD)["in_flight"] == 0, what="the provider is cut")
    for case in CASES:
        line = stalled.daemon.access_line(case)
        assert line["status"] == 499 and line["outcome"] == "client_stall", line
        assert 25 < line["duration_s"] < 60
    assert stalled.book.total("llm_upstream_errors_total") == 0
    assert stalled.book.total("llm_circuit_transitions_total", to="open") == 0
    assert stalled.book.total("llm_cache_events_total", event_type="store") == 0
