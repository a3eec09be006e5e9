"""The Debian package: built, judged, installed under a real systemd, and gone again without a trace.

The tests are a story and run in this order: each begins with what the one before it left.
"""
import json
import os
import pathlib
import re
import subprocess
import tempfile

import pytest

from machine import Machine, eventually
from optiroute import TOP

ARCHIVE = os.environ["ARCHIVE"]  # the release: make dist
API, METRICS = "http://127.0.0.1:8000", "http://127.0.0.1:9464/metrics"
CONFIG = "/etc/optiroute/optiroute.yaml"


@pytest.fixture(scope="module")
def machine():
    one = Machine()
    try:
        yield one
    finally:
        if one.process is not None and one.process.poll() is None:
            print(one.run("journalctl", "--no-pager", "-n", "80").stdout)
        one.close()


@pytest.fixture(scope="module")
def built(machine):
    """The directory with the package, made while the machine is."""
    with tempfile.TemporaryDirectory() as out:
        result = subprocess.run([TOP / "contrib" / "package.sh", "-o", out, ARCHIVE], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                env={**os.environ, "DEB_BUILD_OPTIONS": "nocheck noautodbgsym"})
        assert result.returncode == 0, result.stdout[-5000:]
        yield pathlib.Path(out)


@pytest.fixture(scope="module")
def deb(built):
    found = list(built.glob("optiroute_*.deb"))
    assert len(found) == 1, list(built.iterdir())
    return found[0]


def generate(machine, prompt="Hello"):
    body = json.dumps({"prompt": prompt, "provider": "local", "max_tokens": 1})
    return json.loads(machine.ok("curl", "-sS", "--max-time", "20", f"{API}/generate", "-H",
                                 "Content-Type: application/json", "-d", body))


def metric(machine, name):
    """The sum over its series."""
    text = machine.ok("curl", "-sS", "--max-time", "20", METRICS)
    values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M)
    assert values, name
    return sum(map(float, values))


def main_pid(machine):
    return int(machine.ok("systemctl", "show", "-P", "MainPID", "optirouted"))


def is_active(machine):
    return machine.run("systemctl", "is-active", "optirouted").stdout.strip() == "active"


def test_lintian_has_no_error(built):
    changes = next(built.glob("*.changes"))
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    built.chmod(0o755)  # lintian does not like to be root
    result = subprocess.run(["lintian", "--fail-on", "error", changes], capture_output=True,
                            text=True, cwd="/", env={**os.environ, "HOME": "/"}, **user)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_units_are_exposed_little(deb):
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(["dpkg-deb", "-x", deb, out], check=True)
        unit = f"{out}/lib/systemd/system/optirouted.service"
        result = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20",
                                 "--no-pager", unit], capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr  # more than 2.0
        assert re.search(r"Overall exposure level for optirouted.service: [01]\.\d", result.stdout)


def test_it_installs_and_serves(machine, deb):
    machine.boot()
    machine.copy(deb, "/root/optiroute.deb")
    machine.ok("dpkg", "-i", "/root/optiroute.deb")
    assert is_active(machine), machine.journal()
    machine.ok("systemctl", "is-enabled", "optirouted")
    assert machine.ok("curl", "-sSf", f"{API}/health/ready").startswith('{"status":"ok"')
    assert generate(machine)["routed_to"] == "local"
    log = machine.journal()
    assert "optirouted" in log and " error " not in log
    assert "curl" not in log  # a service's log has no advertisement
    assert machine.run("systemctl", "is-active", "optirouted.socket").stdout.strip() == "inactive"
    for path in ("/usr/share/man/man8/optirouted.8.gz", "/usr/share/man/man5/optiroute.yaml.5.gz",
                 "/usr/share/optiroute/optiroute.schema.json",
                 "/usr/share/doc/optiroute/examples/optiroute.yaml"):
        machine.ok("test", "-s", path)


def test_it_is_nobody_in_a_sandbox(machine):
    group = machine.ok("systemctl", "show", "-P", "ControlGroup", "optirouted").strip()
    # one hierarchy or several, as the machine has it
    pids = machine.ok("sh", "-c", f"cat /sys/fs/cgroup/systemd{group}/cgroup.procs 2>/dev/null || "
                                  f"cat /sys/fs/cgroup{group}/cgroup.procs")
    user = machine.ok("id", "-u", "optiroute").strip()
    assert len(pids.split()) >= 3
    for pid in pids.split():
        status = dict(line.split(":", 1) for line in
                      machine.ok("cat", f"/proc/{pid}/status").splitlines())
        assert status["Uid"].split() == [user] * 4 and user != "0"
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
    # what the metrics say of the processes is read in /proc, of which the sandbox shows little
    assert metric(machine, "process_resident_memory_bytes") > 1e6
    assert metric(machine, "process_open_fds") > 10
    for path, mode in (("/var/lib/optiroute/cache", "600"), ("/var/log/optiroute/access.log", "640")):
        assert machine.ok("stat", "-c", "%U %a", path).split() == ["optiroute", mode]


def test_a_reload_brings_a_new_configuration(machine):
    before, pid = machine.ok("cat", CONFIG), main_pid(machine)
    machine.put(CONFIG, before + "limits: {keepalive: 5s}\n")
    machine.ok("systemctl", "reload", "optirouted")
    eventually(lambda: metric(machine, "optiroute_config_generation") == 2, what="generation 2")
    assert main_pid(machine) == pid and is_active(machine)
    machine.put(CONFIG, before + "limitz: {keepalive: 5s}\n")
    assert machine.run("systemctl", "reload", "optirouted").returncode != 0
    assert "did you mean `limits`?" in machine.journal()
    assert is_active(machine) and main_pid(machine) == pid
    assert generate(machine, "after a mistake")["cached"] is False
    assert metric(machine, "optiroute_config_generation") == 2
    assert metric(machine, "optiroute_config_last_reload_successful") == 1  # it never heard of it
    machine.put(CONFIG, before)
    machine.ok("systemctl", "reload", "optirouted")
    eventually(lambda: metric(machine, "optiroute_config_generation") == 3, what="generation 3")


def test_logs_are_rotated(machine):
    log = "/var/log/optiroute/access.log"
    eventually(lambda: machine.ok("cat", log).count("\n") >= 2, what="lines in the log")
    if machine.run("test", "-e", "/etc/logrotate.conf").returncode != 0:
        machine.put("/etc/logrotate.conf", "include /etc/logrotate.d\n")
    machine.ok("logrotate", "-f", "/etc/logrotate.d/optiroute")
    eventually(lambda: "logs reopened" in machine.journal(), what="the signal")
    generate(machine, "after the rotation")
    eventually(lambda: machine.run("grep", "-c", "/generate", log).stdout.strip() == "1",
               what="the new line in the new file")
    assert machine.ok("cat", log + ".1").count("/generate") >= 2
    assert machine.ok("stat", "-c", "%U %a", log).split() == ["optiroute", "640"]


def test_the_binary_is_replaced_while_it_runs(machine):
    """Inside the sandbox too, and the unit follows."""
    spent, pid = metric(machine, "llm_total_cost_usd_total"), main_pid(machine)
    machine.ok("optirouted", "-p", "/run/optiroute/optirouted.pid", "-s", "upgrade")
    eventually(lambda: main_pid(machine) not in (0, pid), what="the new MAINPID")
    eventually(lambda: machine.run("test", "-e", f"/proc/{pid}").returncode != 0,
               what="the end of the old master")
    assert is_active(machine)
    assert machine.ok("systemctl", "show", "-P", "NRestarts", "optirouted").strip() == "0"
    assert metric(machine, "llm_total_cost_usd_total") >= spent > 0
    assert generate(machine)["cached"] is True
    machine.ok("systemctl", "reload", "optirouted")  # and is still the one that is told
    assert is_active(machine)


def test_whoever_dies_comes_back_and_no_money_is_lost(machine):
    spent, pid = metric(machine, "llm_total_cost_usd_total"), main_pid(machine)
    assert spent > 0
    machine.ok("sh", "-c", f"kill -9 {pid}")  # the shell's own: a minimal Debian has no other
    eventually(lambda: is_active(machine) and main_pid(machine) not in (0, pid), what="a new master")
    assert metric(machine, "llm_total_cost_usd_total") >= spent
    assert generate(machine)["cached"] is True  # the cache is a file
    machine.ok("dpkg", "-i", "/root/optiroute.deb")  # an upgrade
    assert is_active(machine)
    assert metric(machine, "llm_total_cost_usd_total") >= spent
    assert generate(machine)["cached"] is True


def test_a_wrong_configuration_is_said_once(machine):
    before = machine.ok("cat", CONFIG)
    machine.put(CONFIG, before + "wrokers: 2\n")
    assert machine.run("systemctl", "restart", "optirouted").returncode != 0
    assert machine.ok("systemctl", "show", "-P", "NRestarts", "optirouted").strip() == "0"
    assert machine.ok("systemctl", "show", "-P", "ExecMainStatus", "optirouted").strip() == "1"
    assert "did you mean `workers`?" in machine.journal()
    machine.put(CONFIG, before)
    machine.ok("systemctl", "restart", "optirouted")


def test_a_socket_of_systemd_starts_it(machine):
    machine.ok("systemctl", "stop", "optirouted")
    machine.ok("systemctl", "start", "optirouted.socket")
    assert not is_active(machine)
    assert machine.ok("curl", "-sSf", "--max-time", "30", f"{API}/health") == '{"status":"ok"}'
    assert is_active(machine) and generate(machine)["cached"] is True
    machine.ok("systemctl", "stop", "optirouted.socket", "optirouted.service")
    machine.ok("systemctl", "start", "optirouted")


def test_it_goes_without_a_trace(machine):
    machine.put("/etc/optiroute/environment", "HF_API_TOKEN=\n")
    machine.ok("dpkg", "-r", "optiroute")
    assert not is_active(machine)
    machine.ok("test", "-e", CONFIG)
    machine.ok("test", "-e", "/var/lib/optiroute/cache")
    machine.ok("dpkg", "-P", "optiroute")
    left = machine.ok("find", "/etc", "/usr", "/var", "/lib/systemd", "/run", "-xdev", "-path",
                      "/var/log/journal", "-prune", "-o", "-name", "*optiroute*", "-print")
    # an overlay shows what is installed on this machine, too
    ours = [path for path in left.split() if not path.startswith(("/usr/local/", "/usr/src/"))]
    assert ours == []
    assert machine.run("sh", "-c", "grep -l optirouted /proc/[0-9]*/comm").stdout == ""
