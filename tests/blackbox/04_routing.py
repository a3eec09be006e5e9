"""Where a request goes and why; and that answer, header, metric and access log agree on it."""
import pytest

from optiroute import Daemon, in_parallel

CONFIG = {
    "routes": {
        "auto": {"cheap": "small", "strong": "large", "policy": "length"},
        "scored": {"cheap": "small", "strong": "large", "policy": "score"},
        "lenient": {"cheap": "small", "strong": "large", "policy": "length", "threshold": "5"},
        "ruled": {
            "cheap": "small", "strong": "large", "policy": "length",
            "rules": [
                {"name": "code", "match": r"^def \w+", "to": "strong"},
                {"name": "greeting", "match": "prefix:Hello", "to": "cheap"},
                {"name": "either", "match": "(alpha|beta)[0-9]+$", "to": "strong"},
                {"name": "private", "match": "confidential", "to": "pace"},
                {"name": "later", "match": "confidential code", "to": "strong"},
            ],
        },
        "failing": {"cheap": "broken", "strong": "large", "policy": "length",
                    "fallback": ["broken", "small"]},
    },
}


def route(daemon, prompt, expected, **members):
    """Asks and compares (route, tier, provider, reason) in all four places."""
    name, tier, provider, reason = expected
    before = daemon.metrics()
    answer = daemon.generate(prompt, provider=name, **members)
    assert answer.status == 200, answer
    body = answer.json()
    assert body["routed_to"] == provider
    if reason.endswith("*"):
        assert body["route_reason"].startswith(reason[:-1])
        reason = body["route_reason"]
    assert body["route_reason"] == reason
    assert answer.field("x-optiroute-route-reason") == reason
    assert answer.field("x-optiroute-provider") == body["actual_provider_name"]
    after = daemon.metrics()
    kind = reason.split(":")[0]
    grown = {labels: value - before.total("llm_route_decisions_total", **dict(labels))
             for (series, labels), value in after.series.items()
             if series == "llm_route_decisions_total"}
    grown = {labels: value for labels, value in grown.items() if value}
    if tier is None:
        assert grown == {}
    else:
        assert grown == {frozenset({("route", name), ("tier", tier), ("reason", kind)}): 1}
    return body


@pytest.mark.parametrize("unit", ["a", "\u00e4", "\u6f22", "\U0001f600", "\u0301", "\u0000"])
def test_length_counts_code_points_and_60_is_cheap(daemon, unit):
    route(daemon, unit * 60, ("auto", "cheap", "small", "length:60"))
    route(daemon, unit * 61, ("auto", "strong", "large", "length:61"))


def test_length_threshold(daemon):
    route(daemon, "12345", ("lenient", "cheap", "small", "length:5"))
    route(daemon, "123456", ("lenient", "strong", "large", "length:6"))


def test_score_tells_easy_from_hard(daemon):
    route(daemon, "Hi there!", ("scored", "cheap", "small", "score:0.*"))
    hard = ("Prove step by step that for every integer n > 2 the sum $\\sum_{k=1}^{n} 1/k$ is not "
            "an integer. Explain why each step is necessary, give a counterexample if the claim "
            "is changed to rational numbers, and implement a Python function that checks it with "
            "O(n log n) operations:\n```python\ndef check(n):\n    ...\n```\nWhat is its "
            "complexity? Can it be improved? Do not use floating point.")
    route(daemon, hard, ("scored", "strong", "large", "score:*"))


def test_score_is_not_length(daemon):
    """A long easy text scores below a short hard one."""
    def score(prompt):
        body = daemon.generate(prompt, provider="scored").json()
        return float(body["route_reason"].split()[0].split(":")[1])
    assert score("la " * 60) < score("Prove that sqrt(2) + sqrt(3) is irrational; justify.")


def test_rules_come_first_and_in_order(daemon):
    route(daemon, "def main(): pass", ("ruled", "strong", "large", "rule:code"))
    route(daemon, "x def main(): pass", ("ruled", "cheap", "small", "length:18"))
    route(daemon, "Hello " + "x" * 100, ("ruled", "cheap", "small", "rule:greeting"))
    route(daemon, "hello " + "x" * 100, ("ruled", "strong", "large", "length:106"))
    route(daemon, "say alpha7", ("ruled", "strong", "large", "rule:either"))
    route(daemon, "say alpha7 ", ("ruled", "cheap", "small", "length:11"))
    route(daemon, "a confidential code", ("ruled", "provider", "pace", "rule:private"),
          max_tokens=1)


def test_rules_look_at_the_first_4_kib(daemon):
    route(daemon, "x" * 4084 + "confidential",
          ("ruled", "provider", "pace", "rule:private"), max_tokens=1)
    route(daemon, "x" * 4085 + "confidential", ("ruled", "strong", "large", "length:4097"))


def test_rules_look_behind_a_nul(daemon):
    route(daemon, "x\u0000confidential", ("ruled", "provider", "pace", "rule:private"),
          max_tokens=1)


def test_a_provider_by_name(daemon):
    route(daemon, "named", ("large", None, "large", "provider"))
    route(daemon, "named", ("small", None, "small", "model"), model_id="small-2")


def test_model_id_keeps_the_route_and_overrides_the_model(daemon):
    body = route(daemon, "short", ("auto", "cheap", "small", "length:5"), model_id="small-2")
    assert body["model"] == "small-2"


def test_model_id_of_the_other_tier_decides_alone(daemon):
    body = route(daemon, "short!", ("auto", "provider", "large", "model"), model_id="large-1")
    assert body["model"] == "large-1"


def test_fallback_answers_and_the_decision_stays(daemon):
    before = daemon.metrics()
    body = route(daemon, "falls back", ("failing", "cheap", "broken", "length:10"))
    assert body["actual_provider_name"] == "small" and body["model"] == "small-1"
    after = daemon.metrics()
    labels = {"from": "broken", "reason": "simulated_failure"}
    assert (after.total("llm_fallbacks_total", **labels)
            - before.total("llm_fallbacks_total", **labels)) == 1


def test_every_answer_agrees_with_its_access_line():
    with Daemon(CONFIG) as daemon:
        prompts = ["short", "x" * 61, "def f", "Hello", "confidential"]
        answers = in_parallel(len(prompts), lambda i: daemon.generate(
            prompts[i], provider="ruled", max_tokens=5).json())
        answers.append(daemon.generate("short", provider="ruled", max_tokens=5).json())  # a hit
        answers.append(daemon.generate("by name", provider="large").json())
        daemon.stop()
        lines = {line["request_id"]: line for line in daemon.access_lines()}
        assert len(lines) == len(answers)
        for body in answers:
            line = lines[body["request_id"]]
            assert line["reason"] == body["route_reason"]
            assert line["provider"] == body["actual_provider_name"]
            assert line["model"] == body["model"]
            assert line["cache"] == ("hit" if body["cached"] else "miss")
            assert line["route"] == (None if body["route_reason"] == "provider" else "ruled")
