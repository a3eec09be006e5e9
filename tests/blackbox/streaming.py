"""Streams as a client sees them, and the same question in each API: for the tests of streams.

A case is an API of the client and a provider: "chat-openai" is passed on as it comes,
"messages-openai" is translated. What the provider does is ordered by the model's name (mock.py).
"""
import collections
import itertools
import json
import socket

from mock_talk import WORDS, text_of
from optiroute import Closed, Client, compose, eventually, merged

MESSAGES = [{"role": "user", "content": "four byte words"}]
ASKED = "four byte words"  # 15 bytes: 4 tokens, where nobody counts them

# The client's API: path, and what asks for the same in it.
APIS = {
    "chat": ("/v1/chat/completions", {"messages": MESSAGES}),
    "generate": ("/generate", {"prompt": ASKED}),
    "completions": ("/v1/completions", {"prompt": ASKED}),
    "responses": ("/v1/responses", {"input": ASKED, "store": False}),
    "messages": ("/v1/messages", {"messages": MESSAGES, "max_tokens": 100}),
    "embeddings": ("/v1/embeddings", {"input": ASKED}),
}
SAME = ["chat-openai", "generate-openai", "completions-openai", "responses-openai",
        "messages-anthropic"]
CROSS = ["chat-anthropic", "generate-anthropic", "messages-openai"]
CASES = SAME + CROSS

# Events before the first word, in the form that the provider speaks.
BEFORE = {"chat": 1, "completions": 0, "responses": 3, "messages": 3}

KINDS = ("openai", "anthropic")
AUTO = {"auto": {"cheap": "openai", "strong": "openai"}}
PRICES = {"input": "1", "output": "2"}
EDGY = {"failures": 1, "open": "1ms"}
PATIENT = {"connect": "20s", "first_byte": "120s", "idle": "120s", "total": "600s"}
FLOOD = "m+flood=1000000000000"  # without an end

Event = collections.namedtuple("Event", ["name", "data"])  # a comment is named ":"
NUMBER = itertools.count(1)


def split(case):
    return case.split("-")


def spoken(case):
    """The form in which the provider is asked."""
    api, provider = split(case)
    if provider.endswith("anthropic"):
        return "messages"
    return "chat" if api in ("generate", "messages") else api


def before(case):
    return BEFORE[spoken(case)]


def question(case, orders="", stream=True, **members):
    """Path and body. orders: None asks for no model but the provider's own."""
    api, provider = split(case)
    path, asked = APIS[api]
    body = {**asked, **members}
    if stream:
        body["stream"] = True
    if api == "generate":
        body["provider"] = provider
        if orders is not None:
            body["model_id"] = "m" + orders
    else:
        body["model"] = provider if orders is None else f"{provider}/m{orders}"
    return path, body


def provider(mock, kind, **changes):
    """Its circuit opens at the first failure, for a millisecond: so every failure is seen."""
    return merged({"type": kind, "url": mock.url + ("/v1" if kind == "openai" else ""),
                   "default_model": "m", "models": {"m": PRICES}, "allow_unlisted_models": True,
                   "timeouts": PATIENT, "retry": {"attempts": 0}, "breaker": EDGY}, changes)


def heal(daemon, case):
    """The provider answers: its circuit may have been open for another millisecond."""
    name = split(case)[1]
    path, body = question(f"messages-{name}" if name.endswith("anthropic") else f"chat-{name}",
                          stream=False)
    fields = ["Cache-Control: no-store"]
    eventually(lambda: daemon.request("POST", path, body, fields).status == 200,
               what=f"{name} answers")


def unlike(orders=""):
    """Orders of a model that nobody has asked yet."""
    return f"{next(NUMBER)}{orders}"


def fresh_id():
    return f"id-{next(NUMBER)}"


class Stream:
    """A streamed answer, read as it comes."""

    def __init__(self, client, api):
        self.client, self.api = client, api
        self.text = b""
        self.events = []  # all that were read so far, comments too
        self.end = None   # "whole" or "broken", once it is there
        self.answer = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def head(self):
        """The head; of an answer that is no stream, all of it."""
        if self.answer is None:
            self.answer = self.client.read_head()
            if self.answer.field("transfer-encoding") is None:
                length = self.answer.field("content-length")
                self.answer.body = self.client.read_exactly(int(length))
        return self.answer

    def _fill(self):
        try:
            chunk = self.client.read_chunk()
        except Closed:
            assert self.client.buffer == b"", "closed inside a chunk"
            chunk = None
        if not chunk:
            self.end = "broken" if chunk is None else "whole"
            assert self.text == b"", f"ends inside an event: {self.text!r}"
        return chunk

    def next(self):
        """The next event or comment; None at the end."""
        self.head()
        while b"\n\n" not in self.text:
            if self.end is not None:
                return None
            chunk = self._fill()
            if not chunk:
                return None
            self.text += chunk
        block, self.text = self.text.split(b"\n\n", 1)
        self.events.append(event_of(block.decode()))
        return self.events[-1]

    def next_event(self):
        """The next that is no comment."""
        while (event := self.next()) is not None and event.name == ":":
            pass
        return event

    def rest(self):
        """Reads to the end; all events, comments left out."""
        while self.next() is not None:
            pass
        return self.data()

    def data(self):
        return [event for event in self.events if event.name != ":"]

    def comments(self):
        return [event.data for event in self.events if event.name == ":"]

    def words(self):
        """The text of what was read so far."""
        return words_of(self.api, self.data())

    def read_words(self, count):
        """Reads until so many words are there, and no further."""
        while len(self.words().split()) < count:
            assert self.next() is not None, self.events[-3:]
        return self.words()

    def is_silent(self, seconds=0.1):
        return b"\n\n" not in self.text and not self.client.readable(seconds)


def event_of(block):
    lines = block.split("\n")
    if len(lines) == 1 and lines[0].startswith(": "):
        return Event(":", lines[0][2:])
    name = None
    if lines[0].startswith("event: "):
        name = lines.pop(0)[7:]
    assert len(lines) == 1 and lines[0].startswith("data: "), block
    return Event(name, lines[0][6:])


def is_error(api, event):
    """Is it the form's error event?"""
    if event.data == "[DONE]":
        return False
    body = json.loads(event.data)
    if api == "messages":
        return event.name == "error" and body["type"] == "error"
    return "error" in body and (event.name == ("error" if api == "responses" else None))


def words_of(api, events):
    good = [event for event in events if not is_error(api, event)]
    if api == "generate":
        pieces = [json.loads(event.data) for event in good if event.data != "[DONE]"]
        return "".join(piece["text"] for piece in pieces if "usage" not in piece)
    return text_of(api, good)


def is_last(api, event):
    """The event behind which clients stop reading."""
    if api in ("messages", "responses"):
        return event.name in ("message_stop", "response.completed", "response.incomplete")
    return event.data == "[DONE]"


def open_stream(daemon, case, orders="", fields=(), receive=None, **members):
    """Sends the question; nothing is read yet. receive: the client's buffer in the kernel."""
    path, body = question(case, orders, **members)
    client = Client(daemon.address)
    if receive is not None:
        client.close()
        client = narrow_client(daemon.address, receive)
    client.send(compose("POST", path, body, fields))
    return Stream(client, split(case)[0])


def narrow_client(address, receive):
    """One whose kernel takes little ahead of it: the buffer must be set before it connects."""
    client = Client.__new__(Client)
    client.socket = socket.socket()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    client.socket.settimeout(120)
    client.socket.connect(address)
    client.buffer, client.ended = b"", False
    return client


def assert_whole(stream, words=WORDS):
    """It ended as its form ends."""
    events = stream.rest()
    assert stream.end == "whole", stream.events[-3:]
    assert is_last(stream.api, events[-1]), events[-1]
    assert stream.words() == words


def assert_broken(stream, code, words=""):
    """Events so far, the error as the client's form says it, and the connection is cut."""
    events = stream.rest()
    assert stream.end == "broken", stream.events[-3:]
    assert not any(is_last(stream.api, event) for event in events)
    assert stream.words() == words
    assert is_error(stream.api, events[-1]), events[-1]
    assert not any(is_error(stream.api, event) for event in events[:-1])
    error = json.loads(events[-1].data)["error"]
    assert error["code"] == code and error["message"]
    assert set(error) == {"message", "type", "param", "code"}


class Book:
    """What the metrics have counted since."""

    def __init__(self, daemon, provider=None):
        self.daemon, self.provider = daemon, provider
        self.before = daemon.metrics()

    def added(self, metric, **labels):
        if self.provider is not None and metric != "llm_client_aborts_total":
            labels.setdefault("provider", self.provider)
        return self.daemon.metrics().total(metric, **labels) - self.before.total(metric, **labels)

    def total(self, metric, **labels):
        """The same over all providers."""
        return self.daemon.metrics().total(metric, **labels) - self.before.total(metric, **labels)


def await_in_flight(mock, model, count=1):
    eventually(lambda: mock.counters(model)["in_flight"] == count,
               what=f"{count} of {model} in flight")


# -- what the worker of a daemon with one worker needs ---------------------------------------------

def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[11:13]


def await_rest(daemon):
    """Until the worker has had nothing to do for a while."""
    seen = []

    def rests():
        seen.append(cpu_ticks(daemon.workers()[0]))
        return len(seen) > 60 and len({tuple(ticks) for ticks in seen[-60:]}) == 1

    eventually(rests, what="the worker rests")
