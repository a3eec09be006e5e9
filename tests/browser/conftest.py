"""Fixtures of the browser tests: one browser and one world (a daemon, an upstream) for all."""
import json
import os
import pathlib
import shutil
import tempfile

import pytest

from browser import Browser
from mock import Mock
from optiroute import BINARY, Daemon
from world import SETTINGS, write_answers

AXE = os.environ.get("AXE", "")


def pytest_sessionstart(session):
    if not os.access(BINARY, os.X_OK):
        raise pytest.UsageError(f"no daemon at {BINARY}: build it, or set OPTIROUTED to its path")
    if not os.path.isfile(AXE):
        raise pytest.UsageError("AXE does not name axe.min.js: contrib/test.sh browser installs it")


@pytest.fixture(scope="session")
def browser():
    with Browser() as running:
        yield running


class World:
    def __init__(self, mock, daemon):
        self.mock, self.daemon = mock, daemon

    def model(self, provider):
        """What the upstream is asked for when this provider is."""
        return self.daemon.settings["providers"][provider]["default_model"]

    def counters(self, provider):
        return self.mock.counters(self.model(provider))

    def sent(self):
        """The messages of the last request to the upstream."""
        return json.loads(self.mock.last()["body"])["messages"]


@pytest.fixture(scope="session")
def world():
    files = pathlib.Path(tempfile.mkdtemp(prefix="optiroute-answers-"))
    try:
        write_answers(files)
        with Mock(files=files) as mock, Daemon(SETTINGS(mock)) as daemon:
            yield World(mock, daemon)
    finally:
        shutil.rmtree(files, ignore_errors=True)


@pytest.fixture
def page(browser, world):
    """The chat page, new, as a desk shows it. Whatever a test did, the console had no error."""
    browser.open(world.daemon)
    yield browser
    assert browser.errors() == []


@pytest.fixture(scope="session")
def axe():
    """axe(browser) is what axe-core finds that is serious or critical, in short."""
    source = pathlib.Path(AXE).read_text()

    def findings(browser):
        browser.script(source)
        results = browser.wait_script("""
            const done = arguments[arguments.length - 1];
            axe.run(document, {resultTypes: ['violations']})
                .then(done, (error) => done(String(error)));""")
        assert isinstance(results, dict), results
        return [(one["id"], node["target"], node.get("failureSummary"))
                for one in results["violations"] if one["impact"] in ("serious", "critical")
                for node in one["nodes"]]

    return findings
