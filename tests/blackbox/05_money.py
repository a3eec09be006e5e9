"""Money: what the answers say, what the metrics say and what the access log says is the same sum,
to the nano-dollar, and no total ever goes back.
"""
import json
import os
import signal
from decimal import Decimal

from optiroute import (USD, Closed, Daemon, assert_not_less, compose, eventually, in_parallel,
                       merged, stream_events)

PAIR = {"provider": "large", "model": "large-1"}
CONFIG = {
    "providers": {"flaky": {
        "type": "simulated", "default_model": "flaky-1", "per_second": "0.000777",
        "retry": {"attempts": 0}, "breaker": {"failures": 255},
        "simulated": {"latency": "3ms", "per_token": "0ms", "max_latency": "3ms",
                      "failure_rate": "0.4", "seed": 7}}},
    "routes": {
        "shaky": {"cheap": "flaky", "strong": "large", "policy": "length", "fallback": ["small"]},
    },
}


def token_cost(usage, input_usd, output_usd):
    """Prices per million tokens, half up to a nano-dollar."""
    exact = (Decimal(usage["prompt_tokens"]) * input_usd
             + Decimal(usage["completion_tokens"]) * output_usd) / 1000000
    return exact.quantize(USD, rounding="ROUND_HALF_UP")


def answer_of(answer):
    """The answer object, of a stream too."""
    if answer.field("content-type") == "text/event-stream":
        return json.loads(stream_events(answer.body)[-3][1], parse_float=Decimal)
    return answer.json()


def test_priced_by_tokens(daemon):
    before = daemon.metrics()
    body = daemon.generate("priced by its tokens", provider="large", max_tokens=50).json()
    assert body["cost"] == token_cost(body["usage"], 3, 15) > 0
    after = daemon.metrics()
    cost = "llm_total_cost_usd_total"
    assert after.total(cost, **PAIR) - before.total(cost, **PAIR) == body["cost"]
    for kind in ("prompt", "completion"):
        assert (after.total("llm_tokens_total", type=kind, **PAIR)
                - before.total("llm_tokens_total", type=kind, **PAIR)
                == body["usage"][f"{kind}_tokens"])


def test_priced_by_time(daemon):
    """max_tokens milliseconds at 0.001 USD a second: as computed, not as measured."""
    for ms in (1, 7, 40):
        body = daemon.generate("priced by its time", provider="pace", max_tokens=ms).json()
        assert body["cost"] == Decimal(ms) * Decimal("0.000001")


def test_odd_prices_round_half_up():
    """1 token at 0.5 nano-dollars is 1, at 0.499999 is 0; below a nano-dollar nothing is lost
    before the sum."""
    cases = {"0.0005": "0.000000001", "0.000499": "0", "0.0015": "0.000000002",
             "0.123456789": "0.000000123"}
    providers = {f"p{i}": {
        "type": "simulated", "default_model": "m", "models": {"m": {"input": "0", "output": price}},
        "simulated": {"latency": "0ms", "per_token": "0ms", "max_latency": "0ms"}}
        for i, price in enumerate(cases)}
    with Daemon({"providers": providers}) as daemon:
        for i, cost in enumerate(cases.values()):
            body = daemon.generate("a", provider=f"p{i}", max_tokens=1).json()
            assert body["cost"] == Decimal(cost)


def test_routing_saves_the_difference_to_the_strong_tier(daemon):
    before = daemon.metrics()
    body = daemon.generate("cheap is enough").json()
    assert body["routed_to"] == "small"
    assert body["saved"] == token_cost(body["usage"], 3, 15) - body["cost"] > 0
    after = daemon.metrics()
    saved = "llm_saved_cost_usd_total"
    assert after.total(saved, reason="routing") - before.total(saved, reason="routing") \
        == body["saved"]
    strong = daemon.generate("x" * 61).json()
    assert (strong["routed_to"], strong["saved"]) == ("large", 0)
    named = daemon.generate("no route, no saving", provider="small").json()
    assert named["saved"] == 0


def test_a_failure_costs_nothing_and_a_fallback_its_own(daemon):
    before = daemon.metrics()
    answer = daemon.generate("all in vain", provider="broken")
    assert answer.status == 502 and answer.field("x-optiroute-cost-usd") is None
    after = daemon.metrics()
    assert after.total("llm_total_cost_usd_total") == before.total("llm_total_cost_usd_total")
    failed = {"provider": "broken", "model": "broken-1", "outcome": "simulated_failure"}
    assert (after.total("llm_requests_total", **failed)
            == before.total("llm_requests_total", **failed) + 1)
    assert (after.total("llm_upstream_errors_total", provider="broken",
                        reason="simulated_failure")
            == before.total("llm_upstream_errors_total", provider="broken",
                            reason="simulated_failure") + 1)


def busy_work(daemon, connections=20, each=15):
    """Mixed requests on keep-alive connections; all answer objects, with the status in front."""
    def one(number):
        results = []
        with daemon.connect() as client:
            for i in range(each):
                body = {"prompt": f"{number % 4} {i} " + "x" * (i * 9), "max_tokens": 1 + i % 5,
                        "provider": ("auto", "large", "pace", "shaky")[i % 4],
                        "stream": i % 5 == 4}
                fields = ["Cache-Control: no-store"] if i % 3 == 0 else []
                answer = client.request("POST", "/generate", body, fields)
                results.append((answer.status,
                                answer_of(answer) if answer.status == 200 else None))
        return results
    return [result for results in in_parallel(connections, one) for result in results]


def test_answers_metrics_and_log_agree_to_the_nano_dollar():
    with Daemon(CONFIG) as daemon:
        results = busy_work(daemon)
        answers = [body for _, body in results]
        assert len(answers) == 300 and None not in answers, "the fallback never fails"
        answers += [daemon.generate("asked again").json() for _ in range(2)]  # one hit for certain
        metrics = daemon.metrics()
        spent = sum(body["cost"] for body in answers)
        assert metrics.total("llm_total_cost_usd_total") == spent > 0
        assert metrics.total("llm_saved_cost_usd_total") == sum(body["saved"] for body in answers)

        shared = [body for body in answers if not body["cached"] and body["cost"] == 0]
        assert metrics.total("llm_cache_events_total", event_type="coalesced") == len(shared)
        asked = [body for body in answers if body["cost"] > 0]
        for name in ("small", "large", "pace", "flaky"):
            fresh = [body for body in asked if body["actual_provider_name"] == name]
            labels = {"provider": name}
            assert fresh
            assert metrics.total("llm_total_cost_usd_total", **labels) \
                == sum(body["cost"] for body in fresh)
            assert metrics.total("llm_requests_total", outcome="ok", **labels) == len(fresh)
            for kind in ("prompt", "completion"):
                assert metrics.total("llm_tokens_total", type=kind, **labels) \
                    == sum(body["usage"][f"{kind}_tokens"] for body in fresh)

        fell = [body for body in asked if body["routed_to"] != body["actual_provider_name"]]
        assert fell, "0.4 of some 75 attempts fail"
        assert {body["actual_provider_name"] for body in fell} == {"small"}
        assert metrics.total("llm_fallbacks_total", **{"from": "flaky"}) == len(fell)
        assert metrics.total("llm_upstream_errors_total", provider="flaky") == len(fell)

        hits = [body for body in answers if body["cached"]]
        assert hits and all(body["cost"] == 0 for body in hits)
        assert metrics.total("llm_cache_events_total", event_type="hit") == len(hits)

        daemon.stop()
        lines = daemon.access_lines()
        assert len(lines) == len(answers)
        assert sum(line["cost_usd"] for line in lines) == spent
        assert sum(line["saved_usd"] for line in lines) == sum(body["saved"] for body in answers)
        by_id = {line["request_id"]: line for line in lines}
        for body in answers:
            line = by_id[body["request_id"]]
            assert (line["cost_usd"], line["saved_usd"]) == (body["cost"], body["saved"])
            assert line["prompt_tokens"] == body["usage"]["prompt_tokens"]
            assert line["completion_tokens"] == body["usage"]["completion_tokens"]


def test_the_same_again_is_all_hits_and_adds_nothing():
    """But for what was not found, or not stored, because a worker that held the shard was not run for
    2 ms: that is counted."""
    with Daemon() as daemon:
        def all_once():
            return in_parallel(20, lambda i: daemon.generate(f"replayed {i}").json())
        first = all_once()
        before = daemon.metrics()
        second = all_once()
        after = daemon.metrics()
        missed = [body for body in second if not body["cached"]]
        assert len(missed) <= after.total("optiroute_cache_lock_timeouts_total")
        assert len(missed) < len(second) / 2
        cost = "llm_total_cost_usd_total"
        assert after.total(cost) - before.total(cost) == sum(body["cost"] for body in missed)
        for earlier, later in zip(first, second):
            assert not later["cached"] or (later["cost"], later["saved"]) == (0, earlier["cost"])


def test_totals_survive_the_death_of_every_worker_and_a_reload():
    with Daemon(CONFIG) as daemon:
        busy_work(daemon)
        daemon.generate("outlives them")
        metrics = daemon.metrics()
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: pid not in daemon.workers() and len(daemon.workers()) == 2)
            later = daemon.metrics()
            assert_not_less(metrics, later)
            assert later.total("llm_total_cost_usd_total") \
                == metrics.total("llm_total_cost_usd_total")
            metrics = later
        assert daemon.generate("outlives them").json()["cached"], "the cache survives too"
        # another configuration: a provider goes, another comes, the totals stay
        changed = merged(daemon.settings, {"providers": {
            "flaky": None, "fresh": daemon.settings["providers"]["small"]},
            "routes": {"shaky": None}})
        daemon.reload(changed)
        later = daemon.metrics()
        assert_not_less(metrics, later)
        assert later.total("llm_total_cost_usd_total", provider="flaky") \
            == metrics.total("llm_total_cost_usd_total", provider="flaky") > 0
        body = daemon.generate("paid anew", provider="fresh").json()
        assert daemon.metrics().total("llm_total_cost_usd_total", provider="fresh") == body["cost"]


def test_a_killed_workers_requests_are_not_paid():
    with Daemon({"workers": 1}) as daemon:
        with daemon.connect() as client:
            client.send(compose("POST", "/generate", {"prompt": "doomed", "provider": "pace",
                                                      "max_tokens": 30000}))
            eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 1)
            os.kill(daemon.workers()[0], signal.SIGKILL)
            try:
                client.read_answer()
                raise AssertionError("an answer from the dead")
            except Closed:
                pass
        eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 0,
                   what="the gauges of the dead are cleared")
        assert daemon.metrics().total("llm_total_cost_usd_total") == 0
