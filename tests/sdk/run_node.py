"""Runs the tests in JavaScript: starts what they are run against, and writes down what became of
each of them as pytest does.

    run_node.py DIRECTORY RECORD [FILE...]

DIRECTORY has the node_modules of package.json; the tests are copied into it, because node looks for
modules beside the file. RECORD: JUnit's XML, one case for each test. A file without a test, or that
ends before its tests do, or otherwise than they say, is a case that failed.
"""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import xml.etree.ElementTree as tree

from world import World

HERE = pathlib.Path(__file__).resolve().parent
FILE_SECONDS = 300
CASE = re.compile(r"(not )?ok \d+ - (.*?)( # (?:SKIP|TODO).*)?$")


def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def surroundings(world):
    return {"PATH": os.environ["PATH"], "OPTIROUTE_URL": world.url, "MOCK_URL": world.mock.url,
            "METRICS_URL": "http://{}:{}/metrics".format(*world.daemon.metrics_address),
            "NOBODY_URL": f"http://127.0.0.1:{closed_port()}/v1"}


def run_file(path, environment):
    """Its cases: (name, why it failed or None)."""
    try:
        done = subprocess.run(["node", "--test-reporter=tap", path], env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=FILE_SECONDS, check=False)
        output, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        output, status = (error.stdout or b"").decode(errors="replace"), "none: too late"
    print(output, flush=True)
    cases = []
    for line in output.splitlines():
        if match := CASE.match(line):
            cases.append((match[2], "failed" if match[1] else match[3]))
    is_whole = re.search(rf"^1\.\.{len(cases)}$", output, re.MULTILINE)
    if not cases or not is_whole or (status != 0) != any(why for _, why in cases):
        cases.append((path.name, f"{len(cases)} tests, exit status {status}"))
    return cases


def record(path, suites):
    top = tree.Element("testsuites")
    for name, cases in suites.items():
        bad = sum(why is not None for _, why in cases)
        suite = tree.SubElement(top, "testsuite", name=name, tests=str(len(cases)),
                                failures=str(bad), errors="0", skipped="0")
        for case, why in cases:
            element = tree.SubElement(suite, "testcase", classname=name, name=case)
            if why:
                tree.SubElement(element, "failure", message=why.strip())
    tree.ElementTree(top).write(path, encoding="utf-8")


def main(directory, record_path, *files):
    for source in HERE.glob("*.mjs"):
        shutil.copy(source, directory)
    names = sorted(files or (path.name for path in HERE.glob("*.test.mjs")))
    with World() as world:
        suites = {name: run_file(pathlib.Path(directory) / name, surroundings(world))
                  for name in names}
    record(record_path, suites)
    bad = [f"{name}: {case}: {why}" for name, cases in suites.items() for case, why in cases if why]
    print("\n".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
