"""Streams on their way: what leaves at once and with which head, usage asked for and not, signs of
life, clients that read slowly, and that a stream which cannot be stopped does not stop the others.
"""
import json
import re
import statistics
import subprocess
import time
from decimal import Decimal

import pytest

from mock import Mock
from optiroute import Daemon, compose, eventually, in_parallel
from streaming import (AUTO, CASES, FLOOD, KINDS, PRICES, SAME, Book, assert_broken, assert_whole,
                       await_rest, before, fresh_id, heal, is_last, open_stream, provider, question,
                       split, spoken, unlike)


@pytest.fixture(scope="module")
def mock():
    with Mock() as running:
        yield running


@pytest.fixture(scope="module")
def daemon(mock):
    routes = {f"r{kind}": {"cheap": kind, "strong": kind, "fallback": ["second" + kind]}
              for kind in KINDS}
    providers = {prefix + kind: provider(mock, kind, models={"m": PRICES}) for kind in KINDS
                 for prefix in ("", "second")}
    with Daemon({"providers": providers, "routes": {**routes, **AUTO}}) as running:
        yield running


# -- usage -----------------------------------------------------------------------------------------

USAGES = ["chat-openai", "completions-openai", "chat-anthropic"]


def chunks_of(daemon, case, orders="", **members):
    heal(daemon, case)
    with open_stream(daemon, case, orders, ["Cache-Control: no-store"], **members) as stream:
        assert_whole(stream)
        return [json.loads(event.data) for event in stream.data()[:-1]]


@pytest.mark.parametrize("orders", ["", "+nullchoices"])
@pytest.mark.parametrize("case", USAGES)
def test_usage_when_the_client_asks(daemon, case, orders):
    chunks = chunks_of(daemon, case, orders, stream_options={"include_usage": True})
    assert not chunks[-1]["choices"] and chunks[-1]["usage"]["total_tokens"] == 14
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


@pytest.mark.parametrize("orders", ["", "+nullchoices"])
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False},
                                     {"include_usage": None, "include_obfuscation": False}])
@pytest.mark.parametrize("case", USAGES)
def test_usage_when_the_client_does_not_ask(daemon, mock, case, options, orders):
    """It is asked for all the same, for the bill, and the client does not see it."""
    members = {} if options is None else {"stream_options": options}
    book = Book(daemon)
    chunks = chunks_of(daemon, case, orders, **members)
    assert all(chunk["choices"] and not chunk.get("usage") for chunk in chunks)
    assert book.total("llm_usage_invalid_total") == 0
    if spoken(case) != "messages":
        asked = json.loads(mock.last()["body"])
        assert asked["stream_options"] == {**(options or {}), "include_usage": True}


@pytest.mark.parametrize("case", CASES)
def test_usage_that_nobody_counts_is_estimated(daemon, case):
    heal(daemon, case)
    request_id = fresh_id()
    with open_stream(daemon, case, "+nousage", [f"x-request-id: {request_id}",
                                                "Cache-Control: no-store"]) as stream:
        assert_whole(stream)
    line = daemon.access_line(request_id)
    assert line["estimated"] and line["status"] == 200
    assert (line["prompt_tokens"], line["completion_tokens"]) == (4, 13)


# -- when it leaves, and with what -----------------------------------------------------------------

@pytest.mark.parametrize("eol", ["lf", "crlf", "cr"])
@pytest.mark.parametrize("case", CASES)
def test_an_event_leaves_when_it_arrives(daemon, case, eol):
    """The provider says k words and not a byte more: the client has them all."""
    heal(daemon, case)
    for k in (1, 2, 5):
        orders = f"+idle={before(case) + k}+eol={eol}"
        with open_stream(daemon, case, orders) as stream:
            assert stream.read_words(k) == " ".join(["word"] * k)
            assert stream.is_silent()


@pytest.mark.parametrize("case", CASES)
def test_the_head_and_the_money_of_a_stream(daemon, case):
    heal(daemon, case)
    api, name = split(case)
    request_id = fresh_id()
    with open_stream(daemon, case, fields=["Cache-Control: no-store",
                                           f"x-request-id: {request_id}"]) as stream:
        head = stream.head()
        assert_whole(stream)
        fields = {key.lower() for key, _ in head.fields}
        assert head.field("content-type") == "text/event-stream"
        assert head.field("cache-control") == "no-cache"
        assert head.field("x-accel-buffering") == "no"
        assert head.field("x-request-id") == request_id
        assert head.field("x-optiroute-provider") == name
        assert head.field("x-optiroute-model") == "m"
        assert head.field("x-optiroute-cache") == "bypass"
        assert not fields & {"x-optiroute-cost-usd", "x-optiroute-saved-usd",
                             "x-optiroute-overhead-us", "content-length"}
        comment, last = stream.events[-2:]
    money = re.fullmatch(r"optiroute cost_usd=(\d+\.\d{9}) saved_usd=(\d+\.\d{9}) "
                         r"overhead_us=\d+", comment.data)
    assert comment.name == ":" and money and is_last(api, last)
    line = daemon.access_line(request_id)
    assert Decimal(money[1]) == line["cost_usd"] == 24 * Decimal("0.000001")
    assert not line["estimated"]


def test_streams_share_a_connection(daemon):
    """A whole stream leaves it open for the next, of whatever kind."""
    heal(daemon, "chat-openai")
    with daemon.connect() as client:
        for case in SAME * 2:
            path, body = question(case)
            client.send(compose("POST", path, body))
            answer = client.read_answer("POST")
            assert answer.status == 200 and answer.field("transfer-encoding") == "chunked"
            assert not answer.closes()


@pytest.mark.parametrize("case", CASES)
def test_a_client_of_http_1_0(daemon, case):
    """No chunks: the end of the connection is the end of the stream."""
    heal(daemon, case)
    api, _ = split(case)
    for orders, complete in (("", True), (f"+kill={before(case) + 2}", False)):
        path, body = question(case, orders)
        with daemon.connect() as client:
            client.send(compose("POST", path, body).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
            answer = client.read_head()
            text = client.read_to_end().decode()
        assert answer.status == 200 and answer.field("transfer-encoding") is None
        assert answer.closes() and text.endswith("\n\n")
        assert ("error" in text) != complete
        assert (("[DONE]" in text) or ("message_stop" in text) or
                ("response.completed" in text)) == complete


def test_signs_of_life(daemon, mock):
    """After every 15 s of silence, in the middle of a stream and before its first word; and what a
    provider fails to say behind such a sign another one can still say. All at the same time."""
    for case in CASES:
        heal(daemon, case)
    began = time.monotonic()
    middle = [open_stream(daemon, case, f"+idle={before(case) + 1}") for case in CASES]
    silent = [open_stream(daemon, case, "+delay=600000") for case in CASES]
    late = []
    for case in CASES:
        api, name = split(case)
        orders = unlike(f"+delay=20000+kill={before(case)}+times=1")
        late.append(open_stream(daemon, f"{api}-r{name}", orders))
    lost = [open_stream(daemon, case, f"+delay=20000+kill={before(case)}") for case in CASES]
    for stream in middle:
        stream.read_words(1)
        while stream.next().name != ":":
            pass
        assert stream.comments() == ["ping"]
    for stream in silent + late + lost:
        assert stream.next() == (":", "ping")
        assert stream.head().status == 200
    assert time.monotonic() - began > 10
    for stream in late:
        assert_whole(stream)
        assert stream.comments()[0] == "ping"
    for stream in lost:  # nobody else can: the head is out, so it is an event
        assert_broken(stream, "stream_truncated")
    for stream in middle + silent + late + lost:
        stream.client.close()


# -- clients that read slowly ----------------------------------------------------------------------

# 8 MB of these fill what the kernel keeps for a client; /generate says the same in a tenth of it.
@pytest.mark.parametrize("case", SAME[:1] + SAME[2:] + ["chat-anthropic"])
def test_a_client_that_reads_late_misses_nothing(daemons, mock, case):
    """The provider is stopped in the middle of its stream, and goes on."""
    daemon = daemons({"providers": {kind: provider(mock, kind) for kind in KINDS}, "routes": AUTO,
                      "workers": 1})
    with open_stream(daemon, case, "+flood=8000000", ["Cache-Control: no-store"]) as stream:
        said = len(stream.rest())
    with open_stream(daemon, case, "+flood=8000000", ["Cache-Control: no-store"],
                     receive=4096) as stream:
        stream.read_words(1)
        await_rest(daemon)
        assert len(stream.rest()) == said and stream.end == "whole"
        assert set(stream.words().split(" ")) == {"word"}


def test_a_client_that_reads_late_is_not_the_providers_fault(daemons, mock):
    """The provider's time runs out while it waits for the client: that opens no circuit."""
    daemon = daemons({"providers": {"openai": provider(
        mock, "openai", timeouts={"total": "5s"}, breaker={"failures": 1})}, "workers": 1})
    request_id = fresh_id()
    with open_stream(daemon, "chat-openai", "+flood=80000000",
                     ["Cache-Control: no-store", f"x-request-id: {request_id}"], receive=4096) as stream:
        stream.read_words(1)
        line = daemon.access_line(request_id)
        assert line["outcome"] == "client_stall", line
    metrics = daemon.metrics()
    assert metrics.total("llm_circuit_transitions_total") == 0
    assert metrics.total("llm_upstream_errors_total") == 0


@pytest.mark.parametrize("case", ["chat-openai", "messages-openai", "messages-anthropic"])
def test_a_fault_in_a_fast_stream_is_not_lost(daemon, case):
    """Wherever it stands: streams that come quickly are read in turns, and what is kept between two
    turns is looked at as well."""
    heal(daemon, case)
    for at in range(300, 400, 3):
        with open_stream(daemon, case, f"+flood=300000+badevent={at}") as stream:
            words = stream.rest() and stream.words()
            assert_broken(stream, "bad_json", words)
            assert len(words.split()) == at - 1 - before(case), at
        heal(daemon, case)


# -- fairness --------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", ["chat-openai", "messages-openai"])
def test_a_flood_does_not_keep_the_others_waiting(daemons, mock, case):
    """One worker, one stream as fast as it can be read, one that drips, and somebody whose answers
    are stored: they are served in the pace that is theirs, as they are without the flood."""
    daemon = daemons({"providers": {"openai": provider(mock, "openai")}, "routes": AUTO,
                      "workers": 1})
    path, stored = question("chat-openai", stream=False)
    assert daemon.request("POST", path, stored).status == 200

    def drip(dripping, is_over):
        arrived = []
        try:
            while dripping.next() is not None:
                arrived.append(time.monotonic())
        finally:
            is_over.append(True)
        return [after - earlier for earlier, after in zip(arrived, arrived[1:])]

    def hit(may_end):
        took = []
        with daemon.connect() as client:
            while not may_end():
                began = time.monotonic()
                answer = client.request("POST", path, stored)
                assert answer.field("x-optiroute-cache") == "hit"
                took.append(time.monotonic() - began)
        return took

    def median_times(flood_has_flown):
        """Of a gap in the dripping stream, and of a hit beside it."""
        is_over = []
        with open_stream(daemon, "chat-openai", unlike("+tokens=50+pace=10")) as dripping:
            gaps, took = in_parallel(2, lambda i: hit(lambda: is_over and flood_has_flown())
                                     if i else drip(dripping, is_over))
            assert dripping.words() == " ".join(["word"] * 50)
        return statistics.median(gaps), statistics.median(took)

    usual = median_times(lambda: True)
    with open_stream(daemon, case, FLOOD[1:]) as flood:
        flood.client.socket.settimeout(None)
        # in a process of its own: here it would keep the other threads waiting itself
        with subprocess.Popen(["cat"], stdin=flood.client.socket, stdout=subprocess.DEVNULL) as drinks:
            try:
                eventually(lambda: bytes_read(drinks.pid) > 1000000)
                before_it = bytes_read(drinks.pid)
                beside = median_times(lambda: bytes_read(drinks.pid) > before_it + 1000000)
            finally:
                drinks.terminate()
    for alone, with_flood in zip(usual, beside):
        assert with_flood < 0.1 + 10 * alone, (usual, beside)


def bytes_read(pid):
    with open(f"/proc/{pid}/io") as file:
        return int(file.readline().split()[1])
