"""Another binary takes the daemon over while it runs: USR2 and `-s upgrade`."""
import fcntl
import os
import pwd
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from mock import Mock, upstream
from optiroute import (BINARY, PATIENCE, Client, Daemon, LineReader, assert_not_less, compose,
                       environment, eventually, in_parallel, merged, run)
from processes import children, is_alive, listening_ports, open_files, proc_status
from upgrading import Upgradable, become_reaper, holder, renamed_metric


@pytest.fixture
def upgradable():
    """upgradable(changes) starts a daemon whose binary can be replaced."""
    started = []

    def start(*arguments, **options):
        started.append(Upgradable(*arguments, **options))
        return started[-1]

    yield start
    for one in reversed(started):
        one.__exit__(None, None, None)


@pytest.fixture(scope="module")
def mock():
    with Mock() as running:
        yield running


SLOW, STREAM = "m+delay=600000", "m+pace=600000"  # until the mock is told to release them


def with_mock(mock, changes=None):
    """Settings with the mock as a provider, and time for whatever is under way."""
    provider = upstream(mock, "openai", default_model=SLOW, models={SLOW: {"input": "3", "output": "15"}},
                        timeouts={"first_byte": "120s", "idle": "120s"})
    return merged({"providers": {"mock": provider}, "limits": {"shutdown_timeout": "120s"}},
                  changes or {})


def slow(daemon, mock, model=SLOW, **members):
    """A request whose answer is on its way until `release_all`."""
    client, before = daemon.connect(), mock.counters(model)["in_flight"]
    client.send(compose("POST", "/generate", {"prompt": "slow", "provider": "mock", "model_id": model,
                                              **members}, ["Cache-Control: no-store"]))
    eventually(lambda: mock.counters(model)["in_flight"] == before + 1, what="a request under way")
    return client


def release_all(mock):
    eventually(lambda: mock.release() == 0 and mock.counters()["in_flight"] == 0,
               what="all answers are given")


class Watching:
    """Looks at something again and again in a thread, from before the block until after it."""

    def __init__(self, look):
        self.look, self.seen, self.ends, self.error = look, [], threading.Event(), None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def note(self):
        value = self.look()
        if not self.seen or self.seen[-1] != value:
            self.seen.append(value)

    def run(self):
        try:
            while not self.ends.is_set():
                self.note()
            self.note()
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.note()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join(PATIENCE)
        assert self.error is None, self.error


# -- it works --------------------------------------------------------------------------------------

def test_upgrade_serves_on_and_keeps_everything(upgradable, mock):
    """What is under way is finished, kept connections are told, cache, totals and circuits go on,
    the pid file names and is held by a living master at every moment."""
    daemon = upgradable(with_mock(mock, {"providers": {"broken": {"breaker": {
        "failures": 3, "open": "300s", "max_open": "300s"}}}}))
    for _ in range(3):
        assert daemon.generate("x", provider="broken").status == 502
    daemon.generate("kept over an upgrade")
    old, old_workers = daemon.pid, daemon.everybody()
    with slow(daemon, mock, STREAM, stream=True) as stream:
        eventually(mock.release, what="its first word")
        assert stream.read_head().status == 200
        plain, kept = slow(daemon, mock), daemon.connect()
        assert kept.request("GET", "/health").status == 200
        before = daemon.metrics()
        with Watching(lambda: holder(daemon.pid_path)) as pid_file:
            result = daemon.tell()
        assert result.returncode == 0, result.stderr
        daemon.follow()
        answer = kept.request("GET", "/health")  # it is kept for 5 s
        assert answer.status == 200 and answer.closes()
        assert pid_file.seen == [(old, old), (daemon.pid, daemon.pid)]
        assert_not_less(before, daemon.metrics())
        assert daemon.generate("kept over an upgrade").json()["cached"] is True
        assert daemon.generate("x", provider="broken").error()["code"] == "breaker_open"
        release_all(mock)
        assert plain.read_answer().status == 200
        chunks = list(iter(stream.read_chunk, b""))
        assert chunks[-1].endswith(b"data: [DONE]\n\n")
        plain.close()
        kept.close()
    assert daemon.await_end_of(old) == 0
    assert not any(is_alive(pid) for pid in old_workers)
    metrics = daemon.metrics()
    assert_not_less(before, metrics)
    assert metrics.total("optiroute_config_generation") == 2
    assert metrics.total("optiroute_worker_restarts_total") == 0, "nobody died"
    assert metrics.total("llm_requests_total", provider="mock", outcome="ok") == 2
    assert metrics.total("process_start_time_seconds") == \
        before.total("process_start_time_seconds"), "totals are since then"
    eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 0)
    daemon.upgrade()  # and again, by a master that was itself a successor
    assert daemon.generate("kept over an upgrade").json()["cached"] is True
    assert daemon.metrics().total("optiroute_config_generation") == 3


def test_signals_during_an_upgrade(upgradable, mock):
    """HUP is not lost, whoever of the two deals with it; USR1 reaches both."""
    daemon = upgradable(with_mock(mock))
    with slow(daemon, mock) as client:
        first = daemon.pid
        rotated = daemon.access_path.with_name("rotated")
        daemon.send_signal(signal.SIGUSR2)
        daemon.send_signal(signal.SIGHUP)
        daemon.follow()
        eventually(lambda: daemon.metrics().total("optiroute_config_generation") == 3)
        daemon.generate("before the rotation")
        eventually(daemon.access_lines)
        daemon.access_path.rename(rotated)
        daemon.send_signal(signal.SIGUSR1)
        eventually(daemon.access_path.exists)
        daemon.log.wait_for(rf"master\[{first}\]: logs reopened")
        release_all(mock)
        answer = client.read_answer()
        assert answer.status == 200
        line = daemon.access_line(answer.field("x-request-id"))
        assert line["status"] == 200, "a worker of the old master wrote to the new file"


def test_environment_and_arguments_go_along(upgradable):
    """Keys in the environment, and -c as it was given."""
    daemon = upgradable({"providers": {"keyed": {
        "type": "openai", "url": "http://127.0.0.1:9/v1", "default_model": "m",
        "api_key_env": "TEST_ONLY_KEY"}}}, env=environment(TEST_ONLY_KEY="sk-test"))
    daemon.upgrade()
    assert daemon.metrics().total("llm_circuit_state", provider="keyed") == 0
    with open(f"/proc/{daemon.pid}/environ", "rb") as file:
        assert b"TEST_ONLY_KEY=sk-test" in file.read()
    assert os.readlink(f"/proc/{daemon.pid}/exe") == daemon.binary
    for pid in daemon.everybody():
        files = open_files(pid)
        assert sum("memfd:optiroute" in file for file in files) == 1, files


def test_workers_have_no_privileges_after_an_upgrade(upgradable):
    daemon = upgradable({"user": "nobody"})
    daemon.upgrade()
    own = os.getuid()
    expected = pwd.getpwnam("nobody").pw_uid if own == 0 else own
    assert proc_status(daemon.pid, "Uid") == [str(own)] * 4
    for pid in daemon.everybody():
        assert proc_status(pid, "Uid") == [str(expected)] * 4
    daemon.generate("logged by another user")
    eventually(daemon.access_lines)


def test_other_addresses_come_into_force(upgradable):
    """A socket is handed over by what the configuration asked for; the rest is bound or closed."""
    with socket.socket() as holder_of_port:  # who is bound keeps it free of others, but for a listener
        holder_of_port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder_of_port.bind(("127.0.0.1", 0))
        port = holder_of_port.getsockname()[1]
        daemon = upgradable()
        kept = daemon.address[1]
        daemon.write_config(merged(daemon.settings, {
            "listen": ["127.0.0.1:0", f"127.0.0.1:{port}"], "metrics_listen": ""}))
        daemon.upgrade()
        assert daemon.generate("x").status == 200
        with Client(("127.0.0.1", port)) as client:
            assert client.request("GET", "/health").status == 200
        eventually(lambda: not is_alive(daemon.pids[0]), what="the old one ends")
        for pid in (daemon.pid, *daemon.everybody()):  # and nobody has the one for metrics any more
            assert set(listening_ports(pid)) == {kept, port}


def test_in_the_background(tmp_path):
    """Daemonised, started with a relative path by another directory, told by -s upgrade; a broken
    file is explained in the log, for there is no stderr."""
    become_reaper()
    with Daemon(start=False) as files:
        log, pid_path = files.dir / "error.log", files.dir / "pid"
        settings = merged(files.settings, {"error_log": str(log)})
        files.write_config(settings)
        binary = files.dir / "optirouted"
        binary.symlink_to(BINARY)
        arguments = ["-c", "optiroute.yaml", "-p", str(pid_path)]
        result = subprocess.run(["./optirouted", *arguments], cwd=files.dir, env=environment(),
                                capture_output=True, text=True, timeout=PATIENCE)
        assert result.returncode == 0, result.stderr
        first = int(pid_path.read_text())
        address = re.search(r"listening on (\S+):(\d+)", log.read_text())
        address = (address[1], int(address[2]))

        def tell(word):
            return run(*arguments, "-s", word, cwd=files.dir)

        try:
            assert tell("upgrade").returncode == 0
            second = int(pid_path.read_text())
            assert second != first
            with Client(address) as client:
                assert client.request("GET", "/health").status == 200
            for fd in range(3):
                assert os.readlink(f"/proc/{second}/fd/{fd}") == "/dev/null"
                for pid in children(second):
                    assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
            eventually(lambda: not is_alive(first))
            files.write_config("workers: 0\n")
            # told by pid file alone, -s looks at no configuration
            result = tell("upgrade")
            assert result.returncode == 1 and f"process {second} goes on" in result.stderr
            assert re.search(r"the new daemon says: .*optiroute.yaml:1:10: workers", log.read_text())
            assert re.search(r"upgrade failed: .* exit code 1", log.read_text())
            files.write_config(settings)
            assert tell("upgrade").returncode == 0
            third = int(pid_path.read_text())
            assert tell("quit").returncode == 0
            eventually(lambda: not is_alive(third))
            assert not pid_path.exists()
        finally:
            for pid in [int(pid_path.read_text())] if pid_path.exists() else []:
                os.kill(pid, signal.SIGKILL)


def test_systemd(tmp_path):
    """Sockets that it gave stay as they are, whatever `listen` says; MAINPID moves once, and only when
    the new daemon serves; the old one says nothing more."""
    become_reaper()
    name = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver, \
            socket.create_server(("127.0.0.1", 0)) as clients, \
            socket.create_server(("127.0.0.1", 0)) as metrics, Daemon(start=False) as files:
        receiver.settimeout(PATIENCE)
        receiver.bind(str(name))

        def receive():
            return dict(line.split("=", 1) for line in receiver.recv(4096).decode().splitlines())

        def place():
            high = [os.dup2(one.fileno(), 100 + i) for i, one in enumerate([clients, metrics])]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
                os.close(fd)

        script = ('export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:metrics; exec "$0" "$@"')
        process = subprocess.Popen(
            ["/bin/sh", "-c", script, BINARY, "-f", "-c", files.config_path], text=True,
            stderr=subprocess.PIPE, preexec_fn=place, close_fds=False,
            env=environment(NOTIFY_SOCKET=str(name), WATCHDOG_USEC="3600000000"))
        log = LineReader(process.stderr)
        second = None
        try:
            assert receive() == {"READY": "1", "MAINPID": str(process.pid)}
            process.send_signal(signal.SIGUSR2)
            assert receive()["RELOADING"] == "1"
            # who serves says so, and the one that systemd believes says it too
            messages = [receive(), receive()]
            second = int(messages[0]["MAINPID"])
            assert messages == [{"READY": "1", "MAINPID": str(second)}] * 2
            assert second != process.pid
            assert process.wait(PATIENCE) == 0, log.text()
            with Client(clients.getsockname()) as client:
                assert client.request("GET", "/health").status == 200
            with Client(metrics.getsockname()) as client:
                assert client.request("GET", "/metrics").status == 200
            os.kill(second, signal.SIGUSR2)
            assert receive()["RELOADING"] == "1"
            messages = [receive(), receive()]
            third = int(messages[0]["MAINPID"])
            assert messages == [{"READY": "1", "MAINPID": str(third)}] * 2
            assert os.waitpid(second, 0)[1] == 0
            second = third
            with Client(clients.getsockname()) as client:
                assert client.request("GET", "/health").status == 200
            os.kill(second, signal.SIGTERM)
            assert receive() == {"STOPPING": "1"}
            assert os.waitpid(second, 0)[1] == 0
            second = None
        finally:
            process.kill()
            process.wait()
            if second is not None:
                os.kill(second, signal.SIGKILL)


# -- it does not work ------------------------------------------------------------------------------

def assert_unmoved(daemon, before):
    assert holder(daemon.pid_path) == (daemon.pid, daemon.pid)
    assert daemon.everybody() == before
    assert daemon.metrics().total("optiroute_config_generation") == 1
    assert daemon.generate("still here").status == 200


def test_a_failed_upgrade_changes_nothing(upgradable):
    """The same daemon through every way to fail, one after the other, and then a good one."""
    daemon = upgradable()
    daemon.generate("still here")
    before = daemon.everybody()
    totals = daemon.metrics()
    files = sorted(os.listdir(daemon.dir))
    good = daemon.good_binary()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = "127.0.0.1:%d" % busy.getsockname()[1]
        ways = [
            (None, None, "No such file or directory", "exit code 127"),
            ("no program at all", None, "Exec format error", "exit code 127"),
            ("#!/bin/sh\nexit 3\n", None, None, "exit code 3"),
            ("#!/bin/sh\nkill -SEGV $$\n", None, None, r"signal 11 \(SIGSEGV\)"),
            (good, {"listen": [taken]}, f"{re.escape(taken)} is in use", "exit code 2"),
            (good, {"providers": {"small": {"type": "nonsense"}}}, None, "exit code 1"),
            (good, {"pid_file": "/proc/none"}, "pid file /proc/none", "exit code 2"),
            (good, {"access_log": "/proc/none"}, None, "exit code 2"),
        ]
        for binary, changes, said, end in ways:
            daemon.install(binary)
            daemon.write_config(merged(daemon.settings, changes or {}))
            start = len(daemon.log.lines)
            result = run("-p", daemon.pid_path, "-s", "upgrade")
            assert result.returncode == 1, (binary, changes)
            assert f"process {daemon.pid} goes on" in result.stderr
            daemon.log.wait_for(r"upgrade failed: the new daemon \(process \d+\) ended: " + end,
                                start)
            if said:
                assert daemon.log.find(f"the new daemon says: .*{said}", start), said
            daemon.write_config(daemon.settings)
            daemon.install(good)
            assert_unmoved(daemon, before)
    result = daemon.tell()
    assert result.returncode == 0, result.stderr
    daemon.follow()
    assert daemon.generate("still here").json()["cached"] is True
    assert_not_less(totals, daemon.metrics())
    assert sorted(os.listdir(daemon.dir)) == sorted(files), "nothing is left behind"


def test_a_binary_that_hangs_is_given_up(upgradable):
    """Meanwhile a second USR2 is refused and HUP waits; then the reload comes."""
    daemon = upgradable()
    before = daemon.everybody()
    daemon.install("#!/bin/sh\nexec sleep 600\n")
    start = len(daemon.log.lines)
    daemon.send_signal(signal.SIGUSR2)
    daemon.log.wait_for("upgrading: starting", start)
    daemon.send_signal(signal.SIGUSR2)
    daemon.log.wait_for("an upgrade is under way already", start)
    daemon.send_signal(signal.SIGHUP)
    hanging = [pid for pid in children(daemon.pid) if pid not in before]
    assert len(hanging) == 1
    assert daemon.generate("meanwhile").status == 200
    assert daemon.everybody() == before
    daemon.log.wait_for(r"upgrade failed: .* signal 9 \(SIGKILL\): its workers did not get ready in "
                        "time", start)
    assert not is_alive(hanging[0])
    daemon.log.wait_for("generation 2 serves", start)
    assert daemon.generate("meanwhile").json()["cached"] is True


def test_told_to_end_during_an_upgrade(upgradable):
    """TERM means the daemon, not the binary that is only being tried."""
    daemon = upgradable()
    daemon.install("#!/bin/sh\nexec sleep 600\n")
    daemon.send_signal(signal.SIGUSR2)
    daemon.log.wait_for("upgrading: starting")
    hanging = eventually(lambda: [pid for pid in children(daemon.pid) if pid not in daemon.everybody()],
                         what="the new one")
    daemon.stop()
    assert not daemon.log.find("did not get ready in time"), "nobody waits for it"
    eventually(lambda: not any(is_alive(pid) for pid in hanging))


def test_the_old_master_killed_while_it_drains(upgradable, mock):
    """The new one lives on and frees what the old one's workers held."""
    daemon = upgradable(with_mock(mock))
    first, workers = daemon.pid, daemon.everybody()
    client = slow(daemon, mock)
    eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 1)
    daemon.upgrade()
    start = len(daemon.log.lines)
    os.kill(first, signal.SIGKILL)
    assert daemon.process.wait(PATIENCE) == -signal.SIGKILL
    daemon.pids.remove(first)
    daemon.log.wait_for(rf"slot \d+ \(pid \d+\) of master {first}, which is gone, is free again", start)
    eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 0)
    eventually(lambda: not any(is_alive(pid) for pid in workers), what="the end of its workers")
    assert daemon.generate("after it").status == 200
    client.close()


# -- the region ------------------------------------------------------------------------------------

def can_be_locked(path):
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False


def test_cache_file_stays_locked_and_goes_on(upgradable, tmp_path):
    path = tmp_path / "cache"
    daemon = upgradable({"cache": {"file": str(path)}})
    daemon.generate("in the file")
    inode = path.stat().st_ino
    with Watching(lambda: can_be_locked(path)) as lock:
        for _ in range(2):
            old = daemon.pid
            daemon.upgrade()
            assert daemon.await_end_of(old) == 0
            daemon.pids.remove(old)
    assert lock.seen == [False]
    assert path.stat().st_ino == inode
    assert daemon.generate("in the file").json()["cached"] is True
    kept = daemon.connect()
    assert kept.request("GET", "/health").status == 200
    daemon.upgrade()
    started = time.monotonic()

    def await_close():
        kept.assert_closed()
        return time.monotonic() - started

    took, _ = in_parallel(2, lambda i: daemon.stop() if i else await_close())
    assert took < 4, "the old master ends too, whose kept connection had 5 s"
    with Daemon(daemon.settings | {"access_log": ""}) as again:
        assert again.generate("in the file").json()["cached"] is True


# A new region begins its processes' figures anew, with another process_start_time_seconds.
BEGINS_ANEW = {"process_cpu_seconds_total"}


def assert_carried_over(before, after, gone=()):
    before.series = {key: value for key, value in before.series.items()
                     if key[0] not in BEGINS_ANEW | set(gone)}
    assert_not_less(before, after)


@pytest.mark.parametrize("in_file", [False, True], ids=["memory", "file"])
def test_another_layout_starts_empty_and_keeps_the_totals(upgradable, mock, tmp_path, in_file):
    """The new version calls a metric otherwise: all others go on, also what the old workers count
    while they drain; then the same at a plain restart, with the file."""
    path = tmp_path / "cache"
    daemon = upgradable(with_mock(mock, {"cache": {"file": str(path) if in_file else ""}}))
    for _ in range(2):
        daemon.generate("asked again", provider="large")
    with slow(daemon, mock) as client:
        before, old = daemon.metrics(), daemon.pid
        daemon.install(renamed_metric(daemon.good_binary()))
        daemon.upgrade()
        daemon.log.wait_for(rf"the region of process {old} cannot go on: its metrics are those of "
                            "another version; the cache starts empty, totals are carried over")
        daemon.log.wait_for(r"totals of \d+ series carried over, 0 have no counterpart here")
        after = daemon.metrics()
        assert "llm_clients_gone_total_" in after.names()
        assert_carried_over(before, after, {"llm_client_aborts_total"})
        assert after.total("llm_cache_events_total", event_type="hit") == 1
        assert daemon.generate("asked again", provider="large").json()["cached"] is False
        release_all(mock)
        assert client.read_answer().status == 200
    assert daemon.await_end_of(old) == 0
    daemon.log.wait_for(f"process {old} has ended")
    assert daemon.generate("asked again", provider="large").json()["cached"] is True
    eventually(lambda: len(daemon.access_lines()) == 5)
    metrics = daemon.metrics()
    spent = metrics.total("llm_total_cost_usd_total")
    assert sum(line["cost_usd"] for line in daemon.access_lines()) == spent
    assert metrics.total("llm_requests_total", provider="mock", outcome="ok") == 1
    if in_file:
        assert not path.with_name("cache.new").exists()
        daemon.stop()
        with Daemon(daemon.settings | {"access_log": ""}) as again:
            again.log.wait_for("its metrics are those of another version")
            assert_carried_over(metrics, again.metrics(), {"llm_clients_gone_total_"})
            assert again.metrics().total("llm_total_cost_usd_total") == spent


def test_a_larger_cache_comes_into_force(upgradable, tmp_path):
    daemon = upgradable({"cache": {"file": str(tmp_path / "cache")}})
    daemon.generate("x", provider="large")
    before = daemon.metrics()
    daemon.write_config(merged(daemon.settings, {"cache": {"size": "16MB"}}))
    daemon.upgrade()
    daemon.log.wait_for("cannot go on: cache.size has changed")
    after = daemon.metrics()
    assert_carried_over(before, after)
    capacity = "optiroute_cache_capacity_bytes"
    assert after.total(capacity) >= 2 * before.total(capacity)
    assert not (tmp_path / "cache.new").exists()


# -- what is handed over is not believed -----------------------------------------------------------

@pytest.mark.parametrize("parent, status", [("1", 0), (None, 2)], ids=["of another", "of its parent"])
def test_a_variable_without_what_it_promises(parent, status):
    """Left over in some environment it means nothing; from the very parent its descriptors are
    checked."""
    with Daemon(start=False) as files:
        variable = f"{parent or os.getpid()} 1 clients= metrics="
        process = subprocess.Popen([BINARY, "-f", "-c", files.config_path], text=True,
                                   stderr=subprocess.PIPE,
                                   env=environment(OPTIROUTE_UPGRADE=variable))
        log = LineReader(process.stderr)
        if status == 0:
            log.wait_for("is ready")
            process.terminate()
        else:
            log.wait_for("descriptor 3 is no pipe")
        assert process.wait(PATIENCE) == status
