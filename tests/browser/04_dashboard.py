"""The dashboard: figures that change while load runs, a provider that breaks and heals, charts and their
tables, stale figures; two sizes, both colour schemes, keyboard and screen reader.
"""
import os
import signal

import pytest

from browser import SCHEMES, SIZES, Keys
from mock import Mock
from optiroute import Daemon, eventually, merged

LOOKS = [(size, scheme) for size in SIZES for scheme in SCHEMES]
every_look = pytest.mark.parametrize("size, scheme", LOOKS, ids=[f"{a}-{b}" for a, b in LOOKS])
CHARTS = ("spend", "savings", "requests", "latency", "hits")
WEAK = "weak-1+status=500+times=3"
HOSTILE = "<img src=x onerror=window.hostile=1>\u202e"


def settings(mock):
    """One provider fails three times, which opens its circuit, and is well after that."""
    def provider(model, **changes):
        return {"type": "openai", "url": mock.url + "/v1", "default_model": model,
                "models": {model: {"input": "1", "output": "2"}}, "retry": {"attempts": 0},
                "breaker": {"failures": 3, "open": "2s", "max_open": "2s"}, **changes}

    return {
        "providers": {"weak": provider(WEAK), "hostile": provider(HOSTILE),
                      "pace": None, "broken": None},
        "routes": {"auto": {"cheap": "small", "strong": "large", "policy": "length"},
                   "spare": {"cheap": "weak", "strong": "large", "policy": "length", "fallback": ["small"]}},
    }


@pytest.fixture(scope="module")
def daemon():
    with Mock() as mock, Daemon(settings(mock)) as running:
        yield running


@pytest.fixture
def page(browser, daemon):
    """The dashboard, live. Whatever a test did, the console had no error and nothing else was asked."""
    show(browser, daemon)
    yield browser
    assert browser.errors() == []
    assert browser.foreign_requests() == []


def show(browser, daemon, size="desk", scheme="light"):
    browser.open(daemon, "/dashboard", *SIZES[size], scheme)
    wait_live(browser)
    return browser


def wait_live(browser):
    browser.until(lambda: browser.text("#live-text") == "Live" and browser.text("#daemon"), "live figures")


def stats(daemon):
    return daemon.request("GET", "/api/stats").json()


def ask(daemon, prompt, **members):
    answer = daemon.generate(prompt, **members)
    assert answer.status == 200, answer
    return answer.json()


def row(browser, table, name):
    """The texts of a row by that of its first cell."""
    return browser.script("""
        const [id, name] = arguments;
        const row = [...document.getElementById(id).tBodies[0].rows]
            .find((one) => one.cells[0].firstElementChild.textContent === name);
        return row ? [...row.cells].map((one) => one.innerText) : null""", table, name)


def drawn(browser, chart):
    """Labels and points of a chart, as Chart.js has them."""
    return browser.script("""
        const chart = Chart.getChart(document.querySelector(`[data-chart=${arguments[0]}] canvas`));
        return chart.data.datasets.map((one) => ({label: one.label, colour: one.borderColor,
            points: one.data.map((point) => point.y)}))""", chart)


# -- it changes ------------------------------------------------------------------------------------

def test_figures_follow_the_load(page, daemon):
    before = stats(daemon)["requests"]["total"]
    assert row(page, "providers", "small")[1] == "closed"
    spent = page.text("#spent")
    for i in range(6):
        ask(daemon, f"follow {i % 3}")
        ask(daemon, "x" * 61 + str(i))
    page.until(lambda: page.text("#rate-note") == f"{before + 12} in all, {stats(daemon)['requests']['failed']} failed")
    assert page.text("#spent") != spent
    seen = stats(daemon)
    assert row(page, "endpoints", "/generate")[1] == str(
        [one for one in seen["endpoints"] if one["endpoint"] == "/generate"][0]["requests"])
    large = row(page, "providers", "large")
    assert large[4] == str([one for one in seen["providers"] if one["provider"] == "large"][0]["requests"])
    assert page.text("#recent tbody tr:first-child td:nth-child(2) .pill") == "200"
    first = page.script("return [...document.querySelectorAll('#recent tbody tr:first-child > *')]"
                        ".map((one) => one.firstElementChild.textContent)")
    assert first[2:6] == ["/generate", "large", "length 62", "newly made"]
    assert page.text("#hits-note").endswith("in all")
    auto = page.script("return document.querySelector('[data-route=auto]').innerText")
    assert "cheap, by length" in auto and "strong, by length" in auto


def test_charts_follow_too_and_a_reload_of_the_page_loses_nothing(page, daemon):
    for i in range(4):
        ask(daemon, "x" * 70 + str(i))

    def has_all():
        requests = [value for value in drawn(page, "requests")[0]["points"] if value]
        spend = [value for one in drawn(page, "spend") for value in one["points"] if value]
        return requests and spend

    page.until(has_all, "points in the charts", timeout=60)
    assert [one["label"] for one in drawn(page, "latency")] == ["p50", "p95", "p99"]
    assert {"small", "large", "weak"} <= {one["label"] for one in drawn(page, "spend")}
    for chart in CHARTS:
        label = page.find(f"[data-chart={chart}] canvas").get_attribute("aria-label")
        assert "now" in label and "highest" in label
    points = drawn(page, "requests")[0]["points"]
    page.open_again()
    wait_live(page)
    again = page.until(lambda: drawn(page, "requests") and drawn(page, "requests")[0]["points"])
    assert again[:len(points)] == points


def test_a_provider_breaks_and_heals(page, daemon):
    page.script("""
        window.states = []; window.told = [];
        new MutationObserver(() => {
            const cell = [...document.querySelectorAll('#providers tbody tr')]
                .find((one) => one.cells[0].innerText.startsWith('weak')).cells[1];
            const state = cell.querySelector('.pill').textContent;
            if (window.states.at(-1) !== state) window.states.push(state);
        }).observe(document.getElementById('providers'), {subtree: true, childList: true, characterData: true});
        new MutationObserver(() => window.told.push(document.getElementById('said').textContent))
            .observe(document.getElementById('said'), {childList: true})""")
    for _ in range(3):
        assert daemon.generate("ill", provider="weak").status == 502
    page.until(lambda: row(page, "providers", "weak")[1].startswith("open"), "an open circuit")
    assert page.find("#providers .pill.bad")
    page.until(lambda: any("weak: circuit open." in one for one in page.script("return window.told")))
    eventually(lambda: daemon.generate("well", provider="weak").status == 200)
    page.until(lambda: row(page, "providers", "weak")[1] == "closed", "a closed circuit")
    page.until(lambda: any("weak: circuit closed." in one for one in page.script("return window.told")))
    states = page.script("return window.states")
    assert states[0] == "open" and states[-1] == "closed"
    assert row(page, "providers", "weak")[5].startswith("3")


def test_workers_that_die_and_reloads_are_seen(page, daemon):
    victim = daemon.workers()[0]
    assert page.text("#restarts") == "None had to be restarted."
    os.kill(victim, signal.SIGKILL)
    page.until(lambda: page.text("#restarts") == "Restarted: 1 by a signal.", "the restart")
    page.until(lambda: f"pid {victim}" not in page.text("#workers"))
    # the browser itself notes that its stream was cut, if it was this worker's; a reload ends it in good order
    assert all("ERR_INCOMPLETE_CHUNKED_ENCODING" in line or "ERR_CONNECTION_RESET" in line for line in page.errors())
    before = stats(daemon)["generation"]
    daemon.reload()
    page.until(lambda: f"configuration {before + 1}" in page.text("#daemon"), "the new configuration")
    wait_live(page)


# -- what it says is text --------------------------------------------------------------------------

def test_names_stay_text(page, daemon):
    assert ask(daemon, "by name", provider="hostile")["actual_provider_name"] == "hostile"
    page.until(lambda: "<img src=x onerror=" in (page.text("#recent tbody tr:first-child td:nth-child(4)") or ""))
    note = page.script("return [...document.querySelectorAll('#providers .note')].map((one) => one.textContent)")
    assert "<img src=x onerror=window.hostile=1>⟨U+202E⟩" in note
    assert page.all("main img") == []
    assert page.script("return window.hostile ?? null") is None


# -- tables, keyboard, screen reader ---------------------------------------------------------------

def test_by_keyboard(page, daemon):
    for i in range(12):
        ask(daemon, f"keys {i}")
    page.until(lambda: page.find("#more").is_displayed())
    page.tab()
    assert page.active().endswith("Skip to the figures")
    page.press(Keys.ENTER)
    assert page.active() == "main#content"
    for _ in CHARTS:
        page.tab()
        assert page.active() == "summary As a table"
        page.press(Keys.ENTER)
        page.tab()  # into the table, to scroll it; it is filled when it is opened
        page.until(lambda: "Up to" in page.active())
    page.tab()
    assert page.active() == "button#more" and page.text("#more").startswith("Show all")
    rows = len(page.all("#recent tbody tr"))
    page.press(Keys.ENTER)
    assert rows == 10 and len(page.all("#recent tbody tr")) > 10
    assert page.find("#more").get_attribute("aria-expanded") == "true"
    requests = stats(daemon)["requests"]["total"]
    ask(daemon, "once more")  # figures come, the focus stays
    page.until(lambda: page.text("#rate-note").startswith(f"{requests + 1} in all"))
    assert page.active() == "button#more" and page.text("#more") == "Show fewer"
    page.press(Keys.ENTER)
    assert len(page.all("#recent tbody tr")) == 10


def test_a_table_says_what_the_chart_shows(page, daemon):
    page.until(lambda: drawn(page, "requests") and len(drawn(page, "requests")[0]["points"]) >= 2, timeout=60)
    page.script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    for chart in CHARTS:
        heads = page.until(lambda: page.script(
            "return [...document.querySelectorAll(`[data-chart=${arguments[0]}] .table thead th`)]"
            ".map((one) => one.textContent)", chart))
        assert heads == ["Up to", *(one["label"] for one in drawn(page, chart))]
        assert 1 <= len(page.all(f"[data-chart={chart}] .table tbody tr")) <= 12
    seen = page.script("return document.querySelector('[data-chart=requests] .table').innerText")
    assert "Invalid" not in seen and "NaN" not in seen and "undefined" not in seen
    text = page.script("return document.body.innerText")
    assert "NaN" not in text and "undefined" not in text and "null" not in text


@every_look
def test_looks(browser, daemon, axe, size, scheme):
    page = show(browser, daemon, size, scheme)
    ask(daemon, f"look {size} {scheme}")
    page.until(lambda: drawn(page, "requests") and drawn(page, "requests")[0]["points"], timeout=60)
    page.script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    wide = page.script("""
        const width = document.documentElement.clientWidth;
        return [...document.body.querySelectorAll('*')]
            .filter((e) => !e.closest('.unseen, thead, .table') && e.getBoundingClientRect().right > width + 0.5)
            .map((e) => e.outerHTML.slice(0, 80))
            .concat(document.documentElement.scrollWidth > width ? ['the page'] : [])""")
    assert wide == []
    assert axe(page) == []
    ground = page.script("return getComputedStyle(document.documentElement).backgroundColor")
    assert ground == {"light": "rgb(249, 249, 247)", "dark": "rgb(18, 21, 20)"}[scheme]
    roles = page.script("return [...document.querySelectorAll('#recent [role]')].map((e) => e.getAttribute('role'))")
    assert {"rowgroup", "row", "columnheader", "rowheader", "cell"} <= set(roles)
    assert page.errors() == [] and page.foreign_requests() == []


def test_the_scheme_changes_live(page):
    page.until(lambda: drawn(page, "latency"), timeout=60)

    def scheme(name):
        page.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])
        return page.script("return getComputedStyle(document.documentElement).getPropertyValue('--series-1').trim()")

    light = drawn(page, "latency")[0]["colour"]
    dark = scheme("dark")
    assert dark != light
    page.until(lambda: drawn(page, "latency")[0]["colour"] == dark, "the dark colours")
    assert scheme("light") == light
    page.until(lambda: drawn(page, "latency")[0]["colour"] == light, "the light colours")


# -- when the daemon is away -------------------------------------------------------------------------

def test_stale_figures_say_so_and_it_comes_back(browser):
    with Mock() as mock:
        daemon = Daemon(settings(mock))
        try:
            port = daemon.address[1]
            show(browser, daemon)
            daemon.stop()
            browser.until(lambda: browser.text("#live-text").startswith("Stale for "), "stale figures")
            assert browser.find("#live").get_attribute("class") == "pill end bad"
            assert "these figures are old" in browser.text("#said")
            assert browser.text("#spent") != "–"
            daemon.write_config(merged(daemon.settings, {"listen": [f"127.0.0.1:{port}"]}))
            daemon.start()
            browser.until(lambda: browser.text("#live-text") == "Live", "live figures", timeout=60)
            assert browser.text("#said") == "Live again."
            # the browser itself notes that nobody was there; nothing else
            assert all("ERR_CONNECTION_REFUSED" in line or "ERR_CONNECTION_RESET" in line for line in browser.errors())
        finally:
            browser.driver.get("about:blank")
            daemon.stop()
