"""The scripted upstream streams as the model's name orders: events of the dialects, their ends."""
import json
import time

import pytest

from mock import Mock
from mock_talk import STREAMING, WORDS, ask, chat, chunks, dechunk, deltas, events_of, parts_of, \
    raw, send, stream, text_of
from optiroute import PATIENCE, eventually
from processes import own_kib


@pytest.fixture(scope="module")
def mock():
    with Mock() as running:
        yield running


@pytest.mark.parametrize("dialect", STREAMING)
def test_a_stream_has_the_text_of_the_answer(mock, dialect):
    assert text_of(dialect, events_of(stream(mock, "any", dialect))) == WORDS


def test_chat_chunks(mock):
    pieces, done = chunks(mock, "any+tokens=2")
    assert done and len(pieces) == 4
    assert len({(p["id"], p["created"], p["model"], p["object"]) for p in pieces}) == 1
    choices = [piece["choices"][0] for piece in pieces]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert [choice["delta"].get("content") for choice in choices[1:]] == ["word", " word", None]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert not any("usage" in piece for piece in pieces)


def test_usage_of_a_stream_when_asked(mock):
    pieces, done = chunks(mock, "any+tokens=2", usage=True)
    assert done and pieces[-1]["choices"] == []
    assert pieces[-1]["usage"] == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
    assert all(piece["usage"] is None for piece in pieces[:-1])
    assert chunks(mock, "any+nullchoices", usage=True)[0][-1]["choices"] is None
    assert len(chunks(mock, "any+tokens=2+nousage", usage=True)[0]) == 4


def test_named_events(mock):
    events = events_of(stream(mock, "any+tokens=1", "messages"))
    assert [name for name, _ in events] == [
        "message_start", "content_block_start", "ping", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop"]
    assert all(json.loads(data)["type"] == name for name, data in events)
    events = events_of(stream(mock, "any+tokens=1", "responses"))
    assert [name for name, _ in events] == [
        "response.created", "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_item.done", "response.completed"]
    response = json.loads(events[-1][1])["response"]
    assert response["usage"]["output_tokens"] == 1 and response["status"] == "completed"


@pytest.mark.parametrize("dialect", STREAMING)
@pytest.mark.parametrize("orders", [
    "eol=lf", "eol=crlf", "eol=cr", "comments", "bom", "nospace", "multiline", "utf8",
    "bom+comments+multiline+nospace+eol=crlf+utf8", "bom+comments+multiline+eol=cr"])
def test_lines_may_differ_and_mean_the_same(mock, dialect, orders):
    body = stream(mock, "any+" + orders, dialect)
    events = events_of(body)
    plain = events_of(stream(mock, "any", dialect))
    assert [name for name, _ in events] == [name for name, _ in plain]
    words = WORDS.replace("word", "wörd€😀") if "utf8" in orders else WORDS
    assert text_of(dialect, events) == words
    assert body.startswith(b"\xef\xbb\xbf") == ("bom" in orders)
    assert (b": comment" in body) == ("comments" in orders)
    assert (b"data: " in body) != ("nospace" in orders)
    assert ("\n" in events[0][1]) == ("multiline" in orders)
    assert (b"\r\n" in body) == ("crlf" in orders)
    assert (b"\n" in body) != ("eol=cr" in orders.split("+"))


def test_pieces_split_anywhere(mock):
    begin = time.monotonic()
    with send(mock, "any+tokens=2+utf8+split=1", stream=True) as client:
        client.read_head()
        body = b""
        while piece := client.read_chunk():
            body += piece
        assert time.monotonic() - begin > 0.0005 * len(body)
    assert text_of("chat", events_of(body)) == "wörd€😀 wörd€😀"


def test_pace_is_between_events(mock):
    begin = time.monotonic()
    assert text_of("chat", events_of(stream(mock, "any+tokens=4+pace=20"))) == "word word word word"
    assert 0.1 <= time.monotonic() - begin < PATIENCE


@pytest.mark.parametrize("then, expected", [("", "fin"), ("+then=rst", "rst")])
def test_a_stream_dies(mock, then, expected):
    for k in (0, 3, 7):  # 7 is all of them
        data, end = raw(mock, f"any+tokens=4+kill={k}{then}", stream=True)
        body, complete = dechunk(parts_of(data)[1])
        assert end == expected and not complete and len(events_of(body)) == k


def test_a_stream_falls_silent(mock):
    before = mock.counters()
    with send(mock, "any+idle=2", stream=True) as client:
        client.read_head()
        assert len(events_of(client.read_chunk() + client.read_chunk())) == 2
        assert not client.readable(0.1)
        assert mock.counters()["in_flight"] == before["in_flight"] + 1
    eventually(lambda: mock.counters()["aborted"] == before["aborted"] + 1)


def test_a_stream_says_it_is_done_and_stays(mock):
    for dialect, last in (("chat", "[DONE]"), ("messages", '{"type":"message_stop"}')):
        with send(mock, "any+hold", dialect=dialect, stream=True) as client:
            client.read_head()
            while last.encode() not in client.read_chunk():
                pass
            assert not client.readable(0.05)


@pytest.mark.parametrize("dialect", STREAMING)
def test_a_stream_ends_without_saying_so(mock, dialect):
    whole = events_of(stream(mock, "any", dialect))
    assert len(events_of(stream(mock, "any+nodone", dialect))) == len(whole) - 1


@pytest.mark.parametrize("dialect", STREAMING)
def test_one_event_is_broken(mock, dialect):
    events = events_of(stream(mock, "any+badevent=3", dialect))
    broken = []
    for i, (_, data) in enumerate(events, 1):
        try:
            json.loads(data if data != "[DONE]" else "{}")
        except json.JSONDecodeError:
            broken.append(i)
    assert broken == [3] and len(events) > 8


def test_an_event_is_an_error(mock):
    events = events_of(stream(mock, "any+errorevent=3+code=x"))
    assert len(events) == 3
    assert json.loads(events[2][1])["error"]["code"] == "x"
    name, data = events_of(stream(mock, "any+errorevent=3", "messages"))[-1]
    assert name == "error" and json.loads(data)["error"]["type"] == "api_error"
    name, data = events_of(stream(mock, "any+errorevent=3", "responses"))[-1]
    assert name == "error" and json.loads(data)["type"] == "error"


def test_an_event_is_a_line_without_an_end(mock):
    body = stream(mock, "any+hugeevent")
    first, _, line = body.partition(b"\n\n")
    assert json.loads(first[6:])["choices"]
    assert len(line) == (10 << 20) + 6 and b"\n" not in line


def test_tool_calls(mock):
    arguments = {"city": "Paris", "days": 3}
    choice = chat(mock, "any+tool").json()["choices"][0]
    call = choice["message"]["tool_calls"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert call["function"]["name"] == "get_weather" and call["id"]
    assert json.loads(call["function"]["arguments"]) == arguments
    pieces, _ = chunks(mock, "any+tool")
    calls = [piece["choices"][0]["delta"]["tool_calls"][0] for piece in pieces[1:-1]]
    assert calls[0]["id"] and calls[0]["function"]["name"] == "get_weather" and len(calls) == 4
    assert json.loads("".join(c["function"]["arguments"] for c in calls)) == arguments
    assert pieces[-1]["choices"][0]["finish_reason"] == "tool_calls"
    body = ask(mock, "messages", "any+tool").json()
    assert body["stop_reason"] == "tool_use" and body["content"][0]["input"] == arguments
    events = [json.loads(data) for _, data in events_of(stream(mock, "any+tool", "messages"))]
    assert json.loads("".join(e["delta"]["partial_json"] for e in events
                              if e["type"] == "content_block_delta")) == arguments
    item = ask(mock, "responses", "any+tool").json()["output"][0]
    assert item["type"] == "function_call" and json.loads(item["arguments"]) == arguments
    events = [json.loads(data) for _, data in events_of(stream(mock, "any+tool", "responses"))]
    assert json.loads("".join(e["delta"] for e in events if "delta" in e)) == arguments


def test_reasoning_stands_before_the_text(mock):
    message = chat(mock, "any+reasoning_text").json()["choices"][0]["message"]
    assert message["reasoning_content"] == "Let me think." and message["content"] == WORDS
    pieces, _ = chunks(mock, "any+reasoning_text")
    assert deltas(pieces, "reasoning_content") == "Let me think." and deltas(pieces) == WORDS
    content = ask(mock, "messages", "any+reasoning_text").json()["content"]
    assert [block["type"] for block in content] == ["thinking", "text"]
    events = events_of(stream(mock, "any+reasoning_text", "messages"))
    blocks = [json.loads(data) for name, data in events if name == "content_block_start"]
    assert [(b["index"], b["content_block"]["type"]) for b in blocks] == \
        [(0, "thinking"), (1, "text")]
    assert text_of("messages", events) == WORDS


def test_a_flood_stops_when_nobody_reads(mock):
    assert len(stream(mock, "any+flood=3000000")) > 3000000
    before = own_kib(mock.pid)
    aborted = mock.counters()["aborted"]
    with send(mock, "any+flood=1000000000000", stream=True) as client:
        client.read_head()
        for _ in range(1000):
            assert client.read_chunk()
        # everyone else is still served, and what is not read costs the kernel's buffers only
        assert chat(mock, "any").status == 200
        assert own_kib(mock.pid) - before < 4096
    eventually(lambda: mock.counters()["aborted"] == aborted + 1)


def test_an_ordered_body_is_no_stream(mock):
    answer = chat(mock, "any+status=500", stream=True)
    assert answer.status == 500 and answer.error()
    assert chat(mock, "any+body=noschema", stream=True).field("content-length")
