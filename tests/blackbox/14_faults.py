"""The fault matrix, rows 1 to 33 and 43 to 46: what a provider does wrong, and
what the client sees, what is counted, and what the circuit breaker makes of it.

Each row is run twice: without a usable fallback, and with one, where the client gets 200 from it. A
provider of these tests opens its circuit at the first failure, for a millisecond, so that after every
row the state of the circuit tells whether it was a failure, and the next row begins with a probe.
"""
import contextlib
import os
import re
import socket
import statistics
import time

import pytest

from mock import Authority, Mock
from optiroute import PATIENCE, Daemon, compose, environment, eventually, fakehost, in_parallel
from processes import count_files, proc_status

KEY = "sk-secret-of-the-tests-0123456789"
# Only the limit that a row is about is short: on a busy machine a mock may not run for a second, and
# what is not about time must not end by it.
PATIENT = {"connect": "20s", "first_byte": "20s", "idle": "20s", "total": "60s"}
EDGY = {"failures": 1, "open": "1ms", "max_open": "300s"}
# These can answer, so a good answer closes their circuit before the next row.
ANSWERING = ("mock", "hasty", "brief", "anthropic", "huggingface", "good", "cut", "slowdns")
RESCUE = {"type": "simulated", "default_model": "rescue-1", "allow_unlisted_models": True,
          "per_second": "0.001", "simulated": {"latency": "1ms", "max_latency": "1ms"}}


def provider(url, **changes):
    return {"type": "openai", "url": url, "default_model": "m", "api_key_env": "TEST_KEY",
            "allow_unlisted_models": True, "timeouts": PATIENT, "retry": {"attempts": 0},
            "breaker": EDGY, **changes}


def limited(**limits):
    return {"timeouts": {**PATIENT, **limits}}


class Blackhole:
    """A port that answers no SYN: its queue of connections is full and nobody takes them."""

    def __enter__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self.fillers.append(filler)
        return self

    def __exit__(self, *_):
        for one in [*self.fillers, self.listener]:
            one.close()


def closed_port(stack):
    """Nobody listens there, and nobody else gets it meanwhile."""
    one = stack.enter_context(socket.socket())
    one.bind(("127.0.0.1", 0))
    return one.getsockname()[1]


class World:
    """Everything that the rows need: mock upstreams with all their listeners, and one daemon."""

    def __init__(self, stack, directory):
        authority = Authority(directory)
        self.mock = stack.enter_context(Mock("close", "reset", "silent", "banner", "tls-stall"))
        good = authority.good()
        self.secure = {
            "good": stack.enter_context(Mock("tls=" + good.files)),
            "expired": stack.enter_context(Mock("tls=" + authority.expired().files)),
            "self_signed": stack.enter_context(Mock("tls=" + authority.self_signed().files)),
            "wrong_host": stack.enter_context(Mock("tls=" + authority.wrong_host().files)),
            "old": stack.enter_context(Mock("tls10=" + good.files)),
            "cut": stack.enter_context(Mock("tls-cut=" + good.files)),
        }
        self.blackhole = stack.enter_context(Blackhole())
        self.lookups = directory / "lookups"
        self.lookups.touch()
        for path in (directory, *directory.parents):  # workers may be somebody else
            if path.stat().st_uid == os.getuid() and path != path.parent and str(path) != "/tmp":
                path.chmod(0o755)
        self.lookups.chmod(0o666)
        plain = {name: provider(self.mock.url_of(name) + "/v1")
                 for name in ("close", "reset", "banner")}
        trusting = {"ca_file": str(authority.ca)}
        secure = {name: provider(mock.url_of(mode_of(mock)) + "/v1", **trusting)
                  for name, mock in self.secure.items()}
        self.addresses = {
            "refused": provider(f"http://127.0.0.1:{closed_port(stack)}/v1"),
            "blackhole": provider(f"http://127.0.0.1:{self.blackhole.port}/v1",
                                  **limited(connect="300ms")),
            # a multicast address: connect(2) says ENETUNREACH and sends nothing
            "unreachable": provider("http://224.0.0.1:9/v1"),
            "nxdomain": provider("http://nxdomain.test/v1"),
            "silentdns": provider("http://silent.test/v1", **limited(connect="300ms")),
            "patientdns": provider("http://silent.test/v1"),
            "slowdns": provider(f"http://slow.test:{self.mock.port}/v1"),
            "silent": provider(self.mock.url_of("silent") + "/v1", **limited(first_byte="300ms")),
            "mock": provider(self.mock.url + "/v1"),
            "hasty": provider(self.mock.url + "/v1", **limited(idle="300ms")),
            "brief": provider(self.mock.url + "/v1", **limited(total="1200ms")),
            "anthropic": provider(self.mock.url, type="anthropic"),
            "huggingface": provider(self.mock.url + "/models", type="huggingface"),
            # in which TCP has to be connected
            "tls-stall": provider(self.mock.url_of("tls-stall") + "/v1", **trusting,
                                  **limited(connect="2s")),
            "untrusted": provider(self.secure["good"].url_of("tls") + "/v1"),
            **plain, **secure,
        }
        routes = {f"r-{name}": {"cheap": name, "strong": name, "fallback": ["rescue"]}
                  for name in self.addresses}
        routes["auto"] = {"cheap": "small", "strong": "small"}
        self.daemon = stack.enter_context(Daemon(
            {"providers": {**self.addresses, "rescue": RESCUE}, "routes": routes, "workers": 2},
            env=fakehost(TEST_KEY=KEY, FAKEHOST_LOOKUPS=str(self.lookups))))

    def ports(self):
        for mock in (self.mock, *self.secure.values()):
            yield from mock.ports.values()


def mode_of(mock):
    """Its listener beside the plain one."""
    return next(name for name in mock.ports if name != "plain")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield World(stack, tmp_path_factory.mktemp("faults"))


# -- one row ---------------------------------------------------------------------------------------

def assert_nothing_leaks(answer, world):
    """No key, no host or port of a provider, nothing that an upstream wrote but a mere word."""
    text = answer.body.decode() + str(answer.fields)
    for secret in (KEY, "as ordered", "127.0.0.1", "nxdomain.test", "silent.test", "224.0.0.1",
                   *(f":{port}" for port in world.ports())):
        assert secret not in text, f"{secret} in {text}"


class Book:
    """What the metrics say of a provider, and what they have added since."""

    def __init__(self, daemon, name):
        self.daemon, self.name = daemon, name
        self.before = daemon.metrics()

    def added(self, metric, **labels):
        key = "from" if metric == "llm_fallbacks_total" else "provider"
        labels = {key: self.name, **labels}
        return self.daemon.metrics().total(metric, **labels) - self.before.total(metric, **labels)

    def state(self):
        """0 closed, 1 half-open, 2 open."""
        return self.daemon.metrics().total("llm_circuit_state", provider=self.name)


PROMPT_NUMBER = iter(range(10**9))


def ask(world, to, orders=None):
    members = {"provider": to}
    if orders is not None:
        members["model_id"] = "m" + orders
    return world.daemon.generate(f"row {next(PROMPT_NUMBER)}", **members)


def heal(world, name):
    """Closes the circuit of a provider that can answer; it may be open for another millisecond."""
    if name in ANSWERING:
        eventually(lambda: ask(world, name).status == 200, what=f"{name} answers")


# -- rows 1 to 33 ----------------------------------------------------------------------------------

class Row:
    def __init__(self, number, provider, orders, status, reason, breaker="F", *, what=None,
                 least=0.0, most=None, code=None):
        self.number, self.provider, self.orders = number, provider, orders
        self.status, self.reason, self.breaker = status, reason, breaker
        self.what = what or (orders or provider).lstrip("+")
        self.least, self.most, self.code = least, most, code or reason


ROWS = [
    Row(1, "refused", None, 502, "connect_refused", most=10),
    Row(2, "blackhole", None, 504, "connect_timeout", least=0.3),
    Row(3, "unreachable", None, 502, "connect_unreachable"),
    Row(4, "nxdomain", None, 502, "dns"),
    Row(5, "silentdns", None, 504, "dns_timeout", least=0.3, most=5),
    Row(6, "close", None, 502, "empty_reply|reset"),
    Row(6, "mock", "+cut=start", 502, "empty_reply", what="closes after the request"),
    Row(7, "reset", None, 502, "reset|connect_refused"),
    Row(7, "mock", "+cut=start+then=rst", 502, "reset", what="RST after the request"),
    Row(9, "silent", None, 504, "first_byte_timeout", least=0.3),
    Row(10, "hasty", "+cut=head+then=hold", 504, "idle_timeout", least=0.3),
    Row(10, "hasty", "+cut=inhead+then=hold", 504, "idle_timeout|first_byte_timeout", least=0.3),
    Row(11, "brief", "+drip=100", 504, "total_timeout", least=1.2),
    Row(12, "mock", "+cut=40", 502, "truncated"),
    Row(13, "mock", "+framing=nolast", 502, "truncated"),
    Row(14, "mock", "+framing=badchunk", 502, "bad_framing"),
    Row(15, "banner", None, 502, "bad_http"),
    Row(15, "mock", "+head=banner", 502, "bad_http"),
    Row(15, "mock", "+head=http09", 502, "bad_http"),
    Row(16, "mock", "+head=big", 502, "header_too_large"),
    Row(16, "mock", "+head=many", 502, "header_too_large"),
    Row(17, "mock", "+head=informational", 502, "bad_http"),
    Row(18, "mock", "+body=notjson", 502, "bad_json"),
    Row(18, "mock", "+body=empty", 502, "bad_json"),
    Row(19, "mock", "+body=noschema", 502, "bad_schema"),
    Row(20, "mock", "+body=html", 502, "bad_content_type"),
    Row(20, "mock", "+body=html+type=application/json", 502, "bad_json", what="HTML called JSON"),
    Row(21, "mock", "+body=badutf8", 502, "bad_utf8"),
    Row(22, "mock", "+huge=1024", 502, "too_large"),
    Row(23, "mock", "+gzip", 502, "bad_encoding"),
    Row(24, "mock", "+body=nested", 502, "bad_json", most=5),
    *[Row(25, "mock", f"+status={status}+location=http://127.0.0.1:1/", 502, "redirect")
      for status in (301, 302, 307, 308)],
    *[Row(26, "mock", f"+status={status}+leak", status, None, "N", code="mock_error")
      for status in (400, 404, 413, 422)],
    Row(26, "mock", "+status=400+code=context_length_exceeded", 400, None, "N",
        code="context_length_exceeded"),
    *[Row(27, "mock", f"+status={status}+leak", 502, "auth", "N", code="provider_auth")
      for status in (401, 403)],
    Row(29, "mock", "+status=429+leak", 429, "rate_limited"),
    *[Row(30, "mock", f"+status={status}+leak", 504 if status == 504 else 502, "http_5xx")
      for status in (500, 502, 503, 504, 520, 529)],
    Row(30, "mock", "+status=408", 504, "http_408"),
    *[Row(32, name, None, 502, "tls_verify")
      for name in ("expired", "self_signed", "wrong_host", "untrusted")],
    Row(32, "old", None, 502, "tls_handshake"),
    Row(32, "tls-stall", None, 504, "tls_timeout", least=2.0),
    Row(33, "cut", "+cut=40", 502, "truncated"),
    Row(33, "cut", "+framing=chunked+cut=40", 502, "truncated", what="chunked"),
    # the other dialects
    Row(18, "anthropic", "+body=notjson", 502, "bad_json", what="anthropic"),
    Row(19, "anthropic", "+body=noschema", 502, "bad_schema", what="anthropic"),
    Row(26, "anthropic", "+status=400", 400, None, "N", what="anthropic",
        code="invalid_request_error"),
    Row(30, "anthropic", "+status=529", 502, "http_5xx", what="anthropic"),
    Row(18, "huggingface", "+body=notjson", 502, "bad_json", what="huggingface"),
    Row(19, "huggingface", "+body=noschema", 502, "bad_schema", what="huggingface"),
]
IDS = [f"{row.number}-{row.provider}-{row.what}" for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_without_a_fallback(world, row):
    heal(world, row.provider)
    book = Book(world.daemon, row.provider)
    began = time.monotonic()
    answer = ask(world, row.provider, row.orders)
    took = time.monotonic() - began
    assert answer.status == row.status, answer
    error = answer.error()
    assert error["type"] == "upstream_error" and error["param"] is None
    assert re.fullmatch(row.code, error["code"]), answer
    assert_nothing_leaks(answer, world)
    assert took >= row.least
    assert row.most is None or took <= row.most
    if row.reason is not None:
        counted = {reason: book.added("llm_upstream_errors_total", reason=reason)
                   for reason in row.reason.split("|")}
        assert sum(counted.values()) == 1, counted
    else:
        assert book.added("llm_upstream_errors_total") == 0
        assert book.added("llm_upstream_responses_total", code=str(row.status)) == 1
    # once it may have been sent again, on a kept connection that was closed: by libcurl, not by us
    assert book.added("llm_retries_total") == book.added("llm_retries_total", reason="stale")
    failed = row.breaker == "F"
    assert book.state() == (2 if failed else 0)
    # one that was open already has been tried by this very request
    assert book.added("llm_circuit_transitions_total", to="open") == failed
    assert book.added("llm_total_cost_usd_total") == 0
    assert book.added("llm_unknown_price_total") == 0


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_with_a_fallback(world, row):
    heal(world, row.provider)
    book = Book(world.daemon, row.provider)
    answer = ask(world, f"r-{row.provider}", row.orders)
    assert answer.status == 200, answer
    body = answer.json()
    assert body["actual_provider_name"] == "rescue" and body["routed_to"] == row.provider
    assert_nothing_leaks(answer, world)
    reasons = (row.reason or "rejected").split("|")
    assert sum(book.added("llm_fallbacks_total", reason=reason) for reason in reasons) == 1
    failed = row.breaker == "F"
    assert book.state() == (2 if failed else 0)
    assert book.added("llm_circuit_transitions_total", to="open") == failed


def test_no_row_was_cached(world):
    """A failure is never an answer for somebody else."""
    prompt = f"row {next(PROMPT_NUMBER)}"
    for orders in ("+cut=40", "+body=notjson", "+status=500", "+status=400"):
        for _ in range(2):
            answer = world.daemon.generate(prompt, provider="mock", model_id="m" + orders)
            assert answer.status >= 400
    heal(world, "mock")


def test_nothing_of_it_is_in_the_logs(world):
    """Prompts, keys and what upstreams wrote."""
    log = world.daemon.log.text() + world.daemon.access_path.read_text()
    for secret in (KEY, "as ordered", "row 1"):
        assert secret not in log


# -- the rows that need more than one request ------------------------------------------------------

def test_row_5_others_do_not_notice_a_silent_name_server(world):
    """The loop is not blocked: who asks somebody else is answered while lookups hang, which they do
    for ten seconds. There is one in each worker, however many want its result."""
    def lookups():
        return world.lookups.read_text().count("silent.test")

    def question(**members):
        return compose("POST", "/generate", {"prompt": f"row {next(PROMPT_NUMBER)}", **members})

    before = lookups()
    with contextlib.ExitStack() as stack:
        others, waiting = ([stack.enter_context(world.daemon.connect()) for _ in range(count)]
                           for count in (8, 20))
        for one in waiting:
            one.send(question(provider="patientdns"))
        for one in waiting:
            one.await_taken()
        eventually(lambda: lookups() > before, what="a lookup")
        for one in others:
            one.send(question())
        assert [one.read_answer().status for one in others] == [200] * len(others)
        assert lookups() - before <= 2
        assert not any(one.readable(0) for one in waiting)


def test_row_5_nobody_waits_for_a_silent_name_server_for_long(world):
    statuses = in_parallel(20, lambda _: ask(world, "silentdns").status)
    assert 504 in statuses and set(statuses) <= {504, 503}  # some found the circuit open


def test_requests_that_wait_for_one_lookup_are_all_answered(world):
    heal(world, "slowdns")
    assert [ask(world, "slowdns").status for _ in range(3)] == [200] * 3
    statuses = in_parallel(20, lambda _: ask(world, "slowdns").status)
    assert statuses == [200] * 20
    assert world.lookups.read_text().count("slow.test") <= 4  # workers, not requests


def test_row_8_a_stale_connection_costs_one_silent_retry(world):
    heal(world, "mock")
    book = Book(world.daemon, "mock")
    with world.daemon.connect() as client:  # one worker, one kept connection to the upstream
        def next_one(orders):
            return client.request("POST", "/generate", {
                "prompt": f"row {next(PROMPT_NUMBER)}", "provider": "mock",
                "model_id": "m" + orders})
        drain_pool(world, client)
        assert next_one("+stale").status == 200
        assert next_one("+tokens=3").status == 200
    assert book.added("llm_retries_total", reason="stale") == 1
    assert book.added("llm_upstream_errors_total") == 0
    assert book.state() == 0


def drain_pool(world, client):
    """Leaves the worker of this client with at most one kept connection to the mock: libcurl takes
    the one that was used last, so a stale one must be the only one."""
    for _ in range(3):
        answer = client.request("POST", "/generate", {
            "prompt": f"row {next(PROMPT_NUMBER)}", "provider": "mock", "model_id": "m+close"})
        assert answer.status == 200


def test_row_22_memory_stays_flat(world):
    heal(world, "mock")

    def peak():
        return sum(int(proc_status(pid, "VmHWM")[0]) for pid in world.daemon.workers())
    before = peak()
    for _ in range(3):
        heal(world, "mock")
        assert ask(world, "mock", "+huge=1024").status == 502
    limit = 64 if "ASAN_OPTIONS" in os.environ else 16
    assert peak() - before < limit * 1024  # KiB
    heal(world, "mock")


@pytest.mark.parametrize("value, client_s, open_s", [
    ("7", 7, 7), ("0", None, None), ("1000000000", 300, 300), ("date:40", 40, 40),
    ("date:-40", None, None), ("date:100000", 300, 300), ("-1", None, None), ("1e9", None, None), ("soon", None, None)])
@pytest.mark.parametrize("status", [429, 503])
def test_rows_28_31_and_b8_retry_after(world, status, value, client_s, open_s):
    """Obeyed by the breaker, passed on to the client; what makes no sense counts as an ordinary
    failure, which opens this provider for a millisecond."""
    with Daemon({"providers": {"p": provider(world.mock.url + "/v1")}, "workers": 1},
                env=environment(TEST_KEY=KEY)) as daemon:
        book = Book(daemon, "p")
        orders = f"m+status={status}+retry_after={value}"
        began = time.monotonic()
        answer = daemon.generate("a", provider="p", model_id=orders)
        rounding = 2 + time.monotonic() - began  # of dates and of what is left of a time
        said = answer.field("retry-after")
        if client_s is None:
            assert answer.status == (429 if status == 429 else 502) and said is None
        else:
            assert answer.status == status
            assert client_s - rounding <= int(said) <= client_s
        assert answer.error()["code"] == ("rate_limited" if status == 429 else "http_5xx")
        assert book.added("llm_circuit_transitions_total", to="open") == 1
        opened = daemon.log.wait_for(r"circuit open for (\S+) s")[1]
        assert (open_s or 0) - rounding <= float(opened) <= (open_s or 0) + 0.1
        if open_s:
            answer = daemon.generate("b", provider="p")
            rounding = 2 + time.monotonic() - began
            assert (answer.status, answer.error()["code"]) == (503, "breaker_open")
            assert int(said) - rounding <= int(answer.field("retry-after")) <= int(said)


def test_an_error_that_drips_is_not_waited_for(world):
    """Its status has said what matters; the fallback need not wait for the last of its bytes."""
    slow = provider(world.mock.url + "/v1", timeouts={"idle": "30s", "total": "60s"})
    with Daemon({"providers": {"p": slow}}, env=environment(TEST_KEY=KEY)) as daemon:
        daemon.generate("warm", provider="p", model_id="m")
        began = time.monotonic()
        answer = daemon.generate("a", provider="p", model_id="m+status=500+drip=1000")
        assert (answer.status, answer.error()["code"]) == (502, "http_5xx")
        assert 1.9 < time.monotonic() - began < PATIENCE


def test_clients_are_heard_after_an_outage_of_the_uplink(world):
    """A connect that times out, then a lookup that fails: an event of the lookup's descriptor stayed
    in the loop, and the client whose connection got the same number was never heard."""
    addresses = {name: world.addresses[name] for name in ("blackhole", "nxdomain")}
    routes = {"auto": {"cheap": "nxdomain", "strong": "nxdomain"}}
    with Daemon({"providers": addresses, "workers": 1, "routes": routes},
                env=fakehost(TEST_KEY=KEY)) as daemon:
        assert daemon.generate("a", provider="blackhole").status == 504
        assert daemon.generate("b", provider="nxdomain").status == 502
        for client in [daemon.connect() for _ in range(16)]:
            assert client.request("GET", "/health").status == 200


def test_row_32_a_server_that_is_not_trusted_gets_nothing(world):
    """Not one byte of a request, and no key."""
    for name in ("expired", "self_signed", "wrong_host", "old"):
        mock = world.secure[name]
        mock.reset()
        assert ask(world, name).status == 502
        counters = mock.counters()
        assert (counters["bytes_received"], counters["requests"]) == (0, 0), name
    world.secure["good"].reset()
    assert ask(world, "untrusted").status == 502
    assert world.secure["good"].counters()["bytes_received"] == 0


def test_a_trusted_server_is_asked(world):
    answer = ask(world, "good")
    assert answer.status == 200
    last = world.secure["good"].last()
    assert last["fields"]["authorization"] == f"Bearer {KEY}"


def test_row_33_over_tls_an_answer_by_length_that_breaks_off(world):
    for orders in ("+cut=40", "+framing=close+cut=40"):
        heal(world, "cut")
        answer = ask(world, "cut", orders)
        assert (answer.status, answer.error()["code"]) in (
            (502, "truncated"), (502, "bad_json")), orders
    heal(world, "cut")


def test_row_43_bytes_behind_an_answer_end_its_connection(world):
    heal(world, "mock")
    with world.daemon.connect() as client:
        drain_pool(world, client)
        world.mock.reset()
        for orders in ("+extra", "+tokens=2", "+tokens=2"):
            answer = client.request("POST", "/generate", {
                "prompt": f"row {next(PROMPT_NUMBER)}", "provider": "mock",
                "model_id": "m" + orders})
            assert answer.status == 200
            assert answer.json()["text"].split() == ["word"] * (2 if "tokens" in orders else 10)
    assert world.mock.counters()["connections"] == 2


def test_row_44_connections_that_are_closed_each_time_leave_nothing(world):
    """10,000 of them; descriptors are back to where they were."""
    heal(world, "mock")

    def many(number):
        with world.daemon.connect() as client:
            for i in range(1000):
                answer = client.request("POST", "/generate", {
                    "prompt": f"{number} {i}", "provider": "mock", "model_id": "m+close"},
                    ["Cache-Control: no-store"])
                assert answer.status == 200
    many(0)
    before = count_files(*world.daemon.workers())
    in_parallel(9, many)
    eventually(lambda: count_files(*world.daemon.workers()) <= before + 2,
               what="descriptors are closed")


@pytest.mark.parametrize("usage", ["none", "negative", "huge", "float", "text", "null"])
@pytest.mark.parametrize("name", ["mock", "anthropic", "huggingface"])
def test_row_45_usage_that_cannot_be_is_estimated(world, name, usage):
    """The provider has answered, so that is a success; tokens are bytes / 4, and it is counted."""
    heal(world, name)
    book = Book(world.daemon, name)
    answer = ask(world, name, f"+tokens=3+usage={usage}")
    assert answer.status == 200, answer
    body = answer.json()
    prompt_tokens = (len(f"row {next(PROMPT_NUMBER) - 1}") + 3) // 4
    assert body["usage"] == {"prompt_tokens": prompt_tokens, "completion_tokens": 4,
                             "total_tokens": prompt_tokens + 4}  # "word word word"
    assert book.added("llm_usage_invalid_total") == 1
    assert book.added("llm_tokens_total", type="completion") == 4
    assert book.state() == 0
    assert world.daemon.access_line(body["request_id"])["estimated"] is True


def test_row_46_when_every_circuit_is_open_nobody_is_asked():
    with Mock() as mock:
        one = provider(mock.url + "/v1", breaker={"failures": 1, "open": "100s"})
        two = provider(mock.url + "/v1", breaker={"failures": 1, "open": "200s"})
        with Daemon({"providers": {"one": one, "two": two, "small": None, "large": None,
                                   "pace": None, "broken": None},
                     "routes": {"auto": {"cheap": "one", "strong": "two", "fallback": ["two"],
                                         "policy": "length"}}},
                    env=environment(TEST_KEY=KEY)) as daemon:
            assert daemon.request("GET", "/health/ready").status == 200
            began = time.monotonic()
            assert daemon.generate("a", model_id="m+status=500").status == 502
            connections = mock.counters()["connections"]
            usual, took = [], []
            for i in range(20):
                asked = time.monotonic()
                assert daemon.request("GET", "/health").status == 200
                usual.append(time.monotonic() - asked)
                asked = time.monotonic()
                answer = daemon.generate(f"b {i}")
                took.append(time.monotonic() - asked)
                assert (answer.status, answer.error()["code"]) == (503, "breaker_open")
                passed = time.monotonic() - began
                assert 98 - passed <= int(answer.field("retry-after")) <= 100  # the soonest
            assert statistics.median(took) < 0.1 + 10 * statistics.median(usual)
            assert mock.counters()["connections"] == connections
            answer = daemon.request("GET", "/health/ready")
            assert (answer.status, answer.error()["code"]) == (503, "no_provider")
            assert daemon.request("GET", "/health").status == 200
