"""What tests need of providers: the scripted upstream as a process, and certificates for it.

    with Mock("tls=" + cert.files, "reset") as mock:
        ... mock.url, mock.address("reset"), mock.counters(), mock.last() ...

What the upstream does is ordered by the model's name, see tests/mock/orders.h; the listeners are
described at the head of tests/mock/main.c. Here is nothing about the daemon under test.
"""
import collections
import os
import pathlib
import signal
import subprocess
import urllib.parse

from optiroute import BINARY, PATIENCE, SANITIZER_WORDS, Client, LineReader, environment

MOCKLLM = os.environ.get(
    "MOCKLLM", str(pathlib.Path(BINARY).parent.parent / "tests" / "mockllm"))


class Mock:
    """A running mockllm on free ports.

    modes: what -l takes, each a listener beside the plain one. files: the directory of `file=`.
    Used as a context manager it is stopped at the end, which asserts exit status 0 and that no
    sanitizer had anything to say.
    """

    def __init__(self, *modes, files=None, binary=MOCKLLM):
        arguments = [binary]
        if files is not None:
            arguments += ["-d", str(files)]
        for mode in modes:
            arguments += ["-l", mode]
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        errors="replace", env=environment())
        self.errors = LineReader(self.process.stderr)
        self.ports = {}
        with self.process.stdout as lines:
            for mode in ("plain", *modes):
                name = mode.partition("=")[0]
                line = lines.readline().split()
                if line[:2] != ["listening", "on"]:
                    self.kill()
                    raise AssertionError("does not start: " + self.errors.text())
                self.ports.setdefault(name, int(line[2].rpartition(":")[2]))
        self.port = self.ports["plain"]
        self.pid = self.process.pid

    # -- where it is: of a mode that was asked for twice, the first listener --

    def address(self, mode="plain"):
        return ("127.0.0.1", self.ports[mode])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def url_of(self, mode, host="127.0.0.1"):
        scheme = "https" if mode.startswith("tls") else "http"
        return f"{scheme}://{host}:{self.ports[mode]}"

    # -- what it says; never counted --

    def ask(self, method, path):
        with Client(self.address()) as client:
            return client.request(method, path)

    def counters(self, model=None):
        """All counters, or those of exactly this model name (with its orders)."""
        query = "" if model is None else "?model=" + urllib.parse.quote(model, safe="")
        return self.ask("GET", "/counters" + query).json()

    def last(self, n=1):
        """The last API request, or the n-th last: method, path, query, fields, body, connection
        and request number on it. None when there is none."""
        answer = self.ask("GET", f"/last?n={n}")
        return answer.json() if answer.status == 200 else None

    def reset(self):
        """Forgets all counts, models and requests."""
        assert self.ask("POST", "/reset").status == 200

    def release(self):
        """The time that every answer waits for has come: of one that is delayed (`delay`) its
        beginning, of one that is paced (`pace`) its next event. How many there were."""
        return self.ask("POST", "/release").json()["released"]

    # -- its end --

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            print(self.errors.text())
            self.kill()

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("mockllm does not end")
        self.errors.thread.join(PATIENCE)
        text = self.errors.text()
        assert status == 0, f"exit status {status}:\n{text}"
        for word in SANITIZER_WORDS:
            assert word not in text, text

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


# -- certificates ----------------------------------------------------------------------------------

# certificate and key: paths; files: both as a listener of mockllm takes them.
Certificate = collections.namedtuple("Certificate", ["certificate", "key", "files"])


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    """A certificate authority of this test, in a directory; `ca` is what clients have to trust.

    Four kinds of certificates: good() for 127.0.0.1 and localhost, expired(), wrong_host() for
    another name, and self_signed(), which only names itself.
    """

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.ca = self.directory / "ca.pem"
        self.ca_key = self.directory / "ca.key"
        _openssl("req", "-x509", *_NEW_KEY, "-days", 2, "-subj", "/CN=mock authority",
                 "-addext", "basicConstraints=critical,CA:TRUE",
                 "-addext", "keyUsage=critical,keyCertSign",
                 "-keyout", self.ca_key, "-out", self.ca)

    def _files(self, name):
        certificate = self.directory / (name + ".pem")
        key = self.directory / (name + ".key")
        return Certificate(certificate, key, f"{certificate},{key}")

    def _signed(self, name, alternatives, days):
        files = self._files(name)
        request = self.directory / (name + ".csr")
        extensions = self.directory / (name + ".ext")
        extensions.write_text(f"subjectAltName={alternatives}\nbasicConstraints=CA:FALSE\n")
        _openssl("req", *_NEW_KEY, "-subj", "/CN=mock", "-keyout", files.key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key,
                 "-CAcreateserial", "-days", days, "-extfile", extensions, "-out",
                 files.certificate)
        return files

    def good(self):
        return self._signed("good", "IP:127.0.0.1,DNS:localhost", 1)

    def expired(self):
        return self._signed("expired", "IP:127.0.0.1,DNS:localhost", -1)

    def wrong_host(self):
        return self._signed("wrong-host", "DNS:elsewhere.test", 1)

    def self_signed(self):
        files = self._files("self-signed")
        _openssl("req", "-x509", *_NEW_KEY, "-days", 1, "-subj", "/CN=localhost",
                 "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
                 "-keyout", files.key, "-out", files.certificate)
        return files


# -- as the daemon's configuration names it ----------------------------------------------------------

PATHS = {"openai": "/v1", "anthropic": "", "huggingface": "/models"}


def upstream(mock, kind, **changes):
    """A provider of that type behind the mock, which takes every model and every order of it."""
    return {"type": kind, "url": mock.url + PATHS[kind], "default_model": "plain",
            "models": {"plain": {"input": "3", "output": "15"}}, "allow_unlisted_models": True,
            "retry": {"attempts": 0}, "breaker": {"failures": 255}, **changes}
