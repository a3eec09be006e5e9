"""contrib/prometheus/: that promtool has no objection, that every rule finds its series, and that
alerts come to those who are in trouble.
"""
import json
import math
import re
import subprocess

import pytest
import yaml

from optiroute import eventually
from promql import grouping_labels, selectors
from scene import RULES, SCRAPE_S, TOP
from test_dashboard import DASHBOARD, PANELS


def rules(name):
    groups = yaml.safe_load((RULES / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


RECORDED = rules("optiroute.rules.yml")
ALERTS = rules("optiroute.alerts.yml")
RECORDED_NAMES = {rule["record"] for rule in RECORDED}
CASES = yaml.safe_load((RULES / "optiroute.alerts_test.yml").read_text())["tests"]

# Alerts whose trouble the scene does not make; promtool's cases do, on series that are there.
NOT_IN_THE_SCENE = {
    "OptirouteAbsent": "the job has targets",
    "OptirouteOverheadHigh": "needs a machine without a processor to spare",
}
# Alerts whose trouble was over before the end of the scene.
OVER = {"OptirouteNoWorkers", "OptirouteWorkersMissing"}

# Metrics that neither dashboard nor rules show.
NOT_SHOWN = {
    "process_virtual_memory_bytes": "counts the shared region once for each process",
}


def promtool(*arguments, **options):
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60, cwd=RULES, **options)


# -- promtool --------------------------------------------------------------------------------------

def test_promtool_takes_the_configuration_and_the_rules():
    for arguments in (("check", "config", "prometheus.yml"),
                      ("check", "rules", "--lint=all", "--lint-fatal", "optiroute.rules.yml",
                       "optiroute.alerts.yml")):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "FAILED" not in done.stdout + done.stderr


def test_promtool_tries_the_alerts():
    done = promtool("test", "rules", "optiroute.alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_what_the_daemon_says(scene):
    done = promtool("check", "metrics", input=scene.daemon.metrics_text())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def firing(check):
    return {name for sample in check["exp_samples"]
            for name in re.findall(r'alertname="(\w+)"', sample["labels"])}


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS])
def test_an_alert_has_its_case(alert):
    """One that fires and, from the same series at another time, does not. Every check names all
    alerts that fire."""
    for case in CASES:
        for check in case["promql_expr_test"]:
            assert 'ALERTS{alertstate="firing"}' in check["expr"] or not firing(check)
        states = {alert in firing(check) for check in case["promql_expr_test"]
                  if "ALERTS" in check["expr"]}
        if states == {True, False}:
            return
    raise AssertionError(f"no case in which {alert} fires and does not")


# -- texts -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_what_to_do(rule):
    assert re.fullmatch(r"Optiroute[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "action"}
    assert len(rule["annotations"]["summary"]) < 120
    for name in ("description", "action"):
        assert rule["annotations"][name].endswith("."), name
        assert len(rule["annotations"][name]) > 60, name


def test_the_page_has_every_alert():
    page = (TOP / "doc" / "monitoring.md").read_text()
    rows = re.findall(r"^\| `(Optiroute\w+)` \| (\w+) \| \S", page, re.MULTILINE)
    assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS]


# -- what they ask, of the real thing --------------------------------------------------------------

def over_time(scene, expression):
    """In steps that miss nothing which Prometheus saw, the last behind the end."""
    data = scene.prometheus.ask("/api/v1/query_range", query=expression, start=scene.begin,
                                end=scene.end + SCRAPE_S, step=SCRAPE_S / 4)
    return [float(value) for series in data["result"] for _, value in series["values"]]


@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: rule["record"])
def test_a_recording_rule_has_data(scene, rule):
    assert any(math.isfinite(value) for value in over_time(scene, rule["expr"])), rule["expr"]
    assert any(value > 0 for value in over_time(scene, rule["record"]))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_is_true_when_there_is_trouble(scene, rule):
    values = over_time(scene, rule["expr"])
    assert (values == []) == (rule["alert"] in NOT_IN_THE_SCENE), rule["expr"]


@pytest.mark.parametrize("rule", RECORDED + ALERTS,
                         ids=lambda rule: rule.get("record") or rule["alert"])
def test_a_rule_asks_for_what_there_is(scene, rule):
    known = scene.daemon.metrics()
    for name, matchers, text in selectors(rule["expr"]):
        if name in RECORDED_NAMES or name == "up":
            assert over_time(scene, text), text
            continue
        assert re.sub("_(bucket|sum|count)$", "", name) in known.types or name in known.types, name
        assert set(matchers) <= known.label_names(name), text
        assert over_time(scene, text), text
    labels = set().union(*(known.label_names(name) for name, _, _ in selectors(rule["expr"])))
    assert grouping_labels(rule["expr"]) <= labels | {"job", "instance", "provider"}


def test_prometheus_itself_raises_them(scene):
    """With the words filled in. Most wait for their time to be up; that is promtool's to try."""
    expected = {rule["alert"] for rule in ALERTS} - set(NOT_IN_THE_SCENE) - OVER

    def raised():
        active = scene.prometheus.ask("/api/v1/alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in active} == expected and active

    for alert in eventually(raised, what=f"exactly {sorted(expected)}"):
        words = json.dumps(alert["annotations"])
        assert not re.search(r"<no value>|<error|\{\{|%!", words), words
        summary = alert["annotations"]["summary"]
        assert alert["labels"].get("instance", "") in summary or "provider" in alert["labels"]
        assert alert["state"] in ("pending", "firing")
    for group in scene.prometheus.ask("/api/v1/rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", (rule["name"], rule.get("lastError"))


# -- nothing is forgotten --------------------------------------------------------------------------

def test_every_metric_of_the_daemon_is_shown_or_alerted_on(scene):
    table = set(scene.daemon.metrics().types)
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    expressions += [rule["expr"] for rule in RECORDED + ALERTS]
    expressions += [mark["expr"] for mark in DASHBOARD["annotations"]["list"] if "expr" in mark]
    used = set()
    for expression in expressions:
        for name, _, _ in selectors(expression):
            used.add(name if name in table else re.sub("_(bucket|sum|count)$", "", name))
    assert used <= table | RECORDED_NAMES | {"up"}
    assert table - used == set(NOT_SHOWN)


def test_every_recorded_series_is_used_or_kept_for_a_reason():
    """The long memory of what the dashboard shows of the last days only."""
    used = {name for rule in RECORDED + ALERTS for name, _, _ in selectors(rule["expr"])}
    assert RECORDED_NAMES - used == {"optiroute:llm_saved_usd:increase1d",
                                     "instance:llm_cache_hits:ratio_rate1h",
                                     "instance:http_request_duration_seconds:p95_5m"}
