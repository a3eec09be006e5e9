"""What survives in cache.file: restarts, kills, reboots, wall clocks that jump, and damage."""
import contextlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from optiroute import (BINARY, PATIENCE, STANDARD, Closed, Daemon, LineReader, environment,
                       eventually, fakehost, merged, run)
from processes import children, is_alive, proc_status

HEADER_VERSION_AT = 8
MIB = 1 << 20


@pytest.fixture
def path(tmp_path):
    """Where the cache lies; its directory can be left to others' eyes."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and str(directory) not in ("/", "/tmp"):
            directory.chmod(0o755)
    return tmp_path / "cache"


def daemon_on(path, changes=None, **options):
    return Daemon(merged({"cache": {"file": str(path)}}, changes or {}), **options)


def aside_of(path):
    return sorted(path.parent.glob(path.name + ".bad-*"))


def fill(daemon, count, prefix="prompt"):
    """Asks count prompts; {prompt: text}."""
    texts = {}
    with daemon.connect() as client:
        for i in range(count):
            prompt = f"{prefix} {i}"
            answer = client.request("POST", "/generate", {"prompt": prompt})
            assert answer.status == 200
            texts[prompt] = answer.json()["text"]
    return texts


def hits(daemon, texts):
    """How many of the prompts come from the cache; every answer is the right one."""
    count = 0
    with daemon.connect() as client:
        for prompt, text in texts.items():
            answer = client.request("POST", "/generate", {"prompt": prompt})
            assert answer.status == 200
            body = answer.json()
            assert body["text"] == text, f"wrong answer for {prompt}"
            count += body["cached"]
    return count


def totals(daemon):
    """Every total but those of processes."""
    return {key: value for key, value in daemon.metrics().counters().items()
            if not key[0].startswith("process_")}


def assert_not_lower(before, after):
    for key, value in before.items():
        assert after.get(key, -1) >= value, f"{key} went from {value} to {after.get(key)}"


def kill_all(daemon, master_first=True):
    """SIGKILL for all of them at once, as by the kernel's out-of-memory killer or the power."""
    pids = [daemon.pid, *children(daemon.pid)]
    for pid in pids if master_first else reversed(pids):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    daemon.process.wait()
    eventually(lambda: not any(is_alive(pid) for pid in pids), what="their end")
    daemon.assert_clean()


def free_ports(count):
    """Ports that the kernel gives to nobody who lets it choose, so they stay free for a while."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        lowest = int(file.read().split()[0])
    ports = []
    while len(ports) < count:
        with contextlib.suppress(OSError), \
                socket.create_server(("127.0.0.1", random.randrange(lowest // 2, lowest))) as one:
            ports.append(one.getsockname()[1])
    return ports


# -- restart and crash -----------------------------------------------------------------------------

def test_a_restart_keeps_cache_totals_and_circuits(path):
    broken = {"providers": {"broken": {"breaker": {"failures": 1, "open": "300s"}}}}
    with daemon_on(path, broken) as daemon:
        daemon.log.wait_for(rf"cache\.file {path}: new, starting empty")
        texts = fill(daemon, 50)
        assert daemon.generate("x", provider="broken").status == 502
        eventually(lambda: daemon.metrics().total("llm_circuit_state", provider="broken") == 2)
        before = totals(daemon)
        daemon.stop()
        daemon.start()
        match = daemon.log.wait_for(rf"cache\.file {path} goes on with (\d+) entries")
        assert int(match[1]) == 50
        assert_not_lower(before, totals(daemon))
        assert daemon.metrics().total("llm_circuit_state", provider="broken") == 2
        assert daemon.generate("y", provider="broken").status == 503
        assert hits(daemon, texts) == 50
        assert daemon.metrics().total("optiroute_connections") <= 4, "gauges of the dead are gone"
        assert path.stat().st_mode & 0o777 == 0o600


def test_kill_9_of_everything_in_the_middle_of_writes(path):
    """Again and again (SURVIVAL_TURNS): what was complete is a hit, nothing is wrong, no total goes
    back. An answer is not stored when its shard was held by a worker that was not run for 2 ms: that
    is counted, and seldom."""
    turns = int(os.environ.get("SURVIVAL_TURNS", "8"))
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    with daemon_on(path, {"cache": {"size": "64MB"}}, start=False) as daemon:
        known, before, all_lost = {}, {}, 0
        for turn in range(turns):
            daemon.start()
            assert_not_lower(before, totals(daemon))
            started = {}
            done = threading.Event()

            def write(number, turn=turn, started=started, done=done):
                try:
                    with daemon.connect() as client:
                        for i in range(100000):
                            if done.is_set():
                                return
                            prompt = f"{turn} {number} {i}"
                            answer = client.request("POST", "/generate", {"prompt": prompt})
                            started[prompt] = answer.json()["text"]
                except (Closed, OSError):
                    pass

            threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            enough = len(started) + chance.randrange(1, 100)
            eventually(lambda: len(started) >= enough, what="answers before the kill")
            before = totals(daemon)
            kill_all(daemon, master_first=chance.random() < 0.5)
            done.set()
            for thread in threads:
                thread.join(PATIENCE)
            daemon.start()
            lost = len(started) - hits(daemon, started)
            busy = daemon.metrics().total("optiroute_cache_lock_timeouts_total")
            assert lost <= len(threads) + busy, f"{lost} of {len(started)} complete answers are lost"
            known.update(started)
            all_lost += lost
            before = {key: max(value, before.get(key, 0)) for key, value in totals(daemon).items()}
            kill_all(daemon)
        daemon.start()
        print(f"{turns} kills, {len(known)} answers, {all_lost} in flight were lost")
        assert len(known) > 100
        found = hits(daemon, known)
        metrics = daemon.metrics()
        busy = metrics.total("optiroute_cache_lock_timeouts_total")
        assert found >= len(known) - 4 * turns - busy
        assert busy < len(known) / 10
        assert metrics.total("llm_cache_events_total", event_type="corrupt") == 0
        assert not aside_of(path)


def test_a_supervisor_may_restart_a_killed_master_at_once(path):
    """Sockets and file are free again by the time they are needed, though workers die later."""
    api, metrics = free_ports(2)
    changes = {"listen": [f"127.0.0.1:{api}"], "metrics_listen": f"127.0.0.1:{metrics}"}
    with daemon_on(path, changes) as daemon:
        texts = fill(daemon, 20)
        for _ in range(10):
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.process.wait()  # of the master alone
            daemon.start()
            assert hits(daemon, texts) == 20


def test_a_worker_that_outlives_its_master_is_waited_for(path):
    """A stopped one cannot see that the master is gone, but the kernel ends it."""
    with daemon_on(path) as daemon:
        texts = fill(daemon, 5)
        for pid in daemon.workers():
            os.kill(pid, signal.SIGSTOP)
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.process.wait()
        daemon.start()
        assert hits(daemon, texts) == 5


def test_two_daemons_at_once_the_second_is_refused(path):
    with daemon_on(path) as daemon:
        texts = fill(daemon, 5)
        with daemon_on(path, start=False) as other:
            begin = time.monotonic()
            result = run("-f", "-c", other.config_path)  # which does not last for ever
            waited = time.monotonic() - begin
        assert result.returncode == 2
        assert f"cache.file {path}: is in use by another running optirouted" in result.stderr
        assert waited > 2.5, "a moment for one that is about to end"
        assert hits(daemon, texts) == 5


def test_a_second_daemon_begins_when_the_first_has_ended(path):
    with daemon_on(path) as daemon, daemon_on(path, start=False) as other:
        texts = fill(daemon, 5)
        starter = threading.Thread(target=other.start)
        starter.start()
        eventually(lambda: getattr(other, "log", None) and other.log.find(
            "another optirouted holds it; waiting for its end"), what="the second one waits")
        os.kill(other.pid, signal.SIGSTOP)  # an end may take longer than it would wait
        daemon.stop()
        os.kill(other.pid, signal.SIGCONT)
        starter.join(PATIENCE)
        assert not starter.is_alive()
        assert hits(other, texts) == 5


@pytest.mark.parametrize("state", ["none", "whole", "damaged"])
def test_of_three_that_start_at_the_same_moment_one_serves(path, state):
    with daemon_on(path, start=False) as daemon:
        if state != "none":
            daemon.start()
            texts = fill(daemon, 5)
            daemon.stop()
        if state == "damaged":
            flip(path, [30])
        processes = [subprocess.Popen([BINARY, "-f", "-c", str(daemon.config_path)], text=True,
                                      env=environment(), stdin=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE) for _ in range(3)]
        logs = [LineReader(one.stderr) for one in processes]
        eventually(lambda: sum(one.poll() == 2 for one in processes) == 2, what="two that give up")
        eventually(lambda: any(log.find("is ready") for log in logs), what="one that serves")
        for one in processes:
            one.send_signal(signal.SIGTERM)  # to who is left
        assert sorted(one.wait(PATIENCE) for one in processes) == [0, 2, 2]
        for log in logs:
            log.thread.join(PATIENCE)
        assert sum("is in use by another running optirouted" in log.text() for log in logs) == 2
        assert len(aside_of(path)) == (state == "damaged")
        daemon.start()
        if state == "whole":
            assert hits(daemon, texts) == 5


# -- time ------------------------------------------------------------------------------------------

class Machine:
    """A wall clock and a boot id that a test sets."""

    def __init__(self, directory):
        self.clock, self.boot = directory / "clock", directory / "boot"
        self.set_clock(0)
        self.reboot()
        self.environment = fakehost(FAKEHOST_CLOCK=str(self.clock),
                                    FAKEHOST_BOOT_ID=str(self.boot))

    def set_clock(self, seconds):
        if not self.clock.exists():
            self.clock.write_bytes(bytes(8))
        with self.clock.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    def reboot(self):
        self.boot.write_text("%08x-0000-4000-8000-%012x\n" % (random.getrandbits(32),
                                                             random.getrandbits(48)))


HOUR = 3600


@pytest.mark.parametrize("ttl, boots, jump_s, there, says", [
    ("1h", False, 0, True, "of this boot"),
    ("1h", False, 400 * 24 * HOUR, True, "of this boot"),
    ("1h", False, -400 * 24 * HOUR, True, "of this boot"),
    ("1h", True, 0, True, "every record verified"),
    ("1h", True, HOUR // 2, True, "every record verified"),
    ("1h", True, 2 * HOUR, False, "every record verified"),
    ("1d", True, 2 * HOUR, True, "every record verified"),
    ("1h", True, -HOUR, False, "the wall clock went back, so the cache starts empty"),
])
def test_times_to_live_over_restart_and_reboot(path, ttl, boots, jump_s, there, says):
    machine = Machine(path.parent)
    broken = {"cache": {"ttl": ttl},
              "providers": {"broken": {"breaker": {"failures": 1, "open": "300s"}}}}
    with daemon_on(path, broken, env=machine.environment) as daemon:
        texts = fill(daemon, 30)
        assert daemon.generate("x", provider="broken").status == 502
        before = totals(daemon)
        kill_all(daemon)
        if boots:
            machine.reboot()
        machine.set_clock(jump_s)
        daemon.start()
        daemon.log.wait_for(says)
        assert hits(daemon, texts) == (30 if there else 0)
        assert_not_lower(before, totals(daemon))
        state = daemon.metrics().total("llm_circuit_state", provider="broken")
        assert state == (0 if boots else 2), "another boot's circuits are closed"


def await_notes(path, count):
    """Of the time, in the file's header; one comes about once a second."""
    for _ in range(count):
        with path.open("rb") as file:
            before = file.read(1024)
        eventually(lambda before=before: path.open("rb").read(1024) != before, what="a note")


def test_time_is_noted_while_it_runs(path):
    """A crash after seconds of running, then a reboot: they count, by the last note."""
    machine = Machine(path.parent)
    with daemon_on(path, {"cache": {"ttl": "1h"}}, env=machine.environment) as daemon:
        texts = fill(daemon, 10)
        # The clock is set right while it runs; from the next note on the pair says so.
        machine.set_clock(-24 * HOUR)
        await_notes(path, 3)  # the first may have begun before
        kill_all(daemon)
        machine.reboot()
        daemon.start()
        daemon.log.wait_for("every record verified")
        assert hits(daemon, texts) == 10


def test_the_master_does_not_wake_up_for_it(path):
    with daemon_on(path) as daemon:
        fill(daemon, 1)

        def switches():
            return int(proc_status(daemon.pid, "voluntary_ctxt_switches")[0])
        await_notes(path, 1)  # until then its start is over
        before = switches()
        await_notes(path, 3)
        assert switches() - before <= 1


# -- damage ----------------------------------------------------------------------------------------

def flip(path, places):
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << place % 8]))


@pytest.mark.parametrize("damage, says", [
    (lambda path: flip(path, [0]), "first bytes"),
    (lambda path: flip(path, [30]), "header"),
    (lambda path: flip(path, range(100, 512)), "times"),  # up to the last of four marks
    (lambda path: os.truncate(path, 5 * MIB), "bytes instead of"),
    (lambda path: os.truncate(path, 50), "ends after 50 bytes"),
    (lambda path: path.write_bytes(bytes(path.stat().st_size)), "first bytes"),
], ids=["magic", "header", "times", "cut", "cut to nothing", "zeros"])
def test_a_damaged_file_is_set_aside(path, damage, says):
    with daemon_on(path) as daemon:
        texts = fill(daemon, 5)
        for turn in (1, 2):
            daemon.stop()
            damage(path)
            size = path.stat().st_size
            daemon.start()
            match = daemon.log.wait_for(rf"cache\.file {path} is damaged \((.*)\): "
                                        r"set aside as ([^ ;,]+)(.*); starting empty")
            assert says in match[1]
            assert [str(one) for one in aside_of(path)] == [match[2]], "never more than one"
            assert aside_of(path)[0].stat().st_size == size
            assert hits(daemon, texts) == 0
            assert hits(daemon, texts) == 5
            if turn == 1:
                second = int(time.time())  # which its name has in it
                eventually(lambda second=second: int(time.time()) > second)


def test_flipped_bytes_in_index_and_log_are_never_served(path):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    with daemon_on(path, {"workers": 1}) as daemon:
        texts = fill(daemon, 300)
        for turn in range(6):
            daemon.stop()
            size = path.stat().st_size
            store = size - 8 * MIB
            flip(path, [store + chance.randrange(4096, 140000) for _ in range(5)] +
                 [store + chance.randrange(0, 8 * MIB) for _ in range(20 * turn)] +
                 [store + shard * 4 * MIB + chance.randrange(131000, 300000)
                  for shard in (0, 1) for _ in range(20)])
            daemon.start()
            daemon.log.wait_for("goes on with")
            assert hits(daemon, texts) > 0
            hits(daemon, texts)  # damage that is found late costs what was stored before
            hits(daemon, texts)
            assert hits(daemon, texts) == 300


def test_a_foreign_file_is_refused_and_left_alone(path):
    path.write_bytes(b"the only copy of something\n" * 1000)
    content = path.read_bytes()
    with daemon_on(path, start=False) as daemon:
        result = run("-f", "-c", daemon.config_path)
    assert result.returncode == 2
    assert f"cache.file {path}: holds something else than a cache; remove it first" in result.stderr
    assert path.read_bytes() == content and not aside_of(path)


def test_what_others_can_write_is_refused(path):
    with daemon_on(path) as daemon:
        fill(daemon, 1)
        daemon.stop()
        path.chmod(0o666)
        result = run("-f", "-c", daemon.config_path)
        assert result.returncode == 2
        assert str(path) in result.stderr and "0600" in result.stderr


def test_a_directory_that_cannot_be_written(path):
    if os.geteuid() == 0:
        place = "/proc/optiroute-cache"  # nothing else stops root
    else:
        path.parent.chmod(0o555)
        place = path
    with daemon_on(place, start=False) as daemon:
        result = run("-f", "-c", daemon.config_path)
    path.parent.chmod(0o755)
    assert result.returncode == 2
    assert f"cache.file {place}: cannot open" in result.stderr


def test_a_damaged_file_where_nothing_can_be_renamed(path):
    with daemon_on(path) as daemon:
        fill(daemon, 1)
        daemon.stop()
        flip(path, [30])
        result = run("-f", "-c", daemon.config_path, env=fakehost(FAKEHOST_NO_RENAME="yes"))
        assert result.returncode == 2
        assert re.search(rf"cache\.file {path}: is damaged \(.*\) and cannot be renamed",
                         result.stderr)


def test_a_full_disk(path):
    """Refused and named, with nothing left behind; but a damaged file does not stop a start."""
    disk = fakehost(FAKEHOST_DISK=str(48 << 20))  # room for one cache of 8 MB, and not for two
    with daemon_on(path, env=disk) as daemon:
        texts = fill(daemon, 5)
        before = totals(daemon)
        daemon.stop()
        daemon.write_config(merged(daemon.settings, {"cache": {"size": "64MB"}}))
        result = run("-f", "-c", daemon.config_path, env=disk)
        assert result.returncode == 2
        assert re.search(rf"cache\.file {path}: cannot allocate \d+ bytes: No space", result.stderr)
        daemon.write_config(daemon.settings)
        daemon.start()
        daemon.log.wait_for("the cache starts empty, totals go on")
        assert_not_lower(before, totals(daemon))
        assert hits(daemon, texts) == 0
        daemon.stop()
        flip(path, [30])
        daemon.start()
        daemon.log.wait_for(rf"cache\.file {path} was damaged: removed, for there is no room to "
                            "set it aside; starting empty")
        assert not aside_of(path)
        assert hits(daemon, texts) == 0
        assert hits(daemon, texts) == 5


# -- another size, another layout ------------------------------------------------------------------

def test_another_size_keeps_the_totals(path):
    with daemon_on(path) as daemon:
        texts = fill(daemon, 20)
        for size in ("16MB", "1MB", 0, "8MB"):
            before = totals(daemon)
            daemon.stop()
            daemon.settings["cache"]["size"] = size
            daemon.write_config(daemon.settings)
            daemon.start()
            daemon.log.wait_for(rf"warn.*cache\.file {path}: its cache\.size was \d+ bytes, now it "
                                r"is \d+; the cache starts empty, totals go on")
            assert_not_lower(before, totals(daemon))
            assert hits(daemon, texts) == 0
            assert hits(daemon, texts) == (20 if size != 0 else 0)


def test_another_layout_starts_empty(path):
    with daemon_on(path) as daemon:
        texts = fill(daemon, 5)
        daemon.stop()
        flip(path, [HEADER_VERSION_AT])
        daemon.start()
        daemon.log.wait_for(rf"warn.*cache\.file {path}: its layout is version \d+, this is "
                            r"version \d+; starting empty")
        assert hits(daemon, texts) == 0
        assert not aside_of(path)


def test_names_of_old_configurations_give_way(path):
    """Tables of names hold 64 providers; two configurations of 32 leave no room for a third."""
    def providers(letter):
        return {f"{letter}{i}": {"type": "simulated", "default_model": "m",
                                 "simulated": {"latency": "1ms", "max_latency": "1ms"}}
                for i in range(32)}

    def settings(letter):
        return {**STANDARD, "cache": {"size": "8MB", "file": str(path)},
                "providers": providers(letter),
                "routes": {"auto": {"cheap": f"{letter}0", "strong": f"{letter}1"}}}
    with Daemon(settings=settings("a")) as daemon:
        fill(daemon, 5)
        daemon.stop()
        daemon.write_config(settings("b"))
        daemon.start()
        fill(daemon, 5)
        assert daemon.metrics().total("llm_requests_total") == 10
        daemon.stop()
        daemon.write_config(settings("c"))
        daemon.start()
        daemon.log.wait_for("the table of providers is full.* totals and circuits of cache.file "
                            "begin anew")
        assert daemon.metrics().total("llm_requests_total") == 0
        texts = fill(daemon, 5)
        daemon.stop()
        # one that could not work anyway costs nothing
        wrong = settings("c")
        wrong["providers"]["c0"]["models"] = {"x" * 200: {}}
        wrong["providers"]["c0"]["default_model"] = "x" * 200
        daemon.write_config(wrong)
        assert run("-f", "-c", daemon.config_path).returncode == 1
        daemon.write_config(settings("c"))
        daemon.start()
        assert daemon.metrics().total("llm_requests_total") == 5
        assert hits(daemon, texts) == 5


# -- what must not happen --------------------------------------------------------------------------

def test_checking_has_no_side_effects(path):
    with daemon_on(path, start=False) as daemon:
        for option in ("-t", "-T"):
            assert run(option, "-c", daemon.config_path).returncode == 0
            assert not path.exists()
        daemon.start()
        fill(daemon, 2)
        daemon.stop()
        content, status = path.read_bytes(), path.stat()
        for option in ("-t", "-T"):
            assert run(option, "-c", daemon.config_path).returncode == 0
        assert path.read_bytes() == content and path.stat().st_mtime_ns == status.st_mtime_ns


def test_reload_says_that_size_and_file_need_a_restart(path):
    with daemon_on(path) as daemon:
        texts = fill(daemon, 5)
        begin = len(daemon.log.lines)
        other = path.with_name("other")
        daemon.reload(merged(daemon.settings, {"cache": {"size": "16MB", "file": str(other)}}))
        daemon.log.wait_for("only a restart brings into force: cache.size, cache.file", begin)
        assert hits(daemon, texts) == 5
        assert not other.exists()


# -- as many as the figures speak of ---------------------------------------------------------------

@pytest.mark.parametrize("boots, jump_s", [
    (False, 0), (True, 0), (True, HOUR // 4), (False, 400 * 24 * HOUR), (False, -400 * 24 * HOUR)])
def test_ready_again_in_a_second(path, boots, jump_s):
    """SURVIVAL_ENTRIES=100000 is what doc/shm.md speaks of, on a machine that does nothing else; the
    usual run takes fewer and says no more than that it is soon."""
    is_usual = "SURVIVAL_ENTRIES" not in os.environ
    count = int(os.environ.get("SURVIVAL_ENTRIES", "2000"))
    machine = Machine(path.parent)
    quick = {"cache": {"size": "256MB"}, "access_log": "",
             "providers": {"small": {"simulated": {"latency": "0ms", "max_latency": "0ms"}}}}
    with daemon_on(path, quick, env=machine.environment) as daemon:
        with daemon.connect(timeout=10 * PATIENCE) as client:
            for i in range(count):
                answer = client.request("POST", "/generate", {"prompt": f"many {i}"})
                assert answer.status == 200
        before = totals(daemon)
        kill_all(daemon)
        if boots:
            machine.reboot()
        machine.set_clock(jump_s)
        begin = time.monotonic()
        daemon.start()
        ready_s = time.monotonic() - begin
        match = daemon.log.wait_for(r"goes on with (\d+) entries")
        print(f"{match[1]} entries, ready after {ready_s * 1000:.0f} ms")
        assert int(match[1]) >= count - 1
        assert ready_s < (10 if is_usual else 1)
        assert_not_lower(before, totals(daemon))
        missed = 0
        with daemon.connect(timeout=10 * PATIENCE) as client:
            for i in range(count):
                body = client.request("POST", "/generate", {"prompt": f"many {i}"}).json()
                missed += not body["cached"]
        assert missed <= 1
