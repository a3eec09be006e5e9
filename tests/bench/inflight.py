"""A thousand requests that wait for a slow upstream, and what they cost: the memory of all processes of
the daemon, and the latency of cached answers meanwhile against the latency without them.

    inflight.py path/of/optirouted path/of/mockllm [--requests N] [--rounds N] [--seconds N]

`make bench-inflight` calls it. The upstream answers after two seconds; each of the N clients asks
again when it has its answer, so all N are always in flight, spread evenly over the two seconds. A
cached answer is asked for every two milliseconds by a process that goes before all others on its core
(if it may: as root), since what is measured is the daemon and not the load. Idle and busy rounds are
interleaved.
"""
import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from bench import BODY, exchange, free_ports, pinned, running, tree

CONFIG = """
listen: ["127.0.0.1:{port}"]
metrics_listen: "127.0.0.1:{metrics}"
workers: 2
cache: {{size: 16MB, ttl: 1d}}
providers:
  local:
    type: simulated
    default_model: llama-2-7b-local
    per_second: 0.000005
    simulated: {{latency: 1ms, per_token: 0ms}}
  slow:
    type: openai
    url: http://127.0.0.1:{upstream}/v1
    default_model: mock+delay=2000
    models: {{mock+delay=2000: {{input: 1, output: 2}}}}
    max_concurrency: 100000
routes: {{auto: {{cheap: local, strong: local}}}}
"""
UPSTREAM_S = 2
PROBE_S = 0.002


def pss_kib(root):
    """Proportional set size of all processes: shared pages are counted once."""
    total = 0
    for pid in tree(root):
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total


def probe(port, seconds):
    """Latencies of cached answers in microseconds, median and 99th percentile. Runs in a child."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    request = (f"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               f"Content-Length: {len(BODY)}\r\n\r\n{BODY}").encode()
    took = []
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.monotonic() + seconds
        while (begin := time.monotonic()) < end:
            client.sendall(request)
            if b" 200 OK" not in client.recv(65536):
                raise RuntimeError("not a hit")
            took.append(time.monotonic() - begin)
            time.sleep(PROBE_S)
    took.sort()
    return {"p50_us": took[len(took) // 2] * 1e6, "p99_us": took[len(took) * 99 // 100] * 1e6}


def probed(port, seconds):
    command = [sys.executable, "-B", __file__, "--probe", str(port), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


class Crowd:
    """N clients in a thread of their own, each always waiting for an answer."""

    def __init__(self, port, count):
        self.port, self.count = port, count
        self.answered = self.failed = 0
        self.waiting = 0
        self.ending = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()))

    async def client(self, number):
        await asyncio.sleep(number * UPSTREAM_S / self.count)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = json.dumps({"prompt": f"client {number}", "provider": "slow"}).encode()
        request = (b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                   b"Cache-Control: no-store\r\nContent-Length: %d\r\n\r\n" % len(body)) + body
        while not self.ending.is_set():
            writer.write(request)
            self.waiting += 1
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            self.waiting -= 1
            self.answered += 1
            self.failed += not head.startswith(b"HTTP/1.1 200 ")
        writer.close()

    async def run(self):
        await asyncio.gather(*(self.client(number) for number in range(self.count)))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()

    def wait_for_all(self):
        end = time.monotonic() + 30
        while self.waiting < self.count and time.monotonic() < end:
            time.sleep(0.01)


@contextlib.contextmanager
def servers(daemon, mockllm, directory, cores):
    port, metrics, upstream = free_ports(3)
    config = os.path.join(directory, "optiroute.yaml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(CONFIG.format(port=port, metrics=metrics, upstream=upstream))
    log = open(os.path.join(directory, "log"), "w", encoding="utf-8")
    with log, running([mockllm, str(upstream)], upstream, stdout=log,
                      preexec_fn=pinned(cores[-1])), \
            running([daemon, "-f", "-c", config], port, preexec_fn=pinned(cores[0]),
                    stderr=log) as us:
        exchange(port)
        yield port, us.pid


def measure(daemon, mockllm, options, directory):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    rounds = []
    with servers(daemon, mockllm, directory, cores) as (port, pid):
        idle_kib = pss_kib(pid)
        for _ in range(options.rounds):
            idle = probed(port, options.seconds)
            with Crowd(port, options.requests) as crowd:
                crowd.wait_for_all()
                busy = probed(port, options.seconds)
                held_kib = pss_kib(pid)
                waiting = crowd.waiting
            if crowd.failed or waiting < options.requests * 0.9:
                raise RuntimeError(f"{crowd.failed} failed, {waiting} in flight")
            rounds.append({"idle": idle, "busy": busy, "pss_kib": held_kib, "in_flight": waiting})
    return {"idle_pss_kib": idle_kib, "rounds": rounds}


def main():
    if sys.argv[1:2] == ["--probe"]:
        print(json.dumps(probe(int(sys.argv[2]), float(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description="What requests in flight cost.")
    parser.add_argument("daemon")
    parser.add_argument("mockllm")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="optiroute-bench-")
    os.chmod(directory, 0o755)
    try:
        result = measure(os.path.abspath(options.daemon), os.path.abspath(options.mockllm), options,
                         directory)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"inflight: {error}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    rounds = result["rounds"]
    held = statistics.median(one["pss_kib"] for one in rounds)
    print(f"{rounds[0]['in_flight']} requests in flight: {held / 1024:.1f} MiB PSS of all processes "
          f"({result['idle_pss_kib'] / 1024:.1f} MiB before), "
          f"{(held - result['idle_pss_kib']) / rounds[0]['in_flight']:.1f} KiB each")
    for name in ("p50_us", "p99_us"):
        idle = [one["idle"][name] for one in rounds]
        busy = [one["busy"][name] for one in rounds]
        ratios = [b / i for b, i in zip(busy, idle)]
        print(f"cached answer, {name[:3]}: {statistics.median(idle) / 1000:.3f} ms idle, "
              f"{statistics.median(busy) / 1000:.3f} ms with them; ratio "
              f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
