"""What the README shows of the SDKs, run as it stands there but for the port."""
import os
import re
import shutil
import subprocess
import sys

import pytest

from optiroute import TOP, Daemon

README = (TOP / "README.md").read_text()
BLOCKS = re.findall(r"^```(python|js)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SHOWN = "127.0.0.1:8000"


@pytest.fixture(scope="module")
def daemon():
    with Daemon() as running:
        yield running


def test_there_is_something_to_try():
    assert [language for language, _ in BLOCKS] == ["python", "python", "js"]
    assert all(SHOWN in block for _, block in BLOCKS)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_readme(daemon, tmp_path, number):
    language, block = BLOCKS[number]
    block = block.replace(SHOWN, "{}:{}".format(*daemon.address))
    if language == "python":
        command = [sys.executable, "-c", block]
    else:  # node looks for modules beside the file
        modules = os.path.join(os.path.dirname(sys.prefix), "node_modules")
        assert os.path.isdir(modules)
        os.symlink(modules, tmp_path / "node_modules")
        (tmp_path / "readme.mjs").write_text(block)
        command = [shutil.which("node"), tmp_path / "readme.mjs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert len(done.stdout.split()) >= 3, done.stdout


@pytest.mark.parametrize("make", [
    'from langchain_openai import ChatOpenAI; print(ChatOpenAI(base_url="http://{}/v1", '
    'api_key="none", model="auto").invoke("Hello").content)'])
def test_the_sentence_on_langchain(daemon, make):
    assert 'ChatOpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none", model="auto")' in README
    done = subprocess.run([sys.executable, "-c", make.format("{}:{}".format(*daemon.address))],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and len(done.stdout.split()) >= 3, done.stderr
