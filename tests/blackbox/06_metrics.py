"""The metrics worker: what it serves, to promtool's and to Prometheus' own satisfaction."""
import os
import re
import signal
import subprocess
import time

import pytest

from mock import Mock
from optiroute import Client, Daemon, compose, eventually, merged, stream_events
from prometheus import Prometheus, scraping

# Every metric: type and labels.
EXPECTED = {
    "http_requests_total": ("counter", {"method", "endpoint", "status"}),
    "http_request_duration_seconds": ("histogram", {"method", "endpoint"}),
    "optiroute_overhead_seconds": ("histogram", set()),
    "llm_total_cost_usd_total": ("counter", {"model", "provider"}),
    "llm_saved_cost_usd_total": ("counter", {"reason"}),
    "llm_unknown_price_total": ("counter", {"model", "provider"}),
    "llm_cache_events_total": ("counter", {"event_type"}),
    "llm_requests_total": ("counter", {"model", "provider", "outcome"}),
    "llm_tokens_total": ("counter", {"model", "provider", "type"}),
    "llm_upstream_duration_seconds": ("histogram", {"provider"}),
    "llm_time_to_first_token_seconds": ("histogram", {"provider"}),
    "llm_upstream_errors_total": ("counter", {"provider", "reason"}),
    "llm_upstream_responses_total": ("counter", {"provider", "code"}),
    "llm_usage_invalid_total": ("counter", {"provider"}),
    "llm_provider_saved_cost_usd_total": ("counter", {"provider", "reason"}),
    "llm_retries_total": ("counter", {"provider", "reason"}),
    "llm_circuit_state": ("gauge", {"provider"}),
    "llm_circuit_transitions_total": ("counter", {"provider", "to"}),
    "llm_breaker_stale_reports_total": ("counter", {"provider"}),
    "llm_client_aborts_total": ("counter", set()),
    "llm_fallbacks_total": ("counter", {"from", "reason"}),
    "llm_route_decisions_total": ("counter", {"route", "tier", "reason"}),
    "optiroute_cache_entries": ("gauge", set()),
    "optiroute_cache_bytes": ("gauge", set()),
    "optiroute_cache_capacity_bytes": ("gauge", set()),
    "optiroute_cache_shard_recoveries_total": ("counter", {"result"}),
    "optiroute_cache_lock_timeouts_total": ("counter", set()),
    "optiroute_connections": ("gauge", {"state"}),
    "optiroute_requests_in_flight": ("gauge", set()),
    "optiroute_worker_restarts_total": ("counter", {"reason"}),
    "optiroute_workers": ("gauge", set()),
    "optiroute_workers_ready": ("gauge", set()),
    "optiroute_log_dropped_total": ("counter", set()),
    "optiroute_shed_total": ("counter", {"reason"}),
    "optiroute_config_last_reload_successful": ("gauge", set()),
    "optiroute_config_generation": ("gauge", set()),
    "optiroute_build_info": ("gauge", {"version"}),
    "process_cpu_seconds_total": ("counter", set()),
    "process_resident_memory_bytes": ("gauge", set()),
    "process_virtual_memory_bytes": ("gauge", set()),
    "process_open_fds": ("gauge", set()),
    "process_max_fds": ("gauge", set()),
    "process_start_time_seconds": ("gauge", set()),
}

CONFIG = {
    "providers": {"unpriced": {
        "type": "simulated", "default_model": "unpriced-1",
        "simulated": {"latency": "1ms", "per_token": "0ms", "max_latency": "1ms"}}},
    "routes": {"shaky": {"cheap": "broken", "strong": "large", "policy": "length",
                         "fallback": ["small"]}},
}


HELD = "m+delay=600000"  # answers when the mock is told to


@pytest.fixture(scope="module")
def daemon():
    with Mock() as mock:
        upstream = {"type": "openai", "url": mock.url + "/v1", "default_model": "m",
                    "allow_unlisted_models": True, "retry": {"attempts": 1, "backoff": "1ms"},
                    "timeouts": {"first_byte": "600s"},
                    "breaker": {"failures": 2, "open": "600s", "max_open": "600s"}}
        providers = {"up": upstream, "held": merged(upstream, {"default_model": HELD})}
        with Daemon(merged(CONFIG, {"providers": providers})) as running:
            running.mock = mock
            yield running


def use_upstream(daemon):
    """Answers, a retry, tokens that cannot be, and a circuit that opens under a slow request."""
    def ask(orders):
        return daemon.generate("up", provider="up", model_id="m" + orders).status
    assert ask("+status=500+times=1") == 200
    assert ask("+usage=none") == 200
    with daemon.connect() as client:
        client.send(compose("POST", "/generate", {"prompt": "slow", "provider": "up",
                                                  "model_id": HELD}))
        eventually(lambda: daemon.mock.counters()["in_flight"] == 1)
        assert ask("+status=500") == 502
        assert daemon.mock.release() == 1
        assert client.read_answer().status == 200


FLOWS = 4 + 8  # what `use_upstream` and `used` ask models for


@pytest.fixture(scope="module")
def used(daemon):
    """A daemon in which everything that is counted has happened."""
    use_upstream(daemon)
    for prompt in ("one", "one", "x" * 61):
        assert daemon.generate(prompt).status == 200
    assert daemon.generate("falls back", provider="shaky").status == 200
    assert daemon.generate("fails", provider="broken").status == 502
    assert daemon.generate("unpriced", provider="unpriced").status == 200
    assert stream_events(daemon.generate("streamed", stream=True).body)
    assert daemon.request("GET", "/nowhere").status == 404
    with daemon.connect() as client:
        client.send(compose("POST", "/generate", {"prompt": "left", "provider": "pace",
                                                  "max_tokens": 30000},
                            ["x-request-id: left"]))
        eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 1)
    daemon.access_line("left")  # after everything that is counted of it
    eventually(lambda: daemon.metrics().total("optiroute_overhead_seconds_count") == FLOWS,
               what="the last of each request, which is counted behind its answer")
    return daemon


def test_promtool_is_content(used):
    result = subprocess.run(["promtool", "check", "metrics"], input=used.metrics_text(), text=True,
                            capture_output=True, timeout=20)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_every_metric_is_there_with_its_labels(used):
    metrics = used.metrics()
    assert set(metrics.types) == set(EXPECTED)
    assert set(metrics.helps) == set(EXPECTED)
    for name, (kind, labels) in EXPECTED.items():
        assert metrics.types[name] == kind, name
        assert metrics.helps[name].endswith("."), name
        sample = name + ("_count" if kind == "histogram" else "")
        assert sample in metrics.names(), name
        assert metrics.label_names(sample) == labels, name


def test_a_fresh_daemon_shows_what_will_count(daemons):
    """Series that alerts are written on exist before the first event."""
    metrics = daemons({"workers": 1}).metrics()
    for provider in ("small", "large", "pace", "broken"):
        assert [value for (name, labels), value in metrics.series.items()
                if name == "llm_total_cost_usd_total" and ("provider", provider) in labels]
        for name in ("llm_unknown_price_total", "llm_usage_invalid_total"):
            assert {value for (series, labels), value in metrics.series.items()
                    if series == name and ("provider", provider) in labels} == {0}, name
    for reason in ("cache", "coalesced", "routing"):
        assert [1 for (name, labels) in metrics.series if name == "llm_saved_cost_usd_total"
                and ("reason", reason) in labels]
    for event in ("hit", "coalesced", "miss", "bypass", "store", "evict", "expire", "corrupt"):
        assert [1 for (name, labels) in metrics.series if name == "llm_cache_events_total"
                and ("event_type", event) in labels]


def test_counts_agree_with_what_was_asked(used):
    """use_upstream asks four times, all misses: three answers and a failure. The rest is `used`."""
    metrics = used.metrics()
    assert metrics.total("http_requests_total", endpoint="/generate", method="POST",
                         status="200") == 3 + 6
    assert metrics.total("http_requests_total", endpoint="/generate", status="502") == 1 + 1
    assert metrics.total("http_requests_total", endpoint="/generate", status="499") == 1
    assert metrics.total("http_requests_total", endpoint="other", method="GET", status="404") == 1
    assert metrics.total("llm_cache_events_total", event_type="hit") == 1
    assert metrics.total("llm_cache_events_total", event_type="miss") == 4 + 7
    assert metrics.total("llm_cache_events_total", event_type="store") == 3 + 5
    assert metrics.total("llm_unknown_price_total", provider="unpriced") == 1
    assert metrics.total("llm_fallbacks_total") == 1
    assert metrics.total("llm_upstream_errors_total", provider="broken",
                         reason="simulated_failure") == 2
    assert metrics.total("llm_requests_total", provider="pace", outcome="client_gone") == 1
    up = {"provider": "up"}
    assert metrics.total("llm_upstream_responses_total", code="200", **up) == 3
    assert metrics.total("llm_upstream_responses_total", code="500", **up) == 1 + 2
    assert metrics.total("llm_retries_total", reason="http_5xx", **up) == 1 + 1
    assert metrics.total("llm_usage_invalid_total", **up) == 1
    assert metrics.total("llm_circuit_transitions_total", to="open", **up) == 1
    assert metrics.total("llm_breaker_stale_reports_total", **up) == 1
    assert metrics.total("llm_circuit_state", **up) == 2
    assert metrics.total("optiroute_workers") == metrics.total("optiroute_workers_ready") == 2
    assert metrics.total("optiroute_config_generation") == 1
    assert metrics.total("optiroute_config_last_reload_successful") == 1
    assert metrics.total("optiroute_build_info") == 1
    assert metrics.total("optiroute_cache_entries") == 3 + 5
    assert 0 < metrics.total("optiroute_cache_bytes") \
        <= metrics.total("optiroute_cache_capacity_bytes") <= 8 * 1024 * 1024


def test_process_metrics_are_plausible(used):
    metrics = used.metrics()
    assert 1e6 < metrics.total("process_resident_memory_bytes")
    assert metrics.total("process_resident_memory_bytes") \
        <= metrics.total("process_virtual_memory_bytes")
    assert 4 * 5 < metrics.total("process_open_fds") < metrics.total("process_max_fds")
    assert metrics.total("process_cpu_seconds_total") > 0
    started = float(metrics.total("process_start_time_seconds"))
    assert time.time() - 600 < started <= time.time()


def test_histograms_are_consistent(used):
    metrics = used.metrics()
    for name in [name for name, kind in metrics.types.items() if kind == "histogram"]:
        counts = {labels: value for (series, labels), value in metrics.series.items()
                  if series == name + "_count"}
        assert counts
        for labels, count in counts.items():
            buckets = []
            for (series, found), value in metrics.series.items():
                if series == name + "_bucket" and {label for label in found
                                                   if label[0] != "le"} == set(labels):
                    buckets.append((float(dict(found)["le"]), value))
            buckets.sort()
            assert len(buckets) == 17 and buckets[-1][0] == float("inf")
            values = [value for _, value in buckets]
            assert values == sorted(values)
            assert values[-1] == count
            total = metrics.series[name + "_sum", labels]
            assert (total > 0) == (count > 0)
            # no more than every observation at the upper end of its bucket
            if buckets[-2][1] == count:
                upper = sum((value - before) * int(bound * 10**9) for (bound, value), before
                            in zip(buckets[:-1], [0] + values))
                assert total * 10**9 <= upper


def test_upstream_time_is_what_the_provider_takes(used):
    metrics = used.metrics()
    labels = {"provider": "large"}
    mean = (metrics.total("llm_upstream_duration_seconds_sum", **labels)
            / metrics.total("llm_upstream_duration_seconds_count", **labels))
    assert mean * 1000 >= 4


def test_labels_never_come_from_clients(used):
    for body in ({"prompt": "label-marker"}, {"prompt": "a", "provider": "label-marker"},
                 {"prompt": "a", "model_id": "label-marker"}):
        used.request("POST", "/generate", body, ["x-request-id: label-marker"])
    used.request("GET", "/label-marker")
    used.request("LABEL-MARKER", "/")
    assert "label-marker" not in used.metrics_text().lower()


def test_gauges_return_to_zero(used):
    def gauges(*states):
        metrics = used.metrics()
        return (sum(metrics.total("optiroute_connections", state=state)
                    for state in states or ("active",)),
                metrics.total("optiroute_requests_in_flight"))

    with used.connect() as a, used.connect() as b:
        for client in (a, b):
            assert client.request("GET", "/health").status == 200
        eventually(lambda: used.metrics().total("optiroute_connections", state="idle") == 2)
        a.send(compose("POST", "/generate", {"prompt": "gauge", "provider": "held"}))
        eventually(lambda: gauges() == (1, 1), what="an active connection and its request")
        assert used.mock.release() == 1
        assert a.read_answer().status == 200
    eventually(lambda: gauges("idle", "active") == (0, 0))


# -- the worker itself -----------------------------------------------------------------------------

def test_it_serves_nothing_else(used):
    with Client(used.metrics_address) as client:
        answer = client.request("GET", "/metrics")
        assert answer.status == 200
        assert answer.field("content-type") == "text/plain; version=0.0.4; charset=utf-8"
        assert client.request("HEAD", "/metrics").field("content-length")
        assert client.request("GET", "/metrics?name=x").status == 200
        for method, path, status in (("GET", "/", 404), ("GET", "/health", 404),
                                     ("POST", "/metrics", 405), ("GET", "/generate", 404)):
            assert client.request(method, path).status == status, (method, path)
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\nA: b\r\n\r\n")
        assert client.read_answer().status == 400
        client.assert_closed()


def test_scrapes_do_not_count_themselves(used):
    before = used.metrics()
    for _ in range(5):
        used.metrics()
    after = used.metrics()
    assert after.total("http_requests_total") == before.total("http_requests_total")


def test_it_comes_back_when_killed():
    with Daemon() as daemon:
        daemon.generate("counted before")
        before = daemon.metrics()
        pid = daemon.metrics_worker()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: daemon.metrics_worker() not in (None, pid))
        after = daemon.metrics()
        cost = "llm_total_cost_usd_total"
        assert after.total(cost) == before.total(cost) > 0


# -- Prometheus ------------------------------------------------------------------------------------

def test_prometheus_scrapes_it_and_says_the_same(used, tmp_path):
    wanted = {
        'sum(llm_total_cost_usd_total)': ("llm_total_cost_usd_total", {}),
        'llm_total_cost_usd_total{provider="large"}': ("llm_total_cost_usd_total",
                                                       {"provider": "large"}),
        'llm_saved_cost_usd_total{reason="routing"}': ("llm_saved_cost_usd_total",
                                                       {"reason": "routing"}),
        'sum(llm_requests_total)': ("llm_requests_total", {}),
        'sum(llm_tokens_total)': ("llm_tokens_total", {}),
        'llm_cache_events_total{event_type="hit"}': ("llm_cache_events_total",
                                                     {"event_type": "hit"}),
        'sum(http_requests_total{endpoint="/generate"})': ("http_requests_total",
                                                           {"endpoint": "/generate"}),
        'sum(optiroute_overhead_seconds_count)': ("optiroute_overhead_seconds_count", {}),
        'optiroute_workers': ("optiroute_workers", {}),
    }
    metrics = used.metrics()

    def says(query, expected):  # nothing, when a scrape took longer than its second
        value = prometheus.value(query)
        return value is not None and abs(value - expected) <= 1e-12 * expected

    with Prometheus(tmp_path, scraping("%s:%d" % used.metrics_address)) as prometheus:
        for query, (name, labels) in wanted.items():
            expected = float(metrics.total(name, **labels))
            assert expected > 0
            eventually(lambda: says(query, expected), what=f"{expected} of {query}")
        eventually(lambda: [(target["health"], target["lastError"]) for target in
                            prometheus.ask("/api/v1/targets")["activeTargets"]] == [("up", "")])
        kinds = prometheus.ask("/api/v1/metadata")
        for name, (kind, _) in EXPECTED.items():
            assert kinds[name][0]["type"] == kind, name
        # and it notices what happens next
        body = used.generate("seen by Prometheus", provider="large").json()
        spent = metrics.total("llm_total_cost_usd_total") + body["cost"]
        eventually(lambda: says("sum(llm_total_cost_usd_total)", float(spent)))
    assert not re.search(r"level=(warn|error).*scrape", prometheus.log.text())
