"""The first minutes: what a start says to a person, and one helpful line for whatever may be wrong."""
import os
import pathlib
import pty
import re
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest
import yaml

from optiroute import BINARY, PATIENCE, Client, environment, eventually, make_certificate, run
from processes import is_alive

SMALL = {"listen": ["127.0.0.1:0"], "metrics_listen": "127.0.0.1:0", "workers": 1,
         "cache": {"size": "8MB"}}
# a quick answer; the built-in providers take their time
QUICK = {**SMALL, "providers": {"quick": {"type": "simulated", "default_model": "q",
                                          "simulated": {"latency": "1ms", "max_latency": "1ms"}}}}
NOBODY = 65534


@pytest.fixture
def place():
    """A directory that another user may enter, with a daemon in it that this user may start: the
    build may lie where only its owner gets in, and so does pytest's tmp_path."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="optiroute-test-"))
    path.chmod(0o755)
    shutil.copy(BINARY, path / "optirouted")
    yield path
    shutil.rmtree(path)


def write(place, settings):
    path = place / "conf.yaml"
    path.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings))
    path.chmod(0o644)
    return path


def as_nobody(place, *arguments, prefix=()):
    """The daemon without a right of its own, run to its end."""
    who = {}
    if os.geteuid() == 0 and not prefix:
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    return subprocess.run([*prefix, str(place / "optirouted"), *map(str, arguments)], text=True,
                          capture_output=True, timeout=PATIENCE, env=environment(), **who)


def the_line(result, status=2):
    """It ends with that status after one line to whoever started it."""
    assert result.returncode == status, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("optirouted: ")]
    assert len(lines) == 1, result.stderr
    assert "error " not in result.stderr.replace(lines[0], ""), result.stderr
    return lines[0]


# -- on a terminal ---------------------------------------------------------------------------------

class Terminal:
    """A daemon whose stderr is a terminal; what it shows, line by line."""

    def __init__(self, config):
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen([BINARY, "-f", "-c", str(config)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=theirs, env=environment())
        os.close(theirs)
        self.text = ""
        self.thread = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self.thread.start()

    def _read(self, ours):
        try:
            while data := os.read(ours, 65536):
                self.text += data.decode().replace("\r\n", "\n")
        except OSError:  # EIO: nobody has the other end any more
            pass
        os.close(ours)

    def stop(self):
        self.process.terminate()
        status = self.process.wait(PATIENCE)
        self.thread.join(PATIENCE)
        return status


def get(url):
    scheme, host, port, path = re.fullmatch(r"(https?)://(.+):(\d+)(/\S*)", url).groups()
    with Client((host.strip("[]"), int(port)), tls=scheme == "https") as client:
        return client.request("GET", path)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"])
def test_a_terminal_is_told_where_to_click_and_what_to_try(place, listen):
    terminal = Terminal(write(place, {**QUICK, "listen": [listen]}))
    try:
        eventually(lambda: "Ctrl-C ends it\n" in terminal.text, what="a welcome")
        places = dict(re.findall(r"^  (chat|dashboard|metrics) +(\S+)$", terminal.text, re.M))
        for what, url in places.items():
            assert get(url).status == 200, (what, url)
            assert "//0.0.0.0" not in url and "//[::]" not in url, url
        assert places["metrics"].endswith("/metrics")
        command = re.search(r"^  try +(curl .+)$", terminal.text, re.M)[1]
        base = re.search(r"(http://\S+)/generate", command)[1]
        pages = {"chat": base + "/", "dashboard": base + "/dashboard"}
        if get(pages["chat"]).status == 200:  # built with the pages
            assert {key: places[key] for key in pages} == pages
        else:
            assert not pages.keys() & places.keys(), places
        tried = subprocess.run(["sh", "-c", command.replace("curl ", "curl -sf ", 1)],
                               capture_output=True, text=True, timeout=PATIENCE)
        assert tried.returncode == 0 and '"text":' in tried.stdout, tried
    finally:
        assert terminal.stop() == 0


def test_the_command_to_try_works_over_tls(place):
    terminal = Terminal(write(place, {**QUICK, "tls": make_certificate(place)}))
    try:
        eventually(lambda: "Ctrl-C ends it\n" in terminal.text, what="a welcome")
        command = re.search(r"^  try +(curl -k https://.+)$", terminal.text, re.M)[1]
        tried = subprocess.run(["sh", "-c", command.replace("curl ", "curl -sf ", 1)],
                               capture_output=True, text=True, timeout=PATIENCE)
        assert tried.returncode == 0 and '"text":' in tried.stdout, tried
    finally:
        assert terminal.stop() == 0


def test_the_log_of_a_service_has_no_advertisement(daemons):
    daemon = daemons(settings=QUICK)
    daemon.generate("Hello")
    daemon.stop()
    stamped = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warn|error) ")
    assert all(stamped.match(line) for line in daemon.log.lines), daemon.log.text()
    assert "curl" not in daemon.log.text()


def test_in_the_background_the_starter_hears_one_line(place):
    config = write(place, {**SMALL, "pid_file": str(place / "pid"),
                           "error_log": str(place / "error.log")})
    result = run("-c", config)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"optirouted \S+ serves with 1 worker, configuration \S+\n", result.stderr)
    pid = int((place / "pid").read_text())
    assert run("-c", config, "-s", "quit").returncode == 0
    eventually(lambda: not is_alive(pid), what="its end")


# -- what may be wrong -----------------------------------------------------------------------------

@pytest.mark.parametrize("key", ["listen", "metrics_listen"])
def test_a_busy_port(place, key):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("-f", "-c", write(place, {**SMALL, key: address}))
    line = the_line(result)
    assert f"{address} is in use" in line and "ss -ltnp" in line and "another port" in line
    assert ("metrics_listen" in line) == (key == "metrics_listen")


def test_a_port_that_only_root_may_take(place):
    """Where containers open all ports to everybody, in a network of its own, where none is."""
    limit = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    direct = os.geteuid() == 0 and limit > 80
    config = write(place, {**SMALL, "listen": ["0.0.0.0:80"], "metrics_listen": ""})
    result = as_nobody(place, "-f", "-c", config,
                       prefix=() if direct else ("unshare", "--user", "--net"))
    line = the_line(result)
    assert "0.0.0.0:80" in line and "no permission" in line
    assert "1024" in line and "cap_net_bind_service" in line


UNWRITABLE = [({"pid_file": "{}"}, "pid file"), ({"access_log": "{}"}, "access_log"),
              ({"error_log": "{}"}, "error_log"),
              ({"cache": {"size": "8MB", "file": "{}"}}, "cache.file")]


@pytest.mark.parametrize("change, name", UNWRITABLE, ids=[name for _, name in UNWRITABLE])
@pytest.mark.parametrize("fault", ["missing", "forbidden"])
def test_a_file_that_cannot_be_written(place, change, name, fault):
    directory = place / fault
    if fault == "forbidden":
        directory.mkdir(mode=0o555)
    path = str(directory / "file")
    text = yaml.safe_dump({**SMALL, **change}).replace("{}", path)
    line = the_line(as_nobody(place, "-f", "-c", write(place, text)))
    advice = {"missing": "make its directory first", "forbidden": "let this user write there"}
    assert f"{name} {path}" in line and advice[fault] in line


def test_a_log_that_is_a_directory(place):
    line = the_line(run("-f", "-c", write(place, {**SMALL, "access_log": str(place)})))
    assert f"access_log {place}: Is a directory; name a file in it" in line


KEYLESS = {"providers": {"p": {"type": "openai", "default_model": "m", "api_key_env": "NOT_SET"}}}


@pytest.mark.parametrize("option", ["-t", "-T", "-f"])
def test_a_key_that_is_not_set(place, option):
    path = write(place, yaml.safe_dump(KEYLESS))
    result = run(option, "-c", path)
    assert result.returncode == 1 and "is ok" not in result.stderr and result.stdout == ""
    assert re.fullmatch(rf"{re.escape(str(path))}:3:18: api_key_env: NOT_SET is not set in the "
                        r"environment; set it, .*api_key_file.*simulate_without_key: yes\n",
                        result.stderr), result.stderr
    allowed = {"providers": {"p": {**KEYLESS["providers"]["p"], "simulate_without_key": True}}}
    assert run("-t", "-c", write(place, allowed)).returncode == 0


TYPOS = [("lisen: x\n", "listen"), ("cache: {sise: 1MB}\n", "size"),
         ("limits: {max_conections: 1}\n", "max_connections"),
         ("providers: {p: {tpye: simulated, default_model: m}}\n", "type"),
         ("routes: {auto: {cheep: local, strong: local}}\n", "cheap"),
         ("routes: {auto: {cheap: lokal, strong: local}}\n", "local")]


@pytest.mark.parametrize("text, meant", TYPOS, ids=[meant for _, meant in TYPOS])
def test_a_typo(place, text, meant):
    result = run("-t", "-c", write(place, text))
    assert result.returncode == 1
    assert f"did you mean `{meant}`?" in result.stderr, result.stderr


def test_one_fallback_needs_no_list(place):
    route = {"cheap": "local", "strong": "huggingface"}
    texts = [run("-T", "-c", write(place, {"routes": {"auto": {**route, "fallback": fallback}}}))
             for fallback in ("local", ["local"])]
    assert texts[0].returncode == 0, texts[0].stderr
    assert texts[0].stdout == texts[1].stdout
    assert yaml.safe_load(texts[0].stdout)["routes"]["auto"]["fallback"] == ["local"]
