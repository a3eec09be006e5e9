"""Master, workers and signals: reload, log rotation, stopping, dying."""
import os
import re
import signal
import ssl
import time

import pytest

from mock import Authority, Mock, upstream
from optiroute import PATIENCE, Client, Closed, Daemon, compose, eventually, in_parallel, merged
from processes import are_shut, children, connected_to, doors, is_alive, sockets


HELD = {"provider": "up", "model_id": "plain+delay=600000"}


@pytest.fixture(scope="module")
def mock():
    with Mock() as running:
        yield running


def slow(daemon, ms, prompt="slow", client=None, **members):
    """A connection with a request under way that takes that many milliseconds; or, with HELD, until the
    mock is told."""
    client = client or daemon.connect()
    client.send(compose("POST", "/generate", {"prompt": prompt, "provider": "pace",
                                              "max_tokens": ms, **members},
                        ["Cache-Control: no-store"]))
    return client


def under_way(daemon, count):
    """That many requests of `slow` have come in since the daemon began (gauges follow only once a
    second, counters at once)."""
    eventually(lambda: daemon.metrics().total("llm_cache_events_total", event_type="bypass")
               == count, what=f"{count} requests under way")


# -- HUP -------------------------------------------------------------------------------------------

def test_reload_replaces_the_workers_and_finishes_what_is_under_way(daemons, mock):
    daemon = daemons({"providers": {"up": upstream(mock, "openai")}})
    old = set(daemon.workers())
    with slow(daemon, 1, **HELD) as waiting, daemon.connect() as kept:
        assert kept.request("GET", "/health").status == 200
        under_way(daemon, 1)
        eventually(lambda: mock.counters()["in_flight"] == 1)
        changed = merged(daemon.settings, {"workers": 3, "providers": {
            "added": daemon.settings["providers"]["small"]}})
        daemon.settings = changed
        assert daemon.generate("x", provider="added").status == 400
        daemon.reload(changed)
        answer = kept.request("GET", "/health")  # a kept connection has one more request free, for 5 s
        assert answer.status == 200 and answer.closes()
        assert daemon.generate("x", provider="added").status == 200
        assert mock.release() == 1
        answer = waiting.read_answer()
        assert answer.status == 200 and answer.closes()
    eventually(lambda: old.isdisjoint(daemon.workers()) and len(daemon.workers()) == 3)
    metrics = daemon.metrics()
    assert metrics.total("optiroute_config_generation") == 2
    assert metrics.total("optiroute_config_last_reload_successful") == 1
    assert metrics.total("optiroute_workers") == 3
    assert metrics.total("optiroute_worker_restarts_total") == 0, "nobody died"


def test_reload_keeps_the_cache(daemons):
    daemon = daemons()
    daemon.generate("kept over a reload")
    daemon.reload()
    assert daemon.generate("kept over a reload").json()["cached"] is True


def test_reload_with_another_route_does_not_serve_its_old_answers(daemons):
    daemon = daemons()
    assert daemon.generate("changing").json()["routed_to"] == "small"
    daemon.reload(merged(daemon.settings, {"routes": {"auto": {"cheap": "pace"}}}))
    body = daemon.generate("changing", max_tokens=100).json()
    assert (body["routed_to"], body["cached"]) == ("pace", False)


@pytest.mark.parametrize("broken", ["lisen: x\n", "listen: [\n", "",
                                    "routes: {auto: {cheap: no}}\n"],
                         ids=["unknown key", "syntax", "file is gone", "dangling"])
def test_reload_of_a_broken_file_changes_nothing(daemons, broken):
    daemon = daemons()
    before = daemon.workers()
    start = len(daemon.log.lines)
    if broken == "":
        daemon.config_path.unlink()
    else:
        daemon.write_config(broken)
    daemon.send_signal(signal.SIGHUP)
    eventually(lambda: daemon.metrics().total("optiroute_config_last_reload_successful") == 0)
    assert daemon.workers() == before
    assert daemon.metrics().total("optiroute_config_generation") == 1
    daemon.log.wait_for(re.escape(str(daemon.config_path)), start)
    assert daemon.generate("still here", provider="large").status == 200
    daemon.reload(daemon.settings)
    assert daemon.metrics().total("optiroute_config_last_reload_successful") == 1


def test_reload_names_keys_that_need_a_restart(daemons):
    daemon = daemons()
    start = len(daemon.log.lines)
    daemon.reload(merged(daemon.settings, {"cache": {"size": "16MB"}, "listen": ["127.0.0.1:1"]}))
    daemon.log.wait_for(r"only a restart brings into force: listen, cache.size", start)
    assert daemon.generate("as before").status == 200


def test_a_renewed_certificate_comes_into_force_with_a_reload(tmp_path):
    """New connections get the new one; connections that are open go on; a broken one changes
    nothing."""
    authority = Authority(tmp_path)
    first, second = authority.good(), authority.self_signed()
    served = [tmp_path / "served.pem", tmp_path / "served.key"]

    def put(certificate):
        for path, source in zip(served, (certificate.certificate, certificate.key)):
            path.write_bytes(source.read_bytes())

    def shown(daemon):
        with Client(daemon.address, tls=True) as client:
            assert client.request("GET", "/health").status == 200
            return client.socket.getpeercert(binary_form=True)

    def is_from(certificate):
        return ssl.PEM_cert_to_DER_cert(certificate.certificate.read_text())

    put(first)
    with Daemon({"tls": {"certificate": str(served[0]), "key": str(served[1])}}) as daemon:
        assert shown(daemon) == is_from(first)
        kept = Client(daemon.address, tls=True)
        assert kept.request("GET", "/health").status == 200
        put(second)
        assert shown(daemon) == is_from(first)
        daemon.reload()
        assert kept.request("GET", "/health").status == 200
        kept.close()
        assert shown(daemon) == is_from(second)
        served[1].write_text("no key")
        start = len(daemon.log.lines)
        daemon.send_signal(signal.SIGHUP)
        daemon.log.wait_for("served.key|tls", start)
        assert shown(daemon) == is_from(second)


def test_many_reloads_under_load_fail_no_request(daemons):
    daemon = daemons()
    counts, done = [0] * 8, []

    def one(i):
        client = daemon.connect()
        while not done:
            answer = client.request("POST", "/generate", {"prompt": f"{i} {counts[i]}"})
            assert answer.status == 200
            counts[i] += 1
            if answer.closes():
                client.close()
                client = daemon.connect()
        client.close()

    def reloads():
        try:
            for _ in range(5):
                before = list(counts)
                daemon.reload()
                eventually(lambda: all(now > then for now, then in zip(counts, before)),
                           what="an answer for everybody")
        finally:
            done.append(True)

    in_parallel(9, lambda i: reloads() if i == 8 else one(i))
    assert daemon.metrics().total("optiroute_config_generation") == 6


# -- USR1 ------------------------------------------------------------------------------------------

def test_log_rotation_loses_no_line(daemons):
    daemon = daemons()
    asked, kept, done = [], [], []

    def ask(i):
        with daemon.connect() as client:
            while not done:
                asked.append(client.request("GET", "/health").field("x-request-id"))

    def rotate():
        try:
            for number in range(5):
                enough = len(asked) + 20
                eventually(lambda: len(asked) > enough and daemon.access_lines(),
                           what="a line in the fresh log")
                kept.append(daemon.access_path.with_name(f"rotated.{number}"))
                daemon.access_path.rename(kept[-1])
                daemon.send_signal(signal.SIGUSR1)
                eventually(daemon.access_path.exists, what="a fresh log")
        finally:
            done.append(True)

    in_parallel(5, lambda i: rotate() if i == 4 else ask(i))
    daemon.stop()
    text = "".join(path.read_text() for path in kept) + daemon.access_path.read_text()
    written = re.findall(r'"request_id":"([^"]+)"', text)
    assert len(asked) > 100
    assert sorted(written) == sorted(asked)
    assert text.count("\n") == len(written)


# -- stopping --------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_quit_finishes_requests_in_flight(daemons, number):
    daemon = daemons()
    entrance = doors(daemon.pid)
    assert len(entrance) == 2, "for clients and for metrics"
    with slow(daemon, 1000) as plain, slow(daemon, 1000, stream=True) as stream, \
            daemon.connect() as idle:
        assert idle.request("GET", "/health").status == 200
        under_way(daemon, 2)
        daemon.send_signal(number)
        idle.assert_closed()
        assert plain.read_answer().status == 200
        assert stream.read_answer().body.endswith(b"data: [DONE]\n\n")
    assert daemon.wait() == 0
    assert are_shut(entrance)
    assert len(daemon.access_lines()) == 3


def test_shutdown_timeout_ends_what_does_not_finish(daemons):
    daemon = daemons({"limits": {"shutdown_timeout": "300ms"}})
    with slow(daemon, 30000) as plain, slow(daemon, 30000, stream=True) as stream:
        under_way(daemon, 2)
        started = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        answer = plain.read_answer()
        assert answer.status == 503
        assert answer.error()["code"] == "shutdown"
        answer = stream.read_answer()
        assert answer.status == 503, "nothing of the stream was sent yet"
        assert 0.3 <= time.monotonic() - started < 10
    assert daemon.wait() == 0


def test_shutdown_breaks_a_stream_with_an_error_event(daemons, mock):
    daemon = daemons({"limits": {"shutdown_timeout": "300ms"},
                      "providers": {"up": upstream(mock, "openai")}})
    with slow(daemon, 1, stream=True, provider="up", model_id="plain+idle=3") as stream:
        assert stream.read_head().status == 200  # it has begun
        assert stream.read_chunk().startswith(b"data: ")
        daemon.send_signal(signal.SIGTERM)
        rest = stream.read_to_end()
        assert b'data: {"error":{' in rest and b"[DONE]" not in rest
        assert not rest.endswith(b"0\r\n\r\n"), "the last chunk would say that all is well"
    assert daemon.wait() == 0


def test_readiness_fails_during_drain_delay_while_it_still_serves(daemons):
    daemon = daemons({"limits": {"drain_delay": "6s"}})
    started = time.monotonic()
    daemon.send_signal(signal.SIGTERM)
    eventually(lambda: daemon.request("GET", "/health/ready").status == 503)
    answer = daemon.request("GET", "/health/ready")
    assert answer.error()["code"] == "draining"
    assert answer.field("retry-after") == "1"
    assert daemon.request("GET", "/health").status == 200
    assert daemon.generate("a late one").status == 200
    assert daemon.wait() == 0
    assert time.monotonic() - started >= 6


def test_term_twice_ends_at_once(daemons):
    daemon = daemons({"limits": {"drain_delay": "60s", "shutdown_timeout": "60s"}})
    with slow(daemon, 50000) as client:
        under_way(daemon, 1)
        daemon.send_signal(signal.SIGTERM)
        daemon.log.wait_for("told to end")
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0  # long before the minute is over
        with pytest.raises(Closed):
            client.read_answer()


def test_children_are_gone_when_the_master_ends(daemons):
    daemon = daemons()
    pids = children(daemon.pid)
    assert len(pids) == 3
    daemon.stop()
    assert not any(is_alive(pid) for pid in pids)


# -- dying -----------------------------------------------------------------------------------------

def test_a_killed_worker_takes_only_its_own_requests_along(daemons, mock):
    daemon = daemons({"workers": 3, "providers": {"up": upstream(mock, "openai")}})
    asked = 0
    for victim in daemon.workers():
        clients, own = [], []
        while not any(own) or all(own):  # on a busy machine some may have been quicker than others
            clients += [slow(daemon, 1, f"{victim} {asked + i}", **HELD) for i in range(12)]
            asked += 12
            under_way(daemon, asked)
            own = [bool(connected_to([victim], client.socket.getsockname()[1])) for client in clients]
        eventually(lambda: mock.counters()["in_flight"] == len(clients), what="all of them upstream")
        start = len(daemon.log.lines)
        os.kill(victim, signal.SIGKILL)
        assert daemon.request("GET", "/health").status == 200
        eventually(lambda: mock.counters()["in_flight"] == len(clients) - sum(own))
        mock.release()
        lost = 0
        for client in clients:
            with client:
                try:
                    assert client.read_answer().status == 200
                except Closed:
                    lost += 1
        assert lost == sum(own), "the others answered theirs"
        match = daemon.log.wait_for(rf"worker \d+ \(slot \d+, pid {victim}, generation 1, "
                                    r"up \d+\.\d{3} s\) ended: signal 9 \(SIGKILL\)", start)
        assert match
        eventually(lambda: len(daemon.workers()) == 3 and victim not in daemon.workers())
        assert daemon.generate(f"after {victim}").status == 200
    assert daemon.metrics().total("optiroute_worker_restarts_total", reason="signal") == 3
    eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 0)


def test_respawn_is_immediate_after_kill(daemons):
    """By the master's own word; how long it takes is measured elsewhere (tests/stress/respawn.py)."""
    daemon = daemons({"workers": 1})
    for _ in range(5):
        victim, = eventually(daemon.workers)
        start = len(daemon.log.lines)
        os.kill(victim, signal.SIGKILL)
        daemon.log.wait_for(rf"pid {victim}, .* ended: signal 9 \(SIGKILL\); starting another$", start)
        assert daemon.request("GET", "/health").status == 200


def test_a_worker_that_keeps_dying_by_itself_is_started_ever_later(daemons):
    """0.1 s, then 0.2, 0.4 ...: it dies within its first second by its own fault. A second may pass
    before we get to it: then no wait is due, and none is forgotten."""
    daemon = daemons({"workers": 1})
    waits = []
    for _ in range(20):
        victim = eventually(daemon.workers)[0]
        assert daemon.request("GET", "/health").status == 200  # it is ready
        start = len(daemon.log.lines)
        os.kill(victim, signal.SIGABRT)
        match = daemon.log.wait_for(rf"pid {victim}, .* up (\d+\.\d+) s\) ended: signal 6 "
                                    r"\(SIGABRT\).*; starting another(?: in (\d+\.\d) s)?", start)
        if match[2] is not None or float(match[1]) < 1:
            waits.append(match[2])
        if len(waits) == 4:
            break
    assert waits == ["0.1", "0.2", "0.4", "0.8"]
    assert is_alive(daemon.pid)
    assert daemon.request("GET", "/health").status == 200


def test_kill_9_of_the_master_ends_the_workers_and_frees_the_port():
    with Daemon(start=False) as daemon:
        daemon.start()
        pids, entrance = children(daemon.pid), doors(daemon.pid)
        assert len(entrance) == 2, "for clients and for metrics"
        client = slow(daemon, 60000)
        under_way(daemon, 1)
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.process.wait()
        eventually(lambda: not any(is_alive(pid) for pid in pids), what="their end, long before its")
        assert are_shut(entrance)
        client.close()
        daemon.assert_clean()
        daemon.process = None


def test_a_stopped_worker_does_not_stop_the_others(daemons):
    daemon = daemons()
    first, second = daemon.workers()
    os.kill(first, signal.SIGSTOP)
    try:
        def one(i):
            with daemon.connect() as client:
                return client.request("POST", "/generate", {"prompt": f"beside {i}"}).status
        assert in_parallel(20, one) == [200] * 20
    finally:
        os.kill(first, signal.SIGCONT)
    eventually(lambda: daemon.request("GET", "/health").status == 200)


@pytest.mark.parametrize("count", [8, 64])
def test_connections_are_spread_over_the_workers(daemons, count):
    """Neither of two has more than 70 % of the kept connections, also when all have left and as many
    come back at once; but for once in five times, for one that was not run for a while leaves its
    share to the other."""
    daemon = daemons({"workers": 2})
    own = {pid: len(sockets(pid)) for pid in daemon.workers()}

    def shares():
        return [len(sockets(pid)) - before for pid, before in own.items()]

    rounds = []
    for _ in range(5):
        clients = [daemon.connect() for _ in range(count)]
        for client in clients:
            assert client.request("GET", "/health").status == 200
        rounds.append(shares())
        assert sum(rounds[-1]) == count
        for client in clients:
            client.close()
        eventually(lambda: shares() == [0, 0], what="all of them closed")
    assert sum(max(one) > 0.7 * count for one in rounds) <= 1, rounds


def test_zombies_are_reaped(daemons):
    daemon = daemons({"workers": 1})
    for _ in range(3):
        victim = eventually(daemon.workers)[0]
        os.kill(victim, signal.SIGTERM)
        eventually(lambda: daemon.workers() not in ([], [victim]))
    eventually(lambda: len(children(daemon.pid)) == 2, PATIENCE, "one worker, one metrics worker")
    with Client(daemon.address) as client:
        assert client.request("GET", "/health").status == 200
