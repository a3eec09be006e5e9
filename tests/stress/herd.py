#!/usr/bin/python3
"""Do identical requests become one? Outside CI: `tests/stress/herd.py [ROUNDS]`.

Five hundred clients over four workers ask the same at once; the upstream takes a second. Asserted in
each of the rounds (default 5): exactly one upstream call, all are answered, p99 under 1.2 s. Then the
same with the leader's worker killed after half a second, whose clients ask again as SDKs do: two
calls, all are answered. Latency is a client's own: from when it sends until it has its answer; that of
the second part is told and not judged. OPTIROUTED names the binary, MOCKLLM the upstream.
"""
import os
import pathlib
import selectors
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "blackbox"))
from mock import Mock  # noqa: E402
from optiroute import Daemon, compose, eventually  # noqa: E402
from processes import connected_to, raise_file_limit  # noqa: E402

CLIENTS, WORKERS, UPSTREAM_MS = 500, 4, 1000
KILL_AFTER_S, P99_S = 0.5, 1.2


def config(mock):
    return {"workers": WORKERS, "access_log": "", "providers": {"up": {
        "type": "openai", "url": mock.url + "/v1", "default_model": "m",
        "models": {"m": {"input": 1, "output": 2}}, "allow_unlisted_models": True}}}


class Asker:
    """One client: sends, and waits for the end of its answer; a lost connection is asked again."""

    def __init__(self, daemon, request):
        self.daemon, self.request = daemon, request
        self.client, self.taken_s, self.again = daemon.connect(), None, 0

    def send(self):
        self.since = time.monotonic()
        self.client.send(self.request)

    def is_answered(self):
        """After something came."""
        data = b""
        try:
            data = self.client.socket.recv(65536)
        except ConnectionError:
            pass
        if data:
            self.taken_s = time.monotonic() - self.since
            assert data.startswith(b"HTTP/1.1 200 "), data
            return True
        self.client.close()
        self.client = self.daemon.connect()
        self.client.send(self.request)
        self.again += 1
        return False


def herd(daemon, mock, model, kills):
    body = {"model": f"up/{model}", "messages": [{"role": "user", "content": "the same"}]}
    request = compose("POST", "/v1/chat/completions", body)
    askers = [Asker(daemon, request) for _ in range(CLIENTS)]
    waiting = selectors.DefaultSelector()
    for asker in askers:
        waiting.register(asker.client.socket, selectors.EVENT_READ, asker)
    begun = time.monotonic()
    for asker in askers:
        asker.send()
    killed = not kills
    left = CLIENTS
    while left > 0:
        timeout = 30 if killed else max(0, begun + KILL_AFTER_S - time.monotonic())
        ready = waiting.select(timeout)
        if not killed and time.monotonic() - begun >= KILL_AFTER_S:
            leader, = connected_to(daemon.workers(), mock.port)
            os.kill(leader, signal.SIGKILL)
            killed = True
        assert ready or time.monotonic() - begun < 30, f"{left} are not answered"
        for key, _ in ready:
            waiting.unregister(key.fileobj)
            if key.data.is_answered():
                left -= 1
            else:
                waiting.register(key.data.client.socket, selectors.EVENT_READ, key.data)
    for asker in askers:
        asker.client.close()
    times = sorted(asker.taken_s for asker in askers)
    calls = mock.counters(model)["requests"]
    again = sum(asker.again for asker in askers)
    print(f"{CLIENTS} askers, {calls} calls, {again} asked again: p50 {times[CLIENTS // 2]:.3f} s, "
          f"p99 {times[CLIENTS * 99 // 100]:.3f} s, longest {times[-1]:.3f} s", flush=True)
    return calls, times[CLIENTS * 99 // 100]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    raise_file_limit()
    with Mock() as mock, Daemon(config(mock)) as daemon:
        for number in range(rounds):
            calls, p99 = herd(daemon, mock, f"m{number}+delay={UPSTREAM_MS}", False)
            assert calls == 1 and p99 < P99_S, "more than one call, or too long"
        daemon.assert_clean()
    for _ in range(rounds):
        with Mock() as mock, Daemon(config(mock)) as daemon:  # no connection is kept from before
            calls, _ = herd(daemon, mock, f"m+delay={UPSTREAM_MS}", True)
            assert calls == 2
            eventually(lambda: len(daemon.workers()) == WORKERS, what="a new worker")
    print("one call for all, two when the leader is killed")


if __name__ == "__main__":
    main()
