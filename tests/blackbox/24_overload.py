"""More than there is room for: whoever is too many is told so at once, nobody else notices, health
checks and metrics get their answers, and a second after it is over nothing reminds of it.

What is fast or slow under load is measured by tests/stress/; here it is counted. See
doc/decisions/0009-overload.md.
"""
import os
import pathlib
import resource
import selectors
import signal
import socket
import ssl
import time

import pytest

from mock import Mock
from optiroute import (BINARY, PATIENCE, Client, Closed, Daemon, client_context, compose,
                       environment, eventually, in_parallel)
from processes import children, count_files, cpu_seconds, is_alive, raise_file_limit

TICKS = os.sysconf("SC_CLK_TCK")
BUSY = "too_many_connections"
# Sanitizers make a start expensive.
SLACK = 10 if b"__asan_init" in pathlib.Path(BINARY).read_bytes() else 1
# Above a limit a client may take a second to say what it wants.
ABOVE_S = 1.0


def full(daemon, count):
    """So many clients who are in, each shown by an answer."""
    clients = []
    for _ in range(count):
        client = daemon.connect()
        assert client.request("GET", "/v1/models").status == 200
        clients.append(client)
    return clients


def shed(daemon, reason="max_connections"):
    return daemon.metrics().total("optiroute_shed_total", reason=reason)


def await_shed(daemon, count, reason="max_connections"):
    """Workers count at their next turn, after a second at most."""
    eventually(lambda: shed(daemon, reason) >= count, what=f"{count} turned away")
    assert shed(daemon, reason) == count


def await_connections(daemon, count):
    """A worker that has read that one has left says so at once."""
    eventually(lambda: daemon.metrics().total("optiroute_connections") == count,
               what=f"{count} connections")


def assert_busy(answer):
    assert answer.status == 503, answer
    assert answer.field("retry-after") == "1" and answer.closes()
    assert answer.field("x-should-retry") is None  # the SDKs try again by themselves
    assert answer.error()["code"] == BUSY and answer.error()["type"] == "server_error"


def heard(daemon, method, path, body=None, late=None, in_s=0.9 * ABOVE_S):
    """The answer to a client above the limit who says soon what it wants. One that was not run
    between connecting and asking hears, for that, what those hear who say nothing: it is added to
    `late`, and asks again."""
    for _ in range(20):
        answer, sent, began = None, None, time.monotonic()
        try:
            with daemon.connect() as client:
                client.send(compose(method, path, body))
                sent = time.monotonic()
                answer = client.read_answer()
        except (Closed, OSError) as error:  # over TLS those hear nothing
            fault = error
        if answer is not None and answer.field("x-request-id") is not None:
            return answer
        assert (sent or time.monotonic()) - began >= in_s, answer or fault
        if late is not None:
            late.append(answer)
    raise AssertionError("this machine is too slow to ask in time")


def family_seconds(pid):
    """With what its dead children have used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def cpu_share(pids, seconds):
    """Of one core, over so many seconds from now: what is measured is that nothing happens."""
    before, began = cpu_seconds(*pids), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(*pids) - before) / (time.monotonic() - began)


def await_rest(pids):
    """They have nothing to do. Who spins spins in every second; time that was stolen from whoever ran
    is charged to it in some."""
    eventually(lambda: cpu_share(pids, 1.0) < 0.05 * SLACK, what="a second without work")


# -- the limit of connections ----------------------------------------------------------------------

def test_one_more_than_max_connections_hears_503_and_others_notice_nothing():
    with Daemon({"workers": 3, "limits": {"max_connections": 7}}) as daemon:
        clients, late = full(daemon, 7), []
        for _ in range(6):  # it is the same whichever worker gets it
            with daemon.connect() as client:
                assert_busy(client.request("POST", "/generate", {"prompt": "too many"}))
                client.assert_closed()
        for path in ("/health", "/health/ready"):
            for _ in range(4):
                answer = heard(daemon, "GET", path, late=late)
                assert answer.status == 200 and answer.closes(), answer
        for client in clients:
            answer = client.request("GET", "/v1/models")
            assert answer.status == 200 and not answer.closes()
        await_shed(daemon, 6 + len(late))
        # those who were turned away were never in, and their requests are in the books
        metrics = daemon.metrics()
        assert metrics.total("optiroute_connections") == 7
        assert metrics.total("http_requests_total", endpoint="/generate", status="503") == 6
        daemon.log.wait_for(r"the limit of connections \(7\)")
        lines = [line for line in daemon.log.lines if "the limit of connections (7)" in line]
        assert len(lines) <= 3, lines  # each worker, once a minute
        clients.pop().close()
        await_connections(daemon, 6)
        assert daemon.request("GET", "/v1/models").status == 200, "room again, as soon as it is seen"
        for client in clients:
            client.close()


def test_who_says_nothing_above_the_limit_hears_503_all_the_same():
    with Daemon({"limits": {"max_connections": 2}}) as daemon:
        clients = full(daemon, 2)
        began = time.monotonic()
        silent = [daemon.connect() for _ in range(3)]
        silent[1].send(b"GET /health")  # and no more: who dawdles is not waited for
        for client in silent:
            answer = client.read_answer()
            assert_busy(answer)
            assert answer.field("x-request-id") is None  # nobody has asked
            client.assert_closed()
        assert 0.9 * ABOVE_S < time.monotonic() - began < 10 * ABOVE_S
        await_shed(daemon, 3)
        for client in clients + silent:
            client.close()


def test_who_holds_connections_above_the_limit_keeps_nobody_out():
    """More of them than are held at once (64 in each worker): each new one pushes out the oldest."""
    with Daemon({"limits": {"max_connections": 2}}) as daemon:
        clients = full(daemon, 2)
        silent, late = [], []
        for _ in range(20):
            silent += [daemon.connect() for _ in range(15)]
            assert heard(daemon, "GET", "/health", late=late).status == 200
            assert_busy(daemon.request("POST", "/generate", {"prompt": "and this?"}))
        for client in silent:
            assert_busy(client.read_answer())
        await_shed(daemon, 320 + len(late))
        for client in clients + silent:
            client.close()


def test_a_refused_upload_still_reads_its_answer():
    """503 comes before the body has been sent; a reset would take it away again."""
    with Daemon({"limits": {"max_connections": 1, "max_body": "16MB"}}) as daemon:
        clients = full(daemon, 1)
        for _ in range(10):
            with daemon.connect() as client:
                client.send(compose("POST", "/generate", b" " * 3000000))
                assert_busy(client.read_answer())
        clients[0].close()


def test_above_the_limit_over_tls():
    """Who completes its handshake and asks is answered; who says nothing is closed without a word,
    for there is none before the handshake."""
    with Daemon({"limits": {"max_connections": 2}}, tls=True) as daemon:
        clients = full(daemon, 2)
        assert heard(daemon, "GET", "/health").status == 200
        assert_busy(heard(daemon, "POST", "/generate", {"prompt": "secret"}))
        with Client(daemon.address) as silent:
            assert silent.read_to_end() == b""
        context = client_context()
        with socket.create_connection(daemon.address, PATIENCE) as plain:
            with context.wrap_socket(plain) as greeted:  # handshake, then nothing
                with pytest.raises((ssl.SSLError, ConnectionResetError, EOFError)):
                    if greeted.recv(1000) == b"":
                        raise EOFError
        for client in clients:
            assert client.request("GET", "/v1/models").status == 200
            client.close()


def test_a_dead_worker_gives_its_places_back():
    with Daemon({"workers": 2, "limits": {"max_connections": 8}}) as daemon:
        clients = full(daemon, 8)
        assert_busy(daemon.request("GET", "/v1/models"))
        os.kill(max(daemon.workers(), key=count_files), signal.SIGKILL)  # one that has some
        eventually(lambda: daemon.metrics().total("optiroute_worker_restarts_total") == 1)
        eventually(lambda: daemon.request("GET", "/v1/models").status == 200)
        for client in clients:
            client.close()


def test_connections_of_a_draining_generation_count_too():
    with Daemon({"limits": {"max_connections": 4, "shutdown_timeout": "120s"}}) as daemon:
        waiting = []
        for number in range(3):
            client = daemon.connect()
            client.send(compose("POST", "/generate", {"prompt": f"long {number}", "provider": "pace",
                                                      "max_tokens": 60000}))
            waiting.append(client)
        eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 3)
        daemon.reload()
        fresh = full(daemon, 1)
        assert_busy(daemon.request("GET", "/v1/models"))
        for client in waiting + fresh:
            client.close()
        eventually(lambda: daemon.request("GET", "/v1/models").status == 200)


# -- the metrics worker ----------------------------------------------------------------------------

def test_idle_connections_do_not_starve_the_metrics():
    with Daemon() as daemon:
        idle = []
        for _ in range(30):
            idle += [Client(daemon.metrics_address) for _ in range(20)]
            assert daemon.metrics().total("optiroute_workers") == 2
        for client in idle:
            client.close()


# -- the limit of a provider -----------------------------------------------------------------------

@pytest.fixture(scope="module")
def mock():
    with Mock() as running:
        yield running


def test_at_max_concurrency_nothing_is_sent_and_a_fallback_answers(mock):
    settings = {"workers": 2, "cache": {"size": "0"},
                "providers": {"up": {
                    "type": "openai", "url": mock.url + "/v1", "default_model": "m",
                    "allow_unlisted_models": True, "max_concurrency": 2}},
                "routes": {"safe": {"cheap": "up", "strong": "up", "fallback": ["small"]}}}
    with Daemon(settings) as daemon:
        mock.reset()
        under_way = [daemon.connect() for _ in range(2)]
        for client in under_way:
            client.send(compose("POST", "/generate", {"prompt": "slow", "provider": "up",
                                                      "model_id": "m+delay=60000"}))
            eventually(lambda: mock.counters()["in_flight"] == under_way.index(client) + 1)
        for _ in range(5):
            answer = daemon.generate("one more", provider="up", model_id="m")
            assert answer.status == 503 and answer.field("retry-after") == "1"
            assert answer.error()["code"] == "overloaded"
            answer = daemon.generate("one more", provider="safe")
            assert answer.status == 200 and answer.json()["actual_provider_name"] == "small"
            assert answer.field("x-optiroute-fallback-from") == "up:overloaded"
        assert mock.counters()["requests"] == 2, "before anything is sent"
        assert shed(daemon, "max_concurrency") == 5  # who was answered by the fallback was not shed
        assert daemon.metrics().total("llm_fallbacks_total", reason="overloaded") == 5
        daemon.log.wait_for(r"max_concurrency \(2\) is reached")
        said = [line for line in daemon.log.lines if "max_concurrency (2) is reached" in line]
        assert len(said) <= 2, said  # each worker, once a minute
        # both places come back: one by its client, one by the death of its worker
        under_way[0].close()
        eventually(lambda: daemon.generate("now", provider="up", model_id="m").status == 200)
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: daemon.metrics().total("optiroute_worker_restarts_total") == 2)
        replies = in_parallel(2, lambda i: daemon.generate(f"both {i}", provider="up",
                                                           model_id="m+delay=200"))
        statuses = [reply.status for reply in replies]
        assert 200 in statuses and set(statuses) <= {200, 503}  # at once both may be refused one
        assert daemon.generate("after", provider="up", model_id="m").status == 200
        under_way[1].close()


# -- descriptors -----------------------------------------------------------------------------------

def test_too_few_descriptors_are_told_and_not_fatal():
    with Daemon({"workers": 2}, descriptors=256) as daemon:
        daemon.log.wait_for(r"a process may have 256 open files, which is room for 85 connections and "
                            r"not for max_connections \(10000\): raise nofile .* to 5978")
    with Daemon({"workers": 2, "limits": {"max_connections": 80}}, descriptors=256) as daemon:
        assert daemon.generate("enough").status == 200
        assert "raise nofile" not in daemon.log.text()


class Crowd:
    """Many clients in one process: connected without waiting, read when there is something."""

    def __init__(self, address, count, request):
        self.selector = selectors.DefaultSelector()
        self.answers, self.ended, self.open = {}, 0, []
        for _ in range(count):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            self.selector.register(one, selectors.EVENT_WRITE, request)
            self.open.append(one)

    def turn(self, timeout=0.05):
        for key, _ in self.selector.select(timeout):
            if key.data is not None:
                self.write(key.fileobj, key.data)
            else:
                self.read(key.fileobj)

    def write(self, one, request):
        try:
            one.send(request)
            self.selector.modify(one, selectors.EVENT_READ, None)
        except OSError:
            self.end(one)

    def read(self, one):
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        if data == b"":
            self.end(one)
        else:
            self.answers[one] = self.answers.get(one, b"") + data

    def end(self, one):
        self.ended += 1
        self.selector.unregister(one)

    def count(self, status):
        return sum(answer.startswith(b"HTTP/1.1 %d " % status) for answer in self.answers.values())

    def close(self):
        self.selector.close()
        for one in self.open:
            one.close()


def test_5000_clients_and_1024_descriptors():
    """No crash, no spin, health answers, and all is as before as soon as they have left."""
    assert raise_file_limit() > 5500, "this test needs to open 5,000 connections"
    with Daemon({"workers": 2}, descriptors=1024) as daemon:
        pids = daemon.workers()
        crowd = Crowd(daemon.address, 5000, compose("GET", "/v1/models"))
        healthy = 0

        def all_heard():
            nonlocal healthy
            crowd.turn()
            # between its connection and its request so many may come that it is pushed out
            assert heard(daemon, "GET", "/health", in_s=64 * 20e-6).status == 200
            healthy += 1
            return len(crowd.answers) + crowd.ended >= 5000

        eventually(all_heard, timeout=60)
        assert healthy >= 1
        kept, refused = crowd.count(200), crowd.count(503)
        # what proc/capacity.h says of 1024: 832 descriptors for clients, less what is open anyway
        assert 1100 <= kept <= 1194 and refused >= 5000 - kept - 10, (kept, refused, crowd.ended)
        for _ in range(5):
            assert heard(daemon, "GET", "/health/ready").status == 200
        metrics = daemon.metrics()
        assert metrics.total("optiroute_connections") <= 1194
        # all who are in stay so, those who are not are gone: nothing is left to do
        eventually(lambda: crowd.turn() or crowd.ended >= 5000 - kept)
        await_rest(pids)
        crowd.close()
        await_connections(daemon, 0)
        assert daemon.request("GET", "/v1/models").status == 200
        assert daemon.workers() == pids
        assert "ended" not in daemon.log.text()


def test_accept_without_a_descriptor_neither_spins_nor_forgets():
    """What cannot be foreseen: a limit that shrinks under the worker, as when somebody else has
    taken the last file of the machine."""
    with Daemon({"workers": 1, "user": "root"}) as daemon:  # not another user, or we may not
        worker, = daemon.workers()
        usual = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        used = 1 + max(int(name) for name in os.listdir(f"/proc/{worker}/fd"))

        def allow(count):
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (count, usual[1]))

        allow(used)  # one is left, and it is kept for this
        for _ in range(5):
            with daemon.connect() as client:
                assert_busy(client.read_answer())
        await_shed(daemon, 5, "descriptors")
        allow(3)  # and now not even that
        waiting = [daemon.connect() for _ in range(3)]
        for client in waiting:
            client.send(compose("GET", "/health"))
        daemon.log.wait_for("cannot accept connections: Too many open files; trying every 100 ms")
        await_rest([worker])
        lines = len(daemon.log.lines)
        allow(usual[0])
        for client in waiting:
            try:
                assert client.read_answer().status == 200
            except Closed:  # the one that was taken while there was no descriptor to say so
                pass
            client.close()
        assert daemon.request("GET", "/health").status == 200
        assert len(daemon.log.lines) <= lines + 1 and daemon.workers() == [worker]


# -- slow clients ----------------------------------------------------------------------------------

def test_half_sent_heads_are_cut_and_keep_nobody_waiting():
    """A thousand here, for three seconds; tests/stress/slowloris.py has 5,000 and the usual ten. Would
    they keep others waiting, it would be for most of the time; an answer or two may find the machine busy."""
    raise_file_limit()
    with Daemon({"limits": {"header_timeout": "3s"}}) as daemon:
        began = time.monotonic()
        crowd = Crowd(daemon.address, 1000, b"GET /v1/models HTTP/1.1\r\nHost: ")
        times = []
        with daemon.connect() as client:
            while crowd.ended < 1000:
                crowd.turn(0.001)
                sent = time.monotonic()
                assert client.request("POST", "/generate", {"prompt": "in between"}).status == 200
                times.append(time.monotonic() - sent)
                assert time.monotonic() - began < 3 + 1 + PATIENCE
        assert crowd.count(408) == 1000
        assert sum(one for one in times if one > 1) < (time.monotonic() - began) / 2, times
        crowd.close()


# -- a worker that cannot live ---------------------------------------------------------------------

def test_a_worker_that_ends_at_its_start_does_not_take_the_machine_along():
    """It needs a descriptor and gets none, which is not the configuration's fault: it is tried again,
    less and less often, hardly heard, hardly felt; and once the cause is gone all is well."""
    quiet = environment()  # without descriptors LeakSanitizer finds nothing but that
    quiet["ASAN_OPTIONS"] = quiet.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    with Daemon({"workers": 2}, env=quiet) as daemon:
        usual = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (3, usual[1]))
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
        daemon.log.wait_for("worker 0.*: Too many open files")
        daemon.log.wait_for("worker .* ended: exit code 1; starting another in 0.2 s")
        lines, began, before = len(daemon.log.lines), time.monotonic(), family_seconds(daemon.pid)
        while time.monotonic() - began < 5:
            assert is_alive(daemon.pid)
            assert len(children(daemon.pid)) <= 3
            time.sleep(0.05)
        took = time.monotonic() - began
        assert (family_seconds(daemon.pid) - before) / took < 0.05 * SLACK
        said = daemon.log.lines[lines:]
        assert len(said) <= took + 5, said  # one a second, but for the first five
        restarts = daemon.metrics().total("optiroute_worker_restarts_total", reason="boot")
        assert 4 <= restarts <= 14  # 0.1, 0.2, 0.4, 0.8, 1.6, 3.2 s in each seat
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, usual)
        eventually(lambda: len(daemon.workers()) == 2)
        eventually(lambda: daemon.generate("back").status == 200)
