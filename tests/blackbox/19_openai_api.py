"""The OpenAI endpoints: what passes through byte for byte, whom a model's name means, what is
refused in which words, and what the router sees of a request. Faults of streams, and the cache, have
files of their own.
"""
import json
import re

import pytest

from mock import Mock, upstream
from optiroute import TOP, Daemon, environment, named_events

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
    strict = {"allow_unlisted_models": False, "models": {"plain": {}, "special": {}}}
    providers = {
        "oa": upstream(mock, "openai", **keyed),
        "strict": upstream(mock, "openai", **{**strict, **keyed}),
        "an": upstream(mock, "anthropic", **keyed),
        "hf": upstream(mock, "huggingface", **keyed),
    }
    routes = {
        "mixed": {"cheap": "small", "strong": "oa", "fallback": ["an", "oa"]},
        "nobody": {"cheap": "small", "strong": "an", "fallback": ["hf"]},
        "listed": {"cheap": "small", "strong": "large", "fallback": ["strict"]},
        "scored": {"cheap": "small", "strong": "large", "policy": "score"},
    }
    with Daemon({"providers": providers, "routes": routes},
                env=environment(TEST_KEY=KEY)) as running:
        yield running


def chat(daemon, body, fields=(), path="/v1/chat/completions"):
    return daemon.request("POST", path, body, [*FRESH, *fields])


def ask(daemon, model, **members):
    return chat(daemon, {"model": model, "messages": HELLO, **members})


def arrived(mock):
    """Bytes of the body that reached the upstream."""
    return mock.last()["body"].encode()


# -- through, byte for byte ----------------------------------------------------------------------

# Nothing in it is written as any JSON library would; %s: the model.
ODD = (rb'  { "seed" : 1.0e0 ,"n":1,' b"\n\t" rb'"model":%s , "messages":[{"role":"system","content":"a\u0062\/"},'
       rb'{"role":"user","name":"me","content":[{"type":"text","text":"See \ud83d\ude00"},'
       rb'{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"},"x":-0.0},'
       rb'{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}]},'
       rb'{"role":"assistant","content":null,"tool_calls":[{"id":"t1","type":"function","function":'
       rb'{"name":"f","arguments":"{\"a\":1}"}}],"reasoning_content":"hm"},'
       rb'{"role":"tool","tool_call_id":"t1","content":"4"}],"tools":[{"type":"function","function":'
       rb'{"name":"f","strict":true,"parameters":{"type":"object","properties":{"a":{"type":"number"}}}}},'
       rb'{"type":"web_search"}],"tool_choice":{"type":"function","function":{"name":"f"}},'
       rb'"parallel_tool_calls":false,"response_format":{"type":"json_schema","json_schema":{"name":"s",'
       rb'"schema":{}}},"logprobs":true,"top_logprobs":3,"logit_bias":{"5":-1e2},"service_tier":"flex",'
       rb'"reasoning_effort":"minimal","max_completion_tokens":7,"max_tokens":8,"temperature":0.70,'
       rb'"stop":["a"],"user":"u","metadata":{"a":"b"},"store":false,"modalities":["text"],'
       rb'"prediction":{"type":"content","content":"x"},"chat_template_kwargs":{"enable_thinking":false},'
       rb'"sch\u00f6n":[1E+2,{"":[]}]%s}' b"\r\n ")
MODEL_KEY = rb'"mod\u0065l"'


def test_a_chat_arrives_as_it_was_written(daemon, mock):
    answer = chat(daemon, ODD % (b'"oa\\/plain"', b""))
    assert answer.status == 200, answer
    assert mock.last()["path"] == "/v1/chat/completions"
    assert arrived(mock) == ODD % (b'"plain"', b"")


def test_an_escaped_key_is_the_same_key(daemon, mock):
    body = ODD.replace(b'"model"', MODEL_KEY)
    assert chat(daemon, body % (b'"oa"', b"")).status == 200
    assert arrived(mock) == body % (b'"plain"', b"")


@pytest.mark.parametrize("given,made", [
    (b'', b'{"stream_options":{"include_usage":true},'),
    (b',"stream_options":{}', b',"stream_options":{"include_usage":true}'),
    (b',"stream_options":{ }', b',"stream_options":{"include_usage":true }'),
    (b',"stream_options":{ "x" : 1}', b',"stream_options":{"include_usage":true, "x" : 1}'),
    (b',"stream_options":{"x":1,"include_usage": false}',
     b',"stream_options":{"x":1,"include_usage": true}'),
    (b',"stream_options":{"include_usage" : null}', b',"stream_options":{"include_usage" : true}'),
    (b',"stream_options":{"include_usage" :true }', b',"stream_options":{"include_usage" :true }'),
    (b',"stream_options" : null', b',"stream_options" : {"include_usage":true}'),
])
def test_a_stream_is_asked_for_its_usage(daemon, mock, given, made):
    answer = chat(daemon, ODD % (b'"oa"', b',"stream": true' + given))
    assert answer.status == 200 and answer.field("content-type") == "text/event-stream"
    expected = ODD % (b'"plain"', b',"stream": true' + (made if given else b""))
    if not given:
        expected = expected.replace(b"{", made, 1)
    assert arrived(mock) == expected
    usages = [json.loads(data) for _, data in named_events(answer.body)[:-1]
              if json.loads(data).get("choices") == []]
    assert len(usages) == (b'"include_usage" :true' in given)


@pytest.mark.parametrize("path,body", [
    ("completions", rb'{"prompt":["a",[1,2]],"echo":true,"best_of":1.0e0,"model":%s,"suffix":null}'),
    ("completions", rb'{"model":%s,"prompt":"\u0061"}'),
    ("embeddings", rb'{"input":["a\n","b"],"dimensions":3.0,"model": %s,"encoding_format":"base64"}'),
    ("embeddings", rb'{"input":[1,2,3],"model":%s}'),
    ("responses", rb'{"model":%s,"input":[{"role":"user","content":[{"type":"input_text","text":"x"}]},'
                  rb'{"type":"function_call_output","call_id":"c","output":"4"}],"store":false,'
                  rb'"reasoning":{"effort":"low"},"text":{"format":{"type":"text"}},"include":[]}'),
    ("responses", rb'{"model":%s,"input":"hi","instructions":"be\u0020brief","max_output_tokens":5}'),
])
def test_the_other_endpoints_pass_too(daemon, mock, path, body):
    answer = chat(daemon, body % b'"oa/plain+x"'.replace(b"+x", b""), path=f"/v1/{path}")
    assert answer.status == 200, answer
    assert mock.last()["path"] == f"/v1/{path}"
    assert arrived(mock) == body % b'"plain"'
    assert json.loads(answer.body)["model"] == "plain"


@pytest.mark.parametrize("path,body", [
    ("chat/completions", {"messages": HELLO}),
    ("completions", {"prompt": "Hello"}),
    ("responses", {"input": "Hello"}),
])
def test_an_answer_comes_as_it_was_given(daemon, path, body):
    name = {"chat/completions": "openai-kept.json"}.get(path)
    if name is None:  # the mock's own answer, asked directly and through the daemon
        answer = chat(daemon, {"model": "oa/plain+tokens=3", **body}, path=f"/v1/{path}")
        assert answer.status == 200 and "plain+tokens=3" in answer.body.decode()
        return
    answer = chat(daemon, {"model": f"oa/x+file={name}", **body}, path=f"/v1/{path}")
    assert answer.status == 200 and answer.body == (CONTRACTS / name).read_bytes()
    assert answer.field("content-type") == "application/json"


def test_a_stream_comes_as_it_was_given(daemon):
    model = "oa/x+file=openai-kept.sse+type=text/event-stream"
    given = named_events((CONTRACTS / "openai-kept.sse").read_bytes())
    answer = ask(daemon, model, stream=True, stream_options={"include_usage": True})
    assert named_events(answer.body) == given
    answer = ask(daemon, model, stream=True)
    assert named_events(answer.body) == given[:-2] + given[-1:]  # nobody asked for the usage
    assert re.search(r"\n: optiroute saved_usd=\S+ overhead_us=\d+\n\ndata: \[DONE\]\n\n$",
                     answer.body.decode())  # no price is known of that model


def test_n_answers_and_no_tokens_are_lost(daemon):
    answer = ask(daemon, "oa/plain", n=3)
    assert len(answer.json()["choices"]) == 3
    events = named_events(ask(daemon, "oa/plain", n=3, stream=True).body)
    seen = {choice["index"] for _, data in events[:-1] for choice in json.loads(data)["choices"]}
    assert seen == {0, 1, 2}


# -- headers ---------------------------------------------------------------------------------------

def test_whose_fields_go_where(daemon, mock):
    theirs = ["Authorization: Bearer clients-own", "x-api-key: clients-own", "Cookie: clients-own",
              "OpenAI-Beta: assistants=v2", "anthropic-version: 2099-01-01", "anthropic-beta: b",
              "OpenAI-Organization: clients-own"]
    for model in ("oa", "an", "hf"):
        assert chat(daemon, {"model": model, "messages": HELLO}, theirs).status == 200
        fields = mock.last()["fields"]
        assert "clients-own" not in json.dumps(fields)
        assert fields.get("openai-beta") == ("assistants=v2" if model == "oa" else None)
        assert fields.get("anthropic-version") == ("2023-06-01" if model == "an" else None)
        assert "anthropic-beta" not in fields
        assert fields["x-api-key" if model == "an" else "authorization"].endswith(KEY)


@pytest.mark.parametrize("given,kept", [
    ("mine-1.2_3", True), ("a" * 64, True), ("a" * 65, False), ("with blank", False),
    ("sch\u00f6n", False), ("", False), ("a/b", False)])
def test_every_answer_has_its_id(daemon, given, kept):
    field = [f"X-Request-Id: {given}"]
    answers = [
        chat(daemon, {"model": "oa", "messages": HELLO}, field),
        chat(daemon, {"model": "oa", "messages": HELLO, "stream": True}, field),
        chat(daemon, {"model": "nope", "messages": HELLO}, field),
        chat(daemon, {"model": "oa/x+status=500", "messages": HELLO}, field),
        chat(daemon, "{", field),
        daemon.request("GET", "/v1/models", None, field),
        daemon.request("GET", "/v1/models/nope", None, field),
        daemon.request("GET", "/v1/chat/completions", None, field),
        daemon.request("POST", "/v1/nothing", {}, field),
        daemon.request("POST", "/v1/embeddings", "{}", [*field, "Content-Type: text/plain"]),
    ]
    ids = [answer.field("x-request-id") for answer in answers]
    assert all(ids) and (set(ids) == {given}) == kept
    assert kept or len(set(ids)) == len(ids)


def test_what_an_answer_says_of_itself(daemon):
    answer = ask(daemon, "oa/plain")
    assert answer.field("x-optiroute-provider") == "oa"
    assert answer.field("x-optiroute-model") == "plain"
    assert answer.field("x-optiroute-route-reason") == "model"
    assert answer.field("x-optiroute-cache") == "bypass"
    assert float(answer.field("x-optiroute-cost-usd")) > 0
    assert answer.field("x-should-retry") is None
    stream = ask(daemon, "oa", stream=True)
    assert stream.field("cache-control") == "no-cache" and stream.field("x-accel-buffering") == "no"
    assert stream.field("x-optiroute-route-reason") == "provider"
    assert stream.field("x-optiroute-cost-usd") is None


# -- whom a name means -----------------------------------------------------------------------------

@pytest.mark.parametrize("name,provider,model", [
    ("auto", "small", "small-1"), ("auto/small-2", "small", "small-2"),
    ("auto/large-1", "large", "large-1"), ("small", "small", "small-1"),
    ("small/small-2", "small", "small-2"), ("small-2", "small", "small-2"),
    ("special", "strict", "special"), ("strict", "strict", "plain"),
    ("listed/special", "strict", "special"), ("oa/org/any-model:8b", "oa", "other"),
    ("oa/auto", "oa", "other"), ("au\u0074o", "small", "small-1")])
def test_whom_a_name_means(daemon, name, provider, model):
    answer = ask(daemon, name)
    assert answer.status == 200, answer
    assert answer.field("x-optiroute-provider") == provider
    assert answer.field("x-optiroute-model") == model


@pytest.mark.parametrize("name", [
    "nope", "gpt-4o", "auto/nope", "strict/nope", "nope/small-1", "small/", "/small-1", "/", "auto/",
    " auto", "Auto", "auto\u0000", "\n", "\u202eauto", "../oa", "http://127.0.0.1:1/x", "other",
    "x" * 320, "listed/\r\nX-Injected: 1", "auto/" + "/" * 300,
    "oa/plain\u0000x", "oa/\u0000"])
def test_names_that_mean_nobody(daemon, mock, name):
    before = mock.counters()["requests"]
    answer = ask(daemon, name)
    error = answer.error()
    assert (answer.status, error["code"], error["param"]) == (404, "model_not_found", "model"), answer
    assert error["type"] == "invalid_request_error" and answer.field("x-should-retry") == "false"
    assert answer.field("x-injected") is None
    assert mock.counters()["requests"] == before


@pytest.mark.parametrize("name", ["a\u0001b\u007f", "a\r\nX-Injected: 1", "%2e%2e/admin", "a?b#c", "\u00fc\U0001f600",
                                  "http://elsewhere/", "{}\"}],\"x\":[{\"", "a\\u0000"])
def test_an_odd_name_is_still_only_a_name(daemon, mock, name):
    """It reaches who takes any name, as a JSON string and nothing else."""
    answer = ask(daemon, "oa/" + name)
    last = mock.last()
    assert last["path"] == "/v1/chat/completions" and "x-injected" not in last["fields"]
    assert answer.field("x-injected") is None and answer.field("x-optiroute-model") == "other"
    model = json.loads(last["body"])["model"]
    assert model == name, (answer, model)


def test_who_has_no_such_api_is_passed_over(daemon, mock):
    for path, body in (("embeddings", {"input": "a"}), ("responses", {"input": "a"})):
        answer = chat(daemon, {"model": "mixed", **body}, path="/v1/" + path)
        assert (answer.status, answer.field("x-optiroute-provider")) == (200, "oa"), answer
        for model in ("nobody", "an", "hf", "small", "auto"):
            before = mock.counters()["requests"]
            answer = chat(daemon, {"model": model, **body}, path="/v1/" + path)
            error = answer.error()
            assert (answer.status, error["type"]) == (400, "invalid_request_error"), answer
            assert answer.field("x-should-retry") == "false"
            assert mock.counters()["requests"] == before


def test_completions_go_to_everybody(daemon, mock):
    for model in ("oa", "an", "hf", "small"):
        for stream in (False, True):
            answer = chat(daemon, {"model": model, "prompt": "Once", "max_tokens": 3, "stream": stream},
                          path="/v1/completions")
            assert answer.status == 200, answer
            if stream:
                chunks = [json.loads(data) for _, data in named_events(answer.body)[:-1]]
                assert "".join(c["text"] for chunk in chunks for c in chunk["choices"])
                assert {chunk["object"] for chunk in chunks} == {"text_completion"}
            else:
                body = answer.json()
                assert body["object"] == "text_completion" and body["choices"][0]["text"]


# -- limits of tokens ----------------------------------------------------------------------------

@pytest.mark.parametrize("limits,wins", [
    ({"max_tokens": 11}, 11), ({"max_completion_tokens": 12}, 12),
    ({"max_tokens": 11, "max_completion_tokens": 12}, 12),
    ({"max_completion_tokens": 12, "max_tokens": 11}, 12), ({}, None),
    ({"max_tokens": None, "max_completion_tokens": 9}, 9)])
def test_a_limit_has_its_right_name_everywhere(daemon, mock, limits, wins):
    assert ask(daemon, "oa", **limits).status == 200
    body = json.loads(arrived(mock))
    assert {key: value for key, value in body.items() if key.startswith("max_")} == limits
    assert ask(daemon, "an", **limits).status == 200
    body = json.loads(arrived(mock))
    assert {key: value for key, value in body.items() if key.startswith("max_")} == {
        "max_tokens": wins or 4096}
    assert ask(daemon, "hf", **limits).status == 200
    assert json.loads(arrived(mock))["parameters"].get("max_new_tokens") == wins
    assert not any("max_" in key for key in json.loads(arrived(mock))["parameters"]
                   if key != "max_new_tokens")
    if wins is not None:
        words = ask(daemon, "small", **limits).json()["choices"][0]["message"]["content"]
        assert len(words.split()) == wins


# -- what is refused here --------------------------------------------------------------------------

DEEP = '{"a":' * 64 + "1" + "}" * 64
WRONG = [
    ("{}", "model", "missing"), ('{"model":null}', "model", "missing"),
    ('{"model":5}', "model", "invalid_type"), ('{"model":""}', "model", "invalid_value"),
    ('{"model":"' + "x" * 321 + '"}', "model", "invalid_value"),
    ('{"model":"oa"}', "messages", "missing"),
    ('{"model":"oa","messages":null}', "messages", "missing"),
    ('{"model":"oa","messages":[]}', "messages", "invalid_value"),
    ('{"model":"oa","messages":{}}', "messages", "invalid_type"),
    ('{"model":"oa","messages":"hi"}', "messages", "invalid_type"),
    ('{"model":"oa","messages":["hi"]}', "messages[0]", "invalid_type"),
    ('{"model":"oa","messages":[{"role":"user","content":"a"},{"role":"user"},null]}', "messages[2]",
     "invalid_type"),
    ('{"model":"oa","messages":[%s{"content":"a"}]}' % ('{"role":"user","content":"a"},' * 3),
     "messages[3].role", "invalid_type"),
    ('{"model":"oa","messages":[{"role":7,"content":"a"}]}', "messages[0].role", "invalid_type"),
    ('{"model":"oa","messages":[{"role":"user","content":7}]}', "messages[0].content", "invalid_type"),
    ('{"model":"oa","messages":[{"role":"user","content":["a"]}]}', "messages[0].content",
     "invalid_type"),
    *((f'{{"model":"oa","messages":[{{"role":"user","content":"a"}}],{member}}}',
       member.split('"')[1], code) for member, code in [
           ('"max_tokens":0', "invalid_value"), ('"max_tokens":-1', "invalid_value"),
           ('"max_tokens":1.5', "invalid_type"), ('"max_tokens":"9"', "invalid_type"),
           ('"max_tokens":1e3', "invalid_type"), ('"max_tokens":99999999999999999999', "invalid_type"),
           ('"max_completion_tokens":0', "invalid_value"), ('"n":0', "invalid_value"),
           ('"n":[]', "invalid_type"), ('"stream":"yes"', "invalid_type"), ('"stream":1', "invalid_type"),
           ('"stream_options":true', "invalid_type"), ('"temperature":"hot"', "invalid_type"),
           ('"top_p":[]', "invalid_type"), ('"tools":{}', "invalid_type"), ('"store":1', "invalid_type")]),
    ("[]", None, "invalid_json"), ('"model"', None, "invalid_json"), ("", None, "invalid_json"),
    ("null", None, "invalid_json"), ("{'model':1}", None, "invalid_json"),
    ('{"model":"oa"} x', None, "invalid_json"), ('{"model":"oa",}', None, "invalid_json"),
    ('\ufeff{"model":"oa"}', None, "invalid_json"), ('{"model":"\\ud800"}', None, "invalid_json"),
    ('{"model":NaN}', None, "invalid_json"), ('{"a":' + DEEP + "}", None, "invalid_json"),
    (b'{"model":"\xff"}', None, "invalid_json"), (b'{"model":"a\0"}', None, "invalid_json"),
    *((f'{{"model":"oa","messages":[{{"role":"user","content":"a"}}],{members}}}', None, "doubled_key")
      for members in ('"model":"oa"', '"mod\\u0065l":"oa"', '"x":1,"x":1', '"x":{"y":[{"z":1,"z":2}]}',
                      '"metadata":{"a":1,"a":1}', '"user":"a","user":"b"', '"stream":true,"stream":false',
                      '"stream_options":{"include_usage":true,"include_usage":false}')),
    ('{"model":"oa","messages":[{"role":"user","content":"a","content":"b"}]}', None, "doubled_key"),
]


@pytest.mark.parametrize("body,param,code", WRONG)
def test_what_is_refused_and_where_it_stands(daemon, mock, body, param, code):
    before = mock.counters()["requests"]
    answer = chat(daemon, body)
    error = answer.error()
    assert (answer.status, error["param"], error["code"]) == (400, param, code), answer
    assert error["type"] == "invalid_request_error" and answer.field("x-should-retry") == "false"
    assert mock.counters()["requests"] == before


def test_the_place_of_wrong_json(daemon):
    for body, place in (('{"model":"oa",}', 14), ("", 0), ('{"a":tru}', 5), ('{"a":"\t"}', 6)):
        assert f"at byte {place}:" in chat(daemon, body).error()["message"]


def test_sixty_four_levels_are_taken(daemon, mock):
    body = '{"model":"oa","messages":[{"role":"user","content":"a"}],"x":%s}' % DEEP[5:-1]
    assert chat(daemon, body).status == 200 and arrived(mock).endswith(DEEP[5:-1].encode() + b"}")


@pytest.mark.parametrize("path,body,param", [
    ("completions", {}, "prompt"), ("completions", {"prompt": {}}, "prompt"),
    ("completions", {"prompt": None}, "prompt"), ("embeddings", {}, "input"),
    ("embeddings", {"input": 5}, "input"), ("responses", {"input": True}, "input"),
    ("responses", {"input": "a", "max_output_tokens": 0}, "max_output_tokens"),
    ("responses", {"input": "a", "instructions": 5}, "instructions"),
    ("responses", {"input": "a", "previous_response_id": 5}, "previous_response_id")])
def test_what_the_other_endpoints_refuse(daemon, path, body, param):
    answer = chat(daemon, {"model": "oa", **body}, path="/v1/" + path)
    assert (answer.status, answer.error()["param"]) == (400, param), answer


def test_refusals_of_http_have_the_same_form(daemon):
    rows = [(405, daemon.request("GET", "/v1/chat/completions")),
            (405, daemon.request("DELETE", "/v1/models")),
            (404, daemon.request("POST", "/v1/chat", {})),
            (404, daemon.request("POST", "/v1/chat/completions/", {})),
            (404, daemon.request("POST", "/v1/audio/speech", {})),
            (415, daemon.request("POST", "/v1/responses", "a=b", ["Content-Type: text/plain"])),
            (413, daemon.request("POST", "/v1/embeddings", b"x" * (4 << 20) + b"x")),
            (501, daemon.request("BREW", "/v1/chat/completions", {}))]
    for status, answer in rows:
        assert answer.status == status and answer.error()["message"], answer
        assert answer.field("x-request-id") and answer.field("x-should-retry") == "false"
    assert rows[0][1].field("allow") == "POST, OPTIONS"


# -- what providers refuse ---------------------------------------------------------------------------

# status of the provider -> status of ours, whether a client may try again
STATUSES = {400: (400, False), 404: (404, False), 409: (409, True), 413: (413, False), 422: (422, False),
            401: (502, False), 402: (502, False), 403: (502, False), 408: (504, True), 429: (429, True),
            500: (502, True), 502: (502, True), 503: (502, True), 504: (504, True), 529: (502, True)}


@pytest.mark.parametrize("status, said, heard", [
    (400, "true", "true"), (400, "false", "false"), (500, "false", "false"), (429, "true", "true"),
    (500, "maybe", None), (401, "true", "false")])
def test_a_providers_own_word_on_retries_is_passed_on(daemon, status, said, heard):
    """But for what it says of the gateway's key."""
    answer = ask(daemon, f"oa/x+status={status}+should_retry={said}")
    assert answer.field("x-should-retry") == heard


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", STATUSES)
def test_what_providers_refuse(daemon, status, stream):
    answer = ask(daemon, f"oa/x+status={status}+leak+code=a_word", stream=stream)
    ours, may_retry = STATUSES[status]
    error = answer.error()
    assert answer.status == ours, answer
    assert error["type"] == "upstream_error" and error["param"] is None
    assert (answer.field("x-should-retry") != "false") == may_retry
    assert KEY not in str(answer) and "127.0.0.1" not in str(answer)
    if ours == status and status < 429 and status != 409:
        assert error["code"] == "a_word"
    assert answer.field("x-optiroute-provider") == "oa"


@pytest.mark.parametrize("status", [429, 503])
def test_how_long_to_wait_is_passed_on(daemons, mock, status):
    with_limit = upstream(mock, "openai", breaker={"failures": 1, "open": "60s"})
    daemon = daemons({"providers": {"p": with_limit}})
    answer = ask(daemon, f"p/x+status={status}+retry_after=17")
    assert (answer.status, answer.field("retry-after")) == (status, "17"), answer
    again = ask(daemon, "p/plain")  # the circuit is open: nobody is asked
    assert (again.status, again.error()["code"]) == (503, "breaker_open")
    assert 1 <= int(again.field("retry-after")) <= 17


# -- the list of models ------------------------------------------------------------------------------

def test_the_list_of_models(daemon):
    answer = daemon.request("GET", "/v1/models")
    body = answer.json()
    assert answer.status == 200 and body["object"] == "list"
    names = [model["id"] for model in body["data"]]
    assert len(set(names)) == len(names)
    assert {"auto", "mixed", "oa", "oa/plain", "strict/special", "small/small-2", "hf", "plain",
            "special", "small-2"} <= set(names)
    for name in names:  # and every one of them can be asked; one always fails
        assert ask(daemon, name).status == (502 if name.startswith("broken") else 200), name
    for model in body["data"]:
        assert model["object"] == "model" and isinstance(model["created"], int)
        assert isinstance(model["owned_by"], str)
        assert model.get("simulated") is (True if model["owned_by"] in ("small", "large", "pace", "broken")
                                          else None), model
    head = daemon.request("HEAD", "/v1/models")
    assert (head.status, head.body) == (200, b"")
    assert head.field("content-length") == str(len(answer.body))


@pytest.mark.parametrize("path,name", [
    ("auto", "auto"), ("small/small-2", "small/small-2"), ("small%2Fsmall-2", "small/small-2"),
    ("small%2fsmall-2", "small/small-2"), ("%61uto", "auto"), ("oa?x=y", "oa"),
    ("special", "special"), ("small-2", "small-2")])
def test_one_model(daemon, path, name):
    answer = daemon.request("GET", "/v1/models/" + path)
    assert (answer.status, answer.json()["id"]) == (200, name), answer
    assert daemon.request("HEAD", "/v1/models/" + path).status == 200


@pytest.mark.parametrize("path", ["nope", "small/nope", "small-2/", "aut", "auto/", "%", "%zz", "a%00",
                                  "%c3%28", "auto%", "%2561uto"])
def test_no_such_model(daemon, path):
    answer = daemon.request("GET", "/v1/models/" + path)
    error = answer.error()
    assert (answer.status, error["code"], error["param"]) == (404, "model_not_found", "model"), answer
    assert daemon.request("HEAD", "/v1/models/" + path).status == 404


def test_the_endpoint_is_there_and_the_model_is_not(daemon):
    """`nobody` has no provider with embeddings, `listed` has one, without the model."""
    for route, status, code in (("nobody", 400, "unsupported_endpoint"),
                                ("listed/nope", 404, "model_not_found")):
        answer = chat(daemon, {"model": route, "input": "x"}, path="/v1/embeddings")
        assert (answer.status, answer.error()["code"]) == (status, code), answer


def test_a_compressed_body_is_refused_as_such(daemon):
    answer = daemon.request("POST", "/v1/chat/completions", b"\x1f\x8b\x08", ["Content-Encoding: gzip"])
    assert (answer.status, answer.error()["code"]) == (415, "unsupported_encoding")
    answer = chat(daemon, {"model": "oa", "messages": HELLO}, ["Content-Encoding: identity"])
    assert answer.status == 200


# -- what the router sees ----------------------------------------------------------------------------

HARD = ("Prove step by step why the statement is valid: if twice as many, then more than half. "
        "Explain and compare the premises, and write a function that must return exactly 5.")


def reason(daemon, model, **members):
    answer = chat(daemon, {"model": model, **members})
    assert answer.status == 200, answer
    return answer.field("x-optiroute-route-reason"), answer.field("x-optiroute-provider")


def score(daemon, **members):
    return float(re.match(r"score:([\d.]+)", reason(daemon, "scored", **members)[0])[1])


def user(text):
    return {"role": "user", "content": text}


def test_the_router_reads_the_last_user_message(daemon):
    parts = [{"type": "text", "text": "12345"}, {"type": "image_url", "image_url": {"url": "x"}},
             {"type": "text", "text": "67890"}]
    assert reason(daemon, "auto", messages=[user("a" * 9)]) == ("length:9", "small")
    assert reason(daemon, "auto", messages=[user("a" * 900), user("bb")]) == ("length:2", "small")
    assert reason(daemon, "auto", messages=[user("a" * 900)])[1] == "large"
    assert reason(daemon, "auto", messages=[user(parts)])[0] == "length:10"
    later = [user("abc"), {"role": "assistant", "content": None, "tool_calls": []},
             {"role": "tool", "tool_call_id": "t", "content": "x" * 500}]
    assert reason(daemon, "auto", messages=later)[0] == "length:3"
    assert reason(daemon, "auto", messages=[{"role": "system", "content": "x" * 50}])[0] == "length:0"
    assert reason(daemon, "auto", messages=[user("\u00e9\\\"\n\U0001f600")])[0] == "length:5"
    easy, hard = user("What is the capital of France?"), user(HARD)
    assert reason(daemon, "scored", messages=[hard, easy])[1] == "small"
    assert reason(daemon, "scored", messages=[easy, hard])[1] == "large"


@pytest.mark.parametrize("text,least", [
    ("\u4f60\u597d", 10000), ("\U0001f600", 5000), ("\\", 30000), ("a\n", 30000), ("\u00e9\\\U0001f600x\"", 9000),
    ("no escapes, but blanks ", 100000), ("x" * 997 + "\t", 60000)])
def test_the_router_reads_a_long_message_of_escapes(daemon, text, least):
    """Its beginning and its end at least: a large body is no empty message."""
    for shift in range(7):
        words = "y" * shift + text * (400000 // len(json.dumps(text)))
        said, provider = reason(daemon, "auto", messages=[user(words)])
        assert provider == "large" and least < int(said.partition(":")[2]) <= len(words), said


def test_the_router_sees_system_prompts_tools_and_history(daemon):
    last = user("Tell me more about it, please")
    alone = score(daemon, messages=[last])
    system = {"role": "system", "content": "s" * 4096}
    assert score(daemon, messages=[system, last]) > alone
    assert score(daemon, messages=[{**system, "role": "developer"}, last]) > alone
    assert score(daemon, messages=[last], tools=[{"type": "function", "function": {"name": "f"}}]) > alone
    turns = [user("a"), {"role": "assistant", "content": "b"}] * 10
    assert score(daemon, messages=[*turns, last]) > alone
    assert score(daemon, messages=[last], tools=[]) == alone
