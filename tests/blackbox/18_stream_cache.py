"""The cache and streams: an answer is stored whole or as it came and replayed as whoever asks wants
it, with everything that it had; what must not be stored is not; and a hit costs nothing.
"""
import json
import re
import time
from decimal import Decimal

import pytest

from mock import Mock
from optiroute import Daemon, eventually, merged
from streaming import (APIS, ASKED, AUTO, CASES, KINDS, MESSAGES, NUMBER, WORDS, Book,
                       assert_broken, assert_whole, fresh_id, open_stream, provider, question,
                       split, unlike)

# What servers say beside the text, at each level.
STRANGE_CHAT = {
    "id": "chatcmpl-strange", "object": "chat.completion", "created": 1700000000, "model": "m-1",
    "system_fingerprint": "fp_1", "service_tier": "default", "x_groq": {"id": "req_1", "n": 1.50},
    "choices": [{
        "index": 0, "finish_reason": "stop", "stop_reason": 128009,
        "logprobs": {"content": [{"token": "Grüße", "logprob": -0.1, "bytes": [71, 114],
                                  "top_logprobs": []}], "refusal": None},
        "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
        "message": {"role": "assistant", "content": "Grüße \"from\"\n a \\ line \U0001f600",
                    "reasoning_content": "So.", "reasoning": "why", "refusal": None,
                    "annotations": [{"type": "url_citation", "url_citation": {"url": "http://x"}}]},
    }],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
              "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
              "completion_tokens_details": {"reasoning_tokens": 2}, "queue_time": 0.25},
}
def chunk(delta, **choice):
    """One of a stream whose server says more than others."""
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
            "system_fingerprint": "fp_1", "service_tier": "flex", "usage": None, "obfuscation": "aB",
            "choices": [{"index": 0, "delta": delta, "finish_reason": None, **choice}]}


def logprob(token, value):
    return {"content": [{"token": token, "logprob": value}], "refusal": None}


STRANGE_CHUNKS = [
    chunk({"role": "assistant", "content": ""}, logprobs=None),
    chunk({"reasoning_content": "So", "reasoning": "be"}),
    chunk({"reasoning_content": ".", "reasoning": "cause"}),
    chunk({"content": "Grüße "}, logprobs=logprob("Grüße ", -0.1)),
    chunk({"content": "\U0001f600"}, logprobs=logprob("\U0001f600", -2)),
    chunk({}, finish_reason="stop", stop_reason=7, content_filter_results={"hate": {"is": False}}),
    {**chunk({}), "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4,
                                           "total_tokens": 13, "queue_time": 0.25}},
]
STRANGE_MESSAGE = {
    "id": "msg_strange", "type": "message", "role": "assistant", "model": "claude-x",
    "container": {"id": "c", "expires_at": "2030"},
    "content": [
        {"type": "thinking", "thinking": "So.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "YWJj"},
        {"type": "server_tool_result", "id": "srv_1", "content": [{"type": "x", "n": 1}]},
        {"type": "text", "text": "Grüße \"from\"\n \U0001f600",
         "citations": [{"type": "char_location", "cited_text": "G", "document_index": 0}]}],
    "stop_reason": "stop_sequence", "stop_sequence": "END",
    "usage": {"input_tokens": 9, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2,
              "output_tokens": 4, "service_tier": "standard", "server_tool_use": {"searches": 1}},
}


def settings(mock, **changes):
    sturdy = {"breaker": {"failures": 255}}
    return merged({"providers": {kind: provider(mock, kind, **sturdy) for kind in KINDS},
                   "routes": AUTO}, changes)


def lines_of(events):
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


@pytest.fixture(scope="module")
def mock(tmp_path_factory):
    files = tmp_path_factory.mktemp("answers")
    (files / "chat.json").write_text(json.dumps(STRANGE_CHAT, indent=1))
    (files / "chat.sse").write_text(lines_of(STRANGE_CHUNKS))
    (files / "message.json").write_text(json.dumps(STRANGE_MESSAGE))
    with Mock(files=files) as running:
        yield running


@pytest.fixture(scope="module")
def daemon(mock):
    with Daemon(settings(mock)) as running:
        yield running


# -- what a client makes of a stream ---------------------------------------------------------------

def join(into, delta):
    """As the SDKs do: texts grow, lists too, and everything else is as it was said last."""
    for key, value in delta.items():
        if key == "tool_calls":
            calls = into.setdefault(key, [])
            for call in value:
                while len(calls) <= call["index"]:
                    calls.append({})
                rest = {name: inner for name, inner in call.items() if name != "index"}
                join(calls[call["index"]], rest)
        elif isinstance(value, str) and key not in ("role", "id", "type", "name"):
            into[key] = (into.get(key) or "") + value
        elif isinstance(value, dict):
            join(into.setdefault(key, {}), value)
        elif value is not None:
            into[key] = value


def whole_of_chunks(events):
    whole, choices = {}, {}
    for chunk in events:
        for choice in chunk["choices"] or []:
            to = choices.setdefault(choice["index"], {"index": choice["index"], "message": {}})
            join(to["message"], choice.get("delta", {}))
            if "text" in choice:
                to["text"] = to.get("text", "") + choice["text"]
            for token in (choice.get("logprobs") or {}).get("content") or []:
                to.setdefault("logprobs", {}).setdefault("content", []).append(token)
            for key, value in choice.items():
                if key not in ("delta", "text", "index", "logprobs") and value is not None:
                    to[key] = value
        for key, value in chunk.items():
            if key not in ("choices", "object", "obfuscation") and value is not None:
                whole[key] = value
    whole["choices"] = [choices[index] for index in sorted(choices)]
    return whole


def whole_of_message(events):
    whole = {}
    for event in events:
        kind = event["type"]
        if kind == "message_start":
            whole = event["message"]
        elif kind == "content_block_start":
            assert event["index"] == len(whole["content"])
            whole["content"].append({**event["content_block"], "": ""})
        elif kind == "content_block_delta":
            block, delta = whole["content"][event["index"]], event["delta"]
            if delta["type"] == "input_json_delta":
                block[""] += delta["partial_json"]
            elif delta["type"] == "citations_delta":
                block.setdefault("citations", []).append(delta["citation"])
            else:
                key = delta["type"].removesuffix("_delta")
                block[key] += delta[key]
        elif kind == "message_delta":
            whole |= event["delta"]
            whole.setdefault("usage", {}).update(event.get("usage") or {})
    for block in whole["content"]:
        if text := block.pop(""):
            block["input"] = json.loads(text)
    return whole


def whole_of(stream):
    """The JSON answer that the stream stands for."""
    assert_whole_without_words(stream)
    events = [json.loads(event.data) for event in stream.data() if event.data != "[DONE]"]
    if stream.api == "generate":
        return {"text": events[-1]["text"]}
    if stream.api == "messages":
        return whole_of_message(events)
    if stream.api == "responses":
        return events[-1]["response"]
    return whole_of_chunks(events)


def assert_whole_without_words(stream):
    stream.rest()
    assert stream.end == "whole", stream.events[-3:]


def plain(value):
    """Without what is null or empty, and in one choice of words where a stream has another."""
    if isinstance(value, dict):
        inner = {key: plain(one) for key, one in value.items()
                 if key not in ("object", "refusal")}
        return {key: one for key, one in inner.items() if one not in (None, {}, [])}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def said(case, body):
    """What must not change: all of a JSON answer, but of /generate its text."""
    return {"text": body["text"]} if split(case)[0] == "generate" else plain(body)


# -- asking ----------------------------------------------------------------------------------------

class Asked:
    def __init__(self, body, cache, money):
        self.body, self.cache, self.money = body, cache, money


def ask(daemon, case, orders, how, fields=(), **members):
    """How: whole, stream, or silent: a stream whose client did not ask for the usage."""
    api, _ = split(case)
    if how == "whole":
        path, body = question(case, orders, stream=False, **members)
        answer = daemon.request("POST", path, body, fields)
        assert answer.status == 200, answer
        return Asked(said(case, json.loads(answer.body)), answer.field("x-optiroute-cache"),
                     (answer.field("x-optiroute-cost-usd"), answer.field("x-optiroute-saved-usd")))
    if how == "stream" and api in ("chat", "completions"):
        members["stream_options"] = {"include_usage": True}
    with open_stream(daemon, case, orders, fields, **members) as stream:
        assert stream.head().status == 200, stream.answer
        body = said(case, whole_of(stream))
        money = re.search(r"cost_usd=(\S+) saved_usd=(\S+)", stream.comments()[-1]) or \
            re.search(r"()saved_usd=(\S+)", stream.comments()[-1])
    return Asked(body, stream.head().field("x-optiroute-cache"), money.groups())


# -- both ways -------------------------------------------------------------------------------------

WAYS = [("whole", "stream"), ("stream", "whole"), ("stream", "stream"), ("silent", "whole"),
        ("silent", "stream"), ("whole", "silent")]
VARIETIES = ["", "+utf8", "+reasoning_text+utf8", "+logprobs", "+nousage", "+eol=crlf+multiline"]


@pytest.mark.parametrize("kind", VARIETIES)
@pytest.mark.parametrize("case", CASES)
def test_a_stored_answer_is_what_was_said(daemon, mock, case, kind):
    for first, second in WAYS:
        orders = unlike(kind)
        before_it, after = ask(daemon, case, orders, first), ask(daemon, case, orders, second)
        assert (before_it.cache, after.cache) == ("miss", "hit"), (first, second)
        if "silent" in (first, second) or "nousage" in kind:
            before_it.body.pop("usage", None)
            has_usage = bool(after.body.pop("usage", None))
            # what was not shown to the first client is there for the second
            assert has_usage or second == "silent" or "nousage" in kind or \
                split(case)[0] == "generate", (first, second)
        assert after.body == before_it.body, (first, second)
        assert mock.counters("m" + orders)["requests"] == 1


def test_all_choices_are_kept(daemon):
    for first, second in WAYS[:3]:
        for case in ("chat-openai", "completions-openai"):
            orders = unlike("+utf8")
            before_it = ask(daemon, case, orders, first, n=3)
            after = ask(daemon, case, orders, second, n=3)
            assert after.cache == "hit" and len(after.body["choices"]) == 3
            assert after.body == before_it.body


def test_what_nobody_knows_is_kept_on_the_way_to_a_stream(daemon):
    for case, file, expected in (("chat-openai", "chat.json", STRANGE_CHAT),
                                 ("messages-anthropic", "message.json", STRANGE_MESSAGE)):
        orders = unlike(f"+file={file}")
        assert ask(daemon, case, orders, "whole").body == plain(expected)
        after = ask(daemon, case, orders, "stream")
        assert after.cache == "hit" and after.body == plain(expected)


def test_what_nobody_knows_is_kept_on_the_way_from_a_stream(daemon):
    orders = unlike("+file=chat.sse+type=text/event-stream")
    assert ask(daemon, "chat-openai", orders, "stream").cache == "miss"
    path, body = question("chat-openai", orders, stream=False)
    answer = daemon.request("POST", path, body)
    assert answer.field("x-optiroute-cache") == "hit"
    assert json.loads(answer.body)["object"] == "chat.completion"
    got = plain(json.loads(answer.body))
    assert got == plain(whole_of_chunks(STRANGE_CHUNKS))
    choice = got["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "Grüße \U0001f600",
                                 "reasoning_content": "So.", "reasoning": "because"}
    assert len(choice["logprobs"]["content"]) == 2 and choice["stop_reason"] == 7
    assert got["service_tier"] == "flex" and got["usage"]["queue_time"] == 0.25


def test_a_whole_answer_is_replayed_in_the_form_of_a_stream(daemon):
    """One id, model and time in all chunks, the role first, the reason last, usage when asked."""
    orders = unlike()
    ask(daemon, "chat-openai", orders, "whole")
    for options in ({"include_usage": True}, None):
        with open_stream(daemon, "chat-openai", orders, stream_options=options) as stream:
            assert_whole(stream)
        chunks = [json.loads(event.data) for event in stream.data()[:-1]]
        assert stream.head().field("x-optiroute-cache") == "hit"
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert all(len({chunk[key] for chunk in chunks}) == 1 for key in ("id", "created", "model"))
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        if options:
            assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == 14
            assert all(chunk["usage"] is None for chunk in chunks[:-1])
            chunks.pop()
        assert all("usage" not in chunk or chunk["usage"] is None for chunk in chunks)
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == \
            [None] * (len(chunks) - 1) + ["stop"]


def test_embeddings_are_stored_and_never_streamed(daemon):
    orders = unlike()
    bodies = []
    for stream, cache in ((False, "miss"), (True, "hit"), (False, "hit")):
        path, body = question("embeddings-openai", orders, stream=stream)
        answer = daemon.request("POST", path, body)
        assert answer.field("x-optiroute-cache") == cache
        assert answer.field("content-type") == "application/json"
        bodies.append(answer.body)
    assert bodies[0] == bodies[1] == bodies[2] and b"0.125" in bodies[0]


# -- money -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", CASES)
def test_a_hit_costs_nothing_and_saves_what_it_cost(daemon, case):
    number = f"{next(NUMBER)} times four bytes word"
    members = {"completions": {"prompt": number}, "generate": {"prompt": number},
               "responses": {"input": number}}.get(
                   split(case)[0], {"messages": [{"role": "user", "content": number}]})
    for first, second in (("whole", "stream"), ("stream", "whole")):
        members = json.loads(json.dumps(members).replace("word", "words"))
        paid = ask(daemon, case, None, first, **members)
        assert paid.cache == "miss" and Decimal(paid.money[0]) > 0
        book = Book(daemon)
        request_id = fresh_id()
        free = ask(daemon, case, None, second, [f"x-request-id: {request_id}"], **members)
        assert free.cache == "hit" and Decimal(free.money[0]) == 0
        assert free.money[1] == paid.money[0]
        line = daemon.access_line(request_id)
        assert line["cost_usd"] == 0 and line["saved_usd"] == Decimal(paid.money[0])
        assert line["cache"] == "hit" and line["status"] == 200 and line["attempts"] == 0
        assert line["completion_tokens"] == 10
        assert book.total("llm_saved_cost_usd_total", reason="cache") == Decimal(paid.money[0])
        assert book.total("llm_total_cost_usd_total") == 0
        assert book.total("llm_tokens_total") == 0
        assert book.total("llm_cache_events_total", event_type="hit") == 1


# -- who shares an entry with whom -----------------------------------------------------------------

def test_generate_and_chat_share_entries(daemon):
    chat = {"max_tokens": 100, "messages": MESSAGES}
    for first, second in WAYS[:3]:
        for one, other in (("generate-openai", "chat-openai"), ("chat-openai", "generate-openai")):
            orders = unlike("+reasoning_text+utf8")
            members = {"chat-openai": chat, "generate-openai": {}}
            before_it = ask(daemon, one, orders, first, **members[one])
            after = ask(daemon, other, orders, second, **members[other])
            assert (before_it.cache, after.cache) == ("miss", "hit")
            texts = [body["text"] if "text" in body else body["choices"][0]["message"]["content"]
                     for body in (before_it.body, after.body)]
            assert texts[0] == texts[1] == " ".join(["wörd€😀"] * 10)


def test_generate_reads_a_stored_chat_whose_text_is_in_parts(daemon):
    """What a chat client was given as it came has no string to point to."""
    for how in ("whole", "stream"):
        orders = unlike("+body=parts")
        ask(daemon, "chat-openai", orders, "whole", max_tokens=100)
        after = ask(daemon, "generate-openai", orders, how)
        assert after.cache == "hit" and after.body["text"] == WORDS
    with open_stream(daemon, "generate-openai", orders) as stream:
        assert_whole(stream)


def raw_ask(daemon, path, text, fields=()):
    answer = daemon.request("POST", path, text, fields)
    assert answer.status == 200, answer
    return answer.field("x-optiroute-cache")


@pytest.mark.parametrize("case", [*CASES, "embeddings-openai"])
def test_order_and_white_space_make_no_difference(daemon, case):
    path, body = question(case, unlike(), stream=False)
    other = {key: body[key] for key in reversed(body)}
    if "messages" in other:
        other["messages"] = [{"content": ASKED, "role": "user"}]
    assert raw_ask(daemon, path, json.dumps(body)) == "miss"
    assert raw_ask(daemon, path, json.dumps(other, indent=3)) == "hit"
    assert raw_ask(daemon, path, json.dumps(other, separators=(",", ":"))) == "hit"
    assert raw_ask(daemon, path, json.dumps(body).replace("four", r"\u0066\u006fur")) == "hit"


@pytest.mark.parametrize("case", ["chat-openai", "completions-openai", "responses-openai",
                                  "messages-anthropic", "chat-anthropic", "messages-openai"])
def test_what_does_not_change_the_answer_is_left_out(daemon, case):
    orders = unlike()
    path, body = question(case, orders, stream=False)
    assert raw_ask(daemon, path, body) == "miss"
    for more in ({"stream": True}, {"stream": False}, {"user": "somebody"},
                 {"metadata": {"user_id": "somebody"}}):
        # a response repeats to whom it was given
        told = "miss" if case == "responses-openai" and "stream" not in more else "hit"
        assert raw_ask(daemon, path, {**body, **more}) == told, more
    if split(case)[0] in ("chat", "completions"):
        more = {"stream": True, "stream_options": {"include_usage": True}}
        assert raw_ask(daemon, path, {**body, **more}) == "hit"


# Every one differs from the question and from all the others.
COMMON = [{"temperature": 0}, {"temperature": 0.0}, {"temperature": 1}, {"top_p": 1},
          {"unknown_member": None}, {"unknown_member": 1}, {"unknown_member": {"user": "a"}},
          {"unknown_member": {"user": "b"}}, {"unknown_member": {"stream": True}},
          {"unknown_member": {"metadata": {}}}, {"Stream": 1}, {"user ": 1}]
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"user": {}}}}
OTHERS = {
    "chat": [{"max_tokens": 100}, {"max_tokens": 101}, {"max_completion_tokens": 100}, {"n": 1},
             {"seed": 1}, {"seed": "1"}, {"stop": "x"}, {"stop": ["x"]}, {"logit_bias": {"1": 1}},
             {"response_format": {"type": "json_object"}}, {"service_tier": "flex"},
             {"tools": [{"type": "function", "function": FUNCTION}]},
             {"tools": [{"type": "function", "function": {"name": "f"}}]},
             {"messages": MESSAGES * 2}, {"messages": [{**MESSAGES[0], "content": "four byte"}]},
             {"messages": [{**MESSAGES[0], "name": "x"}]}, {"reasoning_effort": "low"},
             {"messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]},
             {"messages": [{"role": "system", "content": ASKED}, *MESSAGES]}],
    "completions": [{"max_tokens": 1}, {"echo": True}, {"suffix": "x"}, {"best_of": 1},
                    {"prompt": [ASKED]}, {"prompt": ASKED + " "}],
    "responses": [{"instructions": "x"}, {"max_output_tokens": 99},
                  {"reasoning": {"effort": "low"}}, {"input": ASKED + " "},
                  {"input": [{"role": "user", "content": ASKED}]}],
    "messages": [{"max_tokens": 99}, {"system": "x"}, {"system": [{"type": "text", "text": "x"}]},
                 {"stop_sequences": ["x"]}, {"thinking": {"type": "disabled"}}, {"top_k": 5},
                 {"messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]},
                 {"messages": [{"role": "user", "content": [
                     {"type": "text", "text": ASKED, "cache_control": {"type": "ephemeral"}}]}]}],
    "embeddings": [{"dimensions": 8}, {"encoding_format": "float"}, {"input": [ASKED]}],
}


@pytest.mark.parametrize("case", ["chat-openai", "completions-openai", "responses-openai",
                                  "messages-anthropic", "embeddings-openai"])
def test_every_other_member_makes_another_question(daemon, mock, case):
    orders = unlike()
    path, body = question(case, orders, stream=False)
    assert raw_ask(daemon, path, body) == "miss"
    variants = COMMON + OTHERS[split(case)[0]]
    for more in variants:
        assert raw_ask(daemon, path, {**body, **more}) == "miss", more
    for more in variants:
        assert raw_ask(daemon, path, {**body, **more}) == "hit", more
    assert raw_ask(daemon, path, {**body, "model": body["model"] + "x"}) == "miss"
    assert mock.counters("m" + orders)["requests"] == 1 + len(variants)


def test_versions_and_betas_make_another_question(daemon):
    path, body = question("messages-anthropic", unlike(), stream=False)
    fields = [[], ["anthropic-version: 2023-06-01"], ["anthropic-version: 2023-01-01"],
              ["anthropic-beta: a"], ["anthropic-beta: b"]]
    assert [raw_ask(daemon, path, body, one) for one in fields * 2] == \
        ["miss"] * len(fields) + ["hit"] * len(fields)
    path, body = question("chat-openai", unlike(), stream=False)
    fields = [[], ["OpenAI-Beta: a=v1"], ["OpenAI-Beta: a=v2"]]
    assert [raw_ask(daemon, path, body, one) for one in fields * 2] == \
        ["miss"] * len(fields) + ["hit"] * len(fields)


def test_the_same_words_in_another_api_are_another_question(daemon):
    """Chat and messages have bodies that may be the same to the byte."""
    orders = unlike()
    chat, body = question("chat-openai", orders, stream=False, max_tokens=100)
    messages = APIS["messages"][0]
    assert [raw_ask(daemon, path, body) for path in (chat, messages, chat, messages)] == \
        ["miss", "miss", "hit", "hit"]


# -- what is not stored ----------------------------------------------------------------------------

def caches(daemon, case, orders, hows, **members):
    return [ask(daemon, case, orders, how, **members).cache for how in hows]


CALLING = [case for case in CASES if split(case)[0] not in ("generate", "completions")]


@pytest.mark.parametrize("case", CALLING)
def test_calls_of_tools_are_not_stored(daemon, case):
    assert caches(daemon, case, unlike("+tool"), ["whole", "stream"] * 2) == ["miss"] * 4


def test_calls_of_tools_are_stored_when_configured(daemons, mock):
    daemon = daemons(settings(mock, cache={"tool_calls": True}))
    for case in CALLING:
        for first, second in WAYS[:3]:
            orders = unlike("+tool")
            before_it, after = ask(daemon, case, orders, first), ask(daemon, case, orders, second)
            assert (before_it.cache, after.cache) == ("miss", "hit"), (case, first, second)
            assert after.body == before_it.body, (case, first, second)
            assert "Paris" in json.dumps(after.body)


def test_tools_that_were_not_called_do_not_keep_an_answer_out(daemon):
    members = {"tools": [{"type": "function", "function": FUNCTION}]}
    assert caches(daemon, "chat-openai", unlike(), ["stream", "whole"], **members) == \
        ["miss", "hit"]


@pytest.mark.parametrize("case", CASES)
def test_a_stream_that_ran_into_a_limit_is_not_stored(daemon, case):
    orders = unlike("+stop=length")
    assert caches(daemon, case, orders, ["stream", "stream", "whole", "whole", "stream"]) == \
        ["miss", "miss", "miss", "hit", "hit"]


@pytest.mark.parametrize("case", CASES)
def test_an_answer_that_was_filtered_is_not_stored(daemon, case):
    assert caches(daemon, case, unlike("+stop=filter"), ["stream", "whole"] * 2) == ["miss"] * 4


@pytest.mark.parametrize("case", CASES)
def test_a_broken_stream_is_not_stored(daemon, case):
    for fault, code in (("kill=6", "stream_truncated"), ("badevent=7", "bad_json"),
                        ("errorevent=7", "stream_error"), ("hugeat=7", "too_large")):
        book = Book(daemon)
        with open_stream(daemon, case, unlike("+" + fault)) as stream:
            stream.read_words(1)
            words = stream.rest() and stream.words()
            assert_broken(stream, code, words)
        assert book.total("llm_cache_events_total", event_type="store") == 0


@pytest.mark.parametrize("case", ["chat-openai", "messages-anthropic", "messages-openai"])
def test_a_stream_that_is_too_long_is_not_stored(daemon, case):
    """Its events are not kept for ever; the client has them all."""
    orders = unlike("+tokens=80000")
    for _ in range(2):
        with open_stream(daemon, case, orders) as stream:
            assert_whole(stream, " ".join(["word"] * 80000))
        assert stream.head().field("x-optiroute-cache") == "miss"


@pytest.mark.parametrize("case", CASES)
def test_a_long_answer_is_replayed_to_a_client_that_reads_late(daemon, case):
    def busy_shards():
        return daemon.metrics().total("optiroute_cache_lock_timeouts_total")

    orders, were_busy = unlike("+tokens=80000"), busy_shards()
    ask(daemon, case, orders, "whole")
    late = [open_stream(daemon, case, orders, receive=4096) for _ in range(5)]
    caches = [ask(daemon, case, orders, "whole").cache]
    for stream in late:
        assert_whole(stream, " ".join(["word"] * 80000))
        caches.append(stream.head().field("x-optiroute-cache"))
        stream.client.close()
    # they ask at the same time: a worker that is not run while it holds the shard costs others a miss
    assert len(caches) - caches.count("hit") <= busy_shards() - were_busy, caches


def test_state_that_a_provider_keeps_is_not_stored(daemon):
    """For responses that is the default."""
    for members in ({"store": None}, {"store": True}, {"previous_response_id": "resp_1"},
                    {"background": True}, {"conversation": "conv_1"}):
        assert caches(daemon, "responses-openai", unlike(), ["stream", "whole"] * 2, **members) == \
            ["bypass"] * 4, members
    assert caches(daemon, "chat-openai", unlike(), ["stream", "whole"] * 2, store=True) == \
        ["bypass"] * 4


# -- Cache-Control ---------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("case", CASES)
def test_cache_control(daemon, mock, case, how):
    orders = unlike()
    model = "m" + orders

    def asked(control):
        fields = [f"Cache-Control: {control}"] if control else []
        return ask(daemon, case, orders, how, fields).cache, mock.counters(model)["requests"]

    assert asked("no-store") == ("bypass", 1)
    assert asked(None) == ("miss", 2)
    assert asked("no-store") == ("bypass", 3)
    assert asked("max-age=3600") == ("hit", 3)
    assert asked("no-cache") == ("bypass", 4)
    # the entry may be younger than a millisecond, which is not more than none
    assert eventually(lambda: asked("max-age=0")[0] == "miss")
    assert mock.counters(model)["requests"] == 5
    assert asked(None) == ("hit", 5)


# -- replay at a pace ------------------------------------------------------------------------------

PACE_MS = 20


@pytest.fixture(scope="module")
def pacing(mock):
    with Daemon(settings(mock, cache={"replay_pace": f"{PACE_MS}ms"})) as running:
        yield running


@pytest.mark.parametrize("case", [case for case in CASES if "responses" not in case])
def test_a_hit_is_replayed_at_a_pace(pacing, case):
    orders = unlike("+tokens=30+utf8")
    before_it = ask(pacing, case, orders, "whole")
    began = time.monotonic()
    after = ask(pacing, case, orders, "stream")
    assert time.monotonic() - began >= 29 * PACE_MS / 1000
    assert after.cache == "hit" and after.body == before_it.body
    began = time.monotonic()
    with open_stream(pacing, case, orders) as stream:
        assert_whole(stream, " ".join(["wörd€😀"] * 30))
        took = time.monotonic() - began
        words = [event for event in stream.data() if "wörd" in event.data]
        assert len(words) >= 30
        money = [event for event in stream.events if "overhead_us" in str(event)]
        overhead_us = int(re.search(r"overhead_us=(\d+)", str(money))[1])
        assert overhead_us / 1e6 < took - 29 * PACE_MS / 1000, "pauses are no overhead"
    assert ask(pacing, case, orders, "whole").body == before_it.body


@pytest.mark.parametrize("case", [case for case in CASES if "responses" not in case])
def test_a_client_leaves_a_paced_replay(pacing, case):
    orders = unlike("+tokens=1000")
    ask(pacing, case, orders, "whole")
    book, request_id = Book(pacing), fresh_id()
    with open_stream(pacing, case, orders, [f"x-request-id: {request_id}"]) as stream:
        stream.read_words(2)
    line = pacing.access_line(request_id)
    assert line["status"] == 499 and line["cache"] == "hit" and line["cost_usd"] == 0
    assert line["duration_s"] < 20 and line["upstream_s"] < 1
    assert book.added("llm_client_aborts_total") == 1
    assert book.total("llm_total_cost_usd_total") == 0
    assert ask(pacing, case, orders, "whole").cache == "hit"


def test_paced_replays_do_not_mix(pacing):
    """Many at once, of different answers: each has its own words and its own end."""
    cases = [case for case in CASES if "responses" not in case]
    orders = {case: unlike(f"+tokens={10 + i}") for i, case in enumerate(cases)}
    for case in cases:
        ask(pacing, case, orders[case], "whole")
    streams = [open_stream(pacing, case, orders[case]) for case in cases * 4]
    for case, stream in zip(cases * 4, streams):
        assert_whole(stream, " ".join(["word"] * int(orders[case].rpartition("=")[2])))
        stream.client.close()
