"""The Anthropic endpoint: what passes through byte for byte, and what is refused in Anthropic's words.
What becomes of a request at a provider of the other API is 20_translation.py's.
"""
import json

import pytest

from mock import Mock, upstream
from optiroute import TOP, Daemon, anthropic_error, environment, named_events

CONTRACTS = TOP / "tests" / "blackbox" / "contracts"
KEY = "sk-secret-of-the-tests-0123456789"
FRESH = ["Cache-Control: no-store"]
HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def mock():
    with Mock(files=CONTRACTS) as running:
        yield running


@pytest.fixture(scope="module")
def daemon(mock):
    keyed = {"api_key_env": "TEST_KEY"}
    providers = {
        "an": upstream(mock, "anthropic", **keyed),
        "v1": upstream(mock, "anthropic", **keyed, url=mock.url + "/v1"),
        "oa": upstream(mock, "openai", **keyed),
        "hf": upstream(mock, "huggingface", **keyed),
    }
    routes = {"scored": {"cheap": "small", "strong": "large", "policy": "score"}}
    with Daemon({"providers": providers, "routes": routes},
                env=environment(TEST_KEY=KEY)) as running:
        yield running


def messages(daemon, body, fields=(), path="/v1/messages"):
    return daemon.request("POST", path, body, [*FRESH, *fields])


def ask(daemon, model, fields=(), **members):
    return messages(daemon, {"model": model, "max_tokens": 99, "messages": HELLO, **members}, fields)


def arrived(mock):
    return mock.last()["body"].encode()


# -- through, byte for byte ------------------------------------------------------------------------

ODD = (rb'{"max_tokens" : 7 ,"messages":[{"role":"user","content":[{"type":"text","text":"a\u0062\/",'
       rb'"cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"image","source":{"type":"base64",'
       rb'"media_type":"image\/png","data":"AAAA"}},{"type":"document","source":{"type":"file",'
       rb'"file_id":"f"},"citations":{"enabled":true}}]},{"role":"assistant","content":[{"type":"thinking",'
       rb'"thinking":"hm","signature":"x"},{"type":"tool_use","id":"t","name":"f","input":{"a":1.0e0}}]},'
       rb'{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","is_error":true,"content":[]}]}],'
       b"\r\n\t" rb'"model":%s,"system":[{"type":"text","text":"s"}],"thinking":{"type":"enabled",'
       rb'"budget_tokens":1024},"tools":[{"name":"f","input_schema":{"type":"object"}},'
       rb'{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"any"},"top_k":5,'
       rb'"top_p":0.90,"stop_sequences":["\n"],"metadata":{"user_id":"u","x":1},"service_tier":"auto",'
       rb'"mcp_servers":[],"container":null,"x_unknown":[1E+2,-0]%s }')


@pytest.mark.parametrize("stream", [b"", b',"stream":true', b',"stream" : false'])
def test_a_request_arrives_as_it_was_written(daemon, mock, stream):
    answer = messages(daemon, ODD % (b'"an/plain"', stream))
    assert answer.status == 200, answer
    assert mock.last()["path"] == "/v1/messages"
    assert arrived(mock) == ODD % (b'"plain"', stream)
    assert (answer.field("content-type") == "text/event-stream") == (b"true" in stream)


def test_the_address_may_have_a_version_or_not(daemon, mock):
    for model in ("an", "v1"):
        assert ask(daemon, model).status == 200
        assert mock.last()["path"] == "/v1/messages"


def test_an_answer_comes_as_it_was_given(daemon):
    answer = ask(daemon, "an/x+file=anthropic-kept.json")
    assert answer.body == (CONTRACTS / "anthropic-kept.json").read_bytes()
    assert answer.field("request-id") == answer.field("x-request-id")


def test_a_stream_comes_as_it_was_given(daemon):
    given = named_events((CONTRACTS / "anthropic-kept.sse").read_bytes())
    answer = ask(daemon, "an/x+file=anthropic-kept.sse+type=text/event-stream", stream=True)
    assert named_events(answer.body) == given
    comment = answer.body.decode().split("\n\n")[-3]
    assert comment.startswith(": optiroute ")  # before the last event, where clients stop reading


# -- headers -----------------------------------------------------------------------------------------

def test_whose_fields_go_where(daemon, mock):
    theirs = ["Authorization: Bearer clients-own", "x-api-key: clients-own",
              "anthropic-version: 2099-01-01", "anthropic-beta: a-1,b-2", "OpenAI-Beta: assistants=v2",
              "anthropic-dangerous-direct-browser-access: clients-own"]
    for model in ("an", "oa", "hf"):
        assert ask(daemon, model, theirs).status == 200
        fields = mock.last()["fields"]
        assert "clients-own" not in json.dumps(fields)
        is_theirs = model == "an"
        assert fields.get("anthropic-version") == ("2099-01-01" if is_theirs else None)
        assert fields.get("anthropic-beta") == ("a-1,b-2" if is_theirs else None)
        assert "openai-beta" not in fields
        assert fields["x-api-key" if is_theirs else "authorization"].endswith(KEY)


def test_a_version_that_is_ours_too_is_said_once(daemon, mock):
    for fields in ([], ["anthropic-version: 2023-06-01"]):
        assert ask(daemon, "an", fields).status == 200
        assert mock.last()["fields"]["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in mock.last()["fields"]


def test_two_fields_of_betas_are_one_list(daemon, mock):
    assert ask(daemon, "an", ["anthropic-beta: a-1", "Anthropic-Beta: b-2"]).status == 200
    sent = mock.last()["fields"]["anthropic-beta"]
    assert [one.strip() for one in sent.split(",")] == ["a-1", "b-2"]


def test_beta_endpoints_are_the_same(daemon):
    answer = messages(daemon, {"model": "an", "max_tokens": 9, "messages": HELLO},
                      path="/v1/messages?beta=true")
    assert answer.status == 200 and answer.json()["type"] == "message"


def test_every_answer_has_its_ids(daemon):
    field = ["x-request-id: mine-1"]
    for answer in (ask(daemon, "an", field), ask(daemon, "an", field, stream=True),
                   ask(daemon, "an/x+status=500", field), ask(daemon, "nope", field),
                   messages(daemon, "{", field), daemon.request("GET", "/v1/messages", None, field),
                   daemon.request("POST", "/v1/messages", "x", [*field, "Content-Type: text/xml"])):
        assert answer.field("request-id") == answer.field("x-request-id") == "mine-1", answer


# -- what is refused -----------------------------------------------------------------------------------

WRONG = [
    ("{}", "model", "missing"),
    ('{"model":"an"}', "max_tokens", "missing"),
    ('{"model":"an","max_tokens":null,"messages":[]}', "max_tokens", "missing"),
    ('{"model":"an","max_tokens":0}', "max_tokens", "invalid_value"),
    ('{"model":"an","max_tokens":1.5}', "max_tokens", "invalid_type"),
    ('{"model":"an","max_tokens":9}', "messages", "missing"),
    ('{"model":"an","max_tokens":9,"messages":[]}', "messages", "invalid_value"),
    ('{"model":"an","max_tokens":9,"messages":[{"role":"user","content":"a"},{"content":"a"}]}',
     "messages[1].role", "invalid_type"),
    ('{"model":"an","max_tokens":9,"messages":[{"role":"user","content":{}}]}', "messages[0].content",
     "invalid_type"),
    ('{"model":"an","max_tokens":9,"messages":[{"role":"user","content":"a"}],"system":5}', "system",
     "invalid_type"),
    ('{"model":"an","max_tokens":9,"messages":[{"role":"user","content":"a"}],"stream":"no"}', "stream",
     "invalid_type"),
    ('{"model":"an","max_tokens":9,"messages":[{"role":"user","content":"a"}],"system":"a","system":"b"}',
     None, "doubled_key"),
    ('{"model":"an","max_tokens":9,', None, "invalid_json"), ("[]", None, "invalid_json"),
]


@pytest.mark.parametrize("body,param,code", WRONG)
def test_what_is_refused_here(daemon, mock, body, param, code):
    before = mock.counters()["requests"]
    answer = messages(daemon, body)
    error = anthropic_error(answer)
    assert (answer.status, error["type"]) == (400, "invalid_request_error"), answer
    assert (error["param"], error["code"]) == (param, code)
    assert answer.field("x-should-retry") == "false"
    assert mock.counters()["requests"] == before


def test_refusals_of_http_have_the_same_form(daemon):
    rows = [
        (404, "not_found_error", ask(daemon, "nope")),
        (405, "invalid_request_error", daemon.request("GET", "/v1/messages")),
        (413, "request_too_large", daemon.request("POST", "/v1/messages", b" " * ((4 << 20) + 1))),
        (415, "invalid_request_error", daemon.request("POST", "/v1/messages", "a", ["Content-Type: a/b"]))]
    for status, kind, answer in rows:
        assert (answer.status, anthropic_error(answer)["type"]) == (status, kind), answer
        assert answer.field("x-should-retry") == "false"


# status of the provider -> status of ours, type of the error, whether a client may try again
STATUSES = {
    400: (400, "invalid_request_error", False), 404: (404, "not_found_error", False),
    409: (409, "invalid_request_error", True), 413: (413, "request_too_large", False),
    401: (502, "api_error", False), 403: (502, "api_error", False), 408: (504, "timeout_error", True),
    429: (429, "rate_limit_error", True), 500: (502, "api_error", True), 503: (502, "api_error", True),
    504: (504, "timeout_error", True), 529: (502, "api_error", True),
}


@pytest.mark.parametrize("model", ["an", "oa"])
@pytest.mark.parametrize("status", STATUSES)
def test_what_providers_refuse(daemon, status, model):
    for stream in (False, True):
        answer = ask(daemon, f"{model}/x+status={status}+leak", stream=stream)
        ours, kind, may_retry = STATUSES[status]
        error = anthropic_error(answer)
        assert (answer.status, error["type"]) == (ours, kind), answer
        assert (answer.field("x-should-retry") != "false") == may_retry
        assert KEY not in str(answer) and "127.0.0.1" not in str(answer)


def test_an_overloaded_provider_says_when_to_come_back(daemon):
    answer = ask(daemon, "an/x+status=503+retry_after=3")
    error = anthropic_error(answer)
    assert (answer.status, error["type"], answer.field("retry-after")) == (503, "overloaded_error", "3")


# -- the list of models ------------------------------------------------------------------------------

def test_models(daemon):
    fields = ["anthropic-version: 2023-06-01", "x-api-key: clients-own"]
    body = daemon.request("GET", "/v1/models?limit=1000", None, fields).json()
    names = [model["id"] for model in body["data"]]
    assert {"auto", "an", "an/plain"} <= set(names)
    assert (body["first_id"], body["last_id"]) == (names[0], names[-1]) and body["has_more"] is False
    for model in body["data"]:
        assert model["type"] == "model" and model["display_name"] and model["created_at"].endswith("Z")
    one = daemon.request("GET", "/v1/models/an%2Fplain", None, fields)
    assert one.json()["id"] == "an/plain" and one.field("request-id")
    assert daemon.request("HEAD", "/v1/models/an", None, fields).status == 200
    answer = daemon.request("GET", "/v1/models/nope", None, fields)
    assert (answer.status, anthropic_error(answer)["type"]) == (404, "not_found_error")


# -- what the router sees ----------------------------------------------------------------------------

def test_the_router_sees_what_it_should(daemon):
    def reason(**members):
        answer = ask(daemon, "auto", **members)
        assert answer.status == 200, answer
        return answer.field("x-optiroute-route-reason")

    def score(**members):
        return float(ask(daemon, "scored", **members).field("x-optiroute-route-reason")[6:10])

    parts = [{"type": "text", "text": "123"}, {"type": "image", "source": {}},
             {"type": "text", "text": "45"}]
    assert reason(messages=[{"role": "user", "content": parts}]) == "length:5"
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x" * 99}]}
    assert reason(messages=[*HELLO, {"role": "assistant", "content": []}, result]) == "length:11"
    alone = score()
    assert score(system="s" * 4096) > alone
    assert score(system=[{"type": "text", "text": "s" * 4096}]) > alone
    assert score(tools=[{"name": "f", "input_schema": {}}]) > alone
    assert score(messages=[*HELLO, {"role": "assistant", "content": "b"}] * 9 + HELLO) > alone


@pytest.mark.parametrize("name", ["anthropic-beta", "anthropic-version"])
def test_a_field_that_goes_on_may_not_be_long(daemon, name):
    assert ask(daemon, "small", [f"{name}: {'x' * 4096}"]).status == 200
    answer = ask(daemon, "small", [f"{name}: {'x' * 4097}"])
    assert (answer.status, anthropic_error(answer)["code"]) == (400, "invalid_value")
