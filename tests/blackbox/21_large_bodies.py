"""Bodies of 1 to 30 MB: images pass byte for byte, what is hostile is refused quickly, what is too large
is 413 in the client's form, and others are answered meanwhile. Who leaves in between leaks nothing.
"""
import base64
import contextlib
import hashlib
import json
import os
import random
import statistics
import threading
import time

import pytest

from mock import Mock, upstream
from optiroute import (JSON, PATIENCE, Daemon, anthropic_error, compose, eventually, in_parallel,
                       named_events)
from processes import ESTABLISHED, connections, count_files, own_kib, proc_status

MB = 1 << 20
LIMIT = 40 * MB
FRESH = ["Cache-Control: no-store"]
SMALL = "QUJD"
SPARES_MEMORY = "ASAN_OPTIONS" not in os.environ  # its quarantine grows by design


@pytest.fixture(scope="module")
def mock():
    with Mock("tls-stall", "early") as running:
        yield running


@pytest.fixture(scope="module")
def daemon(mock):
    providers = {"oa": upstream(mock, "openai", max_concurrency=1000),
                 "an": upstream(mock, "anthropic", max_concurrency=1000),
                 "deaf": upstream(mock, "openai", url=f"http://127.0.0.1:{mock.ports['tls-stall']}/v1"),
                 "late": upstream(mock, "openai", url=f"http://127.0.0.1:{mock.ports['tls-stall']}/v1",
                                  timeouts={"first_byte": "300ms"}),
                 "early": upstream(mock, "openai", url=mock.url_of("early") + "/v1")}
    routes = {"an-oa": {"cheap": "an", "strong": "an", "fallback": ["oa"]}}
    with Daemon({"providers": providers, "routes": routes,
                 "limits": {"max_body": f"{LIMIT // MB}MB"}}) as running:
        yield running


def picture(size, seed=1):
    """About so many bytes of base64."""
    piece = base64.b64encode(random.Random(seed).randbytes(3 * 4096)).decode()
    return (piece * (size // len(piece) + 1))[:size // 4 * 4]


def question(client, model, data, stream=False, words="What is it?"):
    """Path and body of a request with an image, as an OpenAI or an Anthropic client writes it."""
    flow = b',"stream":true' if stream else b""
    if client == "chat":
        body = (b'{"model":"%s","messages":[{"role":"user","content":[{"type":"text","text":"%s"},{"type":'
                b'"image_url","image_url":{"url":"data:image/png;base64,%s"}}]}]%s}')
        return "/v1/chat/completions", body % (model.encode(), words.encode(), data.encode(), flow)
    body = (b'{"model":"%s","max_tokens":99,"messages":[{"role":"user","content":[{"type":"image","source":'
            b'{"type":"base64","media_type":"image/png","data":"%s"}},{"type":"text","text":"%s"}]}]%s}')
    return "/v1/messages", body % (model.encode(), data.encode(), words.encode(), flow)


def post(daemon, path, body, fields=()):
    return daemon.request("POST", path, body, [*FRESH, *fields])


def assert_answered(answer, client, stream):
    assert answer.status == 200, answer
    if stream:
        last = named_events(answer.body)[-1]
        assert last == ((None, "[DONE]") if client == "chat" else ("message_stop", '{"type":"message_stop"}'))
    else:
        assert answer.json()["object" if client == "chat" else "type"]


def assert_arrived(mock, body):
    last = mock.last()
    assert last["body_bytes"] == len(body)
    assert last["body_sha256"] == hashlib.sha256(body).hexdigest()


def error_of(answer):
    return anthropic_error(answer) if b'{"type":"error"' in answer.body else answer.error()


# -- they pass -----------------------------------------------------------------------------------

@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["oa", "an"])
@pytest.mark.parametrize("client", ["chat", "messages"])
@pytest.mark.parametrize("size", [1, 5, 12, 30])
def test_an_image_passes(daemon, mock, size, client, provider, stream):
    """What arrives is what arrives of a small image, with the large one in its place."""
    path, body = question(client, provider, SMALL, stream)
    assert_answered(post(daemon, path, body), client, stream)
    expected = mock.last()["body"].encode()
    assert expected.count(SMALL.encode()) == 1
    data = picture(size * MB)
    path, body = question(client, provider, data, stream)
    assert_answered(post(daemon, path, body), client, stream)
    assert_arrived(mock, expected.replace(SMALL.encode(), data.encode()))


@pytest.mark.parametrize("size", [65532, 65536, 65540, 200000])
def test_more_large_images_than_stay_where_they_are(daemon, mock, size):
    data = [picture(size, seed) for seed in range(12)]
    urls = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{one}"}} for one in data]
    blocks = [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": one}}
              for one in data]
    for path, provider, content, wanted in (("/v1/chat/completions", "an", urls, blocks),
                                            ("/v1/messages", "oa", blocks, urls)):
        answer = post(daemon, path, {"model": provider, "max_tokens": 9,
                                     "messages": [{"role": "user", "content": content}]})
        assert answer.status == 200, answer
        assert json.loads(mock.last()["body"])["messages"] == [{"role": "user", "content": wanted}]


def test_escapes_in_a_large_image_are_read(daemon, mock):
    """Slashes that are escaped, as PHP writes them, are the same image in the other API."""
    data = picture(12 * MB).replace("A", "/")
    path, body = question("chat", "an", data.replace("/", "\\/"))
    assert post(daemon, path, body).status == 200
    _, plain = question("chat", "an", data)
    last = mock.last()
    assert post(daemon, path, plain).status == 200
    assert mock.last()["body_sha256"] == last["body_sha256"]


@pytest.mark.parametrize("provider", ["oa", "an"])
def test_a_long_prompt_of_escapes_passes(daemon, mock, provider):
    """/generate makes a request of its own, in which a long prompt stands as it was written; it is
    neither looked up nor stored."""
    prompt = "\u00e9\"\n" * (3 * MB)
    written = json.dumps(prompt)
    answer = daemon.request("POST", "/generate", f'{{"prompt":{written},"provider":"{provider}"}}'.encode())
    assert answer.status == 200 and answer.field("x-optiroute-cache") == "bypass"
    last = mock.last()
    assert last["body_bytes"] > len(written) and written[1:40] in last["body"]


@pytest.mark.parametrize("provider", ["oa", "an"])
@pytest.mark.parametrize("client", ["chat", "messages"])
def test_a_long_answer_is_read_in_steps(daemon, client, provider):
    path, asked = question(client, f"{provider}/m+huge=3", SMALL)
    said = post(daemon, path, asked).json()
    text = (said["choices"][0]["message"]["content"] if client == "chat" else said["content"][0]["text"])
    assert len(text) == 3 * MB and set(text) == {"x"}
    assert said["usage"]["completion_tokens" if client == "chat" else "output_tokens"] > 0


@pytest.mark.parametrize("end, code", [(b'"}}]', "bad_json"), (b'\xff"}}]}', "bad_utf8"),
                                       (b'"}}]}', None), (b'"}}],"choices":3}x', "bad_json"),
                                       (b'"}}],"object":{}}', None)])
def test_the_end_of_a_long_answer_counts(daemons, tmp_path, end, code):
    text = b"word " * (MB // 8)
    (tmp_path / "long.json").write_bytes(b'{"choices":[{"message":{"content":"' + text + end)
    with Mock(files=tmp_path) as mock:
        daemon = daemons({"providers": {"oa": upstream(mock, "openai")}})
        answer = post(daemon, *question("chat", "oa/m+file=long.json", SMALL))
        if code is None:
            assert answer.status == 200 and text in answer.body
        else:
            assert (answer.status, answer.error()["code"]) == (502, code), answer


@pytest.mark.parametrize("edge", [16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20])
def test_sizes_around_the_places_where_something_changes(daemon, mock, edge):
    for extra in (-1, 0, 1):
        _, empty = question("chat", "oa", "")
        path, body = question("chat", "oa", "x" * (edge + extra - len(empty)))
        assert len(body) == edge + extra
        assert post(daemon, path, body).status == 200
        expected = body.replace(b'"oa"', b'"plain"')
        last = mock.last()
        assert last["body_bytes"] == len(expected)
        assert hashlib.sha256(last["body"].encode()).digest() == hashlib.sha256(expected).digest()


def test_a_fallback_is_sent_all_of_it_too(daemon, mock):
    """The first cannot say it: the same bytes go to the next."""
    data = picture(5 * MB)
    path, body = question("chat", "an-oa", data)
    body = body.replace(b"{", b'{"seed":1,', 1)
    answer = post(daemon, path, body)
    assert (answer.status, answer.field("x-optiroute-provider")) == (200, "oa")
    assert_arrived(mock, body.replace(b'"an-oa"', b'"plain"'))


def test_a_second_try_is_sent_all_of_it_too(daemons, mock):
    retrying = upstream(mock, "openai", retry={"attempts": 2, "backoff": "1ms"})
    daemon = daemons({"providers": {"p": retrying}, "limits": {"max_body": "40MB"}})
    path, body = question("chat", "p/again+status=500+times=1", picture(5 * MB))
    before = mock.counters()["requests"]
    assert post(daemon, path, body).status == 200
    assert mock.counters()["requests"] == before + 2
    assert_arrived(mock, body.replace(b'"p/', b'"'))


def test_what_is_small_enough_is_cached(daemon, mock):
    """Bodies of up to 1 MiB, read in steps too; larger ones pass by the cache."""
    for size, second in ((900 << 10, "hit"), (2 * MB, "bypass")):
        path, body = question("chat", "oa", picture(size, seed=7), words="cached?")
        answers = [daemon.request("POST", path, body) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        assert answers[1].field("x-optiroute-cache") == second


def test_many_tokens_to_embed_are_few_values(daemon, mock):
    body = b'{"model":"oa","input":[%s]}' % b",".join(b"%d" % (i % 50000) for i in range(2000000))
    answer = daemon.request("POST", "/v1/embeddings", body)
    assert answer.status == 200, answer
    assert_arrived(mock, body.replace(b'"oa"', b'"plain"'))


# -- they do not ----------------------------------------------------------------------------------

@pytest.mark.parametrize("client", ["chat", "messages"])
def test_a_body_over_the_limit_is_refused_before_it_is_read(daemon, client):
    path, body = question(client, "oa", SMALL)
    head = compose("POST", path, None, [JSON, f"Content-Length: {LIMIT + 1}"])
    with daemon.connect() as one:
        one.send(head + body)
        answer = one.read_answer()
        assert answer.status == 413 and answer.closes()
        assert error_of(answer)["code"] == "request_too_large"
        assert answer.field("x-request-id") and answer.field("x-should-retry") == "false"
        if client == "chat":
            assert answer.error()["type"] == "invalid_request_error"
        else:
            assert anthropic_error(answer)["type"] == "request_too_large"
        one.assert_closed()


def test_a_chunked_body_over_the_limit_is_refused_when_it_is(daemon):
    head = compose("POST", "/v1/messages", None, [JSON,
                                                  "Transfer-Encoding: chunked"])
    chunk = b"100000\r\n" + b" " * MB + b"\r\n"
    with daemon.connect() as one:
        one.send(head)
        for _ in range(LIMIT // MB):
            one.send(chunk)
        one.await_taken()
        assert not one.readable(0)
        one.send(b"1\r\n \r\n")
        answer = one.read_answer()
        assert (answer.status, anthropic_error(answer)["type"]) == (413, "request_too_large")


def hostile():
    """name -> (bytes, code of the refusal; None: it passes)."""
    head = b'{"model":"oa","messages":[{"role":"user","content":"hi"}],"x":'
    keys = b",".join(b'"%s%d":1' % (b"k" * 900, i) for i in range(30000))
    yield "brackets and commas", b"[]," * (10 * MB), "invalid_json"
    yield "arrays", head + b"[" + b"[]," * (10 * MB) + b"1]}", "invalid_json"
    yield "numbers", head + b"[" + b"1," * (15 * MB) + b"1]}", None
    yield "depth", head + b"[" * (30 * MB), "invalid_json"
    yield "unterminated", head + b'"' + b"x" * (30 * MB), "invalid_json"
    yield "backslashes", head + b'"' + b"\\\\" * (15 * MB) + b"\\", "invalid_json"
    yield "escapes", head + b'"' + b"\\u0041" * (5 * MB) + b'"}', None
    yield "half a pair", head + b'"' + b"\\ud83d" * (5 * MB) + b'"}', "invalid_json"
    yield "blanks", b" \r\n\t" * (7 * MB) + head + b"1}", None
    yield "no end", b" \r\n\t" * (7 * MB), "invalid_json"
    yield "not UTF-8", head + b'"' + b"x" * (30 * MB) + b'\xc3"}', "invalid_json"
    yield "digits", head + b"9" * (30 * MB) + b"}", None
    yield "exponents", head + b"1e" * (15 * MB) + b"1}", "invalid_json"
    yield "turns binary", head + b'"' + b"x" * MB + b'","y":' + bytes(range(256)) * (80 << 10), "invalid_json"
    yield "two texts", head + b"1}" + head + b"1}" + b" " * MB, "invalid_json"
    yield "compressed", b"\x1f\x8b\x08\x00" + b"\0" * (10 * MB), "invalid_json"
    yield "UTF-16", ("\ufeff" + head.decode() + "1}").encode("utf-16-le") * 10000, "invalid_json"
    yield "doubled keys", head + b"{" + b",".join(
        b'"k":"%s"' % (b"x" * MB) for _ in range(30)) + b"}}", "doubled_key"
    yield "doubled deep", head + b'{"a":[[{"b":"%s","\\u0062":1}]]}}' % (b"x" * (20 * MB)), "doubled_key"
    yield "long keys", head + b"{" + keys + b"}}", None
    yield "long doubled keys", head + b"{" + keys + b"," + keys[:905] + b"}}", "doubled_key"
    yield "a long model", b'{"model":"' + b"m" * (20 * MB) + b'"}', "invalid_value"
    yield "a model of escapes", b'{"model":"' + b"\\u0000" * (3 * MB) + b'"}', "invalid_value"
    yield "a long limit", (b'{"model":"oa","messages":[{"role":"user","content":"hi"}],"max_tokens":'
                           + b"1" * (5 * MB) + b"}"), "invalid_type"


@pytest.mark.parametrize("client", ["chat", "messages"])
@pytest.mark.parametrize("body,code", [pytest.param(body, code, id=name) for name, body, code in hostile()])
def test_what_is_hostile_is_refused_or_passed(daemon, mock, body, code, client):
    if client == "messages":
        body = body.replace(b'{"model":', b'{"max_tokens":9,"model":', 1) if b"max_tok" not in body else body
        body = body.replace(b'"oa"', b'"an"')
    if SPARES_MEMORY:
        for pid in daemon.workers():
            with open(f"/proc/{pid}/clear_refs", "w") as file:
                file.write("5")  # the peak begins anew
        before = max(int(proc_status(pid, "VmHWM")[0]) for pid in daemon.workers())
    began = time.monotonic()
    path = "/v1/chat/completions" if client == "chat" else "/v1/messages"
    answer = post(daemon, path, body)
    assert time.monotonic() - began < PATIENCE
    if code is None:
        assert answer.status == 200, answer
    else:
        error = error_of(answer)
        assert (answer.status, error["code"]) == (400, code), answer
        assert ("type" in answer.json()) == (client == "messages")
    if SPARES_MEMORY:  # the body, once more while its buffer grows, and a few values of it
        peak = max(int(proc_status(pid, "VmHWM")[0]) for pid in daemon.workers())
        assert (peak - before) << 10 < 4 * len(body) + 16 * MB


def test_how_many_values_a_body_may_have(daemon, mock):
    def body(values):  # strings, which are counted one by one in short and long texts
        return (b'{"model":"oa","messages":[{"role":"user","content":"hi"}],"x":[%s]}'
                % b",".join([b'""'] * values))
    used = 12  # the object, its three keys, and what is in them but the strings
    assert post(daemon, "/v1/chat/completions", body(65536 - used)).status == 200
    answer = post(daemon, "/v1/chat/completions", body(65536 - used + 1))
    assert (answer.status, answer.error()["code"]) == (400, "invalid_json")
    assert "values" in answer.error()["message"]


@pytest.mark.parametrize("client,provider", [("chat", "oa"), ("chat", "an"), ("messages", "an"),
                                             ("messages", "oa")])
def test_thousands_of_messages_parts_and_tools(daemon, mock, client, provider):
    path = "/v1/chat/completions" if client == "chat" else "/v1/messages"
    turns = [{"role": "user" if i % 2 == 0 else "assistant", "content": f"turn {i}"} for i in range(6001)]
    parts = [{"type": "text", "text": f"part {i}"} for i in range(9000)]
    schema = {"type": "object"}
    tools = [{"name": f"f{i}", "input_schema": schema} if client == "messages" else
             {"type": "function", "function": {"name": f"f{i}", "parameters": schema}} for i in range(5000)]
    for members in ({"messages": turns}, {"messages": [{"role": "user", "content": parts}]},
                    {"messages": turns[:1], "tools": tools}):
        began = time.monotonic()
        answer = post(daemon, path, {"model": provider, "max_tokens": 9, **members})
        assert answer.status == 200, answer
        assert time.monotonic() - began < PATIENCE
        body = json.loads(mock.last()["body"])
        assert len(body["messages"]) == len(members["messages"])
        assert len(body.get("tools", [])) == len(members.get("tools", []))


# -- how they are sent -------------------------------------------------------------------------------

def test_in_chunks_of_any_size(daemon, mock):
    path, body = question("chat", "oa", picture(12 * MB))
    sizes, at, pieces = random.Random(3), 0, []
    while at < len(body):
        size = sizes.choice([1, 7, 4096, 65535, 300000])
        piece = body[at:at + size]
        pieces.append(b"%x;ext=\"1\"\r\n%s\r\n" % (len(piece), piece))
        at += size
    head = compose("POST", path, None, [*FRESH, JSON,
                                        "Transfer-Encoding: chunked"])
    with daemon.connect() as one:
        one.send(head + b"".join(pieces) + b"0\r\nTrailer: x\r\n\r\n")
        assert one.read_answer().status == 200
        assert_arrived(mock, body.replace(b'"oa"', b'"plain"'))
        assert one.request("POST", path, question("chat", "oa", SMALL)[1]).status == 200


@pytest.mark.parametrize("size", [1, 12 * MB])
def test_who_waits_to_be_asked_for_it(daemon, mock, size):
    path, body = question("messages", "an", picture(size + 4))
    head = compose("POST", path, None, [*FRESH, JSON, "Expect: 100-continue",
                                        f"Content-Length: {len(body)}"])
    with daemon.connect() as one:
        one.send(head)
        assert one.read_answer().status == 100
        one.send(body)
        assert one.read_answer().status == 200
    head = head.replace(b"%d" % len(body), b"%d" % (LIMIT + 1))
    with daemon.connect() as one:
        one.send(head)  # nobody asks for what is too large
        assert anthropic_error(one.read_answer())["type"] == "request_too_large"


def test_one_behind_the_other(daemon, mock):
    """Large and small on one connection, all sent at once; a next one lies in the taken memory."""
    requests, models = b"", []
    for i, size in enumerate((5 * MB, 4, 300 << 10, 3 * MB, 4, 1 * MB)):
        for client, provider in (("chat", "oa"), ("messages", "an")):
            models.append(f"m{i}{client}+tokens={i + 1}")
            path, body = question(client, f"{provider}/{models[-1]}", picture(size))
            requests += compose("POST", path, body, FRESH)
    with daemon.connect() as one:
        sender = threading.Thread(target=one.send, args=(requests,), daemon=True)
        sender.start()
        for model in models:
            answer = one.read_answer()
            assert answer.status == 200 and answer.json()["model"] == model
        sender.join(PATIENCE)
        assert not sender.is_alive()


def test_an_error_behind_a_large_body_keeps_the_clients_id(daemon):
    path, body = question("messages", "nobody", picture(5 * MB))
    with daemon.connect() as one:
        answer = one.request("POST", path, body, ["x-request-id: mine-5"])
        assert (answer.status, answer.field("request-id")) == (404, "mine-5")
        assert anthropic_error(answer)["param"] == "model"
        answer = one.request("POST", path, question("messages", "an", SMALL)[1])
        assert answer.status == 200 and answer.field("request-id") != "mine-5"
    assert daemon.access_line("mine-5")["status"] == 404


# -- providers that do not take it ---------------------------------------------------------------

def test_a_provider_that_takes_no_more_is_too_late(daemon):
    path, body = question("messages", "late", picture(12 * MB))
    answer = post(daemon, path, body)
    assert (answer.status, anthropic_error(answer)["code"]) == (504, "first_byte_timeout"), answer


def test_a_provider_that_answers_before_it_has_heard_all(daemon):
    """And closes: its answer, or that it broke off, but nothing worse."""
    for _ in range(5):
        answer = post(daemon, *question("chat", "early", picture(12 * MB)))
        assert answer.status in (200, 502), answer
    assert post(daemon, *question("chat", "oa", SMALL)).status == 200


def test_who_announces_much_and_sends_little_costs_little(daemon):
    head = compose("POST", "/v1/messages", None, [JSON, f"Content-Length: {LIMIT}"])
    before = own_kib(*daemon.workers())
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(daemon.connect()) for _ in range(50)]
        for one in clients:
            one.send(head + b"{" + b" " * 100000)
        for one in clients:
            one.await_taken()
        if SPARES_MEMORY:
            assert own_kib(*daemon.workers()) - before < 50 * 3 * 100 + 4096
        assert daemon.request("GET", "/health").status == 200


# -- who leaves --------------------------------------------------------------------------------------

def is_sending_to(port):
    """Does anybody have bytes for that port which are not taken?"""
    return any(one.unsent for one in connections(peer_port=port) if one.state == ESTABLISHED)


def leave_while_sending(daemon, mock, i):
    path, body = question("chat", "oa", picture(12 * MB))
    with daemon.connect() as one:
        one.send(compose("POST", path, body, FRESH)[:(i % 11 + 1) * MB])
        one.reset() if i % 2 else one.shut_writing()


def leave_while_it_is_read(daemon, mock, i):
    body = b'{"model":"oa","x":"' + b"\\u0041" * (6 * MB) + b'"}'
    with daemon.connect() as one:
        one.send(compose("POST", "/v1/messages", body, FRESH))
        one.reset() if i % 2 else one.close()


def leave_while_it_is_sent_on(daemon, mock, i):
    """The provider takes what its socket takes, and reads no more."""
    path, body = question("chat", "deaf", picture(12 * MB))
    with daemon.connect() as one:
        one.send(compose("POST", path, body, FRESH))
        eventually(lambda: is_sending_to(mock.ports["tls-stall"]), what="the body is on its way")
        if i % 2:
            one.reset()
    eventually(lambda: not is_sending_to(mock.ports["tls-stall"]), what="the way is free again")


def leave_while_it_is_answered(daemon, mock, i):
    path, body = question("messages" if i % 2 else "chat", "oa/slow+delay=60000", picture(12 * MB), bool(i % 3))
    with daemon.connect() as one:
        one.send(compose("POST", path, body, FRESH))
        eventually(lambda: mock.counters()["in_flight"] == 1, what="it is asked")
    eventually(lambda: mock.counters()["in_flight"] == 0, what="it is not asked any more")


@pytest.mark.parametrize("leave", [leave_while_sending, leave_while_it_is_read, leave_while_it_is_sent_on,
                                   leave_while_it_is_answered])
def test_who_leaves_leaks_nothing(daemon, mock, leave):
    def settled():
        return daemon.metrics().series[("optiroute_requests_in_flight", frozenset())] == 0

    for i in range(6):
        leave(daemon, mock, i)
    eventually(lambda: mock.counters()["in_flight"] == 0 and settled(), what="all is over")
    before = count_files(*daemon.workers()), own_kib(*daemon.workers())
    heard = daemon.metrics().total("http_requests_total", status="499")
    for i in range(20):
        leave(daemon, mock, i)
    eventually(lambda: mock.counters()["in_flight"] == 0 and settled(), what="all is over")
    eventually(lambda: count_files(*daemon.workers()) <= before[0] + 4,
               what=f"{before[0]} descriptors again")
    if SPARES_MEMORY:
        eventually(lambda: own_kib(*daemon.workers()) - before[1] < 16 << 10,
                   what=f"{before[1]} KiB again")
    gone = daemon.metrics().total("http_requests_total", status="499") - heard
    assert gone == 0 if leave is leave_while_sending else gone > 0  # then there was no request yet
    assert post(daemon, *question("chat", "oa", SMALL)).status == 200


def test_a_large_body_that_is_being_read_is_answered_before_the_end(daemons, mock):
    daemon = daemons({"providers": {"oa": upstream(mock, "openai")}, "workers": 1,
                      "limits": {"max_body": "40MB", "shutdown_timeout": "15s"}})
    body = (b'{"model":"oa","messages":[{"role":"user","content":"hi"}],"x":"' + b"\\u0041" * (5 * MB) + b'"}')
    with daemon.connect() as one:
        one.send(compose("POST", "/v1/chat/completions", body, FRESH))
        one.await_taken()
        daemon.stop()
        assert one.read_answer().status == 200


# -- several at once ---------------------------------------------------------------------------------

def test_several_at_once_while_small_ones_are_answered(daemon, mock):
    """A cached answer takes its usual time or at most what is no wait for a 12 MB neighbour. It is a
    miss only when a worker that held the shard was not run for 2 ms: that is counted."""
    def busy_shards():
        return daemon.metrics().total("optiroute_cache_lock_timeouts_total")

    ended, were_busy = threading.Event(), busy_shards()
    small = question("chat", "small", SMALL, words="small, and asked again and again")
    assert daemon.request("POST", *small).status == 200

    def large(i):
        client, provider = (("chat", "oa"), ("chat", "an"), ("messages", "an"), ("messages", "oa"))[i % 4]
        times = []
        for j in range(4):
            path, body = question(client, provider, picture(12 * MB, seed=i), stream=bool(j % 2))
            began = time.monotonic()
            assert_answered(post(daemon, path, body), client, bool(j % 2))
            times.append(time.monotonic() - began)
        return times

    def patient():
        times = []
        with daemon.connect() as one:
            while not ended.is_set():
                began = time.monotonic()
                answer = one.request("POST", *small)
                times.append(time.monotonic() - began)
                assert answer.status == 200, answer
                if answer.field("x-optiroute-cache") != "hit":
                    missed.append(answer)
        return times

    def task(i):
        if i >= 8:
            return patient()
        try:
            return large(i)
        finally:
            with counted:
                left.remove(i)
                if not left:
                    ended.set()

    counted, left, missed = threading.Lock(), set(range(8)), []
    results = in_parallel(10, task)
    small_times = sum(results[8:], [])
    assert len(small_times) > 20 + 20 * len(missed)
    eventually(lambda: busy_shards() - were_busy >= len(missed), what=f"a reason for {missed}")
    assert statistics.median(small_times) < statistics.median(sum(results[:8], []))
