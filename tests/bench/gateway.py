"""What the benchmarks of streams, idle connections and large bodies share: a daemon in front of
mockllm, the client tests/benchload, and the memory of all processes.
"""
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile

from bench import free_ports, running, tree

CONFIG = """
listen: ["127.0.0.1:{port}"]
metrics_listen: "127.0.0.1:{metrics}"
workers: 2
limits: {{max_body: 40MB, keepalive: 10m, max_connections: 20000}}
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
    default_model: {model}
    models: {{{model}: {{input: 1, output: 2}}}}
    max_concurrency: 100000
routes: {{auto: {{cheap: local, strong: local}}}}
"""
CHAT = "/v1/chat/completions"


@contextlib.contextmanager
def servers(options, model, far=None):
    """The daemon and its upstream; the ports of both and the daemon's pid. far: called in the
    upstream's process first (see below)."""
    port, metrics, upstream = free_ports(3)
    # Workers give up root; they must still find their files.
    directory = tempfile.mkdtemp(prefix="optiroute-bench-")
    os.chmod(directory, 0o755)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    config = os.path.join(directory, "optiroute.yaml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(CONFIG.format(port=port, metrics=metrics, upstream=upstream, model=model))
    try:
        with open(os.path.join(directory, "log"), "w", encoding="utf-8") as log, \
                running([os.path.abspath(options.mockllm), str(upstream)], upstream,
                        stdout=log, preexec_fn=far), \
                running([os.path.abspath(options.daemon), "-f", "-c", config], port,
                        stderr=log) as daemon:
            yield port, upstream, daemon.pid
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def far():
    """A process whose cores would not be the daemon's stands back for the daemon's."""
    os.nice(15)


class Load:
    """One run of benchload; as a context it has all its connections open."""

    def __init__(self, options, mode, limit_s=120, before=None, **figures):
        self.command = [os.path.abspath(options.load), mode,
                        *(f"{key}={value}" for key, value in figures.items())]
        self.limit_s = limit_s
        self.before = before
        self.result = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True,
                                        preexec_fn=self.before)
        if self.process.stdout.readline() != "open\n":
            self.finish()
            raise RuntimeError(f"{' '.join(self.command[:2])}: not all could be opened")
        return self

    def __exit__(self, error, *_):
        if error is None:
            self.finish()
        else:
            self.process.kill()
            self.process.communicate()

    def finish(self):
        """What it printed; standard input ends now, which tells it to end if it waits for that."""
        if self.result is None:
            output, _ = self.process.communicate(timeout=self.limit_s)
            lines = output.strip().splitlines()
            if self.process.returncode != 0:
                raise RuntimeError(f"{' '.join(self.command[:2])}: {output.strip() or 'failed'}")
            self.result = json.loads(lines[-1])
        return self.result


def loaded(options, mode, **figures):
    with Load(options, mode, **figures) as load:
        return load.finish()


def pss_kib(root):
    """Proportional set size of all processes, shared pages counted once; the region that holds the
    cache stands apart."""
    sums = {"processes": 0, "region": 0}
    for pid in tree(root):
        kind = "processes"
        with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as file:
            for line in file:
                first = line.split(maxsplit=1)[0]
                if not first.endswith(":"):
                    kind = "region" if "/memfd:optiroute" in line else "processes"
                elif first == "Pss:":
                    sums[kind] += int(line.split()[1])
    return sums


def median(rounds, *path):
    """Of one figure over rounds."""
    values = []
    for one in rounds:
        for key in path:
            one = one[key]
        values.append(one)
    return statistics.median(values)


def run(parser, measure, report):
    """A benchmark from its command line to its JSON."""
    parser.add_argument("daemon")
    parser.add_argument("mockllm")
    parser.add_argument("load", help="tests/benchload")
    parser.add_argument("result", help="raw figures as JSON")
    options = parser.parse_args()
    try:
        result = measure(options)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"{parser.prog}: {error}")
    result["machine"] = {"cores": len(os.sched_getaffinity(0)), "kernel": os.uname().release,
                         "load": os.getloadavg()[0]}
    with open(options.result, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    report(result)
    print(f"\nraw figures: {options.result}")
