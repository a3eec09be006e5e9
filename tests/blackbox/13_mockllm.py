"""The scripted upstream answers as the model's name orders: bodies, framing, ends, by the byte."""
import email.utils
import gzip
import itertools
import json
import re
import time

import pytest

from mock import Mock
from mock_talk import PATHS, WORDS, ask, chat, chunks, dechunk, events_of, parts_of, \
    question, raw, rest_of, send, stream
from optiroute import Client, compose, eventually
from processes import own_kib


@pytest.fixture(scope="module")
def mock(tmp_path_factory):
    files = tmp_path_factory.mktemp("files")
    (files / "answer.json").write_text('{"from": "a file"}')
    with Mock(files=files) as running:
        yield running


# -- JSON answers ----------------------------------------------------------------------------------

def test_a_completion_has_text_and_usage(mock):
    answer = chat(mock, "any+tokens=3")
    body = answer.json()
    assert answer.status == 200 and answer.field("content-type") == "application/json"
    assert body["object"] == "chat.completion" and body["model"] == "any+tokens=3"
    assert abs(body["created"] - time.time()) < 60
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "word word word"}
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    assert chat(mock, "any").json()["id"] != body["id"]


def test_each_dialect_has_its_form(mock):
    body = ask(mock, "completions", "any").json()
    assert body["object"] == "text_completion" and body["choices"][0]["text"] == WORDS
    body = ask(mock, "embeddings", "any", input=["a", "b", "c"]).json()
    assert [len(item["embedding"]) for item in body["data"]] == [8, 8, 8]
    assert len(ask(mock, "embeddings", "any", input=[1, 2, 3]).json()["data"]) == 1
    body = ask(mock, "responses", "any").json()
    assert body["object"] == "response" and body["status"] == "completed"
    assert body["output"][0]["content"] == [
        {"type": "output_text", "text": WORDS, "annotations": []}]
    assert body["usage"] == {"input_tokens": 4, "input_tokens_details": {"cached_tokens": 0},
                             "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 0},
                             "total_tokens": 14}
    body = ask(mock, "messages", "any").json()
    assert body["type"] == "message" and body["stop_reason"] == "end_turn"
    assert body["content"] == [{"type": "text", "text": WORDS}]
    assert body["usage"] == {"input_tokens": 4, "output_tokens": 10}
    with Client(mock.address()) as client:
        body = client.request("GET", "/openai/v1/models").json()
    assert body["object"] == "list" and body["data"][0]["object"] == "model"


def test_inference_takes_the_model_from_the_path(mock):
    mock.reset()
    for model in ("name+tokens=2", "n%61me%2Btokens=2"):
        assert ask(mock, "inference", model).json() == [
            {"generated_text": "word word",
             "details": {"finish_reason": "eos_token", "generated_tokens": 2, "seed": None,
                         "prefill": [], "tokens": []}}]
    assert mock.counters("org/name+tokens=2")["answered"] == 2


def test_prompt_tokens_are_counted_over_all_text(mock):
    parts = [{"role": "user", "content": [{"type": "text", "text": "abcd"}, {"type": "image_url"}]},
             {"role": "user", "content": "efgh"}]
    assert chat(mock, "any", messages=parts).json()["usage"]["prompt_tokens"] == 2
    body = ask(mock, "messages", "any", messages=parts, system="ijkl").json()
    assert body["usage"]["input_tokens"] == 3
    body = ask(mock, "responses", "any", input=parts, instructions="ijkl").json()
    assert body["usage"]["input_tokens"] == 3


def test_choices(mock):
    body = chat(mock, "any+tokens=2", n=3).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    pieces, done = chunks(mock, "any+tokens=2", n=3)
    texts = ["".join(choice["delta"].get("content", "") for piece in pieces
                     for choice in piece["choices"] if choice["index"] == i) for i in range(3)]
    assert done and texts == ["word word"] * 3
    assert len(chat(mock, "any", n=9).json()["choices"]) == 1


@pytest.mark.parametrize("model", [
    "any+tokens=x", "any+speed=1", "any+delay", "any+status=100", "any+status=600", "any+",
    "any+leak=1", "any+body", "any+body=fine", "any+file=../x", "any+file=.x", "any+cut=-1",
    "any+retry_after=date:soon", "any+location=a\r\nb", "any+times=0", "any+usage=3"])
def test_orders_that_make_no_sense_are_refused(mock, model):
    assert chat(mock, model).status == 404


@pytest.mark.parametrize("body", ["", "[]", '{"model":"any"}', '{"model":"any","messages":1}'])
def test_what_is_no_chat_is_refused(mock, body):
    with Client(mock.address()) as client:
        assert client.request("POST", PATHS["chat"], body).status == 400


def test_what_is_no_path_is_refused(mock):
    with Client(mock.address()) as client:
        assert client.request("GET", "/v1/chat/completions").status == 404
        assert client.request("POST", "/v1/nothing", {"outputs": 1}).status == 404
        assert client.request("POST", PATHS["chat"], {"messages": []}).status == 404


# -- errors ----------------------------------------------------------------------------------------

def test_orders_set_status_and_retry_after(mock):
    before = mock.counters()
    answer = chat(mock, "any+status=429+retry_after=7")
    assert answer.status == 429 and answer.field("retry-after") == "7"
    assert answer.error() == {"message": "as ordered", "type": "mock_error", "param": None,
                              "code": None}
    after = mock.counters()
    assert after["requests"] == before["requests"] + 1
    assert after["errors"] == before["errors"] + 1


@pytest.mark.parametrize("seconds", [90, -90])
def test_retry_after_may_be_a_date(mock, seconds):
    text = chat(mock, f"any+status=503+retry_after=date:{seconds}").field("retry-after")
    when = email.utils.parsedate_to_datetime(text).timestamp()
    assert abs(when - time.time() - seconds) < 10
    assert chat(mock, "any+status=503+retry_after=in a while").field("retry-after") == "in a while"


def test_errors_have_the_dialects_form_and_code(mock):
    assert chat(mock, "any+status=400+code=context_length_exceeded").error()["code"] == \
        "context_length_exceeded"
    body = ask(mock, "messages", "any+status=529").json()
    assert body == {"type": "error",
                    "error": {"type": "overloaded_error", "message": "as ordered"}}
    assert ask(mock, "messages", "any+status=500+code=x").json()["error"]["type"] == "x"
    assert ask(mock, "inference", "any+status=503").json() == {"error": "as ordered"}
    assert ask(mock, "inference", "any+status=503+code=overloaded").json()["error_type"] == \
        "overloaded"


def test_an_error_may_leak_and_redirect(mock):
    answer = ask(mock, "chat", "any+status=401+leak", ["Authorization: Bearer sk-secret"])
    assert answer.error()["message"] == "as ordered, for Bearer sk-secret at test"
    answer = ask(mock, "messages", "any+status=401+leak", ["x-api-key: sk-secret"])
    assert "sk-secret" in answer.json()["error"]["message"]
    answer = chat(mock, "any+status=307+location=http://127.0.0.1:1/elsewhere")
    assert answer.status == 307 and answer.field("location") == "http://127.0.0.1:1/elsewhere"


# -- usage -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("form, figures", [
    ("ok", (4, 10, 14)), ("negative", (-5, -11, -15)), ("huge", (2**63 - 1,) * 3),
    ("float", (4.5, 10.5, 14.5)), ("text", ("4", "10", "14"))])
def test_usage_may_be_odd(mock, form, figures):
    usage = chat(mock, "any+usage=" + form).json()["usage"]
    assert tuple(usage[name] for name in (
        "prompt_tokens", "completion_tokens", "total_tokens")) == figures
    pieces, _ = chunks(mock, "any+usage=" + form, usage=True)
    assert pieces[-1]["usage"] == usage


def test_usage_may_be_missing(mock):
    assert "usage" not in chat(mock, "any+usage=none").json()
    assert chat(mock, "any+usage=null").json()["usage"] is None
    assert "usage" not in ask(mock, "messages", "any+usage=none").json()


def test_figures_are_ordered_in_the_dialects_way(mock):
    orders = "any+prompt=100+tokens=20+cached=60+reasoning=5+cache_write=30"
    assert chat(mock, orders).json()["usage"] == {
        "prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 120}
    assert ask(mock, "messages", orders).json()["usage"] == {
        "input_tokens": 100, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 60,
        "output_tokens": 20}
    usage = ask(mock, "responses", orders).json()["usage"]
    assert usage["input_tokens_details"] == {"cached_tokens": 60}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 5}
    assert ask(mock, "embeddings", "any+prompt=9").json()["usage"] == {
        "prompt_tokens": 9, "total_tokens": 9}
    start, delta = [json.loads(data) for name, data
                    in events_of(stream(mock, orders, "messages"))
                    if name in ("message_start", "message_delta")]
    assert start["message"]["usage"]["cache_read_input_tokens"] == 60
    assert delta["usage"] == {"output_tokens": 20}


# -- bodies ----------------------------------------------------------------------------------------

def test_bodies_that_are_no_answer(mock):
    assert chat(mock, "any+body=empty").body == b""
    answer = chat(mock, "any+status=502+body=html")
    assert answer.status == 502 and answer.field("content-type").startswith("text/html")
    assert answer.body.startswith(b"<!DOCTYPE html>")
    with pytest.raises(json.JSONDecodeError):
        chat(mock, "any+body=notjson").json()
    assert "choices" not in chat(mock, "any+body=noschema").json()
    assert chat(mock, "any+body=nested").body == b"[" * 100000
    body = chat(mock, "any+body=badutf8").body
    with pytest.raises(UnicodeDecodeError):
        body.decode()
    assert json.loads(body.decode(errors="replace"))["usage"]


def test_bodies_with_other_text(mock):
    assert chat(mock, "any+body=null").json()["choices"][0]["message"]["content"] is None
    parts = chat(mock, "any+body=parts").json()["choices"][0]["message"]["content"]
    assert len(parts) == 2 and "".join(part["text"] for part in parts) == WORDS
    assert len(ask(mock, "messages", "any+body=parts").json()["content"]) == 2
    assert chat(mock, "any+utf8+tokens=2").json()["choices"][0]["message"]["content"] == \
        "wörd€😀 wörd€😀"


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(mock, status):
    with send(mock, f"any+status={status}") as client:
        assert client.read_answer().status == status
        client.send(compose("POST", *question("chat", "any")))
        assert client.read_answer().json()["usage"]


def test_a_huge_body_needs_no_memory(mock):
    before = own_kib(mock.pid)
    with send(mock, "any+huge=64") as client:
        answer = client.read_head()
        size = int(answer.field("content-length"))
        assert size > 64 << 20
        begin = client.read_exactly(65536)
        assert begin.startswith(b'{"id":"chatcmpl-mock-')
        left, end = size - 65536, b""
        while left > 0:
            left -= len(client.buffer)
            end, client.buffer = (end + client.buffer)[-200:], b""
            if left > 0:
                client.fill()
        assert b'xxxx"},"finish_reason":"stop"}],"usage":{' in end and end.endswith(b"}}")
    assert own_kib(mock.pid) - before < 4096
    answer = ask(mock, "messages", "any+huge=1+framing=chunked")
    assert len(answer.json()["content"][0]["text"]) == 1 << 20


def test_a_file_and_its_type(mock):
    answer = chat(mock, "any+file=answer.json")
    assert answer.json() == {"from": "a file"}
    assert answer.field("content-type") == "application/json"
    assert chat(mock, "any+file=answer.json+type=text/plain").field("content-type") == "text/plain"
    assert chat(mock, "any+type=none").field("content-type") is None
    assert chat(mock, "any+file=other.json").status == 404


def test_a_gzip_bomb(mock):
    answer = chat(mock, "any+gzip")
    assert answer.field("content-encoding") == "gzip" and len(answer.body) < 70000
    assert gzip.decompress(answer.body) == bytes(64 << 20)


# -- framing ---------------------------------------------------------------------------------------

def test_framings_that_are_legal(mock):
    answer = chat(mock, "any+framing=chunked")
    assert answer.field("transfer-encoding") == "chunked" and answer.json()["usage"]
    assert chat(mock, "any+framing=length").field("content-length")
    answer = chat(mock, "any+framing=close")
    assert answer.closes() and answer.field("content-length") is None and answer.json()["usage"]
    with send(mock, "any+framing=close", stream=True) as client:
        assert client.read_answer().body.endswith(b"data: [DONE]\n\n")


def test_framings_that_are_broken(mock):
    head, body = parts_of(raw(mock, "any+framing=badchunk")[0])
    assert "Transfer-Encoding: chunked" in head
    size, _, rest = body.partition(b"\r\n")
    assert rest[int(size, 16):].startswith(b"\r\nZZ\r\n")
    data, end = raw(mock, "any+framing=nolast")
    data, complete = dechunk(parts_of(data)[1])
    assert json.loads(data)["usage"] and not complete and end == "fin"
    with send(mock, "any+framing=twolengths") as client:
        lengths = [int(value) for name, value in client.read_head().fields
                   if name == "Content-Length"]
    assert lengths[1] == lengths[0] + 1


def test_broken_framings_of_a_stream(mock):
    data, end = raw(mock, "any+framing=nolast", stream=True)
    data, complete = dechunk(parts_of(data)[1])
    assert data.endswith(b"data: [DONE]\n\n") and not complete and end == "fin"
    assert b"\r\nZZ\r\n" in raw(mock, "any+framing=badchunk", stream=True)[0]


def test_heads_that_are_too_much(mock):
    head, body = parts_of(raw(mock, "any+head=big+close")[0])
    assert len(head) > 300 << 10 and json.loads(body)["usage"]
    head, body = parts_of(raw(mock, "any+head=many+close")[0])
    assert head.count("\r\n") > 10000 and json.loads(body)["usage"]


def test_informational_answers_never_end(mock):
    begin = time.monotonic()
    with send(mock, "any+head=informational") as client:
        for _ in range(50):
            assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 102 Processing"
    assert time.monotonic() - begin > 0.03  # paced


def test_what_is_not_http(mock):
    data, end = raw(mock, "any+head=http09")
    assert json.loads(data)["usage"] and end == "fin"
    assert raw(mock, "any+head=banner") == (b"SSH-2.0-OpenSSH_9.2\r\n", "fin")
    assert raw(mock, "any+head=banner+then=rst")[1] == "rst"


# -- ends ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("then, expected", [
    ("", "fin"), ("+then=fin", "fin"), ("+then=rst", "rst")])
def test_answers_are_cut(mock, then, expected):
    assert raw(mock, "any+cut=start" + then) == (b"", expected)
    data, end = raw(mock, "any+cut=inhead" + then)
    assert end == expected and data.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\n\r\n" not in data
    for cut, size in (("head", 0), ("20", 20), ("half", None)):
        data, end = raw(mock, f"any+cut={cut}{then}")
        head, body = parts_of(data)
        announced = int(re.search(r"Content-Length: (\d+)", head)[1])
        assert end == expected and announced > 200
        assert len(body) == (announced // 2 if size is None else size)
    data, end = raw(mock, "any+framing=chunked+cut=20" + then)
    assert end == expected and len(parts_of(data)[1].partition(b"\r\n")[2]) == 20


@pytest.mark.parametrize("cut, size", [("start", 0), ("inhead", 20), ("head", 60), ("20", 80)])
def test_a_cut_answer_may_hold_the_connection(mock, cut, size):
    before = mock.counters()
    with send(mock, f"any+cut={cut}+then=hold") as client:
        assert len(client.read_exactly(size)) == size
        eventually(lambda: mock.counters()["in_flight"] == before["in_flight"] + 1)
        client.buffer = b""
        assert not client.readable(0.05)
    eventually(lambda: mock.counters()["aborted"] == before["aborted"] + 1)


def test_a_cut_that_is_no_cut(mock):
    assert chat(mock, "any+cut=100000").json()["usage"]


def test_a_cut_stream(mock):
    data, end = raw(mock, "any+cut=30", stream=True)
    assert end == "fin" and len(parts_of(data)[1].partition(b"\r\n")[2]) == 30
    data, end = raw(mock, "any+cut=half", stream=True)
    data, complete = dechunk(parts_of(data)[1])
    assert end == "fin" and not complete and 0 < data.count(b'"content":" word"') < 9


def test_drip_sends_bytes_one_by_one(mock):
    begin = time.monotonic()
    with send(mock, "any+drip=2+body=noschema") as client:
        answer = client.read_head()
        body = client.read_exactly(int(answer.field("content-length")))
        assert time.monotonic() - begin > 0.001 * len(body)


def test_extra_close_and_finish(mock):
    with send(mock, "any+extra") as client:
        assert client.read_answer().status == 200
        assert client.read_answer().json() == {"extra": "yes"}
    with send(mock, "any+close") as client:
        assert client.read_answer().closes()
        client.assert_closed()
    with send(mock, "any+finish") as client:
        assert not client.read_answer().closes()
        client.assert_closed()


def test_stale_closes_at_the_next_request(mock):
    mock.reset()
    with send(mock, "any+stale") as client:
        assert not client.read_answer().closes()
        assert not client.readable(0.05)
        client.send(b"P")
        assert rest_of(client) == (b"", "fin")
    assert mock.counters()["requests"] == 1


def test_connections_are_kept(mock):
    mock.reset()
    with Client(mock.address()) as client:
        for i in range(1, 4):
            assert client.request("POST", *question("chat", "any")).status == 200
            last = mock.last()
            assert (last["connection"], last["request"]) == (mock.last()["connection"], i)
        counters = mock.counters()
        assert counters["connections"] == counters["open"] == 1
    eventually(lambda: mock.counters()["open"] == 0)


# -- which requests --------------------------------------------------------------------------------

def test_times_limits_the_misbehaviour(mock):
    mock.reset()
    model = "any+status=500+delay=1+tokens=3+prompt=7+times=2"
    assert [chat(mock, model).status for _ in range(4)] == [500, 500, 200, 200]
    usage = chat(mock, model).json()["usage"]
    assert usage["prompt_tokens"] == 7 and usage["completion_tokens"] == 3
    assert chat(mock, model + "+tokens=4").status == 500  # another name
    mock.reset()
    assert chat(mock, model).status == 500


def test_fault_every_rotates(mock):
    mock.reset()
    found = []
    for _ in range(20):
        data, end = raw(mock, "any+fault_every=2+close")
        if not data:
            found.append(end)
            continue
        head, body = parts_of(data)
        length = int(re.search(r"Content-Length: (\d+)", head)[1])
        status = head.split()[1]
        if len(body) < length:
            found.append("half")
        elif body.startswith(b'{"id"') and not body.endswith(b"}"):
            found.append("notjson")
        else:
            found.append(status)
    faults = ["500", "rst", "half", "notjson", "fin"]
    assert found == list(itertools.chain(*[["200", fault] for fault in faults])) * 2


def test_fault_every_has_a_form_for_streams(mock):
    mock.reset()
    ends = []
    for _ in range(5):
        data, end = raw(mock, "any+fault_every=1+close", stream=True)
        body, complete = dechunk(parts_of(data)[1]) if b"chunked" in data else (b"", False)
        ends.append((end, bool(body), complete))
    assert ends == [("fin", False, False), ("rst", False, False), ("fin", True, False),
                    ("fin", True, True), ("fin", False, False)]
