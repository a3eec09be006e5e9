"""The manuals say what the sources do: pages without faults, every key, option, metric and log line."""
import json
import re
import subprocess

import pytest

from optiroute import BUILD, TOP, environment, run

MAN = BUILD / "doc" / "man"
PAGES = ["optirouted.8", "optiroute.yaml.5"]


# -- manual pages ----------------------------------------------------------------------------------

@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_clean_to_mandoc(page):
    """But for one note: the other page is not installed where the tests run."""
    result = subprocess.run(["mandoc", "-Tlint", "-W", "style", MAN / page], capture_output=True,
                            text=True, env=environment())
    notes = [line for line in result.stdout.splitlines()
             if "referenced manual not found: Xr optiroute" not in line]
    assert notes == [] and result.stderr == ""


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_clean_to_groff(page):
    result = subprocess.run(["groff", "-wall", "-mandoc", "-Tutf8", "-z", MAN / page],
                            capture_output=True, text=True, env=environment())
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def items(page):
    return re.findall(r"^\.It (\S+) (\S+)", (MAN / page).read_text(), re.M)


def key_paths(schema, prefix=""):
    """Every key of the schema, as the manual writes it."""
    for name, key in schema["properties"].items():
        path = prefix + name
        if "properties" in key:
            yield path
            yield from key_paths(key, path + ".")
        elif isinstance(key.get("additionalProperties"), dict):
            path += ".MODEL" if name == "models" else ".NAME"
            yield path
            yield from key_paths(key["additionalProperties"], path + ".")
        elif "properties" in key.get("items", {}):
            yield path + "[]"
            yield from key_paths(key["items"], path + "[].")
        else:
            yield path


def test_the_page_of_the_configuration_has_every_key_once():
    schema = json.loads((TOP / "contrib" / "optiroute.schema.json").read_text())
    wanted = list(key_paths(schema))
    assert len(wanted) > 60
    assert [word for macro, word in items("optiroute.yaml.5") if macro == "Ic"] == wanted


def test_a_key_says_default_bounds_and_what_a_change_needs():
    text = (MAN / "optiroute.yaml.5").read_text()
    size = re.search(r"^\.It Ic cache\.size : Ar size\n((?:[^.\n].*\n)+)", text, re.M)[1]
    assert "Default: 256MB.\n" in size and "From 1MB to 1TB, or 0.\n" in size
    assert "Needs a restart.\n" in size
    assert ".It Ic providers.NAME.type : Ar simulated | openai | anthropic | huggingface\n" in text
    assert "restart" not in re.search(r"^\.It Ic cache\.ttl .*\n((?:[^.\n].*\n)+)", text, re.M)[1]


def test_the_page_of_the_daemon_has_every_option():
    shown = re.findall(r"^  -(\w)", run("-h").stdout, re.M)
    listed = [word for macro, word in items("optirouted.8") if macro == "Fl"]
    assert listed == shown and len(shown) == 8
    page = (MAN / "optirouted.8").read_text()
    for word in ("reload", "reopen", "upgrade", "quit", "stop"):
        assert re.search(rf"^\.It {word} Ta ", page, re.M), word


# -- what the sources can say ----------------------------------------------------------------------

LITERAL = r'"(?:[^"\\\n]|\\.)*"'
TOKEN = re.compile(LITERAL + r"|'(?:[^'\\\n]|\\.)'|[(),]|[^\s\"'(),]+")
# Calls whose text becomes a line of the error log: as it is, or as the reason in another one.
ANYWHERE = r"log_(?:debug|info|warn|error|write)"
BY_LAYER = {"proc": r"boot_fail|explain|snprintf", "shm": r"snprintf|say|refuse|region_fail|found",
            "watch": r"snprintf", "base": r"snprintf"}
# snprintf makes many texts; these are where messages are put.
TARGETS = {"error", "next", "what", "line", "report->text", "binding->error"}


def call_arguments(text, at):
    """The arguments of a call that opens before `at`, each a list of tokens."""
    found, depth = [[]], 1
    for token in TOKEN.finditer(text, at):
        word = token[0]
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth == 0:
            return found
        if word == "," and depth == 1:
            found.append([])
        else:
            found[-1].append(word)
    raise AssertionError(text[at:at + 80])


def messages_of(tokens):
    """The format strings in an argument, `...` for what varies: `a ? "x" : "y"` has two."""
    found, current = [], ""
    for word in [*tokens, ":"]:
        if word.startswith('"'):
            current += re.sub(r"\\(.)", r"\1", word[1:-1])
        elif word in (":", "?"):
            found.append(current)
            current = ""
        elif current or word.isupper():  # PACKAGE_VERSION and its like
            current += "..."
    found = [re.sub(r"%[-+ #0]*[\d.*]*(?:hh|h|ll|l|z|j)?[a-zA-Z]", "...", one) for one in found]
    found = [re.sub(r"\.\.\.(\.\.\.)+", "...", one) for one in found]
    # backquotes mark the message in the page
    return [one.replace("`", "'") for one in found if re.search(r"[A-Za-z]", one)]


def messages_of_file(path):
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    calls = ANYWHERE + "|" + BY_LAYER.get(path.parent.name, "$")
    for call in re.finditer(rf"\b({calls})\(", text):
        arguments = call_arguments(text, call.end())
        if call[1] == "snprintf" and "".join(arguments[0]) not in TARGETS:
            continue
        formats = [argument for argument in arguments
                   if any(word.startswith('"') for word in argument)]
        if formats:
            yield from messages_of(formats[0])


def all_messages():
    found = {}
    for path in sorted((TOP / "src").glob("*/*.c")):
        for message in messages_of_file(path):
            found.setdefault(message, str(path.relative_to(TOP)))
    return found


def rows(page, columns):
    """Rows of the page's tables: their first cell, without its backquotes."""
    for line in (TOP / "doc" / page).read_text().splitlines():
        cells = re.split(r"(?<!\\) \| ", line.strip("|").strip())
        if line.startswith("| `") and len(cells) == columns:
            yield cells


def test_the_sources_are_understood():
    """A change of style that hides messages from this file must not go unnoticed."""
    found = all_messages()
    assert len(found) > 90
    for known in ("listening on ...", "provider ... wants a key and has none (status ...)",
                  "... is in use: is another optirouted running? (ss -ltnp shows who); stop it, or "
                  "listen on another port", "starting another in ... s",
                  "cache.file ...: new, starting empty", "optirouted ... is ready: ... ..., "
                  "configuration ..."):
        assert known in found, known


def test_every_log_line_is_explained_and_none_that_is_gone():
    found = all_messages()
    explained = [cells[0].strip("`") for cells in rows("logs.md", 2)]
    assert len(explained) == len(set(explained)), "twice in doc/logs.md"
    missing = [f"| `{message}` | ... |   ({found[message]})"
               for message in found if message not in explained]
    assert not missing, "doc/logs.md lacks:\n" + "\n".join(missing)
    assert [message for message in explained if message not in found] == []
    assert all(cells[1].strip("| ") for cells in rows("logs.md", 2)), "no explanation"


# -- metrics ---------------------------------------------------------------------------------------

NAMES = re.compile(r'"((?:llm|optiroute|http)_[a-z0-9_]+_(?:total|seconds))"')


def test_every_metric_is_explained_and_none_that_is_gone(daemons):
    """Names from the table of counters and from what a daemon shows (gauges have no table)."""
    daemon = daemons()
    daemon.generate("Hello")
    shown = re.findall(r"^# TYPE (\S+) ", daemon.metrics_text(), re.M)
    table = NAMES.findall((TOP / "src" / "watch" / "metrics.c").read_text())
    assert len(table) > 20 and len(shown) > 20
    explained = [cells[0].split("{")[0].strip("`") for cells in rows("metrics.md", 3)]
    assert len(explained) == len(set(explained)), "twice in doc/metrics.md"
    assert sorted(explained) == sorted({*table, *shown})
