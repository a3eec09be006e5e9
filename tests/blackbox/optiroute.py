"""What the black-box tests share: a daemon under test and an HTTP client that sends exact bytes.

Debian's python3-pytest, python3-yaml and python3-jsonschema and the standard library; no HTTP
library, because those refuse to send the requests that matter here.

Nothing waits by sleeping for as long as it might take: logs are read as they come, sockets are read
until the answer or the end, and what can only be polled is polled by `eventually` with a bound.
"""
import copy
import decimal
import json
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import yaml

from processes import children, is_alive, proc_name, sockets, unread_bytes

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = os.environ.get("OPTIROUTED", str(pathlib.Path("src/optirouted").resolve()))
BUILD = pathlib.Path(BINARY).resolve().parent.parent

# Bounds, not expectations: sanitizer builds on busy machines run the same tests.
PATIENCE = 20.0
SANITIZER_WORDS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:",
                   "panic:")

USD = decimal.Decimal("0.000000001")
JSON = "Content-Type: application/json"


def eventually(predicate, timeout=PATIENCE, what=None):
    """The first true value of predicate(), asked again and again; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or predicate}; last: {value!r}")
        time.sleep(0.005)


# -- configuration ---------------------------------------------------------------------------------

# small and large are quick and priced in two ways; pace takes max_tokens milliseconds, so a client
# chooses how long its request is under way; broken always fails, without a second try, and its
# circuit hardly ever opens.
STANDARD = {
    "listen": ["127.0.0.1:0"],
    "metrics_listen": "127.0.0.1:0",
    "workers": 2,
    "limits": {"shutdown_timeout": "10s"},
    "cache": {"size": "8MB"},
    "providers": {
        "small": {
            "type": "simulated",
            "default_model": "small-1",
            "models": {"small-1": {}, "small-2": {}},
            "per_second": "0.000005",
            "simulated": {"latency": "2ms", "per_token": "0ms", "max_latency": "2ms"},
        },
        "large": {
            "type": "simulated",
            "default_model": "large-1",
            "models": {"large-1": {"input": "3", "output": "15"}},
            "simulated": {"latency": "4ms", "per_token": "0ms", "max_latency": "4ms"},
        },
        "pace": {
            "type": "simulated",
            "default_model": "pace-1",
            "per_second": "0.001",
            "max_concurrency": 5000,
            "simulated": {"latency": "0ms", "per_token": "1ms", "max_latency": "60s"},
        },
        "broken": {
            "type": "simulated",
            "default_model": "broken-1",
            "per_second": "0.001",
            "retry": {"attempts": 0},
            "breaker": {"failures": 255},
            "simulated": {"latency": "1ms", "max_latency": "1ms", "failure_rate": "1"},
        },
    },
    "routes": {"auto": {"cheap": "small", "strong": "large", "policy": "length"}},
}


def merged(base, changes):
    """base with changes laid over it, mappings member by member; None removes a member."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def make_certificate(directory):
    """A self-signed certificate and its key, by the openssl command."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=localhost",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return {"certificate": str(certificate), "key": str(key)}


# -- processes -------------------------------------------------------------------------------------

def usual_threads():
    """What each of our processes may have: one; ThreadSanitizer brings one of its own to some."""
    is_tsan = b"__tsan_init" in pathlib.Path(BINARY).read_bytes()
    return (["1"], ["2"]) if is_tsan else (["1"],)


def _no_core_dumps():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def environment(**changes):
    """A small environment of its own; no key of the person who runs the tests gets in."""
    result = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
        if name in os.environ:
            result[name] = os.environ[name]
    result.update(changes)
    return result


def fakehost(**changes):
    """An environment with tests/fakehost.so: names and a wall clock that misbehave."""
    result = environment(LD_PRELOAD=str(BUILD / "tests" / "fakehost.so"), **changes)
    # AddressSanitizer wants to be the first library; that one more stands before it does no harm
    result["ASAN_OPTIONS"] = result.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return result


def run(*arguments, timeout=PATIENCE, env=None, **options):
    """The binary, run to its end."""
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, env=env or environment(), preexec_fn=_no_core_dumps,
                          **options)


class LineReader:
    """Collects the lines of a pipe; wait_for returns a match as soon as its line is there."""

    def __init__(self, file):
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False
        self.thread = threading.Thread(target=self._read, args=(file,), daemon=True)
        self.thread.start()

    def _read(self, file):
        with file:
            for line in file:
                with self.changed:
                    self.lines.append(line.rstrip("\n"))
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def find(self, pattern, start=0):
        for line in self.lines[start:]:
            match = re.search(pattern, line)
            if match:
                return match
        return None

    def wait_for(self, pattern, start=0, timeout=PATIENCE):
        with self.changed:
            self.changed.wait_for(lambda: self.ended or self.find(pattern, start), timeout)
            match = self.find(pattern, start)
        assert match, f"no line with {pattern!r} in:\n" + "\n".join(self.lines[start:])
        return match

    def text(self):
        with self.changed:
            return "\n".join(self.lines)


class Daemon:
    """A daemon on free ports with its files in a directory of its own.

    changes: laid over STANDARD; settings: instead of it. descriptors: its limit of open files;
    address_space: the limit in bytes of what each of its processes may map. Used as a context manager it is stopped at the end, which asserts exit status 0 and that no sanitizer
    had anything to say.
    """

    def __init__(self, changes=None, *, env=None, tls=False, binary=BINARY, start=True,
                 settings=None, own_sockets=True, descriptors=None, address_space=None):
        # Workers may run as another user than we do, so not pytest's tmp_path with its mode 0700.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="optiroute-test-"))
        self.dir.chmod(0o755)
        self.binary = binary
        self.config_path = self.dir / "optiroute.yaml"
        self.access_path = self.dir / "access.log"
        self.env = env if env is not None else environment()
        self.descriptors, self.address_space = descriptors, address_space
        self.own_sockets = own_sockets
        self.is_tls = tls
        self.process = None
        standard = merged(STANDARD, {"access_log": str(self.access_path)})
        if tls:
            standard["tls"] = make_certificate(self.dir)
        self.settings = merged(standard, changes or {}) if settings is None else settings
        self.write_config(self.settings)
        if start:
            try:
                self.start()
            except BaseException:
                shutil.rmtree(self.dir, ignore_errors=True)
                raise

    def write_config(self, settings):
        """A mapping, or the text itself."""
        text = settings if isinstance(settings, str) else yaml.safe_dump(settings, sort_keys=False)
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.config_path)

    def start(self):
        self.process = subprocess.Popen(
            [self.binary, "-f", "-c", str(self.config_path)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
            env=self.env, preexec_fn=self._limit)
        self.pid = self.process.pid
        self.log = LineReader(self.process.stderr)
        try:
            if self.own_sockets:
                match = self.log.wait_for(r"listening on (\S+):(\d+)")
                self.address = (match[1].strip("[]"), int(match[2]))
                match = self.log.wait_for(r"metrics on (\S+):(\d+)")
                self.metrics_address = (match[1].strip("[]"), int(match[2]))
                self.log.wait_for(r"is ready: \d+ workers?\b")
        except BaseException:
            self.kill()
            raise

    def _limit(self):
        _no_core_dumps()
        if self.descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))
        if self.address_space is not None:
            resource.setrlimit(resource.RLIMIT_AS, (self.address_space, self.address_space))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if self.process is None:
                pass
            elif kind is None:
                self.stop()
            else:
                print(self.log.text())
                self.kill()
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    # -- its end --

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout=PATIENCE):
        """Exit status of the master."""
        status = self.process.wait(timeout)
        self.log.thread.join(timeout)
        return status

    def stop(self, number=signal.SIGTERM, timeout=PATIENCE):
        if self.process.poll() is None:
            self.send_signal(number)
        try:
            status = self.wait(timeout)
        except subprocess.TimeoutExpired:
            text = self.log.text()
            self.kill()
            raise AssertionError("does not end:\n" + text)
        text = self.log.text()
        assert status == 0, f"exit status {status}:\n{text}"
        self.assert_clean()

    def assert_clean(self):
        text = self.log.text()
        for word in SANITIZER_WORDS:
            assert word not in text, text

    def kill(self):
        """For failed tests: nothing may be left behind."""
        everyone = children(self.pid) if self.process else []
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in everyone:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    # -- its processes --

    def workers(self):
        """Worker pids, of all generations, in the order of their names."""
        found = [(proc_name(pid), pid) for pid in children(self.pid) if is_alive(pid)]
        return [pid for name, pid in sorted(found) if name.startswith("optirouted:w")]

    def metrics_worker(self):
        found = [pid for pid in children(self.pid)
                 if is_alive(pid) and proc_name(pid) == "optirouted:m"]
        return found[0] if found else None

    # -- talking to it --

    def connect(self, timeout=PATIENCE):
        return Client(self.address, tls=self.is_tls, timeout=timeout)

    def request(self, method, path, body=None, fields=(), timeout=PATIENCE):
        """One request on a connection of its own."""
        with self.connect(timeout) as client:
            return client.request(method, path, body, fields)

    def generate(self, prompt, fields=(), **members):
        return self.request("POST", "/generate", {"prompt": prompt, **members}, fields)

    # -- what it says of itself --

    def metrics_text(self):
        with Client(self.metrics_address) as client:
            answer = client.request("GET", "/metrics")
        assert answer.status == 200, answer
        return answer.body.decode()

    def metrics(self):
        return Metrics(self.metrics_text())

    def access_lines(self):
        """Whole lines of the access log, decoded; amounts as Decimal."""
        try:
            text = self.access_path.read_text()
        except FileNotFoundError:
            return []
        whole = text[:text.rfind("\n") + 1]
        return [json.loads(line, parse_float=decimal.Decimal) for line in whole.splitlines()]

    def access_line(self, request_id):
        """The line of a request; workers write once a second."""
        return eventually(lambda: [line for line in self.access_lines()
                                   if line["request_id"] == request_id],
                          what=f"access line of {request_id}")[0]

    def reload(self, settings=None):
        """HUP, and only the new generation takes connections."""
        before, old = self.metrics().total("optiroute_config_generation"), children(self.pid)
        if settings is not None:
            self.write_config(settings)
        self.send_signal(signal.SIGHUP)
        eventually(lambda: self.metrics().total("optiroute_config_generation") > before,
                   what="a new generation")
        # an old worker that was not run since it was told still takes what comes
        doors = sockets(self.pid)
        eventually(lambda: not any(doors & sockets(pid) for pid in old),
                   what="the old workers' doors are shut")


# -- Prometheus text -------------------------------------------------------------------------------

class Metrics:
    """An exposition. series: {(name, frozenset of labels): value}; types: {name: type}."""

    LINE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
    LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')

    def __init__(self, text):
        self.series, self.types, self.helps = {}, {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name, kind = line[7:].split(" ")
                assert name not in self.types, f"two TYPE lines of {name}"
                self.types[name] = kind
            elif line.startswith("# HELP "):
                name, _, words = line[7:].partition(" ")
                self.helps[name] = words
            else:
                self._add(line)

    def _add(self, line):
        match = self.LINE.match(line)
        assert match, f"not a sample: {line!r}"
        labels = frozenset(self.LABEL.findall(match[2] or ""))
        key = (match[1], labels)
        assert key not in self.series, f"twice: {line!r}"
        self.series[key] = decimal.Decimal(match[3])

    def total(self, name, **labels):
        """Sum over all series of that name which have these labels; 0 when there are none."""
        wanted = set(labels.items())
        return sum((value for (series, found), value in self.series.items()
                    if series == name and wanted <= found), decimal.Decimal(0))

    def names(self):
        return {name for name, _ in self.series}

    def label_names(self, name):
        return {label for series, labels in self.series if series == name for label, _ in labels}

    def counters(self):
        """Everything that must never go down."""
        counting = {name for name, kind in self.types.items() if kind == "counter"}
        for name, kind in self.types.items():
            if kind == "histogram":
                counting |= {name + "_bucket", name + "_sum", name + "_count"}
        return {key: value for key, value in self.series.items() if key[0] in counting}


def assert_not_less(before, after):
    """No total went back (a series may be new, never gone)."""
    later = after.counters()
    for key, value in before.counters().items():
        assert key in later, f"{key} is gone"
        assert later[key] >= value, f"{key} went from {value} to {later[key]}"


# -- HTTP ------------------------------------------------------------------------------------------

class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def field(self, name):
        """The one value of a field, None without; two are a fault."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} twice: {values}"
        return values[0] if values else None

    def json(self):
        return json.loads(self.body, parse_float=decimal.Decimal)

    def error(self):
        """The error object, checked for its shape."""
        body = self.json()
        assert list(body) == ["error"], body
        assert set(body["error"]) == {"message", "type", "param", "code"}, body
        return body["error"]

    def closes(self):
        return (self.field("connection") or "").lower() == "close"

    def __repr__(self):
        return f"<{self.status} {self.fields} {self.body[:300]!r}>"


class Closed(Exception):
    """The daemon closed the connection where an answer was due."""


def compose(method, path, body=None, fields=()):
    """A well-formed request as bytes; body: None, bytes, text or what becomes JSON."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test"]
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    names = [field.split(":")[0].lower() for field in fields]
    if body is not None:
        if "content-type" not in names:
            lines.append(JSON)
        lines.append(f"Content-Length: {len(body)}")
    lines += fields
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def client_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """One connection. Sends bytes as they are and reads answers strictly."""

    def __init__(self, address, tls=False, timeout=PATIENCE, context=None):
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = (context or client_context()).wrap_socket(self.socket)
        self.buffer = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        """All of it; a daemon that has closed meanwhile is no fault of the client."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass

    def shut_writing(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Leaves with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def await_taken(self, timeout=PATIENCE):
        """Until the daemon has read everything sent so far, so that the next bytes come alone."""
        try:
            there = self.socket.getpeername()[:2]
        except OSError:  # it has closed: a slow machine took longer than it lingers
            return
        here = self.socket.getsockname()[:2]
        eventually(lambda: unread_bytes(there, here) == 0, timeout, "the daemon reads")

    def send_slowly(self, pieces):
        for piece in pieces:
            self.send(piece)
            self.await_taken()

    def readable(self, timeout):
        """Is there something (an end too) to read within that time?"""
        if self.buffer or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        return bool(select.select([self.socket], [], [], timeout)[0])

    # -- reading --

    def fill(self):
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        if data == b"":
            self.ended = True
            raise Closed(f"after {self.buffer!r}")
        self.buffer += data

    def read_until(self, mark):
        while mark not in self.buffer:
            self.fill()
        part, self.buffer = self.buffer.split(mark, 1)
        return part

    def read_exactly(self, size):
        while len(self.buffer) < size:
            self.fill()
        part, self.buffer = self.buffer[:size], self.buffer[size:]
        return part

    def read_head(self):
        lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [\x20-\x7e]*", lines[0])
        assert match, lines[0]
        fields = []
        for line in lines[1:]:
            match_field = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\x20-\x7e]*)", line)
            assert match_field, line
            fields.append((match_field[1], match_field[2]))
        return Answer(int(match[1]), fields, b"")

    def read_chunk(self):
        size = int(self.read_until(b"\r\n"), 16)
        data = self.read_exactly(size)
        assert self.read_exactly(2) == b"\r\n"
        return data

    def read_answer(self, method="GET"):
        answer = self.read_head()
        length = answer.field("content-length")
        coding = answer.field("transfer-encoding")
        assert length is None or coding is None, answer
        if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
            return answer
        if coding is not None:
            assert coding == "chunked"
            while chunk := self.read_chunk():
                answer.body += chunk
        elif length is not None:
            answer.body = self.read_exactly(int(length))
        else:
            answer.body = self.read_to_end()
        return answer

    def read_to_end(self):
        """Everything until the daemon closes."""
        try:
            while True:
                self.fill()
        except Closed:
            rest, self.buffer = self.buffer, b""
            return rest

    def request(self, method, path, body=None, fields=()):
        self.send(compose(method, path, body, fields))
        return self.read_answer(method)

    def assert_closed(self):
        """The daemon closes now and says nothing more."""
        assert self.read_to_end() == b""


def stream_events(body):
    """The events of an SSE answer: ("data", text) and ("comment", text)."""
    text = body.decode()
    assert text.endswith("\n\n"), text
    events = []
    for block in text[:-2].split("\n\n"):
        assert "\n" not in block, block
        if block.startswith("data: "):
            events.append(("data", block[6:]))
        else:
            assert block.startswith(": "), block
            events.append(("comment", block[2:]))
    return events


def in_parallel(count, task):
    """task(0) ... task(count - 1), each in a thread; their results in order, or the first error."""
    results, errors = [None] * count, []

    def one(i):
        try:
            results[i] = task(i)
        except BaseException as error:  # reported below, in the thread of the test
            errors.append(error)

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * PATIENCE)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
    return results


def named_events(body):
    """The events of an SSE answer whose events may have names: (name or None, data); no comments."""
    text = body.decode()
    assert text.endswith("\n\n"), text
    events = []
    for block in text[:-2].split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith(": "):
            assert len(lines) == 1, block
            continue
        name = lines.pop(0)[7:] if lines[0].startswith("event: ") else None
        assert len(lines) == 1 and lines[0].startswith("data: "), block
        events.append((name, lines[0][6:]))
    return events


def anthropic_error(answer):
    """The error object of an answer in Anthropic's form, checked for its shape and its fields."""
    body = answer.json()
    assert set(body) == {"type", "error"} and body["type"] == "error", body
    assert {"type", "message"} <= set(body["error"]), body
    assert answer.field("request-id") == answer.field("x-request-id") is not None
    return body["error"]
