"""POST /generate and the small endpoints: fields, headers, refusals, the cache's point of view."""
import json
import re
from decimal import Decimal

import pytest

from optiroute import Daemon, compose, eventually, stream_events
from processes import cpu_seconds

CONFIG = {"providers": {"anything": {
    "type": "simulated", "default_model": "listed", "allow_unlisted_models": True,
    "models": {"listed": {"input": "1", "output": "1"}},
    "simulated": {"latency": "1ms", "per_token": "0ms", "max_latency": "1ms"}}}}

MEMBERS = ["text", "usage", "cost", "latency", "model", "routed_to", "actual_provider_name",
           "cached", "saved", "route_reason", "request_id"]
FIELDS = {"x-request-id", "x-optiroute-provider", "x-optiroute-model", "x-optiroute-route-reason",
          "x-optiroute-cache", "x-optiroute-cost-usd", "x-optiroute-saved-usd",
          "x-optiroute-overhead-us"}


def post(daemon, body, fields=()):
    return daemon.request("POST", "/generate", body, fields)


def refused(daemon, body, status=400, fields=()):
    """The error of a request that is refused and need not be tried again."""
    answer = post(daemon, body, fields)
    assert answer.status == status, answer
    assert answer.field("content-type") == "application/json"
    assert answer.field("x-should-retry") == "false"
    assert answer.field("x-request-id")
    return answer.error()


# -- the answer ------------------------------------------------------------------------------------

def test_the_answer_is_whole(daemon):
    answer = daemon.generate("What is the capital of France?")
    assert answer.status == 200
    assert answer.field("content-type") == "application/json"
    body = answer.json()
    assert list(body) == MEMBERS
    assert isinstance(body["text"], str) and body["text"]
    assert list(body["usage"]) == ["prompt_tokens", "completion_tokens", "total_tokens"]
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert body["cached"] is False
    assert body["routed_to"] == body["actual_provider_name"] == "small"
    assert body["model"] == "small-1"
    for key in ("cost", "saved", "latency"):  # nine decimals in the very bytes
        assert re.search(rb'"%s":\d+\.\d{9}[,}]' % key.encode(), answer.body), answer.body
    assert body["cost"] == Decimal("0.000000010")  # 2 ms at 0.000005 USD a second
    assert Decimal("0.002") <= body["latency"] < 10


def test_headers_say_the_same_as_the_body(daemon):
    answer = daemon.generate("What do the headers say?")
    body = answer.json()
    names = {name.lower() for name, _ in answer.fields}
    assert FIELDS <= names
    assert answer.field("x-request-id") == body["request_id"]
    assert answer.field("x-optiroute-provider") == body["actual_provider_name"]
    assert answer.field("x-optiroute-model") == body["model"]
    assert answer.field("x-optiroute-route-reason") == body["route_reason"]
    assert answer.field("x-optiroute-cache") == "miss"
    assert Decimal(answer.field("x-optiroute-cost-usd")) == body["cost"]
    assert Decimal(answer.field("x-optiroute-saved-usd")) == body["saved"]
    assert re.fullmatch(r"\d+\.\d{9}", answer.field("x-optiroute-cost-usd"))
    assert re.fullmatch(r"\d+", answer.field("x-optiroute-overhead-us"))
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.field("date"))


def test_max_tokens_bounds_the_answer(daemon):
    body = daemon.generate("A long story please", max_tokens=3).json()
    assert body["usage"]["completion_tokens"] == 3
    assert len(body["text"].split()) == 3


def test_null_members_are_not_given(daemon):
    plain = daemon.generate("nothing given").json()
    nulls = daemon.generate("nothing given", max_tokens=None, provider=None, model_id=None,
                            temperature=None, stream=None).json()
    assert nulls["cached"] is True and nulls["text"] == plain["text"]


def test_model_id_is_answered_by_that_model(daemon):
    body = daemon.generate("a", provider="small", model_id="small-2").json()
    assert (body["model"], body["actual_provider_name"]) == ("small-2", "small")
    assert body["route_reason"] == "model"


def test_unlisted_model_has_no_known_cost(daemon):
    before = daemon.metrics()
    answer = daemon.generate("priceless", provider="anything", model_id="brand-new")
    body = answer.json()
    assert answer.status == 200
    assert body["cost"] is None
    assert answer.field("x-optiroute-cost-usd") is None
    after = daemon.metrics()
    labels = {"provider": "anything", "model": "other"}
    assert (after.total("llm_unknown_price_total", **labels)
            == before.total("llm_unknown_price_total", **labels) + 1)
    assert "brand-new" not in daemon.metrics_text()


# -- request ids -----------------------------------------------------------------------------------

@pytest.mark.parametrize("given", ["a", "abc-DEF_1.2", "x" * 64])
def test_a_good_request_id_is_kept(daemon, given):
    answer = daemon.request("GET", "/health", fields=[f"X-Request-Id: {given}"])
    assert answer.field("x-request-id") == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a/b", "a;b", "é", "{}"])
def test_a_bad_request_id_is_replaced(daemon, given):
    answer = daemon.request("GET", "/health", fields=[f"X-Request-Id: {given}"])
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.field("x-request-id"))
    assert answer.field("x-request-id") != given


def test_generated_request_ids_differ(daemon):
    with daemon.connect() as client:
        ids = [client.request("GET", "/health").field("x-request-id") for _ in range(100)]
    ids += [daemon.request("GET", "/health").field("x-request-id") for _ in range(20)]
    assert len(set(ids)) == 120


# -- refusals --------------------------------------------------------------------------------------

@pytest.mark.parametrize("members, param", [
    ({}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": ["a"]}, "prompt"),
    ({"prompt": "a", "max_tokens": "5"}, "max_tokens"),
    ({"prompt": "a", "max_tokens": 1.5}, "max_tokens"),
    ({"prompt": "a", "max_tokens": True}, "max_tokens"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
    ({"prompt": "a", "max_tokens": -1}, "max_tokens"),
    ({"prompt": "a", "max_tokens": 1000001}, "max_tokens"),
    ({"prompt": "a", "max_tokens": 10 ** 30}, "max_tokens"),
    ({"prompt": "a", "temperature": "1"}, "temperature"),
    ({"prompt": "a", "temperature": -0.1}, "temperature"),
    ({"prompt": "a", "temperature": 2.1}, "temperature"),
    ({"prompt": "a", "temperature": False}, "temperature"),
    ({"prompt": "a", "stream": "yes"}, "stream"),
    ({"prompt": "a", "stream": 1}, "stream"),
    ({"prompt": "a", "provider": 1}, "provider"),
    ({"prompt": "a", "provider": ""}, "provider"),
    ({"prompt": "a", "provider": "nobody"}, "provider"),
    ({"prompt": "a", "provider": "Small"}, "provider"),
    ({"prompt": "a", "provider": "cheap"}, "provider"),
    ({"prompt": "a", "model_id": 1}, "model_id"),
    ({"prompt": "a", "model_id": ""}, "model_id"),
    ({"prompt": "a", "model_id": "x" * 257}, "model_id"),
    ({"prompt": "a", "model_id": "unheard-of"}, "model_id"),
    ({"prompt": "a", "provider": "small", "model_id": "large-1"}, "model_id"),
])
def test_wrong_types_and_ranges_name_the_param(daemon, members, param):
    error = refused(daemon, members)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert error["message"] and error["code"]


@pytest.mark.parametrize("members", [
    {"max_tokens": 1}, {"max_tokens": 1000000}, {"temperature": 0}, {"temperature": 2},
    {"temperature": 0.7}, {"stream": False}, {"provider": "large"}, {"provider": "auto"}])
def test_bounds_are_inside(daemon, members):
    assert daemon.generate("at the bounds", **members).status == 200


@pytest.mark.parametrize("body", [
    b"", b" ", b"[]", b'"prompt"', b"null", b"1", b"{", b'{"prompt":"a"', b'{"prompt":"a"}}',
    b'{"prompt":"a"} x', b'{"prompt":"a",}', b"{'prompt':'a'}", b'{prompt:"a"}',
    b'{"prompt":"a","max_tokens":01}', b'{"prompt":"a","max_tokens":+1}',
    b'{"prompt":"a","temperature":.5}', b'{"prompt":"a","temperature":NaN}',
    b'\xef\xbb\xbf{"prompt":"a"}', b'{"prompt":"a\nb"}', b'{"prompt":"\\x41"}',
    b'{"prompt":"\xff"}', b'{"prompt":"\xc0\xaf"}', b'{"prompt":"\xed\xa0\x80"}',
    b'{"prompt":"\\ud800"}', b'{"prompt":"\\udc00\\ud800"}', b'{"prompt":"\\u12"}',
    b'{"prompt":"a\x00b"}', b'{"prompt":"a"}\x00'])
def test_what_is_not_json_is_400(daemon, body):
    error = refused(daemon, body)
    assert error["code"] == "invalid_json"
    assert error["param"] is None


def test_bad_json_is_located(daemon):
    assert "byte 12" in refused(daemon, b'{"prompt":"a\nb"}')["message"]


@pytest.mark.parametrize("body", [
    b'{"prompt":"a","prompt":"b"}', b'{"prompt":"a","prompt":null}',
    b'{"prompt":"a","pr\\u006fmpt":"b"}', b'{"prompt":"a","x":1,"x":1}',
    b'{"prompt":"a","x":{"deep":[{"y":1,"y":2}]}}',
    b'{"prompt":"a","max_tokens":1,"max_tokens":1}'])
def test_doubled_keys_are_400(daemon, body):
    assert refused(daemon, body)["code"] == "doubled_key"


@pytest.mark.parametrize("body", [
    b"[]," * (4 * 1024 * 1024 // 3), b'{"prompt":"a","x":[' + b"[]," * 200000 + b"[]]}",
    b"[" * 100000, b'{"prompt":"a","x":' + b"[" * 100000 + b"]" * 100000 + b"}",
    b'{"prompt":"a","x":' + b'{"a":' * 100000, b'{"prompt":"' + b"\\" * 3000001 + b'"}',
    b'{"prompt":"a","x":' + b"1" * 3000000 + b"e}"])
def test_torture_costs_milliseconds(daemon, body):
    """Ten times 100 ms, transport of up to 4 MB included; of the processor, for the machine's pauses
    are none of the daemon's."""
    workers = daemon.workers()
    before = cpu_seconds(*workers)
    refused(daemon, body)
    assert cpu_seconds(*workers) - before < 1.0


def test_depth_64_is_taken_and_65_is_not(daemon):
    def nested(depth):  # the outer object is one level
        return b'{"prompt":"deep","x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    assert post(daemon, nested(64)).status == 200
    refused(daemon, nested(65))


@pytest.mark.parametrize("prompt", [
    "\u00e9\u00fc", "\u6f22\u5b57", "\U0001f600", "a\u0000b", "\u0007\u001b", "\"\\/", "\ufffd",
    "\u2028", "\ufeffbom"])
def test_every_character_may_be_in_a_prompt(daemon, prompt):
    escaped = daemon.request("POST", "/generate", json.dumps({"prompt": prompt}))
    assert escaped.status == 200
    if not any(ord(c) < 0x20 for c in prompt):
        raw = daemon.request("POST", "/generate", json.dumps({"prompt": prompt},
                                                             ensure_ascii=False))
        assert raw.status == 200
        assert raw.json()["cached"] is True, "two spellings of one text are one text"


def test_a_nul_does_not_end_a_prompt(daemon):
    first = daemon.generate("same\u0000one").json()
    second = daemon.generate("same\u0000two").json()
    assert second["cached"] is False and first["text"] != second["text"]


# -- methods, paths, media types -------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8",
                                  "APPLICATION/JSON", "application/json;charset=utf-8"])
def test_json_media_types_are_taken(daemon, kind):
    assert post(daemon, {"prompt": "m"}, [f"Content-Type: {kind}"]).status == 200


def test_no_media_type_is_taken(daemon):
    with daemon.connect() as client:
        client.send(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n"
                    b'{"prompt":"m"}')
        assert client.read_answer().status == 200


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "null", ""])
def test_no_media_type_is_not_taken_from_a_page(daemon, origin):
    with daemon.connect() as client:
        client.send(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n"
                    + f"Origin: {origin}\r\n\r\n".encode() + b'{"prompt":"m"}')
        assert client.read_answer().status == 415


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "json",
                                  "application/jsonp", "multipart/form-data; boundary=x"])
def test_other_media_types_are_415(daemon, kind):
    refused(daemon, {"prompt": "m"}, 415, [f"Content-Type: {kind}"])


@pytest.mark.parametrize("path, method, allow", [
    ("/generate", "GET", "POST, OPTIONS"), ("/generate", "HEAD", "POST, OPTIONS"),
    ("/generate", "PUT", "POST, OPTIONS"), ("/generate", "DELETE", "POST, OPTIONS"),
    ("/generate", "PATCH", "POST, OPTIONS"), ("/health", "POST", "GET, HEAD, OPTIONS"),
    ("/health/ready", "PUT", "GET, HEAD, OPTIONS"), ("/metrics", "POST", "GET, HEAD, OPTIONS")])
def test_wrong_method_is_405_with_allow(daemon, path, method, allow):
    answer = daemon.request(method, path)
    assert answer.status == 405
    assert answer.field("allow") == allow
    if method != "HEAD":
        answer.error()


@pytest.mark.parametrize("path", ["/static", "/generate/", "/Generate", "/generat", "/health/",
                                  "//health", "/health/../generate", "/%67enerate",
                                  "/x" * 1000])
def test_unknown_path_is_404(daemon, path):
    answer = daemon.request("GET", path)
    assert answer.status == 404
    assert answer.error()["code"] == "not_found"


def test_query_is_no_part_of_the_path(daemon):
    assert daemon.request("GET", "/health?x=1").status == 200
    assert daemon.request("GET", "/health?").status == 200


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "BREW", "get", "PROPFIND"])
def test_unknown_method_is_501(daemon, method):
    answer = daemon.request(method, "/health")
    assert answer.status == 501
    answer.error()


@pytest.mark.parametrize("path, allow", [
    ("/generate", "POST, OPTIONS"), ("/health", "GET, HEAD, OPTIONS"),
    ("/health/ready", "GET, HEAD, OPTIONS"), ("*", "GET, HEAD, POST, OPTIONS")])
def test_options(daemon, path, allow):
    answer = daemon.request("OPTIONS", path)
    assert (answer.status, answer.field("allow"), answer.body) == (204, allow, b"")
    assert answer.field("x-request-id")
    assert answer.field("content-length") is None


def test_head_is_get_without_a_body(daemon):
    with daemon.connect() as client:
        get = client.request("GET", "/health")
        head = client.request("HEAD", "/health")
        assert head.status == 200 and head.body == b""
        assert head.field("content-length") == str(len(get.body))
        again = client.request("GET", "/health")  # nothing of a body stands between
        assert again.body == get.body == b'{"status":"ok"}'


def test_health(daemon):
    for path in ("/health", "/health/ready"):
        answer = daemon.request("GET", path)
        assert (answer.status, answer.body) == (200, b'{"status":"ok"}')
        assert answer.field("content-type") == "application/json"


def test_metrics_on_the_clients_port_names_where_they_are(daemon):
    answer = daemon.request("GET", "/metrics")
    assert answer.status == 404
    assert "http://%s:%d/metrics" % daemon.metrics_address in answer.error()["message"]


def test_metrics_turned_off():
    with Daemon({"metrics_listen": ""}, own_sockets=False) as daemon:
        match = daemon.log.wait_for(r"listening on (\S+):(\d+)")
        daemon.address = (match[1], int(match[2]))
        answer = daemon.request("GET", "/metrics")
        assert answer.status == 404
        assert "metrics_listen" in answer.error()["message"]
        assert daemon.metrics_worker() is None


# -- the cache -------------------------------------------------------------------------------------

def test_a_second_time_is_a_hit_on_any_worker(daemon):
    first = daemon.generate("ask me twice")
    body = first.json()
    before = daemon.metrics()
    with daemon.connect() as a, daemon.connect() as b, daemon.connect() as c, daemon.connect() as d:
        for client in (a, b, c, d):  # more connections than workers: each gets some
            answer = client.request("POST", "/generate", {"prompt": "ask me twice"})
            hit = answer.json()
            assert hit["cached"] is True
            assert hit["cost"] == 0
            assert hit["saved"] == body["cost"] > 0
            assert answer.field("x-optiroute-cache") == "hit"
            assert answer.field("x-optiroute-cost-usd") == "0.000000000"
            for key in ("text", "usage", "model", "routed_to", "actual_provider_name",
                        "route_reason"):
                assert hit[key] == body[key]
            assert hit["request_id"] != body["request_id"]
    after = daemon.metrics()

    def grown(name, **labels):
        return after.total(name, **labels) - before.total(name, **labels)
    assert grown("llm_cache_events_total", event_type="hit") == 4
    assert grown("llm_cache_events_total", event_type="miss") == 0
    assert grown("llm_total_cost_usd_total") == 0
    assert grown("llm_tokens_total") == 0
    assert grown("llm_saved_cost_usd_total", reason="cache") == 4 * body["cost"]
    assert grown("llm_requests_total") == 0


def cache_state(daemon, body, fields=()):
    answer = post(daemon, body, fields)
    assert answer.status == 200, answer
    assert answer.json()["cached"] is (answer.field("x-optiroute-cache") == "hit")
    return answer.field("x-optiroute-cache")


def test_no_store_neither_reads_nor_writes(daemon):
    body = {"prompt": "a secret of no-store"}
    assert cache_state(daemon, body, ["Cache-Control: no-store"]) == "bypass"
    assert cache_state(daemon, body) == "miss"
    before = daemon.metrics().total("llm_cache_events_total", event_type="bypass")
    assert cache_state(daemon, body, ["Cache-Control: NO-STORE, no-cache"]) == "bypass"
    assert daemon.metrics().total("llm_cache_events_total", event_type="bypass") == before + 1


def test_no_cache_reads_nothing_but_stores(daemon):
    body = {"prompt": "a fresh one for no-cache"}
    assert cache_state(daemon, body) == "miss"
    assert cache_state(daemon, body, ["Cache-Control: no-cache"]) == "bypass"
    assert cache_state(daemon, body) == "hit"
    other = {"prompt": "stored by no-cache"}
    assert cache_state(daemon, other, ["Cache-Control: no-cache"]) == "bypass"
    assert cache_state(daemon, other) == "hit"


def test_max_age(daemon):
    body = {"prompt": "how old may it be"}
    assert cache_state(daemon, body) == "miss"
    assert cache_state(daemon, body, ["Cache-Control: max-age=3600"]) == "hit"
    assert cache_state(daemon, body, ["Cache-Control: max-age=99999999999999999"]) == "hit"
    assert cache_state(daemon, body, ["Cache-Control: public, max-age=60, x=y"]) == "hit"
    eventually(lambda: cache_state(daemon, body, ["Cache-Control: max-age=0"]) == "miss")


def test_ttl_ends_an_entry():
    with Daemon({"cache": {"ttl": "300ms"}}) as daemon:
        body = {"prompt": "short-lived"}
        assert cache_state(daemon, body) == "miss"
        eventually(lambda: cache_state(daemon, body) == "miss", what="expiry")
        eventually(lambda: daemon.metrics().total("llm_cache_events_total", event_type="expire"))


def test_cache_turned_off():
    with Daemon({"cache": {"size": "0"}}) as daemon:
        for _ in range(3):
            assert daemon.generate("never kept").json()["cached"] is False


SAME = [
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]}}',
    b'{"x":{"b":[1,2],"a":1},"max_tokens":7,"prompt":"spelling"}',
    b' {\n"prompt" : "spelling" ,\t"max_tokens":7,"x":{ "a":1, "b":[ 1 , 2 ] } } \r\n',
    b'{"prompt":"sp\\u0065lling","max_tokens":7,"x":{"\\u0061":1,"b":[1,2]}}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"stream":false}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"user":"u"}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"metadata":{"k":"v"}}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"provider":"auto"}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"temperature":null}',
]
OTHER = [
    b'{"prompt":"Spelling","max_tokens":7,"x":{"a":1,"b":[1,2]}}',
    b'{"prompt":"spelling ","max_tokens":7,"x":{"a":1,"b":[1,2]}}',
    b'{"prompt":"spelling","max_tokens":8,"x":{"a":1,"b":[1,2]}}',
    b'{"prompt":"spelling","x":{"a":1,"b":[1,2]}}',
    b'{"prompt":"spelling","max_tokens":7}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[2,1]}}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1.0,"b":[1,2]}}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":"1","b":[1,2]}}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2],"c":null}}',
    b'{"prompt":"spelling","max_tokens":7,"X":{"a":1,"b":[1,2]}}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"seed":1}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"temperature":1}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"temperature":1.0}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"provider":"small"}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"provider":"large"}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"model_id":"small-1"}',
    b'{"prompt":"spelling","max_tokens":7,"x":{"a":1,"b":[1,2]},"model_id":"small-2"}',
]


def test_spelling_does_not_matter_and_everything_else_does():
    with Daemon() as daemon:
        assert cache_state(daemon, SAME[0]) == "miss"
        for body in SAME[1:]:
            assert cache_state(daemon, body) == "hit", body
        for body in OTHER:
            assert cache_state(daemon, body) == "miss", body
            assert cache_state(daemon, body) == "hit", body
        assert daemon.metrics().total("optiroute_cache_entries") == 1 + len(OTHER)


def test_a_failed_request_is_not_stored(daemon):
    for _ in range(2):
        answer = daemon.generate("fails", provider="broken")
        assert answer.status == 502
        assert answer.field("x-should-retry") is None
        assert answer.field("x-optiroute-provider") == "broken"
        error = answer.error()
        assert (error["type"], error["code"]) == ("upstream_error", "simulated_failure")


# -- streams ---------------------------------------------------------------------------------------

def test_a_stream(daemon):
    answer = daemon.generate("stream this", stream=True, max_tokens=5)
    assert answer.status == 200
    assert answer.field("content-type") == "text/event-stream"
    assert answer.field("cache-control") == "no-cache"
    assert answer.field("x-accel-buffering") == "no"
    assert answer.field("transfer-encoding") == "chunked"
    assert answer.field("x-optiroute-cache") == "miss"
    assert answer.field("x-optiroute-provider") == "small"
    for name in ("cost-usd", "saved-usd", "overhead-us"):
        assert answer.field(f"x-optiroute-{name}") is None
    events = stream_events(answer.body)
    *pieces, whole, comment, done = events
    assert done == ("data", "[DONE]")
    assert all(kind == "data" for kind, _ in pieces)
    assert all(list(json.loads(text)) == ["text"] for _, text in pieces)
    assert len(pieces) == 5
    final = json.loads(whole[1], parse_float=Decimal)
    assert list(final) == MEMBERS
    assert "".join(json.loads(text)["text"] for _, text in pieces) == final["text"]
    assert final["request_id"] == answer.field("x-request-id")
    match = re.fullmatch(r"optiroute cost_usd=(\d+\.\d{9}) saved_usd=(\d+\.\d{9}) "
                         r"overhead_us=(\d+)", comment[1])
    assert comment[0] == "comment" and match
    assert (Decimal(match[1]), Decimal(match[2])) == (final["cost"], final["saved"])


def test_stream_and_json_share_an_entry(daemon):
    streamed = daemon.generate("shared", stream=True)
    whole = json.loads(stream_events(streamed.body)[-3][1])
    answer = daemon.generate("shared")
    assert answer.json()["cached"] is True and answer.json()["text"] == whole["text"]
    again = daemon.generate("shared", stream=True)
    assert again.field("x-optiroute-cache") == "hit"
    events = stream_events(again.body)
    assert json.loads(events[-3][1])["cached"] is True
    assert "".join(json.loads(text)["text"] for kind, text in events[:-3]) == whole["text"]


def test_stream_pieces_come_one_by_one(daemon):
    with daemon.connect() as client:
        client.send(compose("POST", "/generate", {"prompt": "drip", "stream": True,
                                                  "max_tokens": 20, "provider": "pace"}))
        assert client.read_head().status == 200
        chunks = []
        while chunk := client.read_chunk():
            chunks.append(chunk)
        assert len(chunks) >= 21, "one flush for each event"
        assert client.request("GET", "/health").status == 200, "the connection goes on"


def test_a_stream_for_http_1_0_ends_with_the_connection(daemon):
    body = json.dumps({"prompt": "old", "stream": True, "max_tokens": 3}).encode()
    with daemon.connect() as client:
        client.send(b"POST /generate HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        head = client.read_head()
        assert head.field("transfer-encoding") is None and head.field("content-length") is None
        assert stream_events(client.read_to_end())[-1] == ("data", "[DONE]")


def test_a_stream_that_cannot_begin_is_an_ordinary_error(daemon):
    answer = daemon.generate("x", stream=True, provider="broken")
    assert answer.status == 502
    assert answer.field("content-type") == "application/json"
    answer.error()


def test_a_client_that_leaves_stops_its_request(daemon):
    before = daemon.metrics()
    with daemon.connect() as client:
        client.send(compose("POST", "/generate", {"prompt": "leaving", "provider": "pace",
                                                  "max_tokens": 30000},
                            ["x-request-id: leaver"]))
        eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") > 0)
    eventually(lambda: daemon.metrics().total("llm_client_aborts_total")
               == before.total("llm_client_aborts_total") + 1)
    line = daemon.access_line("leaver")
    assert (line["status"], line["outcome"]) == (499, "client_gone")
    assert 0 < line["cost_usd"] < Decimal("0.03"), "billed for the time it took"
