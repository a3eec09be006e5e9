"""HTTP/1.1 as the server side must speak it: limits, ambiguous framing, slow clients; RELIABILITY
section 1, over plain connections and TLS alike.
"""
import json
import ssl
import time
import warnings

import pytest

from optiroute import (PATIENCE, Client, Daemon, client_context, compose, eventually, in_parallel)

MIB = 1024 * 1024
HEADER_S = KEEPALIVE_S = 5.0
LIMITS = {"header_timeout": "5s", "keepalive": "5s"}


@pytest.fixture(scope="module", params=["plain", "tls"])
def server(request):
    """With patience: some heads come byte by byte."""
    with Daemon({"limits": {"header_timeout": "60s"}}, tls=request.param == "tls") as running:
        yield running


# -- what is refused -------------------------------------------------------------------------------

BODY = b'{"prompt":"a"}'


def head(*fields, line=b"POST /generate HTTP/1.1", host=b"Host: x"):
    lines = [line] + ([host] if host else []) + list(fields)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunked(framing):
    return head(b"Transfer-Encoding: chunked") + framing


LENGTH = b"Content-Length: 14"
CHUNKED = b"Transfer-Encoding: chunked"

# name: (status, bytes). The bytes end where a lenient reader would see the end of a request.
REFUSED = {
    # two meanings of where the body ends
    "two equal lengths": (400, head(LENGTH, LENGTH) + BODY),
    "two lengths": (400, head(LENGTH, b"Content-Length: 0") + BODY),
    "a list of lengths": (400, head(b"Content-Length: 14, 14") + BODY),
    "length, then chunked": (400, head(LENGTH, CHUNKED) + b"0\r\n\r\n"),
    "chunked, then length": (400, head(CHUNKED, b"Content-Length: 5") + b"0\r\n\r\n"),
    "a plus sign": (400, head(b"Content-Length: +14") + BODY),
    "a minus sign": (400, head(b"Content-Length: -14") + BODY),
    "a blank inside the length": (400, head(b"Content-Length: 1 4") + BODY),
    "a length in hex": (400, head(b"Content-Length: 0xe") + BODY),
    "a length with a fraction": (400, head(b"Content-Length: 14.0") + BODY),
    "a length with an exponent": (400, head(b"Content-Length: 1e1") + BODY),
    "an empty length": (400, head(b"Content-Length:") + BODY),
    "a length past 64 bits": (400, head(b"Content-Length: 18446744073709551630") + BODY),
    "a length past everything": (400, head(b"Content-Length: " + b"9" * 100) + BODY),
    "chunked in HTTP/1.0": (400, head(CHUNKED, line=b"POST /generate HTTP/1.0") + b"0\r\n\r\n"),
    # codings
    "gzip, chunked": (501, head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"),
    "chunked, chunked": (501, head(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n"),
    "chunked twice": (501, head(CHUNKED, CHUNKED) + b"0\r\n\r\n"),
    "chunked, identity": (501, head(b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n"),
    "identity": (501, head(b"Transfer-Encoding: identity") + BODY),
    "an unknown coding": (501, head(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n"),
    "a coding with a parameter": (501, head(b"Transfer-Encoding: chunked;q=1") + b"0\r\n\r\n"),
    "a quoted coding": (501, head(b'Transfer-Encoding: "chunked"') + b"0\r\n\r\n"),
    "an empty coding": (501, head(b"Transfer-Encoding:") + b"0\r\n\r\n"),
    # ends of lines
    "bare LF behind the request line": (400, b"GET /health HTTP/1.1\nHost: x\r\n\r\n"),
    "bare LF behind a field": (400, b"GET /health HTTP/1.1\r\nHost: x\nA: b\r\n\r\n"),
    "bare LF as the end": (400, b"GET /health HTTP/1.1\r\nHost: x\r\n\n"),
    "LF only": (400, b"GET /health HTTP/1.1\nHost: x\n\n"),
    "CR only": (400, b"GET /health HTTP/1.1\rHost: x\r\r"),
    "CR inside a value": (400, head(b"A: b\rc")),
    "two CR": (400, b"GET /health HTTP/1.1\r\r\nHost: x\r\n\r\n"),
    "two empty lines in front": (400, b"\r\n\r\n" + head(line=b"GET /health HTTP/1.1")),
    "LF in front": (400, b"\n" + head(line=b"GET /health HTTP/1.1")),
    # fields
    "folding by a blank": (400, head(b"A: b\r\n c")),
    "folding by a tab": (400, head(b"A: b\r\n\tc")),
    "folding in the first field": (400, head(host=b" Host: x")),
    "a blank before the colon": (400, head(b"Content-Length : 14") + BODY),
    "a tab before the colon": (400, head(b"Transfer-Encoding\t: chunked") + b"0\r\n\r\n"),
    "no colon": (400, head(b"Content-Length 14") + BODY),
    "no name": (400, head(b": x")),
    "NUL in a value": (400, head(b"A: b\0c")),
    "NUL in a name": (400, head(b"A\0: b")),
    "a control character in a value": (400, head(b"A: b\x01c")),
    "DEL in a value": (400, head(b"A: b\x7fc")),
    "a high byte in a name": (400, head(b"\xc3\xa4: b")),
    "brackets in a name": (400, head(b"A(b): c")),
    "no Host": (400, head(host=None, line=b"GET /health HTTP/1.1")),
    "two Hosts": (400, head(b"Host: x", line=b"GET /health HTTP/1.1")),
    "two different Hosts": (400, head(b"Host: y", line=b"GET /health HTTP/1.1")),
    "an empty Host": (400, head(host=b"Host:", line=b"GET /health HTTP/1.1")),
    "Host with a blank": (400, head(host=b"Host: a b", line=b"GET /health HTTP/1.1")),
    "Host with a path": (400, head(host=b"Host: a/b", line=b"GET /health HTTP/1.1")),
    "Host with a user": (400, head(host=b"Host: u@a", line=b"GET /health HTTP/1.1")),
    "Host with a bad port": (400, head(host=b"Host: a:8x", line=b"GET /health HTTP/1.1")),
    "another expectation": (417, head(b"Expect: 200-ok", LENGTH) + BODY),
    # the request line
    "HTTP/0.9": (400, b"GET /health\r\n\r\n"),
    "a version without a number": (400, head(line=b"GET /health HTTP/x.1")),
    "HTTP/1.10": (400, head(line=b"GET /health HTTP/1.10")),
    "HTTP/2.0": (505, head(line=b"GET /health HTTP/2.0")),
    "HTTP/1.2": (505, head(line=b"GET /health HTTP/1.2")),
    "a version in lower case": (400, head(line=b"GET /health http/1.1")),
    "two blanks": (400, head(line=b"GET  /health HTTP/1.1")),
    "a tab": (400, head(line=b"GET\t/health HTTP/1.1")),
    "a blank at the end": (400, head(line=b"GET /health HTTP/1.1 ")),
    "a blank in front": (400, head(line=b" GET /health HTTP/1.1")),
    "a blank in the target": (400, head(line=b"GET /hea lth HTTP/1.1")),
    "a fragment": (400, head(line=b"GET /health#x HTTP/1.1")),
    "a control character in the target": (400, head(line=b"GET /\x01 HTTP/1.1")),
    "a high byte in the target": (400, head(line=b"GET /\xe4 HTTP/1.1")),
    "a target without a slash": (400, head(line=b"GET health HTTP/1.1")),
    "an asterisk for GET": (400, head(line=b"GET * HTTP/1.1")),
    "CONNECT": (400, head(line=b"CONNECT x:80 HTTP/1.1")),
    "a method that is none": (400, head(line=b"GE(T /health HTTP/1.1")),
    "a long method": (501, head(line=b"G" * 33 + b" /health HTTP/1.1")),
    "the HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "not HTTP at all": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64),
    # sizes
    "a long request line": (414, head(line=b"GET /" + b"x" * 8192 + b" HTTP/1.1")),
    "a long field": (431, head(b"A: " + b"x" * 32768)),
    "many small fields": (431, head(*[b"A%d: b" % i for i in range(101)])),
    "a long head": (431, head(*[b"A%d: " % i + b"x" * 1000 for i in range(40)])),
    "a body too large": (413, head(b"Content-Length: 4194305")),
    "a body far too large": (413, head(b"Content-Length: 9223372036854775807")),
    # chunks
    "a chunk too large": (413, chunked(b"400001\r\n")),
    "a chunk far too large": (413, chunked(b"7fffffffffffffff\r\n")),
    "a chunk size past 64 bits": (400, chunked(b"10000000000000000\r\n")),
    "17 digits of chunk size": (400, chunked(b"0" * 16 + b"e\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "no chunk size": (400, chunked(b"\r\n" + BODY)),
    "no chunk size but an extension": (400, chunked(b";a=b\r\n" + BODY)),
    "a chunk size with a sign": (400, chunked(b"+e\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "a negative chunk size": (400, chunked(b"-1\r\n")),
    "a chunk size with 0x": (400, chunked(b"0xe\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "a blank before a chunk size": (400, chunked(b" e\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "a blank behind a chunk size": (400, chunked(b"e \r\n" + BODY + b"\r\n0\r\n\r\n")),
    "a chunk size that is none": (400, chunked(b"g\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "bare LF behind a chunk size": (400, chunked(b"e\n" + BODY + b"\r\n0\r\n\r\n")),
    "bare LF behind a chunk": (400, chunked(b"e\r\n" + BODY + b"\n0\r\n\r\n")),
    "nothing behind a chunk": (400, chunked(b"e\r\n" + BODY + b"0\r\n\r\n")),
    "a chunk longer than it says": (400, chunked(b"d\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "bare LF as the end of chunks": (400, chunked(b"e\r\n" + BODY + b"\r\n0\r\n\n")),
    "CR inside an extension": (400, chunked(b"e;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "NUL inside an extension": (400, chunked(b"e;a\0b\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "a long extension": (400, chunked(b"e;" + b"x" * 4097 + b"\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "many extensions": (400, chunked((b"1;" + b"x" * 4000 + b"\r\na\r\n") * 10 + b"0\r\n\r\n")),
    "long trailers": (400, chunked(b"e\r\n" + BODY + b"\r\n0\r\n" + b"A: " + b"x" * 8192
                                   + b"\r\n\r\n")),
    "a trailer without a colon": (400, chunked(b"e\r\n" + BODY + b"\r\n0\r\nabc\r\n\r\n")),
    "NUL inside a trailer": (400, chunked(b"e\r\n" + BODY + b"\r\n0\r\nA: \0\r\n\r\n")),
    "a folded trailer": (400, chunked(b"e\r\n" + BODY + b"\r\n0\r\nA: b\r\n c\r\n\r\n")),
}

SMUGGLED = b"GET /health HTTP/1.1\r\nHost: x\r\nx-request-id: smuggled\r\n\r\n"


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_nothing_behind_it_is_executed(server, name):
    status, data = REFUSED[name]
    before = server.metrics()
    with server.connect() as client:
        client.send(data + SMUGGLED)
        answer = client.read_answer()
        assert answer.status == status, answer
        assert answer.closes()
        assert answer.field("x-request-id")
        assert answer.error()["type"] == "invalid_request_error"
        client.assert_closed()
    after = server.metrics()
    for endpoint in ("/health", "/generate"):
        count = {"endpoint": endpoint, "status": "200"}
        assert (after.total("http_requests_total", **count)
                == before.total("http_requests_total", **count))


def test_the_access_log_has_one_line_for_each_refused_request_and_none_smuggled():
    """All of them at once, then the daemon ends, so the log is complete."""
    for tls in (False, True):
        with Daemon(tls=tls) as daemon:
            expected = []
            for status, data in REFUSED.values():
                expected.append(status)
                with daemon.connect() as client:
                    client.send(data + SMUGGLED)
                    assert client.read_answer().status == status
            daemon.stop()
            lines = daemon.access_lines()
            assert sorted(line["status"] for line in lines) == sorted(expected)
            assert "smuggled" not in [line["request_id"] for line in lines]


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_refused_in_pieces_as_in_one(server, cut):
    """The bytes decide, not how they are cut. (Every byte of every case is a unit test.)"""
    for name in ("length, then chunked", "bare LF behind a field", "a blank before the colon",
                 "bare LF behind a chunk", "chunked, chunked"):
        status, data = REFUSED[name]
        data += SMUGGLED
        with server.connect() as client:
            client.send_slowly(data[i:i + cut] for i in range(0, len(data), cut))
            assert client.read_answer().status == status, name
            client.assert_closed()


def test_too_large_is_refused_before_the_body_is_read(server):
    with server.connect() as client:
        client.send(head(b"Content-Length: 4194305"))  # and nothing of the body
        assert client.read_answer().status == 413
        client.assert_closed()


def test_the_refusal_is_not_lost_while_the_client_still_sends(server):
    with server.connect() as client:
        client.send(head(b"Content-Length: 10000000") + b"x" * 200000)
        answer = client.read_answer()
        assert answer.status == 413
        answer.error()


def test_exactly_at_the_limits(server):
    prompt = b'{"prompt":"' + b"x" * (4 * MIB - 13) + b'"}'
    assert len(prompt) == 4 * MIB
    with server.connect() as client:
        answer = client.request("POST", "/generate", prompt)
        assert answer.status == 200
        line = b"GET /health?" + b"x" * (8192 - 21) + b" HTTP/1.1"
        assert len(line) == 8192
        client.send(head(line=line))
        assert client.read_answer().status == 200
        client.send(head(*[b"A%d: b" % i for i in range(99)], line=b"GET /health HTTP/1.1"))
        assert client.read_answer().status == 200
        start = head(line=b"GET /health HTTP/1.1")
        client.send(start[:-2] + b"A: " + b"x" * (32768 - len(start) - 5) + b"\r\n\r\n")
        assert client.read_answer().status == 200


# -- what is taken ---------------------------------------------------------------------------------

TAKEN = {
    "one empty line in front": b"\r\n" + head(LENGTH) + BODY,
    "blanks around values": head(b"Content-Length: \t 14 \t") + BODY,
    "names in any case": head(b"CONTENT-length: 14") + BODY,
    "chunked in any case": head(b"transfer-encoding: Chunked") + b"e\r\n" + BODY + b"\r\n0\r\n\r\n",
    "high bytes in a value": head(b"A: \xc3\xa4\xff", LENGTH) + BODY,
    "an empty value": head(b"A:", LENGTH) + BODY,
    "absolute form": head(LENGTH, line=b"POST http://x/generate HTTP/1.1") + BODY,
    "leading zeros": head(b"Content-Length: 00014") + BODY,
    "Host with a port": head(LENGTH, host=b"Host: x:80") + BODY,
    "Host as IPv6": head(LENGTH, host=b"Host: [::1]:80") + BODY,
    "two chunks": chunked(b"5\r\n" + BODY[:5] + b"\r\n9\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"),
    "chunk sizes in hex": chunked(b"00E\r\n" + BODY + b"\r\n000\r\n\r\n"),
    "extensions": chunked(b'e;a=b;c="d"\r\n' + BODY + b"\r\n0;x\r\n\r\n"),
    "trailers": chunked(b"e\r\n" + BODY + b"\r\n0\r\nA: b\r\nC:\r\n\r\n"),
    "a chunk for each byte": chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)
                                     + b"0\r\n\r\n"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken_and_the_next_request_begins_where_it_ends(server, name):
    with server.connect() as client:
        client.send(TAKEN[name] + SMUGGLED.replace(b"smuggled", b"following"))
        answer = client.read_answer()
        assert answer.status == 200, answer
        assert answer.json()["text"]
        answer = client.read_answer()
        assert (answer.status, answer.field("x-request-id")) == (200, "following")


def test_byte_by_byte(server):
    data = (head(CHUNKED, b"x-request-id: one-by-one")
            + b"5;x\r\n" + BODY[:5] + b"\r\n9\r\n" + BODY[5:] + b"\r\n0\r\nT: u\r\n\r\n")
    with server.connect() as client:
        client.send_slowly(data[i:i + 1] for i in range(len(data)))
        answer = client.read_answer()
        assert (answer.status, answer.field("x-request-id")) == (200, "one-by-one")


def test_every_split_gives_the_same(server):
    data = (b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\n" + BODY[:5] + b"\r\n9\r\n" + BODY[5:] + b"\r\n0\r\nT: u\r\n\r\n")
    with server.connect() as client:
        client.send(data)
        expected = client.read_answer().json()
        for at in range(1, len(data)):
            client.send_slowly([data[:at]])
            client.send(data[at:])
            answer = client.read_answer()
            assert answer.status == 200, at
            assert answer.json()["text"] == expected["text"], at


def test_a_large_body_in_chunks(server):
    prompt = b'{"prompt":"' + b"y" * (2 * MIB) + b'"}'
    pieces = [prompt[i:i + 50000] for i in range(0, len(prompt), 50000)]
    data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    with server.connect() as client:
        client.send(head(CHUNKED) + data)
        assert client.read_answer().status == 200


# -- connections -----------------------------------------------------------------------------------

def test_pipelined_requests_are_answered_in_their_order(server):
    with server.connect() as client:
        for _ in range(5):
            requests = [compose("POST", "/generate",
                                {"prompt": f"number {i}", "provider": "pace",
                                 "max_tokens": (i * 7) % 16 + 1}, [f"x-request-id: {i}"])
                        for i in range(16)]
            client.send(b"".join(requests))
            answers = [client.read_answer() for _ in range(16)]
            assert [answer.status for answer in answers] == [200] * 16
            assert [answer.field("x-request-id") for answer in answers] == \
                [str(i) for i in range(16)]


def test_pipelined_requests_behind_a_stream(server):
    with server.connect() as client:
        client.send(compose("POST", "/generate", {"prompt": "s", "stream": True, "provider": "pace",
                                                  "max_tokens": 30})
                    + compose("GET", "/health"))
        assert client.read_answer().field("content-type") == "text/event-stream"
        assert client.read_answer().body == b'{"status":"ok"}'


def test_connection_close_is_kept(server):
    with server.connect() as client:
        answer = client.request("GET", "/health", fields=["Connection: close"])
        assert answer.status == 200 and answer.closes()
        client.assert_closed()
    with server.connect() as client:
        assert client.request("GET", "/health", fields=["Connection: x, Close , y"]).closes()
        client.assert_closed()


def test_http_1_0(server):
    with server.connect() as client:
        client.send(b"GET /health HTTP/1.0\r\n\r\n")
        assert client.read_answer().closes()
        client.assert_closed()
    with server.connect() as client:
        for _ in range(2):
            client.send(b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = client.read_answer()
            assert (answer.status, answer.field("connection")) == (200, "keep-alive")


def test_nothing_is_executed_behind_connection_close(server):
    with server.connect() as client:
        client.send(compose("GET", "/health", fields=["Connection: close"])
                    + compose("GET", "/health", fields=["x-request-id: late"]))
        assert client.read_answer().status == 200
        client.assert_closed()


def test_expect_100_continue(server):
    for framing, body in ((f"Content-Length: {len(BODY)}", BODY),
                          ("Transfer-Encoding: chunked", b"e\r\n" + BODY + b"\r\n0\r\n\r\n")):
        with server.connect() as client:
            client.send(compose("POST", "/generate", None,
                                ["Expect: 100-continue", framing]))
            assert client.read_answer().status == 100
            client.send(body)
            assert client.read_answer().status == 200
            assert client.request("GET", "/health").status == 200


def test_expect_100_continue_is_not_answered_when_refused_or_not_needed(server):
    with server.connect() as client:
        client.send(head(b"Expect: 100-continue", b"Content-Length: 4194305"))
        assert client.read_answer().status == 413
        client.assert_closed()
    with server.connect() as client:
        client.send(head(b"Expect: 100-Continue", LENGTH) + BODY)
        assert client.read_answer().status == 200
    with server.connect() as client:  # HTTP/1.0 knows no 100
        client.send_slowly([head(b"Expect: 100-continue", LENGTH, line=b"POST /generate HTTP/1.0")])
        client.send(BODY)
        assert client.read_answer().status == 200


def test_many_connections_at_once(server):
    def one(i):
        with server.connect() as client:
            return [client.request("GET", "/health").status for _ in range(5)]
    assert in_parallel(50, one) == [[200] * 5] * 50


# -- slow clients ----------------------------------------------------------------------------------

def half_a_head(hasty):
    started = time.monotonic()
    with hasty.connect() as client:
        client.send(b"GET /health HTTP/1.1\r\nHo")
        answer = client.read_answer()
        assert answer.status == 408 and answer.closes()
        answer.error()
        assert answer.field("x-should-retry") is None
        client.assert_closed()
    assert time.monotonic() - started >= HEADER_S


def a_dripping_head_gets_no_more_time_for_each_byte(hasty):
    started = time.monotonic()
    with hasty.connect() as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: x\r\nA: ")
        while not client.readable(0.05):
            client.send(b"a")
            assert time.monotonic() - started < PATIENCE
        assert client.read_answer().status == 408
    assert time.monotonic() - started >= HEADER_S


def a_connection_that_says_nothing(hasty):
    with hasty.connect() as client:
        client.assert_closed()


def an_idle_connection(hasty):
    with hasty.connect() as client:
        started = time.monotonic()  # its time begins when it is answered, maybe before we hear it
        assert client.request("GET", "/health").status == 200
        client.assert_closed()
        assert time.monotonic() - started >= KEEPALIVE_S


def a_waiting_request_is_not_idle(hasty):
    with hasty.connect() as client:
        body = {"prompt": "slow", "provider": "pace", "max_tokens": int(KEEPALIVE_S * 1500)}
        assert client.request("POST", "/generate", body).status == 200
        assert client.request("GET", "/health").status == 200


def a_handshake_that_stops(hasty):
    with Client(hasty.address) as client:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00")
        client.read_to_end()
    assert hasty.request("GET", "/health").status == 200


BOTH = [half_a_head, a_dripping_head_gets_no_more_time_for_each_byte, a_connection_that_says_nothing,
        an_idle_connection, a_waiting_request_is_not_idle]
SLOW = {f"{habit.__name__}, {transport}": (habit, transport)
        for habit in BOTH for transport in ("plain", "tls")}
SLOW["a_handshake_that_stops, tls"] = (a_handshake_that_stops, "tls")


@pytest.fixture(scope="module")
def slow_clients():
    """What became of each, None or its error. They wait side by side, for the daemons have seconds of
    patience: enough for clients that are only held up by a busy machine."""
    with Daemon({"limits": LIMITS}) as plain, Daemon({"limits": LIMITS}, tls=True) as tls:
        daemons = {"plain": plain, "tls": tls}

        def one(i):
            habit, transport = list(SLOW.values())[i]
            try:
                return habit(daemons[transport])
            except Exception as error:
                return error
        yield dict(zip(SLOW, in_parallel(len(SLOW), one)))


@pytest.mark.parametrize("name", SLOW)
def test_slow_client(slow_clients, name):
    if slow_clients[name] is not None:
        raise slow_clients[name]


def test_a_body_that_stops_is_408():
    """10 s without a byte; fixed, so plain and TLS wait side by side."""
    with Daemon() as plain, Daemon(tls=True) as tls:
        def one(i):
            daemon = (plain, tls)[i % 2]
            started = time.monotonic()
            with daemon.connect(timeout=60) as client:
                client.send((head(LENGTH) + BODY[:5]) if i < 2 else chunked(b"e\r\n" + BODY[:5]))
                answer = client.read_answer()
                assert answer.status == 408 and answer.closes()
                client.assert_closed()
            return time.monotonic() - started
        for taken in in_parallel(4, one):
            assert 9.5 < taken < 20
        for daemon in (plain, tls):
            assert daemon.metrics().total("http_requests_total", endpoint="/generate",
                                          status="408") == 2


def test_a_client_that_shuts_its_side_still_gets_a_ready_answer():
    with Daemon() as daemon, daemon.connect() as client:
        client.send(compose("GET", "/health"))
        client.shut_writing()
        assert client.read_answer().status == 200
        client.assert_closed()


def test_half_a_request_and_then_the_end(server):
    before = server.metrics()
    for part in (b"GET /hea", head(LENGTH) + b"{", chunked(b"5\r\nab")):
        with server.connect() as client:
            client.send(part)
    eventually(lambda: server.metrics().total("optiroute_connections") == 0)
    assert (server.metrics().total("http_requests_total", endpoint="/generate", status="200")
            == before.total("http_requests_total", endpoint="/generate", status="200"))


def test_connections_that_are_reset(server):
    for _ in range(20):
        client = server.connect()
        client.send(compose("POST", "/generate", {"prompt": "r", "provider": "pace",
                                                  "max_tokens": 20000}))
        client.reset()
    eventually(lambda: server.metrics().total("optiroute_requests_in_flight") == 0)
    assert server.request("GET", "/health").status == 200


# -- TLS -------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def tls():
    with Daemon(tls=True) as running:
        yield running


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_versions(tls, version):
    context = client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with Client(tls.address, tls=True, context=context) as client:
        assert client.socket.version() == version.replace("_", ".")
        assert client.request("GET", "/health").status == 200
        assert client.request("POST", "/generate", {"prompt": "x" * 100000}).status == 200


def test_old_tls_is_refused(tls):
    context = client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is why it is refused
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Client(tls.address, tls=True, context=context)
    assert tls.request("GET", "/health").status == 200


def test_plain_text_on_a_tls_port(tls):
    with Client(tls.address) as client:
        client.send(compose("GET", "/health"))
        rest = client.read_to_end()
        assert b"200" not in rest


def test_a_large_answer_arrives_whole(tls):
    with tls.connect() as client:
        answer = client.request("POST", "/generate", {"prompt": "long", "max_tokens": 4096})
        assert json.loads(answer.body)["text"]
