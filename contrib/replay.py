#!/usr/bin/env python3
"""Sends prompts of a CSV file through POST /generate and holds the answers against the books.

    replay.py prompts.csv.gz --url http://127.0.0.1:8000 --metrics http://127.0.0.1:9464/metrics
    replay.py prompts.csv --limit 2000 --concurrency 200 --start --repeat 2
    replay.py --generate 500 --seed 7 --start --latency 50

Every answer is checked (load_answers.py). With --metrics, or --start which implies it, the sum of
`cost` and of `saved` over the answers must equal what llm_total_cost_usd_total and
llm_saved_cost_usd_total grew by, to the nano-dollar: nobody else may use the daemon meanwhile. With
--repeat the later passes must be all hits and must add no cost, but for misses of which
optiroute_cache_lock_timeouts_total tells that the machine was too busy.

--start runs a daemon of its own (OPTIROUTED, else that of the source tree) with the built-in
configuration, on free ports, without HF_API_TOKEN (both providers simulated), and ends it. Only
Python's standard library is needed (3.11).

Exit code: 0 all is well, 1 a promise is broken, 2 it could not run.
"""

import argparse
import asyncio
import contextlib
import csv
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from decimal import Decimal

from load_answers import LOCK_TIMEOUTS, Answers, Malformed, all_hits, check_answer, sum_metric
from make_prompts import generate

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 16 * 1024 * 1024
READY_SECONDS = 20
SERVED = ("listening", "metrics")  # as the daemon's log says where
BOOKS = {"cost": "llm_total_cost_usd_total", "saved": "llm_saved_cost_usd_total"}


class CannotRun(Exception):
    """The reason, for people."""


# -- prompts ----------------------------------------------------------------------------------


def read_prompts(path, column, limit):
    opener = gzip.open if path.endswith(".gz") else open
    csv.field_size_limit(BODY_LIMIT)
    prompts = []
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if column not in (rows.fieldnames or ()):
                raise CannotRun(f"{path}: no column {column!r} in {rows.fieldnames}")
            for row in rows:
                if limit is not None and len(prompts) == limit:
                    break
                if row[column]:
                    prompts.append(row[column])
    except (OSError, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise CannotRun(f"{path}: {error}") from None
    if not prompts:
        raise CannotRun(f"{path}: no prompts")
    return prompts


# -- one connection ---------------------------------------------------------------------------


class Connection:
    """One keep-alive connection; opened again when the other side closed it between requests."""

    def __init__(self, host, port):
        self.address = host, port
        self.reader = self.writer = None

    async def post(self, path, body):
        """(status, headers, body) of one request. Raises OSError, EOFError, Malformed."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(
                *self.address, limit=HEAD_LIMIT
            )
        host, port = self.address
        self.writer.write(
            f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await self.writer.drain()
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, headers = parse_head(head)
        size = headers.get("content-length", "")
        if not size.isdecimal() or int(size) > BODY_LIMIT:
            raise Malformed("no usable content-length")
        answer = await self.reader.readexactly(int(size))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, headers, answer

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def parse_head(head):
    status_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
    version, _, rest = status_line.partition(" ")
    if version != "HTTP/1.1" or not rest[:3].isdecimal():
        raise Malformed("bad status line")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name.lower() in headers:
            raise Malformed("bad or doubled header")
        headers[name.lower()] = value.strip()
    return int(rest[:3]), headers


# -- one pass ---------------------------------------------------------------------------------


async def send_some(work, connection, path, options, answers):
    """Takes prompts from `work`, which all connections share, until none is left."""
    for prompt in work:
        body = {"prompt": prompt, "provider": options.provider, "max_tokens": options.max_tokens}
        started = time.monotonic()
        try:
            async with asyncio.timeout(options.timeout):
                reply = await connection.post(path, json.dumps(body).encode())
            ended = time.monotonic()
            answers.add(check_answer(*reply), prompt, "prompt", started, ended)
            continue
        except Malformed as rule:
            answers.fail(str(rule))
            if str(rule).startswith("status "):
                continue  # a whole answer: the connection can be used again
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            answers.fail(type(error).__name__)
        connection.close()


async def send_all(prompts, url, options):
    """One pass: (answers, begin, end)."""
    answers = Answers()
    work = iter(prompts)
    connections = [
        Connection(url.hostname, url.port or 80)
        for _ in range(min(options.concurrency, len(prompts)))
    ]
    path = url.path.rstrip("/") + "/generate"
    begin = time.monotonic()
    await asyncio.gather(*(send_some(work, one, path, options, answers) for one in connections))
    end = time.monotonic()
    for connection in connections:
        connection.close()
    return answers, begin, end


def read_books(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            exposition = reply.read().decode()
    except (OSError, ValueError) as error:
        raise CannotRun(f"{url}: {error}") from None
    names = {**BOOKS, "lock_timeouts": LOCK_TIMEOUTS}
    return {what: sum_metric(exposition, name) for what, name in names.items()}


def run_pass(prompts, url, metrics_url, options):
    """The summary of one pass, with `grown`: what the daemon's books grew by."""
    before = read_books(metrics_url) if metrics_url else None
    answers, begin, end = asyncio.run(send_all(prompts, url, options))
    result = answers.summary(begin, end)
    result["seconds"] = round(end - begin, 3)
    if before is not None:
        after = read_books(metrics_url)
        result["grown"] = {what: f"{after[what] - before[what]:.9f}" for what in BOOKS}
        result["lock_timeouts"] = int(after["lock_timeouts"] - before["lock_timeouts"])
    return result


# -- judging ----------------------------------------------------------------------------------


def check_pass(result, is_repeat, lock_timeouts):
    """Yields (holds, what). lock_timeouts: of this pass and those before it."""
    reasons = f": {result['failure_reasons']}" if result["failures"] else ""
    yield not result["failures"], f"{result['failures']} failures{reasons}"
    for what, grown in result.get("grown", {}).items():
        told = Decimal(result[f"{what}_usd"])
        yield told == Decimal(grown), (
            f"{what} over the answers {told:.9f} USD, {BOOKS[what]} grew by {grown}"
        )
    if is_repeat:
        hits, misses = result["cache"]["hit"], result["cache"]["miss"]
        yield all_hits(result["requests"], hits, misses, lock_timeouts), (
            f"repeated: {hits} hits of {result['requests']}, {lock_timeouts} times a lock was given up"
        )
        added = result.get("grown", {}).get("cost", result["cost_usd"])
        yield Decimal(added) == 0 or 0 < misses <= lock_timeouts, (
            f"repeated: it added {Decimal(added):.9f} USD"
        )


def print_pass(number, result):
    def text(latency):
        return "  ".join(
            f"{name} {'-' if value is None else f'{value:.1f}'}" for name, value in latency.items()
        )

    warm = result["warm"]
    shares = ", ".join(f"{name} {count}" for name, count in sorted(result["providers"].items()))
    cache = ", ".join(f"{word} {count}" for word, count in result["cache"].items())
    print(f"pass {number}: {result['requests']} requests in {result['seconds']} s,", end=" ")
    print(f"{result['throughput_rps']} per second, {result['failures']} failed")
    print(f"  latency, ms     {text(result['latency_ms'])}")
    if warm["requests"]:
        print(f"  when warm, ms   {text(warm['latency_ms'])}  ({warm['requests']} requests)")
    print(f"  cost            {result['cost_usd']} USD, {result['cost_per_1000_usd']} per 1,000")
    print(f"  saved           {result['saved_usd']} USD")
    print(f"  cache           {cache}")
    print(f"  answered by     {shares}")


# -- a daemon of our own ----------------------------------------------------------------------


def find_daemon():
    here = os.path.dirname(os.path.abspath(__file__))
    if os.environ.get("OPTIROUTED"):
        return os.environ["OPTIROUTED"]
    for place in ("../src/optirouted", "../build/src/optirouted"):
        if os.access(os.path.join(here, place), os.X_OK):
            return os.path.join(here, place)
    return "optirouted"


def make_config(latency_ms):
    """JSON is YAML. With a latency the built-in providers are written out, only quicker."""
    config = {"listen": ["127.0.0.1:0"], "metrics_listen": "127.0.0.1:0"}
    if latency_ms is None:
        return config
    delay = f"{latency_ms}ms"
    simulated = {"latency": delay, "per_token": "0s", "max_latency": delay}
    mistral = "mistralai/Mistral-7B-Instruct-v0.2"
    config["providers"] = {
        "local": {
            "type": "simulated",
            "default_model": "llama-2-7b-local",
            "per_second": "0.000005",  # text: JSON would write 5e-06
            "simulated": simulated,
        },
        "huggingface": {
            "type": "huggingface",
            "api_key_env": "HF_API_TOKEN",
            "simulate_without_key": True,
            "default_model": mistral,
            "models": {mistral: {"input": 0.2, "output": 0.2}},
            "simulated": simulated,
        },
    }
    config["routes"] = {
        "auto": {"cheap": "local", "strong": "huggingface", "fallback": ["local"]},
    }
    return config


def wait_until_ready(daemon, log_path):
    """The addresses that the daemon's log names, once it answers."""
    deadline = time.monotonic() + READY_SECONDS
    while daemon.poll() is None and time.monotonic() < deadline:
        with open(log_path, encoding="utf-8") as log:
            text = log.read()
        found = [re.search(rf" {what} on (127\S+)$", text, re.M) for what in SERVED]
        if all(found):
            url, metrics_url = (f"http://{match[1]}" for match in found)
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"{url}/health/ready", timeout=2):
                    return url, f"{metrics_url}/metrics"
        time.sleep(0.02)
    raise CannotRun("the daemon did not become ready")


def end_daemon(daemon):
    daemon.terminate()
    try:
        return daemon.wait(60)
    except subprocess.TimeoutExpired:
        daemon.kill()
        return daemon.wait()


@contextlib.contextmanager
def own_daemon(latency_ms):
    """Runs a daemon; gives its address and that of its metrics. Shows its log when it failed."""
    binary = find_daemon()
    environment = {name: value for name, value in os.environ.items() if name != "HF_API_TOKEN"}
    with tempfile.TemporaryDirectory() as folder:
        config, log_path = os.path.join(folder, "replay.yaml"), os.path.join(folder, "error.log")
        with open(config, "w", encoding="utf-8") as file:
            json.dump(make_config(latency_ms), file, indent=1)
        with open(log_path, "w", encoding="utf-8") as log:
            try:
                daemon = subprocess.Popen(
                    [binary, "-f", "-c", config], stdout=log, stderr=log, env=environment
                )
            except OSError as error:
                raise CannotRun(f"{binary}: {error.strerror}") from None
        try:
            yield wait_until_ready(daemon, log_path)
        finally:
            status = end_daemon(daemon)
            if status != 0:
                with open(log_path, encoding="utf-8") as log:
                    sys.stderr.write(log.read())
        if status != 0:
            raise CannotRun(f"the daemon ended with {status}")


# -- main -------------------------------------------------------------------------------------


def at_least_1(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE.csv[.gz]", help="a CSV with a header row")
    add("--generate", type=at_least_1, metavar="N", help="N made-up prompts instead of a file")
    add("--seed", type=int, default=1, help="of the made-up prompts (default 1)")
    add("--column", default="prompt", help="the column to send (default prompt)")
    add("--limit", type=at_least_1, metavar="N", help="at most N prompts of the file")
    add("--url", default="http://127.0.0.1:8000", help="of the daemon (default %(default)s)")
    add("--metrics", metavar="URL", help="of its metrics: compare the money")
    add("--start", action="store_true", help="start a daemon instead of --url and --metrics")
    add("--latency", type=at_least_1, metavar="MS", help="with --start: of simulated providers")
    add("--concurrency", type=at_least_1, default=50, metavar="N", help="default 50")
    add("--repeat", type=at_least_1, default=1, metavar="N", help="passes (default 1)")
    add("--provider", default="auto", help="route or provider (default auto)")
    add("--max-tokens", type=at_least_1, default=100, metavar="N", help="default 100")
    add("--timeout", type=float, default=120, metavar="S", help="of a request (default 120 s)")
    add("--json", metavar="PATH", help="write the passes' figures there, - for standard output")
    options = parser.parse_args()
    if (options.file is None) == (options.generate is None):
        parser.error("give either a file or --generate")
    if options.latency is not None and not options.start:
        parser.error("--latency needs --start")
    return options


def replay(prompts, url, metrics_url, options):
    """All passes. Returns whether every promise was kept."""
    address = urllib.parse.urlsplit(url)
    if address.scheme != "http" or not address.hostname:
        raise CannotRun(f"{url}: not a http:// address")
    results, kept = [], True
    for number in range(1, options.repeat + 1):
        result = run_pass(prompts, address, metrics_url, options)
        print_pass(number, result)
        results.append(result)
        lock_timeouts = sum(one.get("lock_timeouts", 0) for one in results)
        for holds, what in check_pass(result, number > 1, lock_timeouts):
            print(f"  {'ok    ' if holds else 'BROKEN'} {what}")
            kept = kept and holds
    if options.json is not None:
        with open(1 if options.json == "-" else options.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=2)
            out.write("\n")
    return kept


def main():
    options = parse_options()
    # so that a daemon of our own is ended by `finally`
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.generate is not None:
            prompts = generate(options.generate, options.seed)
        else:
            prompts = read_prompts(options.file, options.column, options.limit)
        if not options.start:
            return 0 if replay(prompts, options.url, options.metrics, options) else 1
        with own_daemon(options.latency) as (url, metrics_url):
            return 0 if replay(prompts, url, metrics_url, options) else 1
    except CannotRun as reason:
        print(f"replay.py: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
