"""The tools for load and money: contrib/replay.py, loadtest.sh with locustfile.py, make_prompts.py.

Short runs that check what the tools promise, and that they notice when a promise is broken: a
check that cannot fail would let every load run pass. Figures of speed are not asserted here.
"""

import csv
import gzip
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
from decimal import Decimal

import pytest

from optiroute import BINARY, environment

CONTRIB = pathlib.Path(__file__).resolve().parents[2] / "contrib"
sys.path.insert(0, str(CONTRIB))
from load_answers import LOCK_TIMEOUTS, sum_metric  # noqa: E402
from make_prompts import COMPLEX, SHORT, generate, write_csv  # noqa: E402

MOCKLLM = os.environ.get("MOCKLLM", str(pathlib.Path("tests/mockllm").resolve()))
PATIENCE_S = 180


def run_tool(name, *arguments, **changes):
    """Runs a tool of contrib/ to its end: (exit code, all it printed)."""
    command = [str(CONTRIB / name), *map(str, arguments)]
    if name.endswith(".py"):
        command.insert(0, sys.executable)
    done = subprocess.run(
        command,
        env=environment(**{"OPTIROUTED": BINARY, "PYTHONDONTWRITEBYTECODE": "1", **changes}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )
    return done.returncode, done.stdout


def replay(tmp_path, *arguments):
    """replay.py with a daemon of its own, which must keep every promise: its passes' figures."""
    figures = tmp_path / "replay.json"
    status, printed = run_tool("replay.py", "--start", "--json", figures, *arguments)
    assert status == 0, printed
    return json.loads(figures.read_text())


def processes_of(folder):
    """Command lines of processes that were started with this TMPDIR."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # ended meanwhile
            pass
    return found


# -- prompts ----------------------------------------------------------------------------------


def test_generated_prompts_are_the_same_again_and_differ_from_each_other():
    prompts = generate(2000, 7)
    assert prompts == generate(2000, 7)
    assert prompts != generate(2000, 8)
    assert len(set(prompts)) == 2000


@pytest.mark.parametrize(
    "pool, provider", [(SHORT, "local"), (COMPLEX, "huggingface")], ids=["short", "complex"]
)
def test_router_sends_each_pool_to_its_side(tmp_path, pool, provider):
    file = tmp_path / "pool.csv"
    with file.open("w", newline="") as out:
        write_csv(pool, out)
    (figures,) = replay(tmp_path, file, "--latency", 1)
    assert figures["providers"] == {provider: len(pool)}


# -- replay.py --------------------------------------------------------------------------------


def test_replay_twice_balances_and_the_second_pass_is_free(tmp_path):
    first, second = replay(
        tmp_path, "--generate", 400, "--latency", 20, "--concurrency", 40, "--repeat", 2
    )
    assert first["requests"] == second["requests"] == 400
    assert first["failures"] == second["failures"] == 0
    assert first["cache"]["miss"] == 400
    assert first["grown"]["cost"] == first["cost_usd"] != "0.000000000"
    timeouts = first["lock_timeouts"] + second["lock_timeouts"]
    missed = second["cache"]["miss"]
    assert second["cache"]["hit"] == 400 - missed and missed <= timeouts
    assert second["grown"]["cost"] == second["cost_usd"]
    assert second["grown"]["saved"] == second["saved_usd"]
    if missed == 0:  # else they were paid for again, which a busy machine may do
        assert second["cost_usd"] == "0.000000000" and second["saved_usd"] == first["cost_usd"]
    assert 240 < first["providers"]["local"] < 360


def test_replay_reads_gzip_with_another_column_and_a_limit(tmp_path):
    file = tmp_path / "questions.csv.gz"
    with gzip.open(file, "wt", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["nr", "frage"])
        rows.writerow([1, 'Ein "Zitat", und\nzwei Zeilen'])
        rows.writerows([[2, "¿Qué?"], [3, "three"], [4, "beyond the limit"]])
    (figures,) = replay(tmp_path, file, "--column", "frage", "--limit", 3, "--latency", 1)
    assert figures["requests"] == figures["cache"]["miss"] == 3


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["no-such-file.csv"], "No such file"),
        (["--generate", "2", "--url", "ftp://127.0.0.1"], "not a http:// address"),
        ([], "either a file or --generate"),
    ],
    ids=["no file", "not http", "nothing to send"],
)
def test_replay_says_why_it_cannot_run(arguments, reason):
    status, printed = run_tool("replay.py", *arguments)
    assert status == 2 and reason in printed


def test_replay_wants_the_column_to_be_there(tmp_path):
    file = tmp_path / "other.csv"
    file.write_text("qid,text\n1,hello\n")
    status, printed = run_tool("replay.py", file)
    assert status == 2 and "no column 'prompt'" in printed


class Impostor(http.server.BaseHTTPRequestHandler):
    """Answers /generate and /metrics as the server's `fault` says; without one, correctly."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body, **headers):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        cost = "0.000000001" if self.server.fault == "books" else "0"
        nusd = self.server.asked * 25 + (self.server.asked > 0) * int(cost != "0")
        self.send(200, f'llm_total_cost_usd_total{{model="m"}} {nusd / 1e9:.9f}\n'.encode())

    def do_POST(self):
        fault = self.server.fault
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        if fault == "cut":
            self.close_connection = True
            return
        answer = (
            '{"text":"yes","usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":%d},'
            '"cost":%s,"latency":0.000000100,"model":"m","routed_to":"p",'
            '"actual_provider_name":"p","cached":%s,"saved":0.000000000,"route_reason":"r"%s}'
        ) % (
            4 if fault == "usage" else 3,
            "0.0000000250" if fault == "decimals" else "0.000000025",
            "true" if fault == "cached" else "false",
            "" if fault == "field" else ',"request_id":"1"',
        )
        self.send(
            503 if fault == "status" else 200,
            b"nonsense" if fault == "json" else answer.encode(),
            x_request_id="2" if fault == "id" else "1",
            x_optiroute_cache="miss",
            x_optiroute_cost_usd="0.000000024" if fault == "header" else "0.000000025",
        )


@pytest.mark.parametrize(
    "fault, said",
    [
        (None, "ok     cost over the answers 0.000000100 USD"),
        ("status", "status 503"),
        ("json", "body is not JSON"),
        ("usage", "usage: total is not the sum"),
        ("field", "request_id is missing"),
        ("id", "request_id differs in header"),
        ("cached", "cached contradicts x-optiroute-cache"),
        ("header", "cost differs in header"),
        ("decimals", "cost: not nine decimals"),
        ("cut", "IncompleteReadError"),
        ("books", "BROKEN cost over the answers 0.000000100 USD"),
        ("repeat", "BROKEN repeated: 0 hits of 4"),
    ],
)
def test_replay_notices(fault, said):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Impostor)
    server.daemon_threads = True
    server.fault, server.asked = fault, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    passes = 2 if fault == "repeat" else 1
    try:
        status, printed = run_tool(
            "replay.py", "--generate", 4, "--concurrency", 2, "--url", url,
            "--metrics", f"{url}/metrics", "--repeat", passes,
        )  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
    assert said in printed
    assert status == (0 if fault is None else 1), printed


# -- loadtest.sh ------------------------------------------------------------------------------


# How much is saved depends on how often each of 60 prompts is asked in a few seconds.
LESS = ("--min-reduction", 50)


def compare(folder, *arguments):
    return run_tool("load_compare.py", folder / "baseline", folder / "configured", *LESS, *arguments)


def doctor(folder, name, change):
    """Changes the kept summary of one run; gives the old text for putting it back."""
    file = folder / f"{name}.json"
    before = file.read_text()
    summary = json.loads(before)
    change(summary)
    file.write_text(json.dumps(summary))
    return lambda: file.write_text(before)


def test_loadtest_keeps_its_promises_and_notices_broken_ones(tmp_path):
    kept, scratch = tmp_path / "kept", tmp_path / "scratch"
    scratch.mkdir()
    status, printed = run_tool(
        "loadtest.sh", "-u", 20, "-r", 20, "-t", "5s", "--no-wait", "--fast", "--latency", 50,
        *LESS, "-o", kept, TMPDIR=str(scratch), HF_API_TOKEN="must-not-be-used",
    )  # fmt: skip
    assert status == 0, printed
    assert "BROKEN" not in printed
    assert "| cost per 1,000 successful requests, USD |" in printed
    assert list(scratch.iterdir()) == []
    assert processes_of(scratch) == []

    # The token was taken away: both providers are simulated, in both runs.
    for name in ("baseline", "configured"):
        models = (kept / f"{name}.metrics").read_text()
        assert 'provider="huggingface"' in models
        assert "simulated" in models

    def fail_one(summary):
        summary["failures"] = 1

    def move_one(summary):
        summary["providers_by_kind"]["short"]["huggingface"] = 1

    def lose_a_nano(summary):
        summary["cost_usd"] = f"{Decimal(summary['cost_usd']) - Decimal('1e-9'):f}"

    def go_cheap(summary):
        summary["providers"]["local"] = summary["requests"]

    def miss_one(summary):
        """More than the lock's timeouts explain, of which there are mostly none."""
        timeouts = sum_metric((kept / "configured.metrics").read_text(), LOCK_TIMEOUTS)
        summary["warm"]["hits"] -= 1
        summary["warm"]["misses"] = int(timeouts) + 1

    assert compare(kept)[0] == 0
    assert compare(kept, "--min-reduction", "99.9999")[0] == 1
    assert compare(kept, "--max-median-ms", "0.0001")[0] == 1
    for change, said in (
        (fail_one, "nothing failed"),
        (move_one, "short prompts went to local"),
        (lose_a_nano, "cost over the answers"),
        (go_cheap, "share of local"),
        (miss_one, "answers after warm-up from the cache"),
    ):
        restore = doctor(kept, "configured", change)
        status, printed = compare(kept)
        broken = [line for line in printed.splitlines() if line.startswith("BROKEN")]
        assert status == 1 and len(broken) == 1 and said in broken[0], printed
        restore()


def judge_outage(kept):
    done = subprocess.run([CONTRIB / "load_outage.py", kept / "outage"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S)
    return done.returncode, [line for line in done.stdout.splitlines() if "BROKEN" in line]


def test_an_outage_of_the_strong_provider_is_noticed_by_nobody(tmp_path):
    kept, scratch = tmp_path / "kept", tmp_path / "scratch"
    scratch.mkdir()
    status, printed = run_tool("loadtest.sh", "--outage", "-u", 20, "-r", 20, "-t", "24s",
                               "--fast", "-o", kept, TMPDIR=str(scratch), MOCKLLM=MOCKLLM)
    assert status == 0, printed
    assert processes_of(scratch) == []

    # and it would have said so
    summary, log = kept / "outage.json", kept / "outage.log"
    run, lines = json.loads(summary.read_text()), log.read_text()
    summary.write_text(json.dumps({**run, "failures": 1}))
    status, broken = judge_outage(kept)
    assert status == 1 and len(broken) == 1 and "nothing failed" in broken[0]
    summary.write_text(json.dumps(run))
    log.write_text(re.sub(r".*circuit closed.*\n", "", lines))
    status, broken = judge_outage(kept)
    assert status == 1 and "it closed once" in broken[0]
    log.write_text(re.sub(r"(.*circuit half-open.*\n)", r"\1\1", lines))
    status, broken = judge_outage(kept)
    assert status == 1 and any("never two probes" in line for line in broken)


def test_loadtest_cleans_up_when_it_is_stopped(tmp_path):
    load = subprocess.Popen(
        [CONTRIB / "loadtest.sh", "-u", "5", "-t", "10m"],
        env=environment(OPTIROUTED=BINARY, TMPDIR=str(tmp_path)),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert load.stderr.readline().startswith("baseline: 5 users")
        assert processes_of(tmp_path) != []
        load.send_signal(signal.SIGTERM)
        assert load.wait(PATIENCE_S) == 143
    finally:
        load.kill()
        load.stderr.close()
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    "arguments", [["-t", "soon"], ["-u", "0"], ["--nonsense"], ["-u"]], ids=" ".join
)
def test_loadtest_refuses_nonsense(arguments):
    status, printed = run_tool("loadtest.sh", *arguments)
    assert status == 2 and "loadtest.sh:" in printed


def test_loadtest_says_that_the_daemon_is_missing():
    status, printed = run_tool("loadtest.sh", "-t", "1s", OPTIROUTED="/nonexistent/optirouted")
    assert status == 2 and "/nonexistent/optirouted: No such file" in printed
