"""The scripted upstream as a server: who leaves is noticed, requests are read strictly, everything
is counted, and its listeners misbehave before any request."""
import concurrent.futures
import json
import signal
import socket
import ssl
import subprocess
import time

import pytest

from mock import MOCKLLM, Authority, Mock
from mock_talk import PATHS, ask, chat, end_of, question, rest_of, send
from optiroute import PATIENCE, Client, compose, environment, eventually, in_parallel


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def mock(authority):
    tls = authority.good().files
    with Mock("tls=" + tls, "tls10=" + tls, "tls-cut=" + tls, "tls-stall", "close", "reset",
              "silent", "banner", "early") as running:
        yield running


# -- time and leaving ------------------------------------------------------------------------------

def test_delays_run_side_by_side(mock):
    mock.reset()
    begin = time.monotonic()
    assert chat(mock, "any+delay=300").status == 200
    assert time.monotonic() - begin >= 0.3
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(chat, mock, "any+delay=600000") for _ in range(20)]
        eventually(lambda: mock.counters()["in_flight"] == 20)
        assert not any(answer.done() for answer in answers)
        assert mock.release() == 20
        assert [answer.result().status for answer in answers] == [200] * 20
    assert mock.counters()["max_in_flight"] == 20


@pytest.mark.parametrize("orders, members", [
    ("delay=60000", {}), ("cut=head+then=hold", {}), ("drip=60000", {}), ("huge=1000", {}),
    ("pace=60000", {"stream": True}), ("hold", {"stream": True}), ("head=informational", {})])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_is_counted(mock, orders, members, how):
    model = "any+" + orders
    before = mock.counters(), mock.counters(model)
    client = send(mock, model, **members)
    eventually(lambda: mock.counters(model)["in_flight"] == 1)
    getattr(client, how)()
    eventually(lambda: mock.counters(model)["in_flight"] == 0)
    assert mock.counters(model)["aborted"] == before[1]["aborted"] + 1
    assert mock.counters()["aborted"] == before[0]["aborted"] + 1
    assert mock.counters()["in_flight"] == before[0]["in_flight"]


# -- reading requests ------------------------------------------------------------------------------

def test_requests_come_in_any_pieces(mock):
    path, body = question("chat", "any+tokens=1")
    request = compose("POST", path, body)
    with Client(mock.address()) as client:
        client.send_slowly(request[i:i + 40] for i in range(0, len(request), 40))
        assert client.read_answer().status == 200
        client.send(request * 3 + request[:50])
        assert [client.read_answer().status for _ in range(3)] == [200] * 3
        client.send(request[50:])
        assert client.read_answer().status == 200


def test_requests_wait_behind_an_answer(mock):
    slow, fast = (compose("POST", *question("chat", model)) for model in (
        "any+delay=100+tokens=1", "any+tokens=2"))
    with Client(mock.address()) as client:
        client.send(slow + fast + slow)
        texts = [client.read_answer().json()["usage"]["completion_tokens"] for _ in range(3)]
    assert texts == [1, 2, 1]


def test_bodies_may_be_chunked_large_and_asked_for(mock):
    path, body = question("chat", "any")
    text = json.dumps(body).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part)
                      for part in (text[:7], text[7:30], text[30:])) + b"0\r\n\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\n".encode()
    with Client(mock.address()) as client:
        client.send_slowly([head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces[:20],
                            pieces[20:]])
        assert client.read_answer().status == 200
        assert mock.last()["body"] == text.decode()
        client.send(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(text))
        assert client.read_head().status == 100
        client.send(text)
        assert client.read_answer().status == 200
        large = {"model": "any", "messages": [{"role": "user", "content": "x" * (9 << 20)}]}
        client.send(compose("POST", path, large))
        assert client.read_answer().json()["usage"]["prompt_tokens"] == (9 << 20) / 4
    last = mock.last()
    assert last["body_bytes"] > 9 << 20 and len(last["body"]) == 8 << 20


def test_what_is_no_request_is_refused(mock):
    with Client(mock.address()) as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n"
                    b"Content-Length: 67108865\r\n\r\n")
        answer = client.read_answer()
        assert answer.status == 413 and answer.closes()
        client.assert_closed()
    with Client(mock.address()) as client:
        client.send(b"GET /counters HTTP/1.1\r\n\r\n")
        assert client.read_answer().status == 400
        client.assert_closed()


def test_http_1_0_closes_and_knows_no_chunks(mock):
    path, body = question("chat", "any", stream=True)
    request = compose("POST", path, body).replace(b"HTTP/1.1", b"HTTP/1.0")
    with Client(mock.address()) as client:
        client.send(request)
        answer = client.read_answer()
        assert answer.field("transfer-encoding") is None
        assert answer.body.endswith(b"data: [DONE]\n\n")


# -- what it says of itself ------------------------------------------------------------------------

def test_counters_and_reset(mock):
    eventually(lambda: mock.counters()["open"] == 0)
    mock.reset()
    zero = mock.counters()
    assert set(zero.values()) == {0}
    chat(mock, "one+tokens=1")
    chat(mock, "one+tokens=1")
    chat(mock, "one+status=500")
    chat(mock, "one+x")
    counters = mock.counters()
    assert (counters["requests"], counters["answered"], counters["errors"]) == (4, 4, 2)
    assert counters["connections"] == 4 and counters["max_in_flight"] == 1
    assert mock.counters("one+tokens=1") == {"requests": 2, "answered": 2, "aborted": 0,
                                             "in_flight": 0}
    assert mock.counters("one+x")["requests"] == 1
    assert mock.counters("one")["requests"] == 0
    with send(mock, "one+cut=start+then=hold"):
        eventually(lambda: mock.counters()["in_flight"] == 1)
        mock.reset()
        assert mock.counters()["requests"] == 0 and mock.counters()["in_flight"] == 1
        assert mock.counters("one+tokens=1")["requests"] == 0
    eventually(lambda: mock.counters()["in_flight"] == 0)
    assert mock.counters()["aborted"] == 0  # it belongs to the time before


def test_the_last_requests_are_shown(mock):
    mock.reset()
    assert mock.last() is None
    ask(mock, "chat", "any", ["X-One: 1", "x-one: 2", "Authorization: Bearer k"])
    with Client(mock.address()) as client:
        client.request("GET", "/v1/models?limit=3")
    last = mock.last()
    assert (last["method"], last["path"], last["query"]) == ("GET", "/v1/models", "limit=3")
    last = mock.last(2)
    assert (last["method"], last["path"]) == ("POST", PATHS["chat"])
    assert last["fields"]["x-one"] == "1, 2" and last["fields"]["authorization"] == "Bearer k"
    assert json.loads(last["body"]) == question("chat", "any")[1]
    assert last["body_bytes"] == len(last["body"])
    assert mock.last(3) is None
    for i in range(20):
        chat(mock, f"any{i}")
    assert json.loads(mock.last(16)["body"])["model"] == "any4" and mock.last(17) is None


def test_many_names_are_too_many_until_a_reset(mock):
    mock.reset()
    with Client(mock.address()) as client:
        for begin in range(0, 16384, 256):
            client.send(b"".join(compose("POST", *question("chat", f"n{i}+tokens=0"))
                                 for i in range(begin, begin + 256)))
            assert all(client.read_answer().status == 200 for _ in range(256))
        assert client.request("POST", *question("chat", "n16384")).status == 503
        assert client.request("POST", *question("chat", "n7+tokens=0")).status == 200
        mock.reset()
        assert client.request("POST", *question("chat", "n16384")).status == 200


# -- listeners -------------------------------------------------------------------------------------

def test_tls_is_counted(mock, authority):
    context = ssl.create_default_context(cafile=authority.ca)
    mock.reset()
    with socket.create_connection(mock.address("tls"), PATIENCE) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
            request = compose("POST", *question("chat", "any"))
            wrapped.sendall(request)
            assert wrapped.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    counters = mock.counters()
    assert counters["tls_handshakes"] == counters["connections"] == 1
    assert counters["bytes_received"] == len(request)
    body = {"model": "any+tokens=20000",
            "messages": [{"role": "user", "content": "x" * (1 << 20)}]}
    with Client(mock.address("tls"), tls=True) as client:
        usage = client.request("POST", PATHS["chat"], body).json()["usage"]
        assert usage["prompt_tokens"] == (1 << 20) / 4 and usage["completion_tokens"] == 20000


@pytest.mark.parametrize("kind", ["expired", "self_signed", "wrong_host"])
def test_a_client_that_does_not_trust_sends_nothing(authority, kind):
    context = ssl.create_default_context(cafile=authority.ca)
    with Mock("tls=" + getattr(authority, kind)().files) as other:
        with socket.create_connection(other.address("tls"), PATIENCE) as plain:
            with pytest.raises(ssl.SSLCertVerificationError):
                context.wrap_socket(plain, server_hostname="127.0.0.1")
        eventually(lambda: other.counters()["open"] == 0)
        counters = other.counters()
        assert counters["connections"] == 1 and counters["bytes_received"] == 0
        assert counters["requests"] == 0


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated")
def test_old_tls_is_for_old_clients(mock):
    with pytest.raises(ssl.SSLError):
        Client(mock.address("tls10"), tls=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    with send(mock, "any", "tls10", context) as client:
        assert client.socket.version() in ("TLSv1", "TLSv1.1")
        assert client.read_answer().status == 200


def tls_exchange(address, request):
    """What comes over TLS, how the connection ended, and whether TLS said so before. By hand, for
    Python's own TLS sockets take a reset, and by default a missing close_notify, for an end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    incoming, outgoing, data, is_sent = ssl.MemoryBIO(), ssl.MemoryBIO(), b"", False
    tls = context.wrap_bio(incoming, outgoing)
    with socket.create_connection(address, PATIENCE) as plain:
        while True:
            try:
                if not is_sent:
                    tls.do_handshake()
                    tls.write(request)
                    is_sent = True
                while part := tls.read(65536):
                    data += part
                return data, end_of(plain), True
            except ssl.SSLWantReadError:
                pass
            try:
                if to_send := outgoing.read():
                    plain.sendall(to_send)
                part = plain.recv(65536)
            except ConnectionResetError:
                return data, "rst", False
            if part == b"":
                return data, "fin", False
            incoming.write(part)


@pytest.mark.parametrize("mode, orders, end, is_told", [
    ("tls", "cut=10", "fin", True), ("tls-cut", "cut=10", "fin", False),
    ("tls-cut", "close", "fin", True), ("tls", "framing=nolast", "fin", True),
    ("tls-cut", "framing=nolast", "fin", False), ("tls", "cut=10+then=rst", "rst", False)])
def test_tls_ends_with_or_without_saying_so(mock, mode, orders, end, is_told):
    data, found, was_told = tls_exchange(mock.address(mode),
                                         compose("POST", *question("chat", "any+" + orders)))
    assert data.startswith(b"HTTP/1.1 200 OK") and (found, was_told) == (end, is_told)


def test_tls_that_never_shakes_hands(mock):
    mock.reset()
    with socket.create_connection(mock.address("tls-stall"), PATIENCE) as client:
        client.sendall(b"\x16\x03\x01")
        eventually(lambda: mock.counters()["open"] == 1)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
    eventually(lambda: mock.counters()["open"] == 0)
    client = Client(mock.address("tls-stall"))
    client.send(b"more")
    eventually(lambda: mock.counters()["open"] == 1)
    client.reset()
    eventually(lambda: mock.counters()["open"] == 0)
    assert mock.counters()["connections"] == 2 and mock.counters()["bytes_received"] == 0


def test_listeners_that_end_at_once(mock):
    mock.reset()
    with Client(mock.address("close")) as client:
        assert rest_of(client) == (b"", "fin")
    with send(mock, "any", "close") as client:
        assert rest_of(client) == (b"", "fin")
    with pytest.raises(ConnectionResetError):  # as early as in connect
        with socket.create_connection(mock.address("reset"), PATIENCE) as client:
            client.recv(1)
    assert mock.counters()["connections"] == 3 and mock.counters()["requests"] == 0


def test_listeners_that_say_nothing_or_nonsense(mock):
    mock.reset()
    with send(mock, "any", "silent") as client:
        client.await_taken()
        assert not client.readable(0.05)
    with send(mock, "any", "banner") as client:
        assert client.read_exactly(21) == b"SSH-2.0-OpenSSH_9.2\r\n"
        assert not client.readable(0.05)
    eventually(lambda: mock.counters()["open"] == 0)
    assert mock.counters()["connections"] == 2


def test_early_answers_a_head(mock):
    mock.reset()
    begin = time.monotonic()
    with Client(mock.address("early")) as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n")
        assert not client.readable(0.05)
        client.send(b"Content-Length: 1000000\r\n\r\n")
        answer = client.read_answer()
        assert answer.json()["choices"] and answer.closes()
        client.send(b"x" * 500000)
        client.assert_closed()
        # it drains for two seconds
        assert mock.counters()["open"] == 1 or time.monotonic() - begin > 2
        eventually(lambda: mock.counters()["open"] == 0)
    assert mock.counters()["answered"] == 1


# -- the program -----------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments", [
    ["-x"], ["65536"], ["x"], ["0", "0"], ["-l", "fast"], ["-l", "tls"], ["-l", "plain=a"],
    ["-l", "tls=/nowhere,/nowhere"]])
def test_wrong_arguments_end_it(arguments):
    process = subprocess.run([MOCKLLM, *arguments], capture_output=True, env=environment(),
                             timeout=PATIENCE, check=False)
    assert process.returncode in (1, 2) and b"mockllm" in process.stderr


def test_it_ends_under_way():
    with Mock("tls-stall", "silent") as other:
        clients = [send(other, "any+delay=60000"), send(other, "any+flood=1000000000", stream=True),
                   Client(other.address("silent")), Client(other.address("tls-stall"))]
        eventually(lambda: other.counters()["open"] == 4)
        other.stop(signal.SIGINT)
        for client in clients:
            client.close()


def test_many_clients_at_once(mock):
    def one(i):
        with Client(mock.address()) as client:
            for k in range(20):
                model = f"any+tokens={1 + (i + k) % 30}"
                answer = client.request("POST", *question("chat", model, stream=k % 2 == 0))
                assert answer.status == 200
                if k % 2:
                    assert answer.json()["usage"]["completion_tokens"] == 1 + (i + k) % 30

    before = mock.counters()
    in_parallel(50, one)
    after = mock.counters()
    assert after["answered"] == before["answered"] + 1000
    assert after["aborted"] == before["aborted"]
