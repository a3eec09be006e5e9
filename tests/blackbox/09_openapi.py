"""doc/openapi.yaml and the daemon say the same: every answer fits the document, and everything in
the document is really given.
"""
import json
import re
import signal

import jsonschema
import pytest
import yaml

from mock import Mock
from optiroute import TOP, Client, Daemon, compose, eventually, merged, run, stream_events

CHAT = [{"role": "user", "content": "by the book"}]
# What is asked at the endpoints for models, but for the model.
POSTS = {
    "/v1/chat/completions": {"messages": CHAT},
    "/v1/completions": {"prompt": "by the book"},
    "/v1/embeddings": {"input": "by the book"},
    "/v1/responses": {"input": "by the book", "store": False},
    "/v1/messages": {"messages": CHAT, "max_tokens": 9},
}
DOCUMENT = yaml.safe_load((TOP / "doc" / "openapi.yaml").read_text())
METHODS = ("get", "head", "options", "post", "put", "delete", "patch", "trace")
# Not repeated in the document: HTTP's own.
TRANSPORT = {"date", "content-type", "content-length", "transfer-encoding", "connection"}
CONFIG = {"providers": {"unpriced": {
    "type": "simulated", "default_model": "unpriced-1",
    "simulated": {"latency": "1ms", "per_token": "0ms", "max_latency": "1ms"}}}}


def resolved(node):
    """Follows a reference inside the document."""
    while isinstance(node, dict) and set(node) == {"$ref"}:
        path = node["$ref"]
        assert path.startswith("#/"), path
        node = DOCUMENT
        for part in path[2:].split("/"):
            node = node[part]
    return node


def limited(path):
    return "limited" + path.replace("/", "-")


@pytest.fixture(scope="module")
def daemon():
    """With a provider that does what its model's name says."""
    with Mock() as mock:
        providers = {"mock": {
            "type": "openai", "url": mock.url + "/v1", "default_model": "m", "models": {"m": {"input": 1, "output": 2}},
            "allow_unlisted_models": True,
            "retry": {"attempts": 0}, "breaker": {"failures": 255, "max_open": "30s"}}}
        providers["claude"] = merged(providers["mock"], {"type": "anthropic", "url": mock.url})
        for name in ("mock", "claude"):
            providers["hasty-" + name] = merged(providers[name], {"timeouts": {"first_byte": "300ms"}})
        for path in ("/generate", *POSTS):  # each is left alone after its first answer
            providers[limited(path)] = providers["claude" if path == "/v1/messages" else "mock"]
        routes = {"fallen": {"cheap": "refused", "strong": "refused", "fallback": ["mock", "claude"]}}
        providers["refused"] = merged(providers["mock"], {"url": "http://127.0.0.1:1/v1"})
        with Daemon(merged(CONFIG, {"providers": providers, "routes": routes})) as running:
            yield running


RESOLVER = jsonschema.RefResolver("", DOCUMENT)


def validate(value, schema):
    jsonschema.Draft202012Validator(schema, resolver=RESOLVER).validate(value)


def is_valid(value, schema):
    return jsonschema.Draft202012Validator(schema, resolver=RESOLVER).is_valid(value)


def operations():
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


class Witness:
    """Holds answers against the document and remembers what of it was seen."""

    def __init__(self):
        self.answers = set()  # (path, method, status)
        self.fields = set()   # (path, method, status, field)
        self.kinds = set()    # (path, method, status, media type)

    def see(self, path, method, answer):
        described = DOCUMENT["paths"][path][method]["responses"]
        status = str(answer.status)
        if status not in described:
            status = f"{status[0]}XX"
        assert status in described, f"{method} {path}: {answer.status} is not described"
        response = resolved(described[status])
        where = (path, method, status)
        self.answers.add(where)
        headers = {name.lower(): resolved(header)
                   for name, header in response.get("headers", {}).items()}
        present = {name.lower() for name, _ in answer.fields} - TRANSPORT
        assert present <= set(headers), f"{where}: {present - set(headers)} not described"
        for name, header in headers.items():
            if name in present:
                validate(answer.field(name), header["schema"])
                self.fields.add((*where, name))
            else:
                assert not header.get("required"), f"{where}: {name} is missing"
        self.see_body(where, response, answer)

    def see_body(self, where, response, answer):
        content = response.get("content", {})
        if not content or where[1] == "head":
            assert answer.body == b""
            return
        kind = answer.field("content-type").split(";")[0]
        assert kind in content, f"{where}: {kind} is not described"
        self.kinds.add((*where, kind))
        if kind == "application/json":
            validate(json.loads(answer.body), content[kind]["schema"])


@pytest.fixture(scope="module")
def witness(daemon):
    """Every answer there is, given once and held against the document."""
    seen = Witness()

    def ask(path, method, body=None, fields=(), sent_as=None):
        answer = daemon.request((sent_as or method).upper(), path, body, fields)
        seen.see(path, method, answer)
        return answer

    def send(path, method, data):
        with daemon.connect() as client:
            client.send(data)
            seen.see(path, method, client.read_answer())

    def refused_by_http(path):
        line = f"POST {path}".encode()
        for fields in (b"Content-Length: 99999999", b"Expect: x", b"A: " + b"x" * 40000,
                       b"Transfer-Encoding: gzip"):                            # 413, 417, 431, 501
            send(path, "post", line + b" HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n\r\n")
        send(path, "post", line + b"?" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n")             # 414
        send(path, "post", line + b" HTTP/3.0\r\n\r\n")                                  # 505

    def refused_by_provider(path, name, ask_for):
        for orders, status in (("status=422", 422), ("status=409+should_retry=true", 409),
                               ("status=504+should_retry=false", 504), ("status=500", 502),
                               ("status=401", 502), ("status=400", 400),
                               ("status=404", 404), ("status=413", 413)):
            answer = ask_for(name, "m+" + orders)
            assert answer.status == status, answer
        assert ask_for("hasty-" + name, "m+delay=60000").status == 504
        assert ask_for(limited(path), "m+status=429+retry_after=3+should_retry=true").status == 429

    def refused_for_slowness(paths):
        with Daemon({"limits": {"header_timeout": "3s"}}) as hasty:
            clients = {path: hasty.connect() for path in paths}
            for path, client in clients.items():
                client.send(f"POST {path} HTTP/1.1\r\nHost".encode())
            for path, client in clients.items():
                with client:
                    seen.see(path, "post", client.read_answer())                           # 408

    generate = ("/generate", "post")
    refused_for_slowness(["/generate", *POSTS])
    for prompt in ("fits", "fits", "x" * 61):
        assert ask(*generate, {"prompt": prompt}).status == 200
    assert ask(*generate, {"prompt": "a", "provider": "unpriced"}).json()["cost"] is None
    assert ask(*generate, {"prompt": "a", "provider": "fallen"}).status == 200
    stream = ask(*generate, {"prompt": "a stream", "stream": True})
    events = stream_events(stream.body)
    for kind, text in events[:-3]:
        assert list(json.loads(text)) == ["text"]
    validate(json.loads(events[-3][1]), {"$ref": "#/components/schemas/Answer"})
    for body in ({"prompt": 1}, {"prompt": "a", "model_id": "nothing"}, b"{",
                 {"prompt": "a", "provider": "small", "model_id": "nothing"}):
        assert ask(*generate, body).status == 400
    assert ask(*generate, sent_as="get").status == 405
    assert ask(*generate, b"x", ["Content-Type: text/plain"]).status == 415
    assert ask(*generate, {"prompt": "a", "provider": "broken"}).status == 502
    refused_by_http("/generate")
    refused_by_provider("/generate", "mock", lambda name, model: ask(
        *generate, {"prompt": model, "provider": name, "model_id": model}))
    for path, body in POSTS.items():
        native = "claude" if path == "/v1/messages" else "mock"
        for stream in (False, True):
            answer = ask(path, "post", {"model": native, "stream": stream, **body})
            assert answer.status == 200, answer
        assert ask(path, "post", {"model": "nobody", **body}).status == 404
        assert ask(path, "post", {"model": "fallen", **body}).status == 200
        assert ask(path, "post", {"model": native}).status in (400, 200)
        assert ask(path, "post", b"{").status == 400
        assert ask(path, "post", sent_as="get").status == 405
        assert ask(path, "post", b"x", ["Content-Type: text/plain"]).status == 415
        refused_by_http(path)
        refused_by_provider(path, native, lambda name, model, path=path, body=body: ask(
            path, "post", {"model": f"{name}/{model}", **body}))
        ask(path, "options")
    for path, sent in (("/v1/models", "/v1/models"), ("/v1/models/{name}", "/v1/models/mock/m"),
                       ("/v1/models/{name}", "/v1/models/nobody")):
        for method in ("GET", "PUT", "HEAD", "OPTIONS"):
            answer = daemon.request(method, sent)
            if answer.status != 404 or method == "GET":
                seen.see(path, "get" if method == "PUT" else method.lower(), answer)
    for path in ("/generate", "/health", "/health/ready", "/api/stats", "/api/events", "/", "/dashboard"):
        ask(path, "options")
    ask("/api/stats", "get")
    ask("/api/stats", "head")
    ask("/api/stats", "get", sent_as="put")
    ask("/api/events", "head")
    ask("/api/events", "get", sent_as="put")
    for path, sent in (("/", "/"), ("/dashboard", "/dashboard"), ("/static/{file}", "/static/base.css")):
        for method in ("GET", "PUT", "HEAD", "OPTIONS"):
            answer = daemon.request(method, sent, fields=["Accept-Encoding: gzip"])
            seen.see(path, "get" if method == "PUT" else method.lower(), answer)
        tag = daemon.request("HEAD", sent).field("etag")
        seen.see(path, "get", daemon.request("GET", sent, fields=[f"If-None-Match: {tag}"]))
    for name in ("chat.js", "icon.svg", "nothing"):
        seen.see("/static/{file}", "get", daemon.request("GET", "/static/" + name))
    for path in ("/health", "/health/ready"):
        ask(path, "get")
        ask(path, "head")
        ask(path, "get", sent_as="put")
    with Client(daemon.metrics_address) as client:
        seen.see("/metrics", "get", client.request("GET", "/metrics"))
        seen.see("/metrics", "head", client.request("HEAD", "/metrics"))
        seen.see("/metrics", "get", client.request("DELETE", "/metrics"))
        seen.see("/metrics", "get", client.request("GET", "/nowhere"))
        client.send(b"GET /metrics HTTP/1.1\n\n")
        seen.see("/metrics", "get", client.read_answer())

    def not_ready(ending):
        answer = ending.request("GET", "/health/ready")
        return answer if answer.status == 503 else None

    with Daemon({"limits": {"drain_delay": "4s", "shutdown_timeout": "300ms"}}) as ending:
        with ending.connect() as client:
            client.send(compose("POST", "/generate", {"prompt": "cut short", "provider": "pace",
                                                      "max_tokens": 30000}))
            eventually(lambda: ending.metrics().total("optiroute_requests_in_flight") == 1)
            ending.send_signal(signal.SIGTERM)
            seen.see("/health/ready", "get", eventually(lambda: not_ready(ending)))
            seen.see("/generate", "post", client.read_answer())                             # 503
    with Daemon({"workers": 1}) as ending:
        clients = [ending.connect() for _ in range(33)]
        for client in clients:
            client.send(compose("GET", "/api/events"))
            if client is not clients[-1]:
                client.read_until(b"event: stats")
        seen.see("/api/events", "get", clients[-1].read_answer())                           # 503
        for client in clients[:-1]:
            client.close()
        eventually(lambda: ending.metrics().total("optiroute_connections") <= 1)
        with ending.connect() as client:
            client.send(compose("GET", "/api/events"))
            while b"event: stats" not in client.buffer:
                client.fill()
            ending.reload()  # which ends the stream
            stream = client.read_answer()
            seen.see("/api/events", "get", stream)
            events = re.findall(rb"event: stats\ndata: (.*)\n\n", stream.body)
            assert events
            for text in events:
                validate(json.loads(text), {"$ref": "#/components/schemas/Stats"})
    with Mock() as mock:
        open_circuits = {name: {
            "type": name, "url": mock.url + suffix, "default_model": "m+status=500",
            "retry": {"attempts": 0},
            "breaker": {"failures": 1, "open": "600s", "max_open": "600s"}}
            for name, suffix in (("openai", "/v1"), ("anthropic", ""))}
        with Daemon({"providers": open_circuits}) as ending:
            for path, body in POSTS.items():
                name = "anthropic" if path == "/v1/messages" else "openai"
                for status in (502, 503) if path in ("/v1/chat/completions", "/v1/messages") else (503,):
                    answer = ending.request("POST", path, {"model": name, **body})
                    assert answer.status == status, answer
                    seen.see(path, "post", answer)
    return seen


def test_every_described_answer_was_given(witness):
    described = {(path, method, status) for path, method, operation in operations()
                 for status in operation["responses"]}
    assert described == witness.answers


def test_every_described_field_was_given(witness):
    described = set()
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            for name in resolved(response).get("headers", {}):
                described.add((path, method, status, name.lower()))
    assert described == witness.fields


def test_every_described_media_type_was_given(witness):
    described = {(path, method, status, kind) for path, method, operation in operations()
                 for status, response in operation["responses"].items()
                 for kind in resolved(response).get("content", {})}
    assert described == witness.kinds


def test_every_path_of_the_daemon_is_described(daemon):
    """The table of endpoints in api.c is what the document lists, methods included."""
    source = (TOP / "src" / "api" / "api.c").read_text()
    table = re.search(r"endpoints\[\] = \{\n(.*?)\n\};", source, re.S)[1]
    paths = re.findall(r'^\s*\{"([^"]+)"', table, re.M)
    assert set(paths) == {path.partition("/{")[0] for path in DOCUMENT["paths"]}
    for path in paths:
        if path == "/metrics":  # the clients' port only says where it is
            continue
        allowed = daemon.request("OPTIONS", path).field("allow").lower().split(", ")
        described = DOCUMENT["paths"].get(path) or DOCUMENT["paths"][path + "/{file}"]
        assert set(allowed) == {method for method in METHODS if method in described}


@pytest.mark.parametrize("changes", [
    {}, {"prompt": None}, {"prompt": ""}, {"prompt": 1}, {"prompt": "\u00e9"},
    {"max_tokens": 1}, {"max_tokens": 0}, {"max_tokens": 1000000}, {"max_tokens": 1000001},
    {"max_tokens": 1.5}, {"max_tokens": "1"}, {"max_tokens": None},
    {"temperature": 0}, {"temperature": 2}, {"temperature": 2.5}, {"temperature": -1},
    {"temperature": "1"}, {"temperature": None}, {"stream": True}, {"stream": "no"},
    {"stream": None}, {"provider": "small"}, {"provider": 1}, {"provider": None},
    {"model_id": "small-1"}, {"model_id": ""}, {"model_id": 1}, {"model_id": None},
    {"model_id": "x" * 257}, {"unknown": {"deep": [1]}}, {"user": "me"}])
def test_the_request_schema_takes_what_the_daemon_takes(daemon, changes):
    body = {"prompt": "a", **changes}
    answer = daemon.request("POST", "/generate", body)
    assert answer.status in (200, 400)
    schema = {"$ref": "#/components/schemas/GenerateRequest"}
    assert is_valid(body, schema) == (answer.status == 200), answer


CHANGES = {
    "model": ["small", "", None, 1, "x" * 321],
    "stream": [False, None, "no"],
    "max_tokens": [1, 0, 1.5, "1"],
    "temperature": [0, "1"],
    "tools": [[], {}],
    "messages": [[], {}, None, [1], [{}], [{"role": 1}], [{"role": "user", "content": 1}],
                 [{"role": "user", "content": [1]}], [{"role": "user", "content": None}],
                 [{"role": "user", "content": [{"type": "text", "text": "a"}]}]],
    "prompt": ["a", ["a", "b"], [1, 2], [], 1, None],
    "input": ["a", ["a"], [1], 1],
    "n": [1, 0], "max_completion_tokens": [1, 0], "stream_options": [{}, 1, None],
    "system": ["a", [{"type": "text", "text": "a"}], 1], "instructions": ["a", 1],
    "max_output_tokens": [1, 0], "store": [False, 1, None], "previous_response_id": [1, None],
    "unknown": [{"deep": [1]}],
}


@pytest.mark.parametrize("path", POSTS)
def test_the_schemas_take_what_the_daemon_takes(daemon, path):
    """Of the members that a schema names; of the others it knows nothing, and they are passed on."""
    operation = DOCUMENT["paths"][path]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    native = "claude" if path == "/v1/messages" else "mock"
    names = {*resolved(schema)["properties"], "unknown"}
    tried = 0
    for name, values in CHANGES.items():
        for value in values if name in names else []:
            body = {"model": native, **POSTS[path], name: value}
            answer = daemon.request("POST", path, body)
            taken = answer.status == 200 or answer.json()["error"]["code"] == "unsupported_endpoint"
            assert is_valid(body, schema) == taken, (body, answer)
            tried += 1
    assert tried >= 10


def test_a_body_that_is_no_object(daemon):
    for body in ([], "a", 1, None, True):
        assert daemon.request("POST", "/generate", json.dumps(body)).status == 400
        assert not is_valid(body, {"$ref": "#/components/schemas/GenerateRequest"})


def test_defaults_are_the_documented_ones(daemon):
    schema = DOCUMENT["components"]["schemas"]["GenerateRequest"]
    defaults = {name: row["default"] for name, row in schema["properties"].items()
                if "default" in row}
    first = daemon.request("POST", "/generate", {"prompt": "by default"}).json()
    second = daemon.request("POST", "/generate", {"prompt": "by default", **defaults}).json()
    assert (first["cached"], second["cached"]) == (False, True)


def test_the_document_is_sound():
    """References resolve, schemas are schemas, ids are unique, the version is ours."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
    used = set()

    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                resolved({"$ref": node["$ref"]})
                used.add(node["$ref"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(DOCUMENT)
    defined = {f"#/components/{kind}/{name}" for kind, group in DOCUMENT["components"].items()
               for name in group}
    assert used == defined
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    assert DOCUMENT["info"]["version"] == run("-v").stdout.split()[1]
