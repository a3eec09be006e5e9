"""The container's parts that do not need an engine: the recipe, its configuration, its health check.

Whether an engine builds it is for whoever has one: images come from a registry, which these tests do without.
"""
import json
import re
import signal
import subprocess

import pytest

from optiroute import BINARY, TOP, Daemon, eventually

HERE = TOP / "contrib" / "container"
KNOWN = {"ARG", "FROM", "COPY", "RUN", "WORKDIR", "USER", "EXPOSE", "VOLUME", "STOPSIGNAL",
         "HEALTHCHECK", "ENTRYPOINT"}


@pytest.fixture(scope="module")
def recipe():
    """The instructions: (word, rest), continued lines joined."""
    lines = [line for line in (HERE / "Containerfile").read_text().splitlines()
             if line and not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines()]


def rest(recipe, word):
    """What the last stage says behind that word."""
    last = max(i for i, (name, _) in enumerate(recipe) if name == "FROM")
    return [text for name, text in recipe[last:] if name == word]


def test_the_recipe_is_understood(recipe):
    assert {name for name, _ in recipe} <= KNOWN
    assert [text for name, text in recipe if name == "FROM"] == ["${BASE} AS build", "${BASE}"]
    for _, text in (line for line in recipe if line[0] == "RUN"):
        assert subprocess.run(["sh", "-n"], input=text, text=True).returncode == 0, text


def test_everything_it_copies_is_there(recipe):
    for _, text in (line for line in recipe if line[0] == "COPY"):
        words = [word for word in text.split() if not word.startswith("--")]
        if "--from=build" not in text:
            assert all((TOP / source).exists() for source in words[:-1]), text


def test_it_is_not_root_and_its_words_are_json(recipe):
    assert rest(recipe, "USER") == ["10001:10001"]
    assert json.loads(rest(recipe, "ENTRYPOINT")[0]) == ["/usr/sbin/optirouted", "-f"]
    check = json.loads(rest(recipe, "HEALTHCHECK")[0].split(" CMD ")[1])
    assert any(text.endswith(f"contrib/container/healthcheck {check[0]}")
               for text in rest(recipe, "COPY"))


def test_the_libraries_are_those_of_the_package(recipe):
    """The list of the image against what the binary wants of this machine's packages."""
    wanted = re.findall(r"lib(?:curl|event_core|ssl|crypto|yaml)[-.\w]*", subprocess.run(
        ["ldd", BINARY], capture_output=True, text=True, check=True).stdout)
    listed = " ".join(rest(recipe, "RUN"))
    packages = {"curl": "libcurl4", "event_core": "libevent-core-2.1-7", "ssl": "libssl3",
                "crypto": "libssl3", "yaml": "libyaml-0-2"}
    for library in wanted:
        name = re.match(r"lib(curl|event_core|ssl|crypto|yaml)", library)[1]
        assert packages[name] in listed.split(), library


def test_the_health_check_tells_ready_from_not():
    text = (HERE / "optiroute.yaml").read_text()
    assert '"0.0.0.0:8000"' in text and '"0.0.0.0:9464"' in text
    # the same on free ports; a port that is leaving is not ready
    text = (text.replace("0.0.0.0:8000", "127.0.0.1:0").replace("0.0.0.0:9464", "127.0.0.1:0")
            + "limits: {drain_delay: 30s}\nworkers: 1\ncache: {size: 8MB}\n")
    with Daemon(settings=text) as daemon:
        check = [str(HERE / "healthcheck"), "127.0.0.1", str(daemon.address[1])]
        assert subprocess.run(check).returncode == 0
        daemon.send_signal(signal.SIGTERM)
        eventually(lambda: subprocess.run(check).returncode == 1, what="503")
        assert daemon.process.poll() is None  # it still listens, and says that it is not ready
        daemon.stop()
    assert subprocess.run(check, stderr=subprocess.DEVNULL).returncode == 1
