"""The scripted upstream does what the model's name orders, and counts it."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from optiroute import BINARY, eventually

MOCKLLM = os.environ.get(
    "MOCKLLM", str(pathlib.Path(BINARY).parent.parent / "tests" / "mockllm"))


@pytest.fixture(scope="module")
def mock():
    process = subprocess.Popen([MOCKLLM], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line.startswith("listening on 127.0.0.1:")
    yield int(line.rsplit(":", 1)[1])
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


def chat(port, model, content="four byte words"):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": content}]})
    return ask(port, "POST", "/v1/chat/completions", body)


def counters(port):
    return ask(port, "GET", "/counters")[2]


def test_a_completion_has_text_and_usage(mock):
    status, _, answer = chat(mock, "any+tokens=3")
    assert status == 200
    assert answer["object"] == "chat.completion" and answer["model"] == "any+tokens=3"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "word word word"}
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}


def test_orders_set_status_and_retry_after(mock):
    before = counters(mock)
    status, headers, answer = chat(mock, "any+status=429+retry_after=7")
    assert status == 429 and headers["Retry-After"] == "7"
    assert answer["error"]["message"] == "as ordered"
    after = counters(mock)
    assert after["requests"] == before["requests"] + 1
    assert after["errors"] == before["errors"] + 1


@pytest.mark.parametrize("model", ["any+tokens=x", "any+speed=1", "any+delay", "any+status=100"])
def test_orders_that_make_no_sense_are_refused(mock, model):
    assert chat(mock, model)[0] == 404


@pytest.mark.parametrize("body", ["", "[]", '{"model":"any"}', '{"model":"any","messages":1}'])
def test_what_is_no_chat_is_refused(mock, body):
    assert ask(mock, "POST", "/v1/chat/completions", body)[0] == 400


def test_delays_run_side_by_side(mock):
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: chat(mock, "any+delay=300")[0], range(20)))
    took = time.monotonic() - begin
    assert answers == [200] * 20
    assert 0.3 <= took < 3  # one after the other it would be six seconds


def test_a_client_that_leaves_is_counted(mock):
    before = counters(mock)
    body = b'{"model":"any+delay=60000","messages":[]}'
    with socket.create_connection(("127.0.0.1", mock)) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(body) + body)
        eventually(lambda: counters(mock)["in_flight"] == before["in_flight"] + 1)
    eventually(lambda: counters(mock)["aborted"] == before["aborted"] + 1)
    assert counters(mock)["in_flight"] == before["in_flight"]
