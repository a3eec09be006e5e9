"""Fixtures of the SDK tests in Python: the world once, and what each test has of its own."""
import asyncio
import json
import os
import re

import pytest

import world as world_module
from optiroute import eventually


# Nothing of the person who runs the tests gets in: no key, no other address, no proxy.
for name in list(os.environ):
    if re.match("OPENAI_|ANTHROPIC_|LANGCHAIN_|LANGSMITH_|(https?|all|no)_proxy$", name, re.I):
        del os.environ[name]


@pytest.fixture(scope="session")
def world():
    with world_module.World() as running:
        yield running


class Here:
    """Names of models that only this test uses, and what the upstream has seen of them."""

    def __init__(self, world, name):
        self.world = world
        self.name = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")

    def model(self, provider="oai", orders=""):
        return f"{provider}/{self.name}{orders}"

    def counters(self, model):
        return self.world.mock.counters(model.partition("/")[2])

    def requests(self, model):
        return self.counters(model)["requests"]

    def aborted(self, model, times=1):
        """Until the upstream has lost so many requests for this model, and works on none."""
        eventually(lambda: self.counters(model)["aborted"] == times, what=f"{model} is aborted")
        assert self.counters(model)["in_flight"] == 0

    def started(self, model):
        eventually(lambda: self.requests(model) > 0, what=f"{model} is asked")

    def sent(self):
        """The body of the last request to the upstream."""
        return json.loads(self.world.mock.last()["body"])

    def total(self, metric, **labels):
        return self.world.daemon.metrics().total(metric, **labels)


@pytest.fixture
def here(world, request):
    return Here(world, request.module.__name__.removeprefix("test_") + "-" + request.node.name)


@pytest.fixture
def run():
    """Runs a coroutine to its end; one that does not end is a failed test."""
    return lambda coroutine: asyncio.run(asyncio.wait_for(coroutine, 60))
