"""Command line, exit codes, how it starts and how it is told to end."""
import os
import pwd
import re
import signal
import socket
import subprocess

import pytest
import yaml

from optiroute import (BINARY, PATIENCE, STANDARD, TOP, Client, Daemon, LineReader, environment,
                       eventually, merged, run, usual_threads)
from processes import children, is_alive, proc_status


def write(tmp_path, text):
    path = tmp_path / "conf.yaml"
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return path


# -- the command line ------------------------------------------------------------------------------

@pytest.mark.parametrize("option", ["-v", "--version"])
def test_version(option):
    result = run(option)
    assert result.returncode == 0
    assert re.fullmatch(r"optirouted \d+\.\d+\.\d+\S*\n", result.stdout), result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_option(option):
    result = run(option)
    assert result.returncode == 0
    for letter in "ctTfspvh":
        assert re.search(rf"(^|\s)-{letter}\b", result.stdout, re.M), f"-{letter} is not in it"
    for word in ("reload", "reopen", "quit", "stop", "upgrade"):
        assert word in result.stdout


@pytest.mark.parametrize("arguments", [["-x"], ["-c"], ["-s", "dance"], ["word"], ["--nonsense"]])
def test_wrong_usage_is_1_and_says_what(arguments):
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    assert arguments[-1] in result.stderr or "-h" in result.stderr


def test_check_says_nothing_bad_of_the_examples():
    for name in ("optiroute.yaml", "optiroute-minimal.yaml"):
        result = run("-t", "-c", TOP / "etc" / name)
        assert result.returncode == 0, result.stderr


def test_check_names_every_error_with_its_place(tmp_path):
    path = write(tmp_path, "lisen: x\n"
                           "workers: 1\n"
                           "workers: 2\n"
                           "cache: {ttl: 5x}\n"
                           "routes: {auto: {cheap: nobody, strong: local}}\n")
    result = run("-t", "-c", path)
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith(str(path))]
    places = [re.match(rf"{re.escape(str(path))}:(\d+):(\d+): (.+)", line).groups()
              for line in lines]
    assert [(line, column) for line, column, _ in places] == [
        ("1", "1"), ("3", "1"), ("4", "14"), ("5", "24")], result.stderr
    assert "listen" in places[0][2]
    assert "line 2" in places[1][2]
    assert "nobody" in places[3][2]


@pytest.mark.parametrize("text, place", [
    ("listen: [\n", r":2:1: "),
    ("a: b: c\n", r":1:\d+: "),
    ("listen: *x\n", r":1:9: "),
    ("x: &a [*a]\n", r":1:\d+: "),
    ("- a\n", r":1:1: "),
    ("providers: {p: {type: openai, default_model: m, api_key_env: NOT_SET_ANYWHERE}}\n",
     r":1:\d+: .*NOT_SET_ANYWHERE"),
    ("user: ${NOT_SET_ANYWHERE}\n", r":1:7: .*NOT_SET_ANYWHERE"),
])
def test_bad_configuration_is_1_everywhere(tmp_path, text, place):
    path = write(tmp_path, text)
    for options in (["-t"], ["-T"], ["-f"]):
        result = run(*options, "-c", path)
        assert result.returncode == 1, (options, result)
        assert re.search(re.escape(str(path)) + place, result.stderr), result.stderr


def test_files_that_are_none(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    huge = tmp_path / "huge.yaml"
    with open(huge, "wb") as file:
        file.truncate(100 * 1024 * 1024)
    for path in (tmp_path, fifo, huge, tmp_path / "missing.yaml"):
        result = run("-t", "-c", path)
        assert result.returncode == 1
        assert str(path) in result.stderr


def test_truncated_file_is_an_error_or_a_configuration_never_a_crash(tmp_path):
    text = (TOP / "etc" / "optiroute-minimal.yaml").read_text()
    for size in range(0, len(text), 37):
        result = run("-t", "-c", write(tmp_path, text[:size]))
        assert result.returncode in (0, 1), (size, result)


def test_effective_configuration_is_complete_and_reads_back(tmp_path):
    path = write(tmp_path, merged(STANDARD, {"workers": 3}))
    result = run("-T", "-c", path)
    assert result.returncode == 0, result.stderr
    printed = yaml.safe_load(result.stdout)
    assert printed["workers"] == 3
    assert {"listen", "metrics_listen", "user", "pid_file", "error_log", "access_log", "limits",
            "cache", "tls", "providers", "routes"} <= set(printed)
    again = run("-T", "-c", write(tmp_path, result.stdout))
    assert again.returncode == 0 and again.stdout == result.stdout


def test_effective_configuration_names_what_a_reload_does_not_change():
    keys = re.search(r"^# a reload does not change .*: (.*)$", run("-T").stdout, re.M)[1]
    assert keys == "listen metrics_listen user pid_file cache.size cache.file"


def test_effective_configuration_never_shows_a_key(tmp_path):
    settings = {"providers": {"p": {"type": "openai", "default_model": "m",
                                    "url": "http://127.0.0.1:1/v1", "api_key_env": "MY_KEY"}}}
    result = run("-T", "-c", write(tmp_path, settings),
                 env=environment(MY_KEY="sk-marker-51d2"))
    assert "sk-marker-51d2" not in result.stdout + result.stderr


def test_built_in_configuration_starts_without_key_file_or_network():
    """-T without -c shows what runs; the daemon is started with just that on free ports."""
    result = run("-T", env=environment())
    assert result.returncode == 0, result.stderr
    built_in = yaml.safe_load(result.stdout)
    assert set(built_in["providers"]) == {"local", "huggingface"}
    settings = {"listen": ["127.0.0.1:0"], "metrics_listen": "127.0.0.1:0", "workers": 1,
                "cache": {"size": "8MB"}}
    with Daemon(settings=settings) as daemon:
        answer = daemon.generate("Prove that the square root of two is irrational.",
                                 provider="huggingface", max_tokens=1)
        assert answer.status == 200
        assert answer.json()["model"] == "mistralai/Mistral-7B-Instruct-v0.2 (simulated)"
        answer = daemon.generate("Hello", max_tokens=1)
        assert answer.json()["model"] == "llama-2-7b-local"
        assert answer.json()["routed_to"] == "local"


# -- starting --------------------------------------------------------------------------------------

def test_busy_port_is_2_and_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Daemon({"listen": [f"127.0.0.1:{port}"]}, start=False) as daemon:
            result = run("-f", "-c", daemon.config_path)
    assert result.returncode == 2
    assert f"127.0.0.1:{port}" in result.stderr
    assert "in use" in result.stderr.lower()


def test_unusable_cache_file_is_2_and_named():
    with Daemon({"cache": {"file": "/nonexistent/directory/cache"}}, start=False) as daemon:
        result = run("-f", "-c", daemon.config_path)
    assert result.returncode == 2
    assert "/nonexistent/directory/cache" in result.stderr


def test_listens_on_several_addresses():
    with Daemon({"listen": ["127.0.0.1:0", "127.0.0.2:0"]}) as daemon:
        ports = [(host, int(port)) for host, port in
                 re.findall(r"listening on (127\.0\.0\.\d):(\d+)", daemon.log.text())]
        assert [host for host, _ in ports] == ["127.0.0.1", "127.0.0.2"]
        for address in ports:
            with Client(address) as client:
                assert client.request("GET", "/health").status == 200


def test_workers_have_no_privileges_and_the_master_keeps_its_own():
    with Daemon({"user": "nobody"}) as daemon:
        own = os.geteuid()
        expected = pwd.getpwnam("nobody").pw_uid if own == 0 else own
        assert proc_status(daemon.pid, "Uid") == [str(own)] * 4
        for pid in daemon.workers() + [daemon.metrics_worker()]:
            assert proc_status(pid, "Uid") == [str(expected)] * 4
            if own == 0:
                assert proc_status(pid, "Gid") == [str(pwd.getpwnam("nobody").pw_gid)] * 4
                assert set(proc_status(pid, "Groups")) <= {str(pwd.getpwnam("nobody").pw_gid)}
                assert int(proc_status(pid, "CapEff")[0], 16) == 0
        assert daemon.generate("writes an access line").status == 200
        eventually(daemon.access_lines, what="a line in a log of theirs")


def test_unknown_user_is_refused():
    with Daemon({"user": "no-such-user-here"}, start=False) as daemon:
        if os.geteuid() == 0:
            result = run("-f", "-c", daemon.config_path)
            assert result.returncode in (1, 2)
            assert "no-such-user-here" in result.stderr
        else:  # the key is used only when started as root
            daemon.start()


def test_tls_files_are_checked_before_anything_starts(tmp_path):
    settings = merged(STANDARD, {"tls": {"certificate": str(tmp_path / "no.pem"),
                                         "key": str(tmp_path / "no.key")}})
    for option in ("-t", "-f"):
        result = run(option, "-c", write(tmp_path, settings))
        assert result.returncode == 1, result
        assert "no.pem" in result.stderr


def test_threads_one_per_process(daemon):
    for pid in [daemon.pid, *children(daemon.pid)]:
        assert proc_status(pid, "Threads") in usual_threads()


def test_closed_stdio_never_points_at_the_region_or_a_socket():
    """A daemon started with 0, 1 and 2 closed wrote its log lines over the shared region."""
    with Daemon(start=False) as daemon:
        log = daemon.dir / "error.log"
        daemon.write_config(merged(daemon.settings, {"error_log": str(log)}))
        process = subprocess.Popen(["/bin/sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', BINARY, "-f",
                                    "-c", daemon.config_path], env=environment())
        try:
            eventually(lambda: log.exists() and " is ready: " in log.read_text())
            for pid in [process.pid, *children(process.pid)]:
                for fd in (0, 1, 2):
                    assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0


def test_descriptors_of_the_caller_are_not_inherited():
    one, other = os.pipe()
    os.dup2(other, 211)
    os.set_inheritable(211, True)
    try:
        with Daemon(start=False) as daemon:
            process = subprocess.Popen([BINARY, "-f", "-c", daemon.config_path],
                                       stderr=subprocess.PIPE, text=True, env=environment(),
                                       close_fds=False)
            log = LineReader(process.stderr)
            try:
                log.wait_for(r"is ready: \d+ workers?\b")
                for pid in [process.pid, *children(process.pid)]:
                    assert not os.path.lexists(f"/proc/{pid}/fd/211")
            finally:
                process.terminate()
                assert process.wait(PATIENCE) == 0
    finally:
        for fd in (one, other, 211):
            os.close(fd)


# -- in the background -----------------------------------------------------------------------------

class Background:
    """A daemon that went to the background, known by its pid file."""

    def __init__(self, daemon, *, option=False):
        self.pid_path = daemon.dir / "pid"
        self.error_path = daemon.dir / "error.log"
        daemon.write_config(merged(daemon.settings, {
            "pid_file": "" if option else str(self.pid_path),
            "error_log": str(self.error_path)}))
        self.arguments = ["-c", daemon.config_path]
        if option:
            self.arguments += ["-p", self.pid_path]

    def start(self):
        result = run(*self.arguments)
        assert result.returncode == 0, result.stderr
        self.pid = int(self.pid_path.read_text())
        return result

    def log(self):
        return self.error_path.read_text()

    def port(self):
        return int(re.search(r"listening on \S+:(\d+)", self.log())[1])

    def tell(self, word):
        return run(*self.arguments, "-s", word)

    def finish(self):
        if is_alive(self.pid):
            everyone = children(self.pid)
            os.kill(self.pid, signal.SIGKILL)
            for pid in everyone:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


@pytest.fixture(params=["pid_file", "-p"])
def background(request):
    with Daemon(start=False) as daemon:
        one = Background(daemon, option=request.param == "-p")
        one.start()
        try:
            yield one
        finally:
            one.finish()


def test_background_serves_when_the_command_returns(background):
    with Client(("127.0.0.1", background.port())) as client:
        assert client.request("GET", "/health").status == 200
    assert os.getsid(background.pid) != os.getsid(0)
    assert os.readlink(f"/proc/{background.pid}/cwd") == "/"
    for fd in range(3):
        assert os.readlink(f"/proc/{background.pid}/fd/{fd}") == "/dev/null"


def test_told_to_quit(background):
    assert background.tell("quit").returncode == 0
    eventually(lambda: not is_alive(background.pid), what="its end")
    eventually(lambda: not background.pid_path.exists(), what="the pid file goes")


def test_who_tells_it_need_not_have_its_environment():
    """Its keys are in its own environment; a cron job that rotates logs has none of them."""
    settings = {"providers": {"p": {"type": "openai", "url": "http://127.0.0.1:9/v1",
                                    "api_key_env": "TEST_ONLY_KEY", "default_model": "m"}},
                "access_log": "${TEST_ONLY_LOG}"}
    with Daemon(settings, start=False) as daemon:
        one = Background(daemon)
        result = subprocess.run([BINARY, *one.arguments], capture_output=True, text=True,
                                env=environment(TEST_ONLY_KEY="k", TEST_ONLY_LOG=""), check=False)
        assert result.returncode == 0, result.stderr
        one.pid = int(one.pid_path.read_text())
        try:
            before = set(children(one.pid))
            said = one.tell("reopen")
            assert (said.returncode, said.stderr) == (0, "")
            said = one.tell("reload")
            assert said.returncode == 0 and "TEST_ONLY_KEY is not set" in said.stderr
            eventually(lambda: not before & set(children(one.pid)), what="new workers")
            daemon.write_config({"pid_file": str(one.pid_path), "nonsense": 1})
            said = one.tell("reload")
            assert said.returncode == 1 and "nonsense" in said.stderr
            said = one.tell("quit")
            assert (said.returncode, said.stderr) == (0, "")
            eventually(lambda: not is_alive(one.pid), what="its end")
        finally:
            one.finish()


def test_told_to_stop(background):
    assert background.tell("stop").returncode == 0
    eventually(lambda: not is_alive(background.pid), what="its end")


def test_told_to_reload_and_reopen(background):
    before = set(children(background.pid))
    assert background.tell("reload").returncode == 0
    eventually(lambda: before.isdisjoint(children(background.pid)) and children(background.pid),
               what="other workers")
    background.error_path.rename(background.error_path.with_suffix(".1"))
    assert background.tell("reopen").returncode == 0
    eventually(background.error_path.exists, what="a new log")
    assert background.tell("quit").returncode == 0
    eventually(lambda: not is_alive(background.pid), what="its end")


def test_a_second_daemon_on_the_same_pid_file_is_refused(background):
    result = run(*background.arguments)
    assert result.returncode == 2, result
    assert str(background.pid_path) in result.stderr
    assert is_alive(background.pid)
    assert int(background.pid_path.read_text()) == background.pid


def test_nobody_to_tell():
    with Daemon(start=False) as daemon:
        one = Background(daemon)
        result = one.tell("reload")
        assert result.returncode != 0
        assert str(one.pid_path) in result.stderr
        one.pid_path.write_text("999999999\n")  # of a daemon long dead: its lock is gone
        assert one.tell("reload").returncode != 0


def test_a_stale_pid_file_does_not_stop_the_next_start():
    with Daemon(start=False) as daemon:
        one = Background(daemon)
        one.pid_path.write_text(f"{os.getpid()}\n")
        one.start()
        try:
            assert one.pid != os.getpid()
        finally:
            one.finish()


def test_background_failure_is_reported_by_the_command():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Daemon({"listen": [f"127.0.0.1:{port}"]}, start=False) as daemon:
            result = run(*Background(daemon).arguments)
    assert result.returncode == 2
    assert f"127.0.0.1:{port}" in result.stderr


def test_background_needs_absolute_paths():
    with Daemon({"access_log": "here.log"}, start=False) as daemon:
        result = run("-c", daemon.config_path)
    assert result.returncode == 1
    assert "here.log" in result.stderr


# -- systemd ---------------------------------------------------------------------------------------

@pytest.fixture(params=["path", "abstract"])
def notify_socket(request, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(PATIENCE)
        name = str(tmp_path / "notify") if request.param == "path" else f"@optiroute-{os.getpid()}"
        receiver.bind(name if request.param == "path" else "\0" + name[1:])
        yield receiver, name


def receive(receiver):
    """A message as a mapping."""
    text = receiver.recv(4096).decode()
    return dict(line.split("=", 1) for line in text.splitlines())


def test_notifies_systemd(notify_socket):
    receiver, name = notify_socket
    with Daemon(env=environment(NOTIFY_SOCKET=name)) as daemon:
        message = receive(receiver)
        assert message["READY"] == "1"
        assert message["MAINPID"] == str(daemon.pid)
        with Client(daemon.address) as client:
            assert client.request("GET", "/health/ready").status == 200
        daemon.send_signal(signal.SIGHUP)
        message = receive(receiver)
        assert message["RELOADING"] == "1"
        assert int(message["MONOTONIC_USEC"]) > 0
        assert receive(receiver)["READY"] == "1"
        daemon.send_signal(signal.SIGTERM)
        assert receive(receiver)["STOPPING"] == "1"


def test_feeds_the_watchdog(notify_socket):
    receiver, name = notify_socket
    with Daemon(env=environment(NOTIFY_SOCKET=name, WATCHDOG_USEC="200000")):
        seen = [receive(receiver) for _ in range(4)]
        assert "READY" in seen[0]
        assert [message.get("WATCHDOG") for message in seen[1:]] == ["1", "1", "1"]


def start_activated(daemon, sockets, names):
    """As systemd does it: the sockets from descriptor 3 on, LISTEN_PID the daemon itself."""
    script = ('export LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=%s; exec "$0" "$@"'
              % (len(sockets), names))

    def place():
        high = [os.dup2(one.fileno(), 100 + i) for i, one in enumerate(sockets)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)
            os.close(fd)

    process = subprocess.Popen(["/bin/sh", "-c", script, BINARY, "-f", "-c", daemon.config_path],
                               stderr=subprocess.PIPE, text=True, env=environment(),
                               preexec_fn=place, close_fds=False)
    return process, LineReader(process.stderr)


def test_takes_sockets_from_systemd():
    with socket.create_server(("127.0.0.1", 0)) as clients, \
            socket.create_server(("127.0.0.1", 0)) as metrics, Daemon(start=False) as daemon:
        process, log = start_activated(daemon, [clients, metrics], "http:metrics")
        try:
            log.wait_for(rf"listening on 127\.0\.0\.1:{clients.getsockname()[1]}\b")
            with Client(clients.getsockname()) as client:
                assert client.request("GET", "/health").status == 200
            with Client(metrics.getsockname()) as client:
                assert client.request("GET", "/metrics").status == 200
            process.terminate()
            assert process.wait(PATIENCE) == 0, log.text()
        finally:
            process.kill()
            process.wait()


def test_refuses_what_is_no_listening_socket():
    with socket.socket() as nothing, Daemon(start=False) as daemon:
        process, log = start_activated(daemon, [nothing], "http")
        try:
            assert process.wait(PATIENCE) in (1, 2), log.text()
        finally:
            process.kill()
            process.wait()
