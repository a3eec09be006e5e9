"""What is written down, and what never is."""
import os
import re
import signal
from datetime import datetime, timedelta, timezone

from optiroute import Daemon, compose, environment, eventually, run

MEMBERS = ["time", "request_id", "tenant", "client", "method", "path", "status", "route", "reason",
           "provider", "model", "cache", "outcome", "attempts", "prompt_tokens",
           "completion_tokens", "cached_tokens", "estimated", "cost_usd", "saved_usd", "upstream_s",
           "overhead_s", "duration_s"]
MARKER = "marker-7f3a-never-logged"


def lines_of(daemon, *ids):
    """The access lines of these requests, in this order."""
    return [daemon.access_line(request_id) for request_id in ids]


def test_a_line_says_everything(daemon):
    fields = ["x-request-id: whole-line"]
    body = daemon.generate("a whole line", fields, max_tokens=5).json()
    line, = lines_of(daemon, "whole-line")
    assert list(line) == MEMBERS
    assert line["tenant"] == "default"
    assert (line["method"], line["path"], line["status"]) == ("POST", "/generate", 200)
    assert (line["route"], line["reason"]) == ("auto", body["route_reason"])
    assert (line["provider"], line["model"]) == ("small", "small-1")
    assert (line["cache"], line["outcome"], line["estimated"]) == ("miss", "ok", False)
    assert line["prompt_tokens"] == body["usage"]["prompt_tokens"]
    assert line["completion_tokens"] == body["usage"]["completion_tokens"]
    assert (line["cost_usd"], line["saved_usd"]) == (body["cost"], body["saved"])
    assert 0.002 <= line["upstream_s"] <= line["duration_s"] < 10
    assert 0 < line["overhead_s"] < line["duration_s"]
    assert line["client"] == "127.0.0.1"
    raw = daemon.access_path.read_text()
    assert re.search(r'"cost_usd":\d+\.\d{9},"saved_usd":\d+\.\d{9},"upstream_s":\d+\.\d{9}', raw)


def test_time_is_when_the_request_came(daemon):
    daemon.generate("when", ["x-request-id: clock"])
    line, = lines_of(daemon, "clock")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    age = datetime.now(timezone.utc) - datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_requests_of_every_end_are_logged(daemon):
    def named(request_id):
        return [f"x-request-id: {request_id}"]
    daemon.generate("twice")
    daemon.generate("twice", named("hit"))
    daemon.generate("x", named("bypass") + ["Cache-Control: no-store"])
    daemon.generate("x", named("failed"), provider="broken")
    daemon.generate("x", named("refused"), provider="nobody")
    daemon.generate("x", named("streamed"), stream=True)
    daemon.request("GET", "/health", fields=named("health"))
    daemon.request("HEAD", "/health", fields=named("head"))
    daemon.request("OPTIONS", "/generate", fields=named("options"))
    daemon.request("GET", "/secret-path?secret-query", fields=named("nowhere"))
    daemon.request("BREW", "/generate", fields=named("brew"))
    daemon.request("POST", "/generate", b"", named("empty"))
    daemon.request("POST", "/generate", b"x", named("media") + ["Content-Type: text/plain"])
    expected = {
        "hit": ("POST", "/generate", 200, "hit"), "bypass": ("POST", "/generate", 200, "bypass"),
        "failed": ("POST", "/generate", 502, "miss"), "refused": ("POST", "/generate", 400, None),
        "streamed": ("POST", "/generate", 200, "miss"), "health": ("GET", "/health", 200, None),
        "head": ("HEAD", "/health", 200, None), "options": ("OPTIONS", "/generate", 204, None),
        "nowhere": ("GET", "other", 404, None), "brew": ("other", "other", 501, None),
        "empty": ("POST", "/generate", 400, None), "media": ("POST", "/generate", 415, None),
    }
    for request_id, values in expected.items():
        line, = lines_of(daemon, request_id)
        assert list(line) == MEMBERS
        assert tuple(line[key] for key in ("method", "path", "status", "cache")) == values
    hit, failed, refused, health = lines_of(daemon, "hit", "failed", "refused", "health")
    assert hit["cost_usd"] == 0 and hit["saved_usd"] > 0 and hit["outcome"] is None
    assert (failed["cost_usd"], failed["outcome"]) == (0, "simulated_failure")
    assert failed["prompt_tokens"] is None
    for line in (refused, health):
        assert [line[key] for key in ("route", "reason", "provider", "model", "outcome",
                                      "prompt_tokens", "cost_usd")] == [None] * 7
    assert "secret-" not in daemon.access_path.read_text()


def test_broken_requests_are_logged(daemon):
    with daemon.connect() as client:
        client.send(b"GET /health HTTP/1.1\nHost: x\n\n")
        request_id = client.read_answer().field("x-request-id")
    line, = lines_of(daemon, request_id)
    assert (line["method"], line["path"], line["status"]) == ("other", "other", 400)


def test_prompts_answers_and_keys_are_never_logged():
    """A marker in every place a client or an operator can put a secret."""
    providers = {"keyed": {"type": "openai", "default_model": "m", "simulate_without_key": True,
                           "api_key_env": "MARKED_KEY", "url": "http://127.0.0.1:1/v1"}}
    with Daemon({"error_log": "stderr"}, env=environment(OTHER=MARKER)) as daemon:
        answer = daemon.generate(f"my password is {MARKER}",
                                 [f"Authorization: Bearer {MARKER}", f"Cookie: {MARKER}",
                                  f"X-Api-Key: {MARKER}", f"User-Agent: {MARKER}"], user=MARKER)
        assert answer.status == 200
        words = answer.json()["text"]
        for body in ({"prompt": MARKER, "provider": MARKER}, {"prompt": MARKER, "model_id": MARKER},
                     {"prompt": MARKER, "provider": "broken"}, f'{{"prompt":"{MARKER}',
                     {"prompt": MARKER, "stream": True}):
            daemon.request("POST", "/generate", body, [f"Authorization: Bearer {MARKER}"])
        daemon.request("GET", f"/{MARKER}?key={MARKER}")
        with daemon.connect() as client:
            client.send(f"GET /{MARKER} HTTP/1.1\r\nA: {MARKER}\n\n".encode())
            client.read_answer()
        with daemon.connect() as client:
            client.send(compose("POST", "/generate", {"prompt": MARKER, "provider": "pace",
                                                      "max_tokens": 20000}))
            eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 1)
            os.kill(daemon.workers()[0], signal.SIGABRT)
            os.kill(daemon.workers()[-1], signal.SIGABRT)
            eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 0)
        daemon.reload()
        metrics = daemon.metrics_text()
        daemon.stop()
        for text in (daemon.access_path.read_text(), daemon.log.text(), metrics):
            assert MARKER not in text
            assert words not in text
    # and a key that is set is not shown by any command either
    with Daemon({"providers": providers}, start=False) as daemon:
        for option in ("-t", "-T"):
            result = run(option, "-c", daemon.config_path, env=environment(MARKED_KEY=MARKER))
            assert MARKER not in result.stdout + result.stderr


def test_error_log_lines_have_time_level_and_writer(daemon):
    pattern = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warn|error) "
                         r"(master|worker \d+|metrics)\[\d+\]: \S.*")
    lines = daemon.log.text().splitlines()
    assert len(lines) >= 3
    for line in lines:
        assert pattern.fullmatch(line), line


def test_levels_tell_bad_from_usual(daemons):
    daemon = daemons()
    assert not re.search(r"Z (warn|error) ", daemon.log.text()), daemon.log.text()
    victim = daemon.workers()[0]
    os.kill(victim, signal.SIGKILL)
    daemon.log.wait_for(rf"Z error master\[{daemon.pid}\]: worker 0 .*pid {victim}.*SIGKILL")
    daemon.write_config("nonsense: 1\n")
    daemon.send_signal(signal.SIGHUP)
    daemon.log.wait_for(r"Z error master\[\d+\]: .*:1:1: unknown key `nonsense`")


def test_an_access_log_that_cannot_be_opened_stops_the_start():
    with Daemon({"access_log": "/nonexistent/access.log"}, start=False) as daemon:
        result = run("-f", "-c", daemon.config_path)
        assert result.returncode in (1, 2)
        assert "/nonexistent/access.log" in result.stderr


def test_a_full_disk_costs_lines_and_nothing_else():
    with Daemon({"access_log": "/dev/full"}) as daemon:
        for i in range(10):
            assert daemon.generate(f"unlogged {i}").status == 200
        eventually(lambda: daemon.metrics().total("optiroute_log_dropped_total") == 10)
        daemon.log.wait_for(r"error worker \d\[\d+\]: cannot write the access log /dev/full: "
                            r"No space left on device; [1-9]\d* lines are lost here so far")
