"""How the tests of the scripted upstream talk to it: questions in its dialects, raw answers, and
what a client makes of its streams. For these tests alone; mock.py is for all."""
import json
import re

from optiroute import Client, compose

WORDS = " ".join(["word"] * 10)
MESSAGES = [{"role": "user", "content": "four byte words"}]
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "messages": "/anthropic/v1/messages",
}
STREAMING = ["chat", "completions", "responses", "messages"]


def question(dialect, model, **members):
    """Path and body of a request of that dialect."""
    if dialect == "inference":
        return "/hf/models/org/" + model, {"inputs": "four byte words", **members}
    content = {"chat": {"messages": MESSAGES}, "messages": {"messages": MESSAGES},
               "completions": {"prompt": "four byte words"}}
    return PATHS[dialect], {"model": model, **content.get(dialect, {"input": "four byte words"}),
                            **members}


def ask(mock, dialect, model, fields=(), **members):
    path, body = question(dialect, model, **members)
    with Client(mock.address()) as client:
        return client.request("POST", path, body, fields)


def chat(mock, model, **members):
    return ask(mock, "chat", model, **members)


def send(mock, model, mode="plain", context=None, dialect="chat", **members):
    """An open connection on which the question was sent."""
    path, body = question(dialect, model, **members)
    client = Client(mock.address(mode), tls=mode.startswith("tls"), context=context)
    client.send(compose("POST", path, body))
    return client


def rest_of(client):
    """All bytes until the end, and which end it was."""
    data = [client.buffer]
    end = end_of(client.socket, data)
    return b"".join(data), end


def end_of(connection, data=None):
    """Reads to the end, and says which it was."""
    try:
        while part := connection.recv(1 << 20):
            if data is not None:
                data.append(part)
        return "fin"
    except ConnectionResetError:
        return "rst"


def raw(mock, model, **members):
    with send(mock, model, **members) as client:
        return rest_of(client)


def parts_of(data):
    head, mark, body = data.partition(b"\r\n\r\n")
    assert mark
    return head.decode(), body


def dechunk(body):
    """Data of a chunked body, and whether its last chunk came."""
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            assert body == b"\r\n"
            return data, True
        data, body = data + body[:int(size, 16)], body[int(size, 16) + 2:]
    return data, False


def events_of(body):
    """(name, data) of each event, by the rules of the HTML standard."""
    lines = re.split("\r\n|\n|\r", body.decode("utf-8-sig"))
    events, name, data = [], None, []
    for line in lines:
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if line == "":
            if data:
                events.append((name, "\n".join(data)))
            name, data = None, []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return events


def stream(mock, model, dialect="chat", usage=False, **members):
    if usage:
        members["stream_options"] = {"include_usage": True}
    answer = ask(mock, dialect, model, stream=True, **members)
    assert answer.status == 200 and answer.field("content-type") == "text/event-stream"
    return answer.body


def chunks(mock, model, **members):
    """The JSON of a chat stream's events and whether it ended as it should."""
    events = [data for _, data in events_of(stream(mock, model, **members))]
    done = events[-1:] == ["[DONE]"]
    return [json.loads(data) for data in (events[:-1] if done else events)], done


def deltas(pieces, member="content"):
    return "".join(choice["delta"].get(member) or "" for piece in pieces
                   for choice in piece["choices"] or [])


def text_of(dialect, events):
    """What a client of the dialect reads from its events."""
    text = ""
    for _, data in events:
        piece = json.loads(data) if data != "[DONE]" else {"type": "done"}
        if dialect == "chat":
            text += deltas([piece]) if "choices" in piece else ""
        elif dialect == "completions":
            text += "".join(choice["text"] for choice in piece.get("choices") or [])
        elif piece["type"] == "response.output_text.delta":
            text += piece["delta"]
        elif piece["type"] == "content_block_delta":
            text += piece["delta"].get("text", "")
    return text
