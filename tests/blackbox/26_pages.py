"""The pages as they are served, and the figures of the dashboard: /api/stats and /api/events."""
import decimal
import gzip
import html.parser
import json
import os
import signal
import time

import pytest

from mock import Mock
from optiroute import TOP, Daemon, compose, eventually, merged

FAILING = {
    "url": "http://127.0.0.1:1/v1", "type": "openai", "default_model": "m",
    "models": {"m": {"input": 1, "output": 2}}, "retry": {"attempts": 0},
    "breaker": {"failures": 3, "open": "300s", "max_open": "300s"}}
CONFIG = {
    "providers": {"down": FAILING},
    "routes": {"spare": {"cheap": "down", "strong": "down", "fallback": ["small"]}},
}
PAGES = {"/": "text/html; charset=utf-8", "/dashboard": "text/html; charset=utf-8"}
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
          "img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; "
          "frame-ancestors 'none'")


def static_files():
    """As the build lists them, and the libraries."""
    makefile = (TOP / "src" / "www" / "local.mk").read_text()
    own = [word.rsplit("/", 1)[1] for word in makefile.split() if word.startswith("src/www/")]
    served = [name for name in own if name.endswith(tuple(TYPES))]
    assert len(served) > 6
    return [*served, "chart.js", "marked.js"]


FILES = {**PAGES, **{f"/static/{name}": TYPES[name[name.rindex("."):]] for name in static_files()}}


# -- pages -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", FILES)
def test_a_file_as_it_is_and_packed(daemon, path):
    plain = daemon.request("GET", path)
    packed = daemon.request("GET", path, fields=["Accept-Encoding: br, gzip;q=0.5"])
    for answer in (plain, packed):
        assert answer.status == 200
        assert answer.field("content-type") == FILES[path]
        assert answer.field("cache-control") == "no-cache"
        assert answer.field("content-security-policy") == POLICY
        assert answer.field("referrer-policy") == "no-referrer"
        assert answer.field("x-content-type-options") == "nosniff"
        assert answer.field("vary") == "Accept-Encoding"
        assert answer.field("x-request-id")
    assert plain.field("content-encoding") is None
    assert packed.field("content-encoding") == "gzip"
    assert len(packed.body) < len(plain.body)
    assert gzip.decompress(packed.body) == plain.body
    assert plain.field("etag") != packed.field("etag")
    name = {"/": "index.html", "/dashboard": "dashboard.html"}.get(path, path[len("/static/"):])
    if (TOP / "src" / "www" / name).exists():
        assert plain.body == (TOP / "src" / "www" / name).read_bytes()
    head = daemon.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.field("content-length") == str(len(plain.body))
    assert head.field("etag") == plain.field("etag")


@pytest.mark.parametrize("field", [
    None, "identity", "gzip;q=0", "gzip; q=0.000", "br", "xgzip", "deflate, br", "gzipped", ""])
def test_who_does_not_take_gzip_gets_none(daemon, field):
    fields = [] if field is None else [f"Accept-Encoding: {field}"]
    assert daemon.request("GET", "/static/chart.js", fields=fields).field("content-encoding") is None


@pytest.mark.parametrize("field", ["gzip", "GZIP", "deflate,gzip", "gzip;q=0.001", " br , gzip ; q=1"])
def test_who_takes_gzip_gets_it(daemon, field):
    answer = daemon.request("GET", "/static/chart.js", fields=[f"Accept-Encoding: {field}"])
    assert answer.field("content-encoding") == "gzip"


def test_a_known_file_is_not_sent_again(daemon):
    tag = daemon.request("GET", "/").field("etag")
    packed = daemon.request("GET", "/", fields=["Accept-Encoding: gzip"]).field("etag")
    for value in (tag, f"W/{tag}", f'"other", {tag}', f'"a","b" ,  W/{tag}', "*"):
        for method in ("GET", "HEAD"):
            answer = daemon.request(method, "/", fields=[f"If-None-Match: {value}"])
            assert (answer.status, answer.body) == (304, b""), value
            assert answer.field("etag") == tag
            assert answer.field("cache-control") == "no-cache"
            assert answer.field("content-length") is None
    for value in ('"other"', tag.strip('"'), packed, tag[:-2] + '"', ""):
        assert daemon.request("GET", "/", fields=[f"If-None-Match: {value}"]).status == 200, value
    assert daemon.request("GET", "/dashboard", fields=[f"If-None-Match: {tag}"]).status == 200
    again = daemon.request("GET", "/", fields=["Accept-Encoding: gzip", f"If-None-Match: {packed}"])
    assert again.status == 304


@pytest.mark.parametrize("path", [
    "/static", "/static/", "/static/nothing.js", "/static/index.html", "/static/dashboard.html", "/static/local.mk",
    "/static/../index.html", "/static/%2e%2e/embed.sh", "/static/base.css/", "/static//base.css", "/static/BASE.CSS",
    "/dashboard/", "/index.html"])
def test_nothing_else_is_served(daemon, path):
    answer = daemon.request("GET", path)
    assert answer.status == 404
    assert answer.error()["code"] == "not_found"


@pytest.mark.parametrize("path", ["/", "/dashboard", "/static/base.css", "/api/stats", "/api/events"])
def test_only_get(daemon, path):
    answer = daemon.request("POST", path, {})
    assert answer.status == 405
    assert answer.field("allow") == "GET, HEAD, OPTIONS"


class Page(html.parser.HTMLParser):
    """What a page loads, and what the policy would refuse."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.faults, self.inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.inside = tag
        self.faults += [f"{tag} {name}" for name in attrs if name.startswith("on") or name == "style"]
        if tag in ("style", "iframe", "object", "base", "embed") or (tag == "script" and "src" not in attrs):
            self.faults.append(tag)
        for name in ("src", "href", "action"):
            if tag in ("script", "link", "img", "form") and name in attrs:
                self.loads.append(attrs[name])

    def handle_data(self, data):
        if self.inside in ("script", "style") and data.strip():
            self.faults.append(data)

    def handle_endtag(self, tag):
        self.inside = None


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_nothing_from_elsewhere(daemon, path):
    page = Page(daemon.request("GET", path).body.decode())
    assert page.faults == []
    assert len(page.loads) >= 4
    for address in page.loads:
        assert address in FILES, address
        assert daemon.request("GET", address).status == 200


def test_scripts_name_no_other_host(daemon):
    for path in FILES:
        if path.startswith("/static/") and path not in ("/static/chart.js", "/static/marked.js"):
            text = daemon.request("GET", path).body.decode().replace("http://www.w3.org/", "")
            assert "http://" not in text and "https://" not in text, path


# -- figures ---------------------------------------------------------------------------------------

def stats(daemon):
    answer = daemon.request("GET", "/api/stats")
    assert answer.status == 200
    assert answer.field("cache-control") == "no-store"
    assert answer.field("x-content-type-options") == "nosniff"
    return answer.json()


def by(rows, key, value):
    found = [row for row in rows if row[key] == value]
    assert len(found) == 1, (key, value, found)
    return found[0]


MARK = "marker-that-nobody-may-see"
ZERO = decimal.Decimal(0)


@pytest.fixture(scope="module")
def used():
    """A daemon after a known load. `asked`: how many requests at each endpoint."""
    with Daemon(CONFIG) as daemon:
        for i in range(6):
            assert daemon.generate(f"{MARK} {i % 3}", ["Authorization: Bearer " + MARK]).status == 200
        for i in range(4):
            assert daemon.generate("x" * (61 + i)).status == 200                      # strong
        chat = {"messages": [{"role": "user", "content": MARK}], "user": MARK}
        for model in ("spare", "spare", "large"):
            assert daemon.request("POST", "/v1/chat/completions", {"model": model, **chat}).status == 200
        for _ in range(5):  # the circuit opens at the third failure
            answer = daemon.request("POST", "/v1/chat/completions", {"model": "down", **chat},
                                    ["Cache-Control: no-store"])
            assert answer.status in (502, 503)
        stream = daemon.request("POST", "/v1/chat/completions", {"model": "large", "stream": True, **chat})
        assert stream.status == 200 and stream.body.endswith(b"[DONE]\n\n")
        assert daemon.generate(7).status == 400
        assert daemon.request("POST", "/v1/messages", {"model": MARK, "messages": []}).status in (400, 404)
        assert daemon.request("GET", "/" + MARK).status == 404
        daemon.lines = eventually(lambda: [lines for lines in [[
            line for line in daemon.access_lines() if line["method"] == "POST"]] if len(lines) == 21],
            what="all lines")[0]
        yield daemon


def test_totals_are_those_of_metrics_and_log(used):
    seen, metrics = stats(used), used.metrics()
    cost = sum(line["cost_usd"] or ZERO for line in used.lines)
    assert cost > 0
    assert seen["cost_usd"] == cost == metrics.total("llm_total_cost_usd_total")
    for reason in ("cache", "coalesced", "routing"):
        assert seen["saved_usd"][reason] == metrics.total("llm_saved_cost_usd_total", reason=reason)
    assert seen["saved_usd"]["cache"] > 0
    assert seen["saved_usd"]["total"] == sum(line["saved_usd"] for line in used.lines)
    assert seen["requests"]["total"] == len(used.lines)
    assert seen["requests"]["refused"] == sum(400 <= line["status"] < 500 for line in used.lines)
    assert seen["requests"]["failed"] == sum(line["status"] >= 500 for line in used.lines) == 5
    assert seen["requests"]["in_flight"] == 0
    assert seen["latency_s"]["count"] == len(used.lines)
    for kind in ("prompt", "completion", "cached_prompt", "reasoning"):
        assert seen["tokens"][kind] == metrics.total("llm_tokens_total", type=kind)


def test_endpoints_are_those_of_the_metrics(used):
    seen, metrics = stats(used), used.metrics()
    for path in ("/generate", "/v1/chat/completions", "/v1/messages", "other"):
        row = by(seen["endpoints"], "endpoint", path)
        assert row["requests"] == metrics.total("http_requests_total", endpoint=path)
        for name, first in (("refused", "4"), ("failed", "5")):
            assert row[name] == sum(value for (metric, labels), value in metrics.series.items()
                                    if metric == "http_requests_total" and ("endpoint", path) in labels
                                    and dict(labels)["status"].startswith(first))
    assert by(seen["endpoints"], "endpoint", "/generate")["requests"] == 11


def test_providers_add_up(used):
    seen, metrics = stats(used), used.metrics()
    assert {row["provider"] for row in seen["providers"]} == set(used.settings["providers"])
    for row in seen["providers"]:
        name = row["provider"]
        lines = [line for line in used.lines if line["provider"] == name]
        assert row["configured"] is True
        assert row["cost_usd"] == metrics.total("llm_total_cost_usd_total", provider=name)
        assert row["cost_usd"] == sum(line["cost_usd"] or ZERO for line in lines)
        assert row["requests"] == metrics.total("llm_requests_total", provider=name)
        assert row["errors"] + row["skipped"] == metrics.total("llm_upstream_errors_total", provider=name)
        assert row["saved_usd"]["total"] == sum(line["saved_usd"] for line in lines)
        for reason in ("cache", "routing"):
            assert row["saved_usd"][reason] == metrics.total("llm_provider_saved_cost_usd_total",
                                                             provider=name, reason=reason)
        assert row["latency_s"]["count"] == metrics.total("llm_upstream_duration_seconds_count", provider=name)
        assert row["fallbacks"] == metrics.total("llm_fallbacks_total", **{"from": name})
    down = by(seen["providers"], "provider", "down")
    assert (down["circuit"], down["errors"]) == ("open", 3)
    assert down["skipped"] >= 2
    assert 200 < down["retry_in_s"] <= 300
    assert by(seen["providers"], "provider", "small")["circuit"] == "closed"
    assert by(seen["providers"], "provider", "small")["retry_in_s"] == 0


def test_routes_cache_and_workers(used):
    seen, metrics = stats(used), used.metrics()
    for row in seen["routes"]:
        for choice in row["choices"]:
            assert choice["decisions"] == metrics.total(
                "llm_route_decisions_total", route=row["route"], tier=choice["tier"], reason=choice["reason"])
        assert row["decisions"] == metrics.total("llm_route_decisions_total", route=row["route"])
    assert by(seen["routes"], "route", "auto")["decisions"] > 0
    cache = seen["cache"]
    for kind in ("hit", "coalesced", "miss", "bypass", "store", "evict", "expire", "corrupt"):
        assert cache[kind] == metrics.total("llm_cache_events_total", event_type=kind)
    assert abs(cache["hit_ratio"] - decimal.Decimal(cache["hit"]) / (cache["hit"] + cache["miss"])) < decimal.Decimal("1e-8")
    assert cache["entries"] == metrics.total("optiroute_cache_entries")
    assert cache["bytes"] == metrics.total("optiroute_cache_bytes")
    assert cache["capacity_bytes"] == metrics.total("optiroute_cache_capacity_bytes")
    workers = [row["pid"] for row in seen["workers"] if row["role"] == "worker"]
    assert sorted(workers) == sorted(used.workers())
    assert by(seen["workers"], "role", "metrics")["pid"] == used.metrics_worker()
    assert all(row["state"] == "ready" and 0 < row["uptime_s"] < 600 for row in seen["workers"])
    assert seen["restarts"] == {"signal": 0, "exit": 0, "boot": 0}


def test_recent_requests_are_those_of_the_log(used):
    recent = stats(used)["recent"]
    assert len(recent) == len(used.lines)
    assert [row["time"] for row in recent] == sorted((row["time"] for row in recent), reverse=True)
    columns = ("status", "cache", "route", "reason", "provider", "model", "outcome", "attempts", "cost_usd",
               "saved_usd", "prompt_tokens", "completion_tokens", "estimated")

    def row_of(row, path):
        return str([row[path], *(row[name] for name in columns)])

    assert sorted(row_of(row, "endpoint") for row in recent) == sorted(row_of(line, "path") for line in used.lines)
    assert sum(row["streamed"] for row in recent) == 1
    for row in recent:
        assert 0 <= row["duration_s"] < 60
        assert abs(float(row["time"]) - time.time()) < 600


def test_nothing_of_what_was_asked_is_shown(used):
    with used.connect() as client:
        client.send(compose("GET", "/api/events"))
        while b"}\n\n" not in client.buffer:
            client.fill()
        assert MARK.encode() not in client.buffer
    assert MARK not in json.dumps(stats(used), default=str)


def worker_of(answer):
    """Ids that a worker makes have a beginning of its own."""
    return answer.field("x-request-id").rsplit("-", 1)[0]


def steady(seen):
    """What does not change while it is asked for."""
    moving = ("time", "uptime_s", "endpoints", "connections", "workers", "minute", "history", "latency_s")
    kept = {key: value for key, value in seen.items() if key not in moving}
    kept["providers"] = [{key: value for key, value in row.items() if key not in ("minute", "retry_in_s")}
                         for row in seen["providers"]]
    kept["recent"] = [{key: value for key, value in row.items() if key != "time"} for row in seen["recent"]]
    return kept


def test_every_worker_says_the_same(used):
    said = {}

    def all_asked():
        answer = used.request("GET", "/api/stats")
        said[worker_of(answer)] = answer.json()
        return len(said) == 2

    eventually(all_asked, what="both workers")
    first, second = said.values()
    assert steady(first) == steady(second)
    assert first["latency_s"] == second["latency_s"]


# -- the last hour -----------------------------------------------------------------------------------

def history(daemon):
    part = stats(daemon)["history"]
    assert part["period_s"] == 10
    return [dict(zip(part["columns"], row, strict=True)) for row in part["rows"]]


@pytest.fixture(scope="module")
def sampled():
    """A daemon with a row of history in which something happened."""
    with Daemon(CONFIG) as daemon:
        eventually(lambda: stats(daemon)["minute"]["seconds"] > 0, what="a first sample")
        for i in range(10):
            assert daemon.generate(f"for the history {i % 5}").status == 200
        assert daemon.request("POST", "/generate", {"prompt": "a", "provider": "down"}).status == 502
        eventually(lambda: sum(row["requests"] for row in history(daemon)) >= 11, timeout=60,
                   what="a row with them")
        yield daemon


def test_a_row_is_what_happened_in_ten_seconds(sampled):
    rows, seen = history(sampled), stats(sampled)
    assert [row["number"] for row in rows] == sorted({row["number"] for row in rows})
    for at, row in enumerate(rows):  # the first one begins at the start of the daemon
        assert 0 < row["seconds"] < 15 and (at == 0 or row["seconds"] > 5)
        assert abs(float(row["time"]) - time.time()) < 300
    for name, whole in (("requests", 11), ("failed", 1), ("hits", 5), ("misses", 6),
                        ("cost_usd", seen["cost_usd"]), ("saved_usd.cache", seen["saved_usd"]["cache"]),
                        ("saved_usd.routing", seen["saved_usd"]["routing"]),
                        ("prompt_tokens", seen["tokens"]["prompt"])):
        assert sum(row[name] for row in rows) == whole, name
    for row in seen["providers"]:
        assert sum(one["cost_usd:" + row["provider"]] for one in rows) == row["cost_usd"]
    for row in rows:
        quantiles = [row[f"latency_s.{name}"] for name in ("p50", "p95", "p99")]
        assert (quantiles == [None] * 3) == (row["requests"] == 0)
        assert quantiles == sorted(quantiles) if row["requests"] else True
    assert rows[-1]["cache_entries"] == seen["cache"]["entries"] == 5
    minute = seen["minute"]
    assert minute["requests"] == 11 and minute["failed"] == 1
    assert minute["cost_usd"] == seen["cost_usd"]
    assert 0 < minute["seconds"] < 70


def test_it_survives_its_workers_and_a_reload(sampled):
    before = [row for row in history(sampled) if row["requests"] > 0]
    recent = stats(sampled)["recent"]
    victims = sampled.workers()
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    eventually(lambda: sampled.metrics().total("optiroute_worker_restarts_total", reason="signal") == 2,
               what="two restarts")
    assert stats(sampled)["restarts"]["signal"] == 2
    seen = stats(sampled)
    assert not {row["pid"] for row in seen["workers"]} & set(victims)
    generation = seen["generation"]
    sampled.reload()
    eventually(lambda: stats(sampled)["generation"] == generation + 1)
    after = {row["number"]: row for row in history(sampled)}
    for row in before:
        assert without(after[row["number"]], "time") == without(row, "time")
    for row, was in zip(stats(sampled)["recent"], recent, strict=True):
        assert without(row, "time") == without(was, "time")


def without(row, *names):
    return {key: value for key, value in row.items() if key not in names}


def test_it_survives_a_restart_with_the_cache_file(daemons):
    daemon = daemons(CONFIG, start=False)
    daemon.settings["cache"]["file"] = str(daemon.dir / "cache")
    daemon.write_config(daemon.settings)
    daemon.start()
    eventually(lambda: stats(daemon)["minute"]["seconds"] > 0, what="a first sample")
    assert daemon.generate("before the restart").status == 200
    eventually(lambda: sum(row["requests"] for row in history(daemon)) == 1, timeout=60)
    row = [row for row in history(daemon) if row["requests"] > 0][0]
    daemon.stop()
    daemon.start()
    kept = {one["number"]: one for one in history(daemon)}
    assert without(kept[row["number"]], "time") == without(row, "time")
    assert [one["endpoint"] for one in stats(daemon)["recent"]] == ["/generate"]


# -- events ----------------------------------------------------------------------------------------

class Events:
    """One stream; each next() is an event's object."""

    def __init__(self, daemon):
        self.client = daemon.connect()
        self.client.send(compose("GET", "/api/events", fields=["Accept: text/event-stream"]))
        self.head = self.client.read_head()
        assert self.head.status == 200, self.head
        assert self.head.field("content-type") == "text/event-stream"
        self.text = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def next(self):
        while b"\n\n" not in self.text:
            piece = self.client.read_chunk()
            if piece == b"":
                self.ended = True
                return None
            self.text += piece
        block, self.text = self.text.split(b"\n\n", 1)
        if block.startswith(b"retry: "):
            assert int(block[7:]) == 1000
            return self.next()
        kind, data = block.split(b"\n")
        assert kind == b"event: stats"
        assert data.startswith(b"data: ")
        return json.loads(data[6:], parse_float=decimal.Decimal)


def test_one_event_at_once_and_one_each_second(used):
    with Events(used) as events:
        assert events.head.field("x-accel-buffering") == "no"
        assert events.head.field("cache-control") == "no-store"
        first = events.next()
        assert "history" in first and len(first["recent"]) == len(used.lines)
        assert first["cost_usd"] == stats(used)["cost_usd"]
        times = [first["time"], *(events.next()["time"] for _ in range(4))]
    steps = [float(b - a) for a, b in zip(times, times[1:])]
    assert min(steps) < 2, steps  # a moment in which nothing ran makes one longer


def test_an_event_has_only_what_is_new(daemons):
    daemon = daemons(CONFIG)
    with Events(daemon) as events:
        first = events.next()
        assert first["recent"] == []
        assert "recent" not in events.next()
        assert daemon.generate("news").status == 200
        told = [one for one in (events.next() for _ in range(3)) if "recent" in one]
        assert [len(one["recent"]) for one in told] == [1]
        assert told[0]["recent"][0]["endpoint"] == "/generate"
        seen = len(first["history"]["rows"])
        fresh = eventually(lambda: events.next().get("history"), timeout=60, what="a new row")
        assert len(fresh["rows"]) <= 2 and seen <= 1


def test_a_circuit_that_changes_is_told_at_once(daemons):
    with Mock() as mock:
        provider = merged(FAILING, {"url": mock.url + "/v1", "default_model": "m+status=500+times=3",
                                    "models": {"m": None, "m+status=500+times=3": {"input": 1, "output": 2}},
                                    "breaker": {"failures": 3, "open": "1s", "max_open": "1s"}})
        daemon = daemons({"providers": {"weak": provider}})
        with Events(daemon) as events:
            def circuit(event):
                return by(event["providers"], "provider", "weak")["circuit"]

            assert circuit(events.next()) == "closed"
            for _ in range(3):
                assert daemon.generate("ill", provider="weak").status == 502
            broken = time.time()
            event = events.next()
            while float(event["time"]) <= broken:
                event = events.next()
            assert circuit(event) == "open", "the first event since"
            assert by(event["providers"], "provider", "weak")["retry_in_s"] <= 1
            eventually(lambda: daemon.generate("well", provider="weak").status == 200)
            eventually(lambda: circuit(events.next()) == "closed", what="closed again")


def test_streams_end_with_their_worker(daemons):
    daemon = daemons(merged(CONFIG, {"limits": {"shutdown_timeout": "120s"}}))
    streams = [Events(daemon) for _ in range(6)]
    for events in streams:
        events.next()
    daemon.reload()
    for events in streams:
        while events.next() is not None:
            pass
        assert events.ended
        assert events.head.closes()
        events.client.assert_closed()
    with Events(daemon) as events:
        assert events.next()["generation"] == 2
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()  # for much less than shutdown_timeout
        while events.next() is not None:
            pass


def test_too_many_streams_are_refused(daemons):
    daemon = daemons({"workers": 1})
    streams = [Events(daemon) for _ in range(32)]
    answer = daemon.request("GET", "/api/events")
    assert answer.status == 503
    assert answer.error()["code"] == "too_many_streams"
    assert answer.field("retry-after") == "5"
    assert daemon.generate("others are served").status == 200
    for events in streams:
        assert events.next() is not None
    streams.pop().client.close()
    eventually(lambda: daemon.request("HEAD", "/api/events").status == 200)
    with Events(daemon) as events:
        assert events.next() is not None
    for events in streams:
        events.client.close()


def test_streams_are_counted_and_logged_as_they_end(daemons):
    daemon = daemons(CONFIG)
    with Events(daemon) as events:
        events.next()
        events.next()
    line = eventually(lambda: [line for line in daemon.access_lines() if line["path"] == "/api/events"])[0]
    assert (line["status"], line["method"]) == (200, "GET")
    assert line["duration_s"] > decimal.Decimal("0.1")
    assert daemon.metrics().total("http_requests_total", endpoint="/api/events", status="200") == 1
