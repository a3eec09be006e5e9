#!/usr/bin/python3
"""Does a reload lose anything? Outside CI: `tests/stress/reload.py [RELOADS]`.

The configuration is loaded anew every half second, twenty times, while wrk asks for cached answers on
kept connections (which obeys `Connection: close`), others open a connection for each request, and
others read streams that outlast a generation. Then the same with a broken file. Asserted: no request
failed, no stream lost a word, at least 100,000 requests were sent, the totals are the sum of what the
clients were told, and a broken file leaves the same processes. OPTIROUTED names the binary
(src/optirouted).
"""
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from decimal import Decimal

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "blackbox"))
from optiroute import Daemon, eventually, stream_events  # noqa: E402
from processes import children  # noqa: E402

PERIOD_S = 0.5
OPENERS, READERS = 2, 4
LEAST_REQUESTS = 100000
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"prompt": "kept"}'
"""
# A word each 20 ms: a stream of a hundred words sees four reloads.
CONFIG = {"workers": 2, "cache": {"size": "16MB"}, "providers": {"slow": {
    "type": "simulated", "default_model": "slow-1", "per_second": "0.001",
    "simulated": {"latency": "20ms", "per_token": "20ms", "max_latency": "60s"}}}}


class Client(threading.Thread):
    """Does one thing again and again until told to end; the first failure is kept."""

    def __init__(self, daemon, number):
        super().__init__(daemon=True)
        self.daemon_under_test, self.number = daemon, number
        self.done, self.missed, self.cost, self.failure = 0, 0, Decimal(0), None
        self.ends = threading.Event()

    def run(self):
        try:
            while not self.ends.is_set():
                self.once()
                self.done += 1
        except BaseException as error:  # said at the end
            self.failure = error

    def end(self):
        self.ends.set()
        self.join()
        assert self.failure is None, f"{type(self).__name__}: {self.failure!r}"
        return self


class Opener(Client):
    def once(self):
        answer = self.daemon_under_test.request("POST", "/generate", {"prompt": "kept"})
        assert answer.status == 200, answer
        self.missed += not answer.json()["cached"]
        self.cost += answer.json()["cost"]


class Reader(Client):
    """Of streams that are under way at a reload."""

    def once(self):
        prompt = f"{self.number} {self.done} words"
        answer = self.daemon_under_test.generate(prompt, provider="slow", stream=True, max_tokens=100)
        events = stream_events(answer.body)
        assert events[-1] == ("data", "[DONE]"), events[-3:]
        cost = re.search(r"cost_usd=([0-9.]+)", str(events))
        self.cost += Decimal(cost[1])


def keep_asking(daemon, seconds):
    script = tempfile.NamedTemporaryFile("w", suffix=".lua")
    script.write(SCRIPT)
    script.flush()
    process = subprocess.Popen(
        ["wrk", "-t2", "-c32", f"-d{seconds}s", "-s", script.name,
         "http://{}:{}/generate".format(*daemon.address)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return process, script


def assert_totals(daemon, told):
    """The totals are the access log's, and what clients were told. wrk asks for what is cached and does
    not look: only a shard's lock that was not to be had in 2 ms (a busy machine) makes it pay."""
    total = daemon.metrics().total("llm_total_cost_usd_total")
    eventually(lambda: sum(line["cost_usd"] for line in daemon.access_lines()) == total,
               what="the sum of the access log")
    timeouts = daemon.metrics().total("optiroute_cache_lock_timeouts_total")
    assert total == told or (total > told and timeouts > 0), (total, told)


def under_load(daemon, times, what):
    """what() every half second; requests that were sent, and the cost that clients were told."""
    clients = [Opener(daemon, i) for i in range(OPENERS)] + [Reader(daemon, i) for i in range(READERS)]
    wrk, script = keep_asking(daemon, int(times * PERIOD_S) + 2)
    for client in clients:
        client.start()
    next_s = time.monotonic()
    for _ in range(times):
        what()
        next_s += PERIOD_S
        time.sleep(max(0, next_s - time.monotonic()))
    output = wrk.communicate()[0]
    script.close()
    for client in clients:
        client.end()
    assert wrk.returncode == 0 and "Socket errors" not in output and "Non-2xx" not in output, output
    timeouts = daemon.metrics().total("optiroute_cache_lock_timeouts_total")
    assert sum(client.missed for client in clients) <= timeouts, "what was cached is"
    kept = int(re.search(r"(\d+) requests in", output)[1])
    assert all(client.done > 0 for client in clients)
    return kept + sum(client.done for client in clients), sum(client.cost for client in clients)


def main():
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with Daemon(CONFIG) as daemon:
        first = daemon.generate("kept").json()["cost"]
        sent, cost = under_load(daemon, times, daemon.reload)
        metrics = daemon.metrics()
        assert metrics.total("optiroute_config_generation") == times + 1
        assert_totals(daemon, first + cost)
        assert sent >= LEAST_REQUESTS * times // 20, sent
        print(f"{times} reloads under {sent} requests: none failed, totals agree")

        eventually(lambda: len(children(daemon.pid)) == 3, what="the old generations are gone")
        before = sorted(children(daemon.pid))
        good = daemon.config_path.read_text()
        daemon.config_path.write_text("workers: [\n")
        refused = [0]

        def broken():
            start = len(daemon.log.lines)
            daemon.send_signal(signal.SIGHUP)
            daemon.log.wait_for("workers: |optiroute.yaml:", start)
            refused[0] += 1
        sent, _ = under_load(daemon, times, broken)
        daemon.config_path.write_text(good)
        assert sorted(children(daemon.pid)) == before, "other processes"
        print(f"{refused[0]} broken files under {sent} requests: none failed, the same processes")
    print("all hold")


if __name__ == "__main__":
    main()
