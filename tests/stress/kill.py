#!/usr/bin/python3
"""Kill test K1: `tests/stress/kill.py [KILLS] [SEED]`, 5,000 by default; CI does 200.

Four workers, one of which gets SIGKILL every 5 to 20 ms, while clients ask for a few hundred prompts over
and over, some of them anew: reads and writes of the shared cache. An answer's text follows from its
prompt, so each checks itself. Asserted: no request hangs (for 8 s: one that does would do so until its
client gives up after 10), nearly all are over in 2 s, no answer is wrong, no counter ever goes back, the
gauges return to 0, somebody serves again after every kill, and all the money in the access log is in the
totals. (The reverse cannot be exact: a worker may die between the two.) The longest usually takes some
0.05 s; the bounds are those of a machine whose neighbours take it away for a second here and there.
OPTIROUTED names the binary (src/optirouted).
"""
import collections
import json
import os
import pathlib
import random
import signal
import sys
import threading
import time
from decimal import Decimal

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "blackbox"))
from optiroute import Client, Closed, Daemon, assert_not_less, eventually  # noqa: E402
from processes import children, is_alive, proc_name  # noqa: E402

CLIENTS, WORKERS, PROMPTS = 8, 4, 300
SLOW_S, HANG_S, GIVE_UP_S = 2.0, 8.0, 10.0
FRESH = ["Cache-Control: no-cache"]
BROKEN = (OSError, Closed)  # how a killed worker looks to its client
CONFIG = {"workers": WORKERS, "cache": {"size": "1MB"}, "providers": {"quick": {
    "type": "simulated", "default_model": "quick-1", "models": {"quick-1": {"input": 1, "output": 2}},
    "simulated": {"latency": "0ms", "per_token": "0ms", "max_latency": "0ms"}}}}


class Asker(threading.Thread):
    texts = {}  # by prompt: what was said first, and must be said ever after

    def __init__(self, daemon, number, seed):
        super().__init__(daemon=True)
        self.daemon_under_test, self.draw = daemon, random.Random(seed * 1000 + number)
        self.asked = self.failed = self.hits = self.slow = 0
        self.longest_s, self.wrong = 0.0, None
        self.ends = threading.Event()

    def run(self):
        client = None
        while not self.ends.is_set() and self.wrong is None:
            begin = time.monotonic()
            self.asked += 1
            try:
                client = client or Client(self.daemon_under_test.address, timeout=GIVE_UP_S)
                self.ask(client)
            except BROKEN:
                self.failed += 1
                client = None
            except AssertionError as error:
                self.wrong = str(error)
            took_s = time.monotonic() - begin
            self.slow += took_s > SLOW_S
            self.longest_s = max(self.longest_s, took_s)

    def ask(self, client):
        number = self.draw.randrange(PROMPTS)
        prompt = f"prompt {number} " + "x" * (number * 7)
        fields = FRESH if self.draw.random() < 0.3 else []
        answer = client.request("POST", "/generate", {
            "prompt": prompt, "provider": "quick", "max_tokens": 1 + number % 40}, fields)
        assert answer.status == 200, answer
        body = answer.json()
        assert Asker.texts.setdefault(prompt, body["text"]) == body["text"], (prompt, body)
        self.hits += body["cached"]
        if answer.closes():
            raise Closed("told to")


def workers(daemon, dead):
    """Those that live; one that was killed a moment ago may look so."""
    return [pid for pid in children(daemon.pid) if pid not in dead and is_alive(pid) and
            proc_name(pid).startswith("optirouted:w")]


def logged_money(daemon):
    """The sum of the access log, and the lines in it that nobody can read: the kernel lets a process die
    in the middle of a write, at the border of a page."""
    total, torn = Decimal(0), 0
    for line in daemon.access_path.read_text(errors="replace").splitlines():
        try:
            total += json.loads(line, parse_float=Decimal)["cost_usd"] or 0
        except ValueError:
            torn += 1
    return total, torn


def kill_one(daemon, draw, dead):
    victim = draw.choice(eventually(lambda: workers(daemon, dead), HANG_S, "a worker"))
    os.kill(victim, signal.SIGKILL)
    dead.append(victim)


def main():
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    draw = random.Random(seed)
    print(f"seed {seed}")
    with Daemon(CONFIG) as daemon:
        askers = [Asker(daemon, number, seed) for number in range(CLIENTS)]
        for asker in askers:
            asker.start()
        dead = collections.deque(maxlen=100)  # numbers come again some day
        before, looked_s = daemon.metrics(), time.monotonic()
        for _ in range(kills):
            time.sleep(draw.uniform(0.005, 0.020))
            kill_one(daemon, draw, dead)
            if time.monotonic() - looked_s > 1:
                now = daemon.metrics()
                assert_not_less(before, now)
                before, looked_s = now, time.monotonic()
        for asker in askers:
            asker.ends.set()
        for asker in askers:
            asker.join()
        eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 0,
                   what="nothing is in flight")
        eventually(lambda: daemon.metrics().total("optiroute_worker_restarts_total") == kills,
                   what="each of them is replaced")
        after = daemon.metrics()
        assert_not_less(before, after)
        for name in Asker.texts:  # it still works
            assert daemon.generate(name, provider="quick").status == 200
        spent = daemon.metrics().total("llm_total_cost_usd_total")
        recoveries = after.total("optiroute_cache_shard_recoveries_total")
        daemon.stop()
        logged, torn = logged_money(daemon)
    asked, failed, hits, slow = (sum(getattr(asker, name) for asker in askers)
                                 for name in ("asked", "failed", "hits", "slow"))
    longest_s = max(asker.longest_s for asker in askers)
    wrong = [asker.wrong for asker in askers if asker.wrong]
    print(f"{kills} kills, {recoveries} of them seen to be inside the lock; {asked} requests, {hits} from the cache, "
          f"{failed} broken off, longest {longest_s:.2f} s; {spent} USD in the totals, {logged} in the log, {torn} lines torn")
    assert not wrong, wrong
    assert longest_s < HANG_S, "a request hung"
    assert slow <= max(asked / 1000, 2 * CLIENTS), f"{slow} requests took more than {SLOW_S} s"
    assert logged <= spent, "money that was logged and never counted"
    assert torn <= kills / 100, "torn lines"
    print("all hold")


if __name__ == "__main__":
    main()
