#!/usr/bin/python3
"""How soon is a killed worker back, and what is lost? Outside CI: `tests/stress/respawn.py [KILLS]`.

One worker, so that its absence is felt: clients ask for cached answers on kept connections while it
is killed (SIGKILL) again and again. After each kill a fresh connection asks for /health: the time
until its answer is the time until somebody serves again. Asserted: the 99th percentile is below
100 ms, only requests that were in flight at a kill failed, every cached answer is still there and
the totals did not move. OPTIROUTED names the binary (src/optirouted).
"""
import os
import pathlib
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "blackbox"))
from optiroute import Closed, Daemon, eventually  # noqa: E402
from processes import children, proc_name  # noqa: E402

CLIENTS = 8
PROMPTS = 200
BOUND_S = 0.100
BROKEN = (OSError, AssertionError, Closed) # how a killed worker looks to its client


class Asker(threading.Thread):
    """Asks for cached answers until told to end; a broken connection is a failed request."""

    def __init__(self, daemon, number):
        super().__init__(daemon=True)
        self.daemon_under_test, self.number = daemon, number
        self.asked = self.failed = self.wrong = 0
        self.ends = threading.Event()

    def run(self):
        client = None
        while not self.ends.is_set():
            self.asked += 1
            try:
                client = client or self.daemon_under_test.connect()
                prompt = f"prompt {(self.asked * 31 + self.number) % PROMPTS}"
                answer = client.request("POST", "/generate", {"prompt": prompt})
                self.wrong += answer.status != 200 or not answer.json()["cached"]
            except BROKEN:
                self.failed += 1
                client = None


def worker_of(daemon):
    while True:
        found = [pid for pid in children(daemon.pid) if proc_name(pid).startswith("optirouted:w")]
        if found:
            return found[0]


def kill_once(daemon):
    """Kills the worker; seconds until a new connection is answered."""
    victim = worker_of(daemon)
    begin = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    while True:
        try:
            if daemon.request("GET", "/health").status == 200 and worker_of(daemon) != victim:
                return time.monotonic() - begin
        except BROKEN:
            pass


def main():
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with Daemon({"workers": 1}) as daemon:
        for number in range(PROMPTS):
            assert daemon.generate(f"prompt {number}").status == 200
        cost = daemon.metrics().total("llm_total_cost_usd_total")
        askers = [Asker(daemon, number) for number in range(CLIENTS)]
        for asker in askers:
            asker.start()
        times = []
        for _ in range(kills):
            so_far = sum(asker.asked for asker in askers)
            eventually(lambda: sum(asker.asked for asker in askers) > so_far + 20 * CLIENTS)
            times.append(kill_once(daemon))
        times.sort()
        for asker in askers:
            asker.ends.set()
        for asker in askers:
            asker.join()
        after = daemon.metrics()
        hits = sum(daemon.generate(f"prompt {number}").json()["cached"] for number in range(PROMPTS))
    asked, failed, wrong = (sum(getattr(asker, name) for asker in askers)
                            for name in ("asked", "failed", "wrong"))
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    print(f"{kills} kills: back after median {times[len(times) // 2] * 1e3:.1f} ms, "
          f"p99 {p99 * 1e3:.1f} ms, most {times[-1] * 1e3:.1f} ms")
    print(f"{asked} requests, {failed} failed (at most {kills * CLIENTS} were in flight at a kill), "
          f"{wrong} wrong; {hits} of {PROMPTS} answers still cached")
    assert p99 < BOUND_S, "p99"
    assert failed <= kills * CLIENTS, "more failed than were in flight"
    assert wrong == 0 and hits == PROMPTS, "the cache lost something"
    assert after.total("llm_total_cost_usd_total") == cost, "totals moved"
    print("all hold")


if __name__ == "__main__":
    main()
