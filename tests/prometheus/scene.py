"""What the dashboard and the rules are tried on: a daemon to which everything has happened that is
counted, and a real Prometheus that looked on.

A rate needs two looks at a series, and most series come with their first event, so the same things
happen in several rounds, each seen by Prometheus before the next. At the end the daemon is left in
trouble: a circuit is open, the last reload has failed, money runs. Another target of the same job
is not there at all.
"""
import contextlib
import mmap
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import yaml

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / "tests" / "blackbox"))
from mock import Mock, upstream  # noqa: E402
from optiroute import Daemon, compose, eventually, merged  # noqa: E402
from prometheus import Prometheus  # noqa: E402

RULES = TOP / "contrib" / "prometheus"
ROUNDS = 3
SCRAPE_S = 1


def prometheus_config(*targets):
    """The one we ship, in a hurry and with other targets."""
    config = yaml.safe_load((RULES / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"}
    config["rule_files"] = [str(RULES / name) for name in config["rule_files"]]
    scrape, = config["scrape_configs"]
    scrape["static_configs"] = [{"targets": list(targets)}]
    return config


def settings(mock, nowhere, cache):
    """up: an upstream with everyday faults; denied: one that refuses the key; dear: one that costs;
    down: an address where nobody is; unpriced: a model without a price; shaky: a route that falls
    back each time; narrow: an upstream that takes one request at a time."""
    unpriced = {"type": "simulated", "default_model": "unpriced-1",
                "simulated": {"latency": "1ms", "per_token": "0ms", "max_latency": "1ms"}}
    return {
        "access_log": "/dev/full",  # every line is lost
        "cache": {"file": str(cache)},
        "providers": {
            "unpriced": unpriced,
            "up": upstream(mock, "openai", retry={"attempts": 1, "backoff": "1ms"},
                           breaker={"failures": 2, "open": "50ms"}),
            "denied": upstream(mock, "openai"),
            # a dollar a token
            "dear": upstream(mock, "openai", default_model="plain+tokens=100", models={
                "plain+tokens=100": {"input": "1000000", "output": "1000000"}}),
            "narrow": upstream(mock, "openai", max_concurrency=1),
            "down": upstream(mock, "openai", url=f"http://127.0.0.1:{nowhere}/v1",
                             breaker={"failures": 1, "open": "60s"}),
        },
        "routes": {"shaky": {"cheap": "broken", "strong": "large", "policy": "length",
                             "fallback": ["small"]}},
    }


class Scene:
    """All of it; as a context manager it ends well or the tests fail."""

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            # bound and never listening: nobody else can come to be there
            closed = stack.enter_context(socket.socket())
            closed.bind(("127.0.0.1", 0))
            nowhere = closed.getsockname()[1]
            self.mock = stack.enter_context(Mock())
            self.cache = directory / "cache"
            self.daemon = stack.enter_context(
                Daemon(settings(self.mock, nowhere, self.cache)))
            self.target = "%s:%d" % self.daemon.metrics_address
            self.config = prometheus_config(self.target, f"127.0.0.1:{nowhere}")
            self.prometheus = stack.enter_context(Prometheus(directory, self.config))
            self.seen()
            self.begin = time.time()
            self.play()
            self.end = time.time()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *reason):
        return self.stack.__exit__(*reason)

    def play(self):
        for number in range(ROUNDS):
            self.round(number)
            self.seen()
        self.daemon.reload(merged(self.daemon.settings, {"workers": 1}))
        self.seen()
        self.damage_an_answer()
        self.keep_the_locks()
        self.lose_the_worker()
        self.trouble()

    def seen(self):
        """Until Prometheus has what the daemon has counted so far."""
        asked = "(sum(http_requests_total) or vector(0)) + sum(optiroute_config_generation)"
        metrics = self.daemon.metrics()
        now = metrics.total("http_requests_total") + metrics.total("optiroute_config_generation")
        eventually(lambda: self.prometheus.value(asked) == now, what="Prometheus sees it")

    # -- one round --

    def ask(self, prompt, status=200, fields=(), **members):
        answer = self.daemon.generate(prompt, fields, **members)
        assert answer.status == status, answer
        return answer

    def round(self, n):
        for prompt in (f"short {n}", f"short {n}", f"long {n} " + "x" * 80):
            self.ask(prompt)
        self.ask(f"not cached {n}", fields=["Cache-Control: no-store"])
        self.ask(f"falls back {n}", provider="shaky")
        self.ask(f"fails {n}", 502, provider="broken")
        self.ask(f"unpriced {n}", provider="unpriced")
        self.ask(f"refused {n}", 502, provider="denied", model_id=f"d{n}+status=401")
        self.ask(f"dear {n}", provider="dear")
        self.ask(f"down {n}", 503 if n else 502, provider="down")
        assert self.daemon.request("GET", "/nowhere").status == 404
        assert self.daemon.request("GET", "/health").status == 200
        self.upstream_round(n)
        self.crowd_round(n)
        self.api_round(n)
        self.leave(n)

    def upstream_round(self, n):
        """A retry, tokens that were not counted or were of all kinds, and a circuit that opens
        while an answer is under way, which comes too late for it."""
        self.ask(f"retried {n}", provider="up", model_id=f"a{n}+status=500+times=1")
        self.ask(f"not counted {n}", provider="up", model_id=f"b{n}+usage=none")
        self.ask(f"all kinds {n}", provider="up",
                 model_id=f"c{n}+prompt=90+cached=50+tokens=40+reasoning=30")
        with self.daemon.connect() as client:
            client.send(compose("POST", "/generate", {"prompt": f"late {n}", "provider": "up",
                                                      "model_id": f"e{n}+delay=600"}))
            eventually(lambda: self.mock.counters()["in_flight"] == 1, what="it is under way")
            self.ask(f"opens {n}", 502, provider="up", model_id=f"f{n}+status=500")
            assert client.read_answer().status == 200
        # past the 50 ms for which the circuit is open, one request finds the provider well
        eventually(lambda: self.daemon.generate(f"heals {n}", provider="up").status == 200)

    def crowd_round(self, n):
        """Two ask the same at the same time, which is one call, and then there is one too many."""
        same = compose("POST", "/generate", {"prompt": f"same {n}", "provider": "narrow",
                                             "model_id": f"g{n}+delay=60000"})
        with self.daemon.connect() as first, self.daemon.connect() as second:
            for client in (first, second):
                client.send(same)
            eventually(lambda: self.daemon.metrics().total("optiroute_requests_in_flight") == 2)
            eventually(lambda: self.mock.counters()["in_flight"] == 1, what="it is under way")
            self.ask(f"too many {n}", 503, provider="narrow")
            self.mock.release()
            kept = {client.read_answer().field("x-optiroute-cache") for client in (first, second)}
        assert kept == {"miss", "coalesced"}

    def api_round(self, n):
        words = [{"role": "user", "content": f"hello {n}"}]
        for path, body in (
                ("/v1/chat/completions", {"model": "up/plain", "messages": words, "stream": True}),
                ("/v1/messages", {"model": "up/plain", "messages": words, "max_tokens": 9}),
                ("/v1/responses", {"model": "up/plain", "input": f"hello {n}"}),
                ("/v1/completions", {"model": "up/plain", "prompt": f"hello {n}"}),
                ("/v1/embeddings", {"model": "up/plain", "input": f"hello {n}"})):
            answer = self.daemon.request("POST", path, body)
            assert answer.status == 200, (path, answer)
        assert self.daemon.request("GET", "/v1/models").status == 200

    def leave(self, n):
        """A client that does not wait for its answer."""
        before = self.daemon.metrics().total("llm_client_aborts_total")
        with self.daemon.connect() as client:
            client.send(compose("POST", "/generate", {"prompt": f"left {n}", "provider": "pace",
                                                      "max_tokens": 30000}))
            eventually(lambda: self.daemon.metrics().total("optiroute_requests_in_flight") == 1)
        eventually(lambda: self.daemon.metrics().total("llm_client_aborts_total") > before)

    # -- the end --

    def damage_an_answer(self):
        """In the cache's memory, which is a file: bad memory does the same."""
        text = self.ask("damaged").json()["text"].encode()
        with open(self.cache, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            at = memory.find(text)
            assert at != -1 == memory.find(text, at + 1)
            memory[at] ^= 1
        assert self.ask("damaged").json()["cached"] is False

    def keep_the_locks(self):
        """Nobody gets at the cache, and everybody is answered; then their holder dies."""
        with subprocess.Popen([sys.executable, HERE / "hold_locks.py", self.cache], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert int(holder.stdout.readline()) > 0
            for number in range(10):
                self.ask(f"short {number % ROUNDS}")
            holder.stdin.close()
        assert self.ask("short 0").json()["cached"] is True

        def counted(name, **labels):
            return self.daemon.metrics().total(f"optiroute_cache_{name}_total", **labels)

        eventually(lambda: counted("lock_timeouts") > 10, what="workers count them once a second")
        eventually(lambda: counted("shard_recoveries", result="clean") > 0, what="and these")

    def lose_the_worker(self):
        """One that dies of its own fault soon after it was started waits longer each time before it
        is started again: until Prometheus has seen that there is none."""
        def killed():
            for pid in self.daemon.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGVTALRM)
            restarts = self.daemon.metrics().total("optiroute_worker_restarts_total")
            return restarts >= 5 and self.prometheus.value("optiroute_workers_ready") == 0

        eventually(killed, what="no worker is ready")
        eventually(lambda: self.prometheus.value("optiroute_workers_ready") == 1,
                   what="the worker is back")

    def trouble(self):
        """A file that is refused, and more failures than answers."""
        self.daemon.write_config("nonsense: 1\n")
        self.daemon.send_signal(signal.SIGHUP)
        eventually(lambda: self.prometheus.value("optiroute_config_last_reload_successful") == 0,
                   what="the reload failed")
        for _ in range(2):
            for number in range(100):
                self.ask(f"down for good {number}", 503, provider="down")
            self.seen()
        # rules are reckoned some time after the look that brought the news
        failed = "instance:http_requests_failed:ratio_rate5m"
        eventually(lambda: (self.prometheus.value(failed) or 0) > 0.5, what="the rules know")
