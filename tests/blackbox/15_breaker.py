"""The circuit breaker as a whole machine sees it: B1 to B9 (B8 is with the
fault matrix, B10 in tests/unit/gateway/test_breaker.c), reloads, retries, and the concurrency limit.
"""
import datetime
import os
import re
import signal
import struct
import time

import pytest

from mock import Mock
from optiroute import PATIENCE, Daemon, compose, eventually, fakehost, in_parallel, merged
from processes import children, connected_to

HELD = "+delay=600000"  # until the mock is told to release it


@pytest.fixture(scope="module")
def mock():
    with Mock() as running:
        yield running


def settings(mock, workers=2, **changes):
    upstream = merged({
        "type": "openai", "url": mock.url + "/v1", "default_model": "m",
        "allow_unlisted_models": True, "retry": {"attempts": 0},
        "timeouts": {"first_byte": "120s"},  # a probe's lease is as long, and what is held waits
        "breaker": {"failures": 3, "open": "300ms", "max_open": "60s"}}, changes)
    return {"providers": {"up": upstream}, "workers": workers,
            "routes": {"safe": {"cheap": "up", "strong": "up", "fallback": ["small"]}}}


def alone(mock, **changes):
    """With no other provider, so that readiness tells when the circuit lets a probe through."""
    result = settings(mock, **changes)
    result["providers"].update({name: None for name in ("small", "large", "pace", "broken")})
    result["routes"] = {"auto": {"cheap": "up", "strong": "up"}}
    return result


NUMBER = iter(range(10**9))


def ask(daemon, orders="", to="up", fields=()):
    """(status, code or None) of one request on a connection of its own."""
    answer = daemon.generate(f"number {next(NUMBER)}", fields, provider=to, model_id="m" + orders)
    return answer.status, answer.error()["code"] if answer.status != 200 else None


def state(daemon):
    return daemon.metrics().total("llm_circuit_state", provider="up")


def moved(daemon, to):
    return daemon.metrics().total("llm_circuit_transitions_total", provider="up", to=to)


def test_b1_three_failures_of_any_workers_close_the_way_for_all(mock):
    with Daemon(settings(mock, workers=3, breaker={"open": "60s"})) as daemon:
        clients = [daemon.connect() for _ in range(12)]  # spread over the workers by their balance

        def one(client, prompt):
            return client.request("POST", "/generate", {
                "prompt": prompt, "provider": "up", "model_id": "m+status=500"})
        assert [one(client, "first").status for client in clients[:3]] == [502] * 3
        for i, client in enumerate(clients):
            answer = one(client, f"later {i}")
            assert (answer.status, answer.error()["code"]) == (503, "breaker_open")
        for client in clients:
            client.close()
        assert moved(daemon, "open") == 1
        daemon.log.wait_for("circuit open")
        assert daemon.log.text().count("circuit open") == 1


def test_b2_a_success_in_between_starts_counting_anew(mock):
    with Daemon(settings(mock)) as daemon:
        for _ in range(5):
            assert ask(daemon, "+status=500")[0] == 502
            assert ask(daemon, "+status=500")[0] == 502
            assert ask(daemon)[0] == 200
        assert moved(daemon, "open") == 0


def open_it(daemon):
    for _ in range(3):
        assert ask(daemon, "+status=500")[0] == 502
    assert state(daemon) == 2


def wait_until_due(daemon):
    """Until the next request will be the probe; of a daemon with `alone` settings."""
    eventually(lambda: daemon.request("GET", "/health/ready").status == 200)


def test_b3_a_thousand_at_the_deadline_are_one_probe(mock):
    with Daemon(alone(mock)) as daemon:
        open_it(daemon)
        wait_until_due(daemon)
        mock.reset()

        through = []

        def many(number):
            statuses = []
            with daemon.connect(timeout=3 * PATIENCE) as client:
                for i in range(20):
                    answer = client.request("POST", "/generate", {
                        "prompt": f"{number} {i}", "provider": "up", "model_id": "m" + HELD})
                    statuses.append(answer.status)
                    if answer.status == 200:
                        break
            through.append(number)
            return statuses

        def release_the_probe():
            try:
                eventually(lambda: len(through) == 49 and mock.counters()["in_flight"] == 1,
                           2 * PATIENCE, "49 of 50 are not the probe")
            finally:
                mock.release()
            return []
        statuses = [status for some in in_parallel(
            51, lambda number: many(number) if number < 50 else release_the_probe())
            for status in some]
        assert statuses.count(200) == 1 and statuses.count(503) == 49 * 20 == len(statuses) - 1
        assert mock.counters()["requests"] == 1
        assert state(daemon) == 0
        assert moved(daemon, "half_open") == 1


def test_b4_the_next_probe_comes_when_the_killed_prober_is_reaped(mock):
    """And not after its lease of connect + first_byte + 1 s, which is 124 s here."""
    with Daemon(alone(mock)) as daemon:
        open_it(daemon)
        wait_until_due(daemon)
        mock.reset()
        with daemon.connect() as client:
            client.send(compose("POST", "/generate", {
                "prompt": "probe", "provider": "up", "model_id": "m+cut=start+then=hold"}))
            eventually(lambda: mock.counters()["in_flight"] == 1)
            assert ask(daemon) == (503, "breaker_open")
            assert state(daemon) == 1
            # whoever has a connection to the provider; one of them is the prober
            holders = set(connected_to(daemon.workers(), mock.port))
            for pid in holders:
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: not holders & set(children(daemon.pid)), what="they are reaped")
        eventually(lambda: ask(daemon)[0] == 200, what="the next probe")
        assert state(daemon) == 0
        assert moved(daemon, "half_open") == 2


def test_b5_open_and_closed_again_and_again(mock):
    with Daemon(settings(mock, breaker={"open": "5ms"})) as daemon:
        for _ in range(30):
            for _ in range(3):
                assert ask(daemon, "+status=500")[0] == 502
            eventually(lambda: ask(daemon)[0] == 200)
        assert moved(daemon, "open") == moved(daemon, "half_open") == moved(daemon, "closed") == 30


def test_b6_a_success_that_comes_too_late_does_not_close_it(mock):
    with Daemon(settings(mock, breaker={"open": "60s"})) as daemon:
        mock.reset()
        with daemon.connect() as client:
            client.send(compose("POST", "/generate", {
                "prompt": "slow", "provider": "up", "model_id": "m" + HELD}))
            eventually(lambda: mock.counters()["in_flight"] == 1)
            open_it(daemon)
            assert mock.release() == 1
            assert client.read_answer().status == 200
        assert state(daemon) == 2
        assert ask(daemon) == (503, "breaker_open")
        assert daemon.metrics().total("llm_breaker_stale_reports_total", provider="up") == 1


@pytest.mark.parametrize("jump_s", [86400, -86400], ids=["forward", "back"])
def test_b7_a_day_more_or_less_changes_nothing(mock, tmp_path, jump_s):
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("=q", 0))
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and str(path) not in ("/", "/tmp"):
            path.chmod(0o755)
    with Daemon(settings(mock, breaker={"open": "5s"}),
                env=fakehost(FAKEHOST_CLOCK=str(clock))) as daemon:
        began = time.monotonic()
        open_it(daemon)
        with clock.open("r+b") as file:
            file.write(struct.pack("=q", jump_s))
        assert ask(daemon) == (503, "breaker_open")
        eventually(lambda: ask(daemon)[0] == 200)
        assert time.monotonic() - began >= 5
        # and the jump was one: the log's next line is a day off
        closed = daemon.log.wait_for(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\S* .*circuit closed")[1]
        said = datetime.datetime.fromisoformat(closed + "+00:00").timestamp()
        assert abs(said - time.time() - jump_s) < 3600, closed


def test_b9_a_storm_of_refusals_never_opens_it(mock):
    with Daemon(settings(mock, breaker={"failures": 1})) as daemon:
        def storm(number):
            return [ask(daemon, f"+status={status}")[0]
                    for status in (400, 401, 403, 404, 409, 413, 422)]
        for statuses in in_parallel(10, storm):
            assert statuses == [400, 502, 502, 404, 409, 413, 422]
        assert moved(daemon, "open") == 0
        # there is no key: said, but not for every request
        daemon.log.wait_for("wants a key and has none")
        assert daemon.log.text().count("wants a key and has none") <= 2


# -- reload ----------------------------------------------------------------------------------------

def test_a_reload_keeps_the_circuit_unless_the_provider_moves(mock):
    with Daemon(settings(mock, breaker={"open": "60s"})) as daemon, Mock() as other:
        open_it(daemon)
        daemon.reload(merged(daemon.settings, {"limits": {"keepalive": "60s"}}))
        assert ask(daemon) == (503, "breaker_open")
        assert state(daemon) == 2
        daemon.reload(merged(daemon.settings, {"providers": {"up": {"url": other.url + "/v1"}}}))
        eventually(lambda: state(daemon) == 0, what="a circuit of the new place")
        # the old generation hears of its end a moment after the new one serves
        eventually(lambda: ask(daemon)[0] == 200 and other.counters()["answered"] == 1,
                   what="the new place is asked")


def test_a_key_file_is_read_again_on_reload(mock, tmp_path):
    key = tmp_path / "key"
    key.write_text("first-key\n")
    key.chmod(0o600)
    with Daemon(settings(mock, api_key_file=str(key))) as daemon:
        assert ask(daemon)[0] == 200
        assert mock.last()["fields"]["authorization"] == "Bearer first-key"
        key.write_text("second-key\n")
        assert ask(daemon)[0] == 200
        assert mock.last()["fields"]["authorization"] == "Bearer first-key"
        daemon.reload()
        eventually(lambda: ask(daemon)[0] == 200
                   and mock.last()["fields"]["authorization"] == "Bearer second-key")


# -- retries ---------------------------------------------------------------------------------------

def test_a_failure_is_tried_again_and_the_client_hears_nothing_of_it(mock):
    with Daemon(settings(mock, retry={"attempts": 2, "backoff": "20ms"})) as daemon:
        orders = f"+status=500+times=2+tokens={3 + next(NUMBER)}"
        answer = daemon.generate("twice in vain", provider="up", model_id="m" + orders)
        assert answer.status == 200
        line = daemon.access_line(answer.json()["request_id"])
        assert (line["attempts"], line["outcome"]) == (3, "ok")
        metrics = daemon.metrics()
        assert metrics.total("llm_retries_total", provider="up", reason="http_5xx") == 2
        assert metrics.total("llm_requests_total", provider="up", outcome="http_5xx") == 2
        assert metrics.total("llm_requests_total", provider="up", outcome="ok") == 1
        assert mock.counters("m" + orders)["requests"] == 3


def test_retries_count_for_the_circuit_and_end_at_the_fallback(mock):
    with Daemon(settings(mock, retry={"attempts": 2, "backoff": "1ms"},
                         breaker={"open": "60s"})) as daemon:
        mock.reset()
        answer = daemon.generate("thrice in vain", provider="safe", model_id="m+status=500")
        assert answer.status == 502  # the fallback does not offer this model
        assert mock.counters()["requests"] == 3
        assert state(daemon) == 2
        answer = daemon.generate("to the fallback", provider="safe")
        assert answer.json()["actual_provider_name"] == "small"
        assert mock.counters()["requests"] == 3


# -- limits ----------------------------------------------------------------------------------------

def test_max_concurrency_holds_for_all_workers_together(mock):
    with Daemon(settings(mock, workers=3, max_concurrency=5)) as daemon:
        mock.reset()
        refused = []

        def one():
            status, code = ask(daemon, HELD)
            if status != 200:
                refused.append(code)
            return status

        def release_them():
            try:
                eventually(lambda: len(refused) + mock.counters()["in_flight"] == 40,
                           what="40 are under way or refused")
            finally:
                mock.release()
        statuses = in_parallel(41, lambda i: one() if i < 40 else release_them())
        assert set(refused) == {"overloaded"} and len(refused) + statuses.count(200) == 40
        assert 3 <= statuses.count(200) <= 5  # of those who take the last place at once both may lose
        assert mock.counters()["max_in_flight"] <= 5
        assert state(daemon) == 0
        answer = daemon.generate("one more", provider="up")
        assert answer.status == 200


def test_a_client_that_leaves_stops_its_upstream(mock):
    with Daemon(settings(mock)) as daemon:
        mock.reset()
        with daemon.connect() as client:
            client.send(compose("POST", "/generate", {
                "prompt": "nobody waits for this", "provider": "up",
                "model_id": "m+delay=60000"}))
            eventually(lambda: mock.counters()["in_flight"] == 1)
        eventually(lambda: mock.counters()["aborted"] == 1)  # long before its time is over
        line = eventually(lambda: [line for line in daemon.access_lines()
                                   if line["status"] == 499])[0]
        # what was asked has been read, so it is paid for; nothing was delivered
        assert line["outcome"] == "client_gone" and line["estimated"] is True
        assert line["prompt_tokens"] == (len("nobody waits for this") + 3) // 4
        assert line["completion_tokens"] == 0
        metrics = daemon.metrics()
        assert metrics.total("llm_client_aborts_total") == 1
        assert metrics.total("llm_upstream_errors_total", provider="up") == 0
        assert state(daemon) == 0
