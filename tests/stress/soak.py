#!/usr/bin/python3
"""Does anything grow, leak, or get out of step? `tests/stress/soak.py [SECONDS] [SEED]`: half an hour by
default, 60 seconds in CI; `make soak`.

Sixteen clients ask without a pause, in three APIs, whole and streamed, answers that are in the cache and
some that never are; one request in a hundred is one that its upstream fails, and from one in a hundred
the client walks away. What each client asks follows from the seed. Meanwhile the configuration is loaded
anew and the logs are rotated. Now and then all clients pause, and the daemon is looked at.

Asserted: no request failed that was not meant to; processes do not grow by 1 MiB after their warm-up,
within a generation, from one to the next, and the master and the metrics worker over all; descriptors
come back to what they were, give or take two; no process is left over and no zombie; and the books agree
to the last request, token and nano-dollar: what the clients were told, the access log, and the metrics.
OPTIROUTED and MOCKLLM name the programs (src/optirouted, tests/mockllm).
"""
import collections
import json
import pathlib
import random
import re
import signal
import sys
import threading
import time
from decimal import Decimal

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "blackbox"))
from mock import Mock  # noqa: E402
from optiroute import Closed, Daemon, compose, eventually  # noqa: E402
from processes import children, connections, open_files, own_kib, proc_status  # noqa: E402

CLIENTS, WORKERS, PROMPTS = 16, 2, 400
GROWTH_KIB = 1024
GENERATION_S = 30  # at least; a longer run has five
ROTATIONS = 2      # of the logs, in each generation
FAULTS = ("+status=500", "+cut=half", "+body=notjson")
MODELS = ("m", "m+delay=300", "m+tokens=300", "m+kill=3", *("m" + fault for fault in FAULTS))
PRICES = {model: {"input": "0.15", "output": "0.6"} for model in MODELS}
PATHS = {"generate": "/generate", "chat": "/v1/chat/completions", "messages": "/v1/messages"}
COST = re.compile(rb": optiroute cost_usd=([0-9.]+) saved_usd=([0-9.]+)")


def settings(mock):
    provider = {"default_model": "m", "models": PRICES, "retry": {"attempts": 0},
                "breaker": {"failures": 255}, "timeouts": {"connect": "20s", "first_byte": "60s"}}
    return {"workers": WORKERS, "cache": {"size": "8MB"}, "limits": {"shutdown_timeout": "20s"},
            "providers": {"oa": {"type": "openai", "url": mock.url + "/v1", **provider},
                          "an": {"type": "anthropic", "url": mock.url, **provider}},
            "routes": {"auto": {"cheap": "small", "strong": "oa", "policy": "length"}}}


# -- the clients -----------------------------------------------------------------------------------

class Told:
    """What clients were told, or what the log says; added up."""

    def __init__(self):
        self.requests = collections.Counter()  # (kind, endpoint, status)
        self.cache = collections.Counter()     # of answers
        self.tokens = collections.Counter()    # that a provider was paid for, by type
        self.cost, self.saved = Decimal(0), Decimal(0)

    def add(self, other):
        self.requests += other.requests
        self.cache += other.cache
        self.tokens += other.tokens
        self.cost += other.cost
        self.saved += other.saved

    def answer(self, cache, prompt, completion, cost, saved):
        self.cache[cache] += 1
        self.cost += cost
        self.saved += saved
        if cache not in ("hit", "coalesced"):
            self.tokens["prompt"] += prompt
            self.tokens["completion"] += completion


class Asker(threading.Thread):
    texts = {}  # by path and prompt, of what is in the cache: always the same

    def __init__(self, soak, number):
        super().__init__(daemon=True)
        self.soak, self.number = soak, number
        self.draw = random.Random(soak.seed * 1000 + number)
        self.told, self.failure, self.client, self.asked = Told(), None, None, 0
        self.paused = threading.Event()

    def run(self):
        try:
            while not self.soak.ends.is_set():
                if not self.soak.going.is_set():
                    self.hang_up()
                    self.paused.set()
                    self.soak.going.wait()
                    self.paused.clear()
                    continue
                self.once()
        except BaseException as error:  # said by the soak
            self.failure = error
        self.hang_up()
        self.paused.set()

    def hang_up(self):
        if self.client is not None:
            self.client.close()
            self.client = None

    def once(self):
        api = self.draw.choice(list(PATHS))
        streamed = self.draw.random() < 0.35
        fate = self.draw.random()
        self.asked += 1
        if self.client is None or self.draw.random() < 0.05:
            self.hang_up()
            self.client = self.soak.daemon.connect(timeout=60)
        if fate < 0.01:
            self.ask_fault(api, streamed)
        elif fate < 0.02:
            self.leave(api, streamed)
        else:
            self.ask(api, streamed)

    def compose(self, kind, api, streamed, model, prompt, fields=()):
        provider = "an" if api == "messages" or self.draw.random() < 0.2 else "oa"
        body = {"stream": True} if streamed else {}
        if api == "generate":
            body.update(prompt=prompt, provider=provider, model_id=model)
        else:
            body.update(model=f"{provider}/{model}", max_tokens=100,
                        messages=[{"role": "user", "content": prompt}])
            if api == "chat" and streamed:
                body["stream_options"] = {"include_usage": True}
        name = f"X-Request-Id: {kind}-{self.number}-{self.asked}"
        return compose("POST", PATHS[api], body, [name, *fields])

    def request(self, data):
        self.client.send(data)
        answer = self.client.read_answer()
        if answer.closes():
            self.hang_up()
        return answer

    def ask(self, api, streamed):
        """Most are asked for again and again; the others are new each time, and some are long."""
        prompt, model, fields = f"prompt {self.draw.randrange(PROMPTS)}", "m", []
        if self.draw.random() < 0.3:
            prompt = f"{self.number} asks {self.asked} " + "long " * self.draw.choice((1, 10, 10000))
            model = self.draw.choice(("m", "m+tokens=300"))
            fields = ["Cache-Control: no-store"]
        answer = self.request(self.compose("ok", api, streamed, model, prompt, fields))
        assert answer.status == 200, answer
        self.told.requests["ok", PATHS[api], 200] += 1
        read = read_stream if streamed else read_whole
        text, prompt_tokens, completion_tokens, cost, saved = read(api, answer)
        self.told.answer(answer.field("x-optiroute-cache"), prompt_tokens, completion_tokens, cost,
                         saved)
        if not fields and not streamed:
            assert self.texts.setdefault((api, prompt), text) == text, (api, prompt)

    def ask_fault(self, api, streamed):
        model = "m+kill=3" if streamed else "m" + self.draw.choice(FAULTS)
        try:
            answer = self.request(self.compose("fault", api, streamed, model, "breaks"))
            assert answer.status == 502, answer  # of a stream: before its first word
        except Closed:
            assert streamed
            self.hang_up()
        self.told.requests["fault", PATHS[api], 0] += 1

    def leave(self, api, streamed):
        """In the middle of a stream, or while waiting."""
        self.client.send(self.compose("abort", api, streamed, "m+tokens=300" if streamed else
                                      "m+delay=300", "leaves", ["Cache-Control: no-store"]))
        if streamed:
            assert self.client.read_head().status == 200
            self.client.read_chunk()
        self.hang_up()
        self.told.requests["abort", PATHS[api], 0] += 1


def read_whole(api, answer):
    body = answer.json()
    usage = body["usage"]
    names = ("input_tokens", "output_tokens") if api == "messages" else ("prompt_tokens",
                                                                         "completion_tokens")
    text = {"generate": lambda: body["text"], "chat": lambda: body["choices"][0]["message"]["content"],
            "messages": lambda: body["content"][0]["text"]}[api]()
    return (text, usage[names[0]], usage[names[1]], Decimal(answer.field("x-optiroute-cost-usd")),
            Decimal(answer.field("x-optiroute-saved-usd")))


def read_stream(api, answer):
    match = COST.search(answer.body)
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines()
              if line.startswith("data: {")]
    assert not any("error" in event for event in events), events
    if api == "messages":
        assert events[-1]["type"] == "message_stop", events[-1]
        prompt = events[0]["message"]["usage"]["input_tokens"]
        completion = [event for event in events if event["type"] == "message_delta"][-1]
        completion = completion["usage"]["output_tokens"]
    else:
        assert answer.body.endswith(b"data: [DONE]\n\n"), answer.body[-200:]
        usage = [event["usage"] for event in events if event.get("usage")][-1]
        prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    return None, prompt, completion, Decimal(match[1].decode()), Decimal(match[2].decode())


# -- what the daemon looks like --------------------------------------------------------------------

class Sample:
    def __init__(self, soak):
        daemon = soak.daemon
        self.workers = daemon.workers()
        self.others = [daemon.pid, daemon.metrics_worker()]
        pooled = {one.file for one in connections(peer_port=soak.mock.port)}
        self.kib = [own_kib(pid) for pid in self.workers]
        self.others_kib = [own_kib(pid) for pid in self.others]
        self.descriptors = [sum(file not in pooled for file in open_files(pid))
                            for pid in self.others + self.workers]

    def __repr__(self):
        return (f"workers {self.kib} KiB, master and metrics {self.others_kib} KiB, "
                f"descriptors {self.descriptors}")


def assert_same_size(what, before, after):
    growth = [late - early for early, late in zip(before, after)]
    assert max(growth) < GROWTH_KIB, f"{what} grew by {growth} KiB: {before} {after}"
    return max(growth)


# -- the run ---------------------------------------------------------------------------------------

class Soak:
    def __init__(self, daemon, mock, seconds, seed):
        self.daemon, self.mock, self.seconds, self.seed = daemon, mock, seconds, seed
        self.ends, self.going = threading.Event(), threading.Event()
        self.told, self.logged, self.rotated, self.worst_kib = Told(), Told(), [], 0
        self.askers = [Asker(self, number) for number in range(CLIENTS)]

    def check(self):
        for asker in self.askers:
            assert asker.failure is None, f"client {asker.number}: {asker.failure!r}"

    def run_for(self, seconds):
        self.going.set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            time.sleep(min(0.2, max(0, deadline - time.monotonic())))

    def pause(self):
        """Nobody asks, and everybody has hung up."""
        self.going.clear()
        for asker in self.askers:
            assert asker.paused.wait(60), f"client {asker.number} does not come back"
        self.check()
        eventually(lambda: self.is_quiet(), timeout=30, what="quiet")

    def is_quiet(self):
        metrics = self.daemon.metrics()
        return (metrics.total("optiroute_connections") == 0
                and metrics.total("optiroute_requests_in_flight") == 0
                and len(children(self.daemon.pid)) == WORKERS + 1)

    def sample(self, what):
        self.pause()
        result = Sample(self)
        for pid in children(self.daemon.pid):
            assert proc_status(pid, "State")[0] != "Z", f"{pid} is a zombie"
        print(f"  {what}: {result}", flush=True)
        return result

    def rotate(self):
        """Moves the log away, has it opened anew, and reads what was rotated before."""
        name = self.daemon.access_path.with_suffix(f".{len(self.rotated)}")
        self.daemon.access_path.rename(name)
        self.daemon.send_signal(signal.SIGUSR1)
        eventually(self.daemon.access_path.exists, what="a new access log")
        self.rotated.append(name)
        for old in self.rotated[:-1]:
            if old.exists():
                self.read_log(old)

    def read_log(self, path):
        before = None
        with open(path) as file:
            for text in file:
                try:
                    line = json.loads(text, parse_float=Decimal)
                except ValueError:
                    raise AssertionError(f"{path} has a broken line: {text!r}, before it {before!r}, after it "
                                         f"{file.read(1000)!r}; the daemon said {self.daemon.log.text()}") from None
                before = text
                kind = line["request_id"].partition("-")[0]
                if kind not in ("ok", "fault", "abort"):
                    continue
                self.logged.requests[kind, line["path"], line["status"]] += 1
                for books in (self.logged, self.ok) if kind == "ok" else (self.logged,):
                    books.answer(line.get("cache"), line.get("prompt_tokens") or 0,
                                 line.get("completion_tokens") or 0, line.get("cost_usd") or 0,
                                 line.get("saved_usd") or 0)
        path.unlink()

    def generation(self, seconds):
        """One configuration's life: warm, then long, with the logs rotated."""
        self.run_for(seconds * 0.4)
        warm = self.sample("warm")
        for _ in range(ROTATIONS):
            self.run_for(seconds * 0.6 / (ROTATIONS + 1))
            self.rotate()
        self.run_for(seconds * 0.6 / (ROTATIONS + 1))
        late = self.sample("late")
        assert warm.workers == late.workers, "workers were replaced"
        self.worst_kib = max(self.worst_kib, assert_same_size("workers", warm.kib, late.kib))
        return warm, late

    def run(self):
        self.ok = Told()
        for asker in self.askers:
            asker.start()
        count = max(1, int(self.seconds / max(GENERATION_S, self.seconds / 5)))
        samples = []
        for number in range(count):
            if number > 0:
                self.going.set()
                self.daemon.reload()
            print(f"generation {number + 1} of {count}", flush=True)
            samples.append(self.generation(self.seconds / count))
        first, last = samples[0], samples[-1]
        assert_same_size("generations", first[1].kib, last[1].kib)
        assert_same_size("master and metrics", first[0].others_kib, last[1].others_kib)
        for early, late in ((first[0], samples[0][1]), (first[0], last[1])):
            for before, after in zip(early.descriptors, late.descriptors):
                assert abs(after - before) <= 2, f"descriptors: {early}, {late}"
        self.ends.set()
        self.going.set()
        for asker in self.askers:
            asker.join(60)
            assert not asker.is_alive()
            self.told.add(asker.told)
        self.check()
        return self.daemon.metrics()

    # -- the books --

    def settle(self, metrics):
        """When the daemon has ended, its log is whole."""
        for path in [*self.rotated, self.daemon.access_path]:
            if path.exists():
                self.read_log(path)
        told, logged, ok = self.told, self.logged, self.ok
        for (kind, path, status), count in told.requests.items():
            found = sum(number for (other, where, what), number in logged.requests.items()
                        if (other, where) == (kind, path) and status in (0, what))
            assert found == count, f"{kind} {path}: {count} asked, {found} lines"
        assert sum(told.requests.values()) == sum(logged.requests.values())
        statuses = collections.Counter()
        for (kind, path, status), count in logged.requests.items():
            assert status < 500 or kind == "fault", f"{count} of {status} at {path} for {kind}"
            statuses[path, status] += count
        for (path, status), count in statuses.items():
            total = metrics.total("http_requests_total", endpoint=path, status=str(status))
            assert total == count, f"{path} {status}: {count} lines, {total} counted"
        assert told.cache == ok.cache and told.tokens == ok.tokens, (told.cache, ok.cache, told.tokens,
                                                                     ok.tokens)
        assert (told.cost, told.saved) == (ok.cost, ok.saved), (told.cost, ok.cost, told.saved, ok.saved)
        assert logged.cost == metrics.total("llm_total_cost_usd_total")
        assert logged.saved == metrics.total("llm_saved_cost_usd_total")
        for name, count in logged.tokens.items():
            total = metrics.total("llm_tokens_total", type=name)
            assert total == count, f"{name} tokens: {count} in the log, {total} counted"
        assert logged.cache["hit"] == metrics.total("llm_cache_events_total", event_type="hit")
        assert metrics.total("optiroute_worker_restarts_total") == 0
        assert metrics.total("optiroute_log_dropped_total") == 0
        assert metrics.total("optiroute_shed_total") == 0


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1800
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with Mock() as mock, Daemon(settings(mock)) as daemon:
        soak = Soak(daemon, mock, seconds, seed)
        print(f"{seconds:.0f} s, seed {seed}", flush=True)
        began = time.monotonic()
        metrics = soak.run()
        took = time.monotonic() - began
        daemon.stop()
        soak.settle(metrics)
    kinds = collections.Counter()
    for (kind, _, _), count in soak.told.requests.items():
        kinds[kind] += count
    print(f"{sum(kinds.values())} requests in {took:.0f} s ({kinds['fault']} that failed upstream, "
          f"{kinds['abort']} left by their clients; {soak.told.cache['hit']} from the cache), "
          f"{soak.logged.tokens['prompt'] + soak.logged.tokens['completion']} tokens, "
          f"{soak.logged.cost} USD: clients, log and metrics agree; "
          f"no worker grew by more than {soak.worst_kib} KiB after its warm-up")


if __name__ == "__main__":
    main()
