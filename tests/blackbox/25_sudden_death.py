"""What befalls a daemon from outside: bytes that change by themselves (K4), memory that is short (K6).

The other kill tests: 12_failpoints.py (K2, K3), tests/stress/kill.py (K1), 07_processes.py (K5).
"""
import hashlib
import mmap
import os
import pathlib
import random
import struct
import threading

import pytest

from mock import Mock, upstream
from optiroute import BINARY, Daemon, environment, eventually, in_parallel
from processes import children, pss_kib

MIB = 1 << 20
FRESH = ["Cache-Control: no-cache"]


@pytest.fixture
def draw():
    """Chance, by SEED or by a seed that a failure shows."""
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print("seed", seed)
    return random.Random(seed)


# -- K4: flipped bits ------------------------------------------------------------------------------

class Memory:
    """The bytes of a cache.file in which a daemon works: where shards, indexes and logs lie is in
    doc/shm.md."""

    SHARD_HEAD = 128
    BUCKET_SPAN, BUCKET = 2048, 64
    ENDS_AT, UNIT = 64, 16

    def __init__(self, path):
        with open(path, "r+b") as file:
            self.bytes = mmap.mmap(file.fileno(), 0)
        size, self.shard_size = struct.unpack_from("<QQ", self.bytes, 24)
        self.shards, = struct.unpack_from("<I", self.bytes, 40)
        self.store = size - self.shards * self.shard_size
        self.log = self.SHARD_HEAD + self.shard_size // self.BUCKET_SPAN * self.BUCKET

    def flip(self, draw):
        """One bit of an index or of what is written of a log."""
        shard = self.store + draw.randrange(self.shards) * self.shard_size
        if draw.random() < 0.5:
            at = draw.randrange(self.SHARD_HEAD, self.log)
        else:
            tail, head = struct.unpack_from("<II", self.bytes, shard + self.ENDS_AT)
            is_wrapped = head < tail or head * self.UNIT <= self.log
            at = draw.randrange(self.log, self.shard_size if is_wrapped else head * self.UNIT)
        self.bytes[shard + at] ^= 1 << draw.randrange(8)


class Asker:
    """Asks for a few hundred prompts over and over, some of them anew; every answer must be the one
    that was given first, whoever asked."""

    def __init__(self, daemon, texts, seed):
        self.client, self.texts, self.draw = daemon.connect(), texts, random.Random(seed)
        self.asked = self.hits = 0

    def ask(self):
        number = self.draw.randrange(400)
        prompt = f"prompt {number} " + "x" * number
        answer = self.client.request("POST", "/generate", {
            "prompt": prompt, "provider": "quick", "max_tokens": 60 + number % 60},
            FRESH if self.draw.random() < 0.3 else ())
        assert answer.status == 200, answer
        body = answer.json()
        assert self.texts.setdefault(prompt, body["text"]) == body["text"], prompt
        self.hits += body["cached"]
        self.asked += 1


QUICK = {"quick": {"type": "simulated", "default_model": "quick-1", "simulated": {
    "latency": "0ms", "per_token": "0ms", "max_latency": "0ms"}}}


def test_a_thousand_flipped_bits_are_never_served(tmp_path, draw):
    """One asks and flips a bit after each answer; two others ask meanwhile. It goes on until these have
    asked too, should their worker have been stopped for a moment."""
    path, seed, flipped = tmp_path / "cache", draw.randrange(1 << 30), threading.Event()
    settings = {"workers": 3, "cache": {"size": "1MB", "file": str(path)}, "providers": QUICK}
    with Daemon(settings) as daemon:
        pids = sorted(children(daemon.pid))
        memory, texts = Memory(path), {}
        askers = [Asker(daemon, texts, seed + number) for number in range(3)]

        def is_enough():
            return askers[0].asked >= 2000 and min(asker.asked for asker in askers) > 100

        def flip_or_ask(number):
            try:
                while not flipped.is_set() and (number > 0 or not is_enough()):
                    askers[number].ask()
                    if number == 0 and askers[0].asked > 1000:
                        memory.flip(draw)
            finally:
                flipped.set()

        in_parallel(3, flip_or_ask)
        assert is_enough()
        assert sorted(children(daemon.pid)) == pids, "nobody died"
        asked, hits = (sum(getattr(asker, name) for asker in askers) for name in ("asked", "hits"))
        print(asked, "answers,", hits, "from the cache")
        assert hits > asked / 10, "it still is a cache"
        eventually(lambda: daemon.metrics().total("llm_cache_events_total", event_type="corrupt") > 10,
                   what="damage was found")
        daemon.stop()
        daemon.start()  # with what the damage left
        again = Asker(daemon, texts, seed + 3)
        while again.asked < 400:
            again.ask()


# -- K6: short memory ------------------------------------------------------------------------------

LIMIT = 256 * MIB
ANSWERS, CLIENTS = 800, 4
ASK_FOR_250_KB = "up/m+tokens=50000"  # so 200 MB, for a cache of 128 MB


def pss_bytes(pid):
    """Of all processes of the daemon; what they share is counted once."""
    return sum(pss_kib(one) for one in (pid, *children(pid))) << 10


class LongReader:
    """Asks for long answers; each has an id of the mock's, so a hit must be what was said before."""

    def __init__(self, daemon):
        self.client, self.said, self.hits = daemon.connect(), {}, 0

    def ask(self, number):
        answer = self.client.request("POST", "/v1/chat/completions", {
            "model": ASK_FOR_250_KB, "messages": [{"role": "user", "content": f"number {number}"}]})
        assert answer.status == 200, answer
        is_hit = answer.field("x-optiroute-cache") == "hit"
        digest = hashlib.sha256(answer.body).digest()
        assert not is_hit or self.said[number] == digest, "not what was said before"
        self.said[number] = digest
        self.hits += is_hit


def limits():
    """How the daemon is started, and what all of it may take. AddressSanitizer maps terabytes and keeps
    what was freed: it gets no limit, and room for itself in the sum."""
    if b"__asan_init" not in pathlib.Path(BINARY).read_bytes():
        return {"address_space": LIMIT}, LIMIT
    options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"
    return {"env": environment(ASAN_OPTIONS=options)}, LIMIT + 5 * 64 * MIB


def test_an_overfilled_cache_in_256_mib():
    """The kernel gives no process more than that (RLIMIT_AS), and all together never take as much."""
    how, most = limits()
    seen = []
    with Mock() as mock, Daemon({"workers": 3, "cache": {"size": "128MB"}, "providers": {
            "up": upstream(mock, "openai")}}, **how) as daemon:
        pids = sorted(children(daemon.pid))
        readers = [LongReader(daemon) for _ in range(CLIENTS)]

        def fill(which):
            for number in range(which, ANSWERS, CLIENTS):
                readers[which].ask(number)
                if which == 0 and number % 40 == 0:
                    seen.append(pss_bytes(daemon.pid))
            for number in reversed(range(which, ANSWERS, CLIENTS)):  # the newest are there
                readers[which].ask(number)
                if readers[which].hits == 50:
                    break

        in_parallel(CLIENTS, fill)
        seen.append(pss_bytes(daemon.pid))
        metrics = daemon.metrics()
        print(f"at most {max(seen) / MIB:.0f} MiB in {len(seen)} looks, at the end {seen[-1] / MIB:.0f}")
        assert sorted(children(daemon.pid)) == pids, "nobody died"
        assert max(seen) < most
        assert sum(reader.hits for reader in readers) == 50 * CLIENTS
        assert metrics.total("llm_cache_events_total", event_type="evict") > 100
        in_use = metrics.total("optiroute_cache_bytes")
        assert 110e6 < in_use < metrics.total("optiroute_cache_capacity_bytes") <= 128 * MIB
        assert seen[-1] > in_use, "it is in memory"
        assert daemon.request("GET", "/health").status == 200
