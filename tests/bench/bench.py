"""The way of a cached and of a proxied answer, measured against nginx on this machine in this minute.

Noise moves absolute figures by a factor of two, so rounds of all servers are interleaved and ratios
of one round are compared; what noise hardly touches (CPU time and system calls per request) is
printed beside them. The server has one core, the load generator another.

Contenders, all answering the same POST with as many bytes:
  optirouted   a hit in the shared cache, one worker
  return       nginx `return 200`: a constant, the least a server can do
  cache        nginx proxy_cache, key = request body: the same work as ours
Each also 16 requests deep in a pipeline (optirouted and return only).

And what is not cached, from tests/mockllm, which answers at once and shares the load's core:
  proxied      optirouted through a provider of type openai: both bodies are read and written anew
  proxy_pass   nginx to the same upstream, kept connections, no byte looked at
"""
import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CONNECTIONS = 64
PIPELINE = 16
PROMPT = ("Explain in two short sentences why the sky is blue in the daytime and red in the evening, "
          "please, for a child of ten.")
BODY = json.dumps({"prompt": PROMPT, "max_tokens": 60, "provider": "local"})
PROXIED = json.dumps({"prompt": PROMPT, "max_tokens": 60, "provider": "upstream"})
CHAT = json.dumps({"model": "mock", "messages": [{"role": "user", "content": PROMPT}],
                   "max_tokens": 60})
HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")

DAEMON = """
listen: ["127.0.0.1:{port}"]
metrics_listen: "127.0.0.1:{metrics}"
workers: 1
cache: {{size: 64MB, ttl: 1d}}
providers:
  local:
    type: simulated
    default_model: llama-2-7b-local
    per_second: 0.000005
    simulated: {{latency: 1ms, per_token: 0ms}}
  upstream:
    type: openai
    url: http://127.0.0.1:{upstream}/v1
    default_model: mock
    models: {{mock: {{input: 1, output: 2}}}}
routes: {{auto: {{cheap: local, strong: local}}}}
"""

NGINX = """
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    proxy_cache_path {dir}/cache keys_zone=answers:8m use_temp_path=off;
    open_file_cache max=100 inactive=1h;
    default_type application/json;
    upstream mock {{
        server 127.0.0.1:{upstream};
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen 127.0.0.1:{proxy_port};
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
    server {{
        listen 127.0.0.1:{port};
        location /generate {{
            add_header x-filler "{pad}";
            return 200 '{body}';
        }}
    }}
    server {{
        listen 127.0.0.1:{cache_port};
        location /generate {{
            proxy_pass http://127.0.0.1:{port};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache answers;
            proxy_cache_methods POST;
            proxy_cache_key $request_body;
            proxy_cache_valid 200 1d;
        }}
    }}
}}
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def exchange(port, path="/generate", body=BODY):
    """One POST on a connection of its own; the raw bytes of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall((f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                            f"\r\n{body}").encode())
        answer = b""
        while True:
            head, mark, rest = answer.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if mark and length and len(rest) >= int(length[1]):
                return answer
            piece = connection.recv(65536)
            if not piece:
                raise RuntimeError(f"port {port}: cut answer {answer[:200]!r}")
            answer += piece


def wait_ready(process, port, limit_s=10):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}")


@contextlib.contextmanager
def running(command, port, **options):
    """A server and its children, ended by the server's own pid."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    try:
        wait_ready(process, port)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def stat_fields(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def tree(root):
    """The pids of a process and all its descendants."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(name)] = int(stat_fields(name)[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_us(root):
    """User and system time of the tree; a process that ended has its time in its parent's fields."""
    ticks = 0
    for pid in tree(root):
        ticks += sum(int(field) for field in stat_fields(pid)[11:15])
    return ticks * 1_000_000 // TICK


def wrk(contender, seconds, core, depth=1, connections=CONNECTIONS):
    """One run: what post.lua prints, as numbers."""
    port = contender["port"]
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
               "-s", os.path.join(HERE, "post.lua"),
               f"http://127.0.0.1:{port}{contender.get('path', '/generate')}"]
    wishes = {"BODY": contender.get("body", BODY), "DEPTH": str(depth)}
    if "cache" in contender:
        wishes["CACHE"] = contender["cache"]
    output = subprocess.run(command, env={**os.environ, **wishes},
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
                            timeout=seconds + 30).stdout
    result = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$", output, re.M)
    if result is None or int(result[3]) != 0 or int(result[1]) == 0:
        raise RuntimeError(f"port {port}: wrk saw failures\n{output}")
    names = ("requests", "us", "failed", "p50_us", "p99_us")
    return dict(zip(names, map(int, result.groups())))


def load(contender, seconds, core, depth=1):
    """Requests and requests per second of one run of wrk."""
    run = wrk(contender, seconds, core, depth)
    return run["requests"], run["requests"] * 1e6 / run["us"]


def measure(contender, seconds, core, depth):
    before = cpu_us(contender["pid"])
    requests, rps = load(contender, seconds, core, depth)
    return {"rps": rps, "cpu_us": (cpu_us(contender["pid"]) - before) / requests}


def system_calls(contender, core):
    """System calls per request, and which, over a short run of its own (tracing slows it down)."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as table:
        attach = [word for pid in tree(contender["pid"]) for word in ("-p", str(pid))]
        tracer = subprocess.Popen(["strace", "-f", "-c", "-U", "calls,name", "-o", table.name,
                                   *attach], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  text=True)
        try:
            for _ in range(len(attach) // 2):
                line = tracer.stderr.readline()
                if "attached" not in line:
                    raise RuntimeError(f"strace cannot attach: {line.strip()}")
            requests, _ = load(contender, 2, core)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
            tracer.stderr.close()
        calls = {name: int(count) for count, name in
                 re.findall(r"^ *(\d+) +(\w+)$", table.read(), re.M) if name != "total"}
    return {"per_request": sum(calls.values()) / requests,
            "calls": {name: count / requests for name, count in
                      sorted(calls.items(), key=lambda pair: -pair[1]) if count > requests / 1000}}


def pinned(core):
    return lambda: os.sched_setaffinity(0, {core})


def nginx_for(directory, values, answer, constant):
    """The configuration whose constant answer has as many bytes as ours."""
    config = os.path.join(directory, "nginx.conf")
    command = ["nginx", "-e", os.path.join(directory, "error.log"), "-p", directory, "-c", config]
    pad = 1
    for last in (False, False, True):
        with open(config, "w", encoding="utf-8") as file:
            file.write(NGINX.format(pad="x" * pad, **values))
        if not last:
            with running(command, constant):
                pad = max(1, pad + len(answer) - len(exchange(constant)))
    return command


@contextlib.contextmanager
def contenders(daemon, mockllm, directory, cores):
    """Starts all servers; nginx pads its answer until it is as long as the daemon's."""
    port, metrics, constant, cached, proxy, upstream = free_ports(6)
    config = os.path.join(directory, "optiroute.yaml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(DAEMON.format(port=port, metrics=metrics, upstream=upstream))
    log = open(os.path.join(directory, "optirouted.log"), "w", encoding="utf-8")
    with log, running([mockllm, str(upstream)], upstream, stdout=log,
                      preexec_fn=pinned(cores[-1])) as mock, \
            running([daemon, "-f", "-c", config], port, preexec_fn=pinned(cores[0]),
                    stderr=log) as us:
        exchange(port)
        answer = exchange(port)
        head, _, body = answer.partition(b"\r\n\r\n")
        if not re.search(rb"(?i)x-optiroute-cache: hit", head) or b"$" in body or b"'" in body:
            raise RuntimeError(f"not a hit that nginx could send too: {answer!r}")
        values = {"dir": directory, "port": constant, "cache_port": cached, "proxy_port": proxy,
                  "upstream": upstream, "body": body.decode().replace("\\", "\\\\")}
        nginx = nginx_for(directory, values, answer, constant)
        with running(nginx, constant, preexec_fn=pinned(cores[0])) as them:
            exchange(cached)
            yield {"optirouted": {"port": port, "pid": us.pid, "bytes": len(exchange(port))},
                   "return": {"port": constant, "pid": them.pid, "bytes": len(exchange(constant))},
                   "cache": {"port": cached, "pid": them.pid, "bytes": len(exchange(cached))},
                   "proxied": {"port": port, "pid": us.pid, "body": PROXIED, "cache": "no-store",
                               "bytes": len(exchange(port, body=PROXIED))},
                   "proxy_pass": {"port": proxy, "pid": them.pid, "body": CHAT,
                                  "path": "/v1/chat/completions",
                                  "bytes": len(exchange(proxy, "/v1/chat/completions", CHAT))},
                   "straight": {"port": upstream, "pid": mock.pid, "body": CHAT,
                                "path": "/v1/chat/completions",
                                "bytes": len(exchange(upstream, "/v1/chat/completions", CHAT))}}


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compare(rounds, ours, theirs):
    return spread([one[ours]["rps"] / one[theirs]["rps"] for one in rounds])


def rounds_of(servers, plan, count, seconds, core):
    rounds = []
    for number in range(count):
        one = {}
        for label, (name, depth) in plan.items():
            one[label] = measure(servers[name], seconds, core, depth)
        rounds.append(one)
        print(f"round {number + 1} of {count}: " + ", ".join(
            f"{label} {one[label]['rps']:,.0f}/s" for label in plan), flush=True)
    return rounds


def report(result):
    print(f"\n{'':22}{'RPS median':>12}{'CPU us/request':>16}{'syscalls/request':>18}{'bytes':>7}")
    for label, (name, _) in result["plan"].items():
        rps = spread([one[label]["rps"] for one in result["rounds"]])
        cpu = spread([one[label]["cpu_us"] for one in result["rounds"]])
        calls = result["system_calls"].get(label)
        print(f"{label:22}{rps['median']:12,.0f}{cpu['median']:16.2f}"
              f"{format(calls['per_request'], '.2f') if calls else '':>18}"
              f"{result['bytes'][name]:7}")
    print()
    for what, ratio in result["ratios"].items():
        print(f"{what}: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})")


def bench(daemon, mockllm, rounds, seconds, directory):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("one core only: server and load generator share it, the ratios mean little")
    load_core = cores[-1]
    plan = {"optirouted": ("optirouted", 1), "nginx return": ("return", 1),
            "nginx cache": ("cache", 1), "optirouted x16": ("optirouted", PIPELINE),
            "nginx return x16": ("return", PIPELINE), "optirouted proxied": ("proxied", 1),
            "nginx proxy_pass": ("proxy_pass", 1), "upstream itself": ("straight", 1)}
    with contenders(daemon, mockllm, directory, cores) as servers:
        for name in servers:
            load(servers[name], 1, load_core)
        measured = rounds_of(servers, plan, rounds, seconds, load_core)
        calls = {label: system_calls(servers[name], load_core)
                 for label, (name, depth) in plan.items() if depth == 1}
    return {"machine": {"cores": len(cores), "kernel": os.uname().release},
            "connections": CONNECTIONS, "request_bytes": len(BODY), "seconds": seconds, "plan": plan,
            "bytes": {name: server["bytes"] for name, server in servers.items()},
            "rounds": measured, "system_calls": calls,
            "ratios": {
                "hit against nginx return 200": compare(measured, "optirouted", "nginx return"),
                "hit against nginx proxy_cache": compare(measured, "optirouted", "nginx cache"),
                f"{PIPELINE} deep pipeline against nginx return 200":
                    compare(measured, "optirouted x16", "nginx return x16"),
                "proxied against nginx proxy_pass":
                    compare(measured, "optirouted proxied", "nginx proxy_pass")}}


def main():
    parser = argparse.ArgumentParser(description="Cached and proxied answers against nginx.")
    parser.add_argument("daemon")
    parser.add_argument("mockllm", help="the upstream")
    parser.add_argument("result", help="raw figures as JSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    # Workers of both servers give up root; they must still find their files.
    directory = tempfile.mkdtemp(prefix="optiroute-bench-")
    os.chmod(directory, 0o755)
    try:
        result = bench(os.path.abspath(options.daemon), os.path.abspath(options.mockllm),
                       options.rounds, options.seconds, directory)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"bench: {error}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    report(result)
    with open(options.result, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    print(f"\nraw figures: {options.result}")


if __name__ == "__main__":
    main()
