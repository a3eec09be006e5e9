"""contrib/grafana/optiroute.json: that Grafana can read it, that what it asks has an answer, and
that what it shows is what the daemon says.
"""
import itertools
import json
import math
import re

import pytest
import yaml

from promql import grouping_labels, interpolated, selectors, several
from scene import SCRAPE_S, TOP

GRAFANA = TOP / "contrib" / "grafana"
DASHBOARD = json.loads((GRAFANA / "optiroute.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
QUERIED = [variable for variable in VARIABLES.values() if variable["type"] == "query"]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Grafana's own ids of units, of those used here.
UNITS = {"currencyUSD", "percentunit", "reqps", "ops", "cps", "s", "bytes", "none", "short",
         "dateTimeFromNow"}
TARGETS = [pytest.param(panel, target, id=f"{panel['title']} {target['refId']}")
           for panel in PANELS for target in panel["targets"]]
# Of these, nothing but 0 is right: the last reload failed.
QUIET = {("Last reload", "A")}


# -- structure -------------------------------------------------------------------------------------

def test_it_is_a_whole_dashboard():
    """Grafana's classic model, as every version since 10 imports it."""
    assert DASHBOARD["id"] is None and re.fullmatch(r"[\w-]{1,40}", DASHBOARD["uid"])
    assert DASHBOARD["schemaVersion"] >= 39 and DASHBOARD["version"] >= 1
    assert DASHBOARD["title"] and DASHBOARD["description"] and DASHBOARD["tags"]
    assert {"time", "timepicker", "refresh", "editable"} <= set(DASHBOARD)
    assert not {"__inputs", "__requires", "dashboard", "spec"} & set(DASHBOARD), "another form"


def test_ids_are_unique_and_panels_do_not_overlap():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert min(place["w"], place["h"]) > 0, panel["title"]
        assert 0 <= place["x"] <= 24 - place["w"], panel["title"]
        for cell in itertools.product(range(place["x"], place["x"] + place["w"]),
                                      range(place["y"], place["y"] + place["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]
    bottom = max(y for _, y in taken) + 1
    holes = {y for y in range(bottom) if not any((x, y) in taken for x in range(24))}
    assert not holes, "empty lines, which Grafana would close"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_is_complete(panel):
    assert panel["type"] in {"stat", "timeseries", "bargauge", "state-timeline"}
    assert panel["description"].endswith(".") and len(panel["description"]) > 15
    assert panel["datasource"] == DATASOURCE
    references = [target["refId"] for target in panel["targets"]]
    assert references and len(set(references)) == len(references)
    for target in panel["targets"]:
        assert target["datasource"] == DATASOURCE
        assert target["legendFormat"]
        is_one_value = panel["type"] in {"stat", "bargauge"} and \
            panel["options"].get("graphMode", "none") == "none"
        assert target.get("instant", False) == is_one_value != target.get("range", False)
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    steps = defaults["thresholds"]["steps"]
    values = [step["value"] for step in steps]
    assert values[0] is None and values[1:] == sorted(set(values[1:]))
    if defaults["color"]["mode"] == "thresholds" and panel["type"] == "state-timeline":
        assert len(steps) > 1 and defaults["mappings"]


def test_titles_are_unique():
    titles = [panel["title"] for panel in PANELS]
    # the overview shows now what these show over time
    doubled = {"Hit ratio", "Error rate", "Workers"}
    assert {title for title in titles if titles.count(title) > 1} == doubled


def test_every_selector_is_narrowed_by_the_variables():
    used = set()
    for _, target in (one.values for one in TARGETS):
        for name, matchers, text in selectors(target["expr"]):
            assert matchers.get("job") == "$job" and matchers.get("instance") == "$instance", text
            used |= set(re.findall(r"\$([a-z]+)", text))
    assert used == {variable["name"] for variable in QUERIED}


def test_provisioning_files_agree_with_the_dashboard():
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/optiroute.yaml").read_text())
    source, = sources["datasources"]
    assert (sources["apiVersion"], source["type"], source["access"]) == (1, "prometheus", "proxy")
    # $__rate_interval is made of it; too small and every rate is empty
    scrape = yaml.safe_load((TOP / "contrib/prometheus/prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    providers = yaml.safe_load((GRAFANA / "provisioning/dashboards/optiroute.yaml").read_text())
    provider, = providers["providers"]
    assert (providers["apiVersion"], provider["type"]) == (1, "file")
    page = (TOP / "doc/monitoring.md").read_text()
    assert provider["options"]["path"] in page and "contrib/grafana/optiroute.json" in page


# -- what it asks ----------------------------------------------------------------------------------

def everything(scene):
    """Grafana's variables when nothing was chosen. An interval as it makes it of the step."""
    window = f"{math.ceil(time_shown(scene))}s"
    return {**{variable["name"]: variable["allValue"] for variable in QUERIED},
            "__rate_interval": f"{4 * SCRAPE_S}s", "__interval": f"{SCRAPE_S}s", "__range": window}


def time_shown(scene):
    return scene.end - scene.begin + 5


def asked(scene, expression, instant):
    """Series as Grafana gets them: (labels, values); what is no number is infinite."""
    if instant:
        data = scene.prometheus.ask("/api/v1/query", query=expression, time=scene.end)
    else:
        data = scene.prometheus.ask("/api/v1/query_range", query=expression, start=scene.begin,
                                    end=scene.end, step=SCRAPE_S)
    return [(series["metric"], [math.inf if value == "NaN" else float(value)
                                for _, value in series.get("values", [series.get("value")])])
            for series in data["result"]]


def choices(scene, variable, variables):
    """The values a query variable offers, as Grafana asks for them."""
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
    assert variable["definition"] == variable["query"]["query"]
    return scene.prometheus.ask(f"/api/v1/label/{match[2]}/values",
                                **{"match[]": interpolated(match[1], variables)})


@pytest.mark.parametrize("panel, target", TARGETS)
def test_a_query_has_data(scene, panel, target):
    expression = interpolated(target["expr"], everything(scene))
    series = asked(scene, expression, target.get("instant", False))
    finite = [value for _, values in series for value in values if math.isfinite(value)]
    assert finite, expression
    assert min(finite) >= 0
    assert max(finite) > 0 or (panel["title"], target["refId"]) in QUIET, expression
    for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
        assert all(label in metric for metric, _ in series), f"no {label} in {series[0][0]}"
    # and each line has a name of its own
    legends = [re.sub(r"\{\{(\w+)\}\}", lambda match: metric[match[1]], target["legendFormat"])
               for metric, _ in series]
    assert len(set(legends)) == len(legends), legends


@pytest.mark.parametrize("panel, target", TARGETS)
def test_a_query_asks_for_what_there_is(scene, panel, target):
    known = scene.daemon.metrics()
    for name, matchers, text in selectors(target["expr"]):
        base = re.sub("_(bucket|sum|count)$", "", name) if name not in known.types else name
        assert base in known.types, name
        labels = known.label_names(name) | {"job", "instance"}
        assert set(matchers) | grouping_labels(target["expr"]) <= labels, text
        assert asked(scene, interpolated(text, everything(scene)), False), f"no series: {text}"


@pytest.mark.parametrize("variable", QUERIED, ids=lambda variable: variable["name"])
def test_a_variable_has_choices_and_narrows(scene, variable):
    variables = everything(scene)
    values = choices(scene, variable, variables)
    expected = {"job": ["optiroute"], "instance": [scene.target], "route": ["auto", "shaky"],
                "provider": sorted(["small", "large", "pace", "broken", "unpriced", "up", "denied",
                                    "dear", "narrow", "down"])}
    assert sorted(values) == expected[variable["name"]]
    assert variable["includeAll"] and variable["multi"] and variable["datasource"] == DATASOURCE
    # all of them chosen one by one is the same as all; one of them is the panels of one
    name = variable["name"]
    for target in (one.values[1] for one in TARGETS if f"${name}" in one.values[1]["expr"]):
        instant = target.get("instant", False)
        of_all = asked(scene, interpolated(target["expr"], variables), instant)
        chosen = interpolated(target["expr"], {**variables, name: several(values)})
        assert asked(scene, chosen, instant) == of_all, chosen
        nobody = interpolated(target["expr"], {**variables, name: "nobody"})
        assert not any(any(values) for _, values in asked(scene, nobody, instant)), nobody


def test_annotations_mark_the_start_and_the_reload(scene):
    marks = {mark["name"]: mark for mark in DASHBOARD["annotations"]["list"] if "expr" in mark}
    assert set(marks) == {"Starts", "Reloads"}
    for mark in marks.values():
        assert mark["datasource"] == DATASOURCE and mark["enable"]
        series = asked(scene, interpolated(mark["expr"], everything(scene)), False)
        assert [metric["instance"] for metric, _ in series] == [scene.target], mark["name"]
        if mark["useValueForTime"]:
            moment, = {value for _, values in series for value in values}
            assert scene.begin - 60 < moment / 1000 <= scene.begin


# -- and what it shows -----------------------------------------------------------------------------

def panel_total(scene, title, reference="A"):
    """The sum over the lines of a panel: the last number of each."""
    panel = [one for one in PANELS if one["title"] == title][0]
    target = [one for one in panel["targets"] if one["refId"] == reference][0]
    expression = interpolated(target["expr"], everything(scene))
    return sum([value for value in values if math.isfinite(value)][-1]
               for _, values in asked(scene, expression, target.get("instant", False)))


def test_what_was_spent_and_saved_is_what_the_daemon_says(scene):
    """increase() guesses what lies outside its first and last look, by at most a look of many."""
    known = scene.daemon.metrics()
    spent = float(known.total("llm_total_cost_usd_total"))
    saved = float(known.total("llm_saved_cost_usd_total"))
    assert panel_total(scene, "Spent") == pytest.approx(spent, rel=0.2)
    assert panel_total(scene, "Cost by model") == pytest.approx(spent, rel=0.2)
    assert panel_total(scene, "Saved") == pytest.approx(saved, rel=0.2)
    assert panel_total(scene, "Saved share") == pytest.approx(saved / (saved + spent), rel=0.01)


def test_ratios_and_states_are_what_the_daemon_says(scene):
    known = scene.daemon.metrics()
    counts = {kind: float(known.total("llm_cache_events_total", event_type=kind))
              for kind in ("hit", "miss", "coalesced")}
    ratio = counts["hit"] / sum(counts.values())
    assert panel_total(scene, "Hit ratio") == pytest.approx(ratio, rel=0.01)
    assert panel_total(scene, "Circuits not closed") == 1
    assert (panel_total(scene, "Workers"), panel_total(scene, "Workers", "B")) == (1, 1)
    assert panel_total(scene, "Last reload") == 0
    assert panel_total(scene, "Configuration") == 2
    # the last that happened were many requests for a provider that is not asked
    assert panel_total(scene, "Error rate") > 0.9
