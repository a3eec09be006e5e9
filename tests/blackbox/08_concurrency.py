"""Requests that wait cost no thread and no process; connections that idle cost little."""
import resource

import pytest

from optiroute import PATIENCE, compose, eventually, usual_threads
from processes import children, proc_status

CONFIG = {"limits": {"keepalive": "60s", "header_timeout": "60s"}}


@pytest.fixture(scope="module", autouse=True)
def descriptors():
    """This process needs more than the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def census(daemon):
    """Threads of every process of the daemon."""
    pids = [daemon.pid, *sorted(children(daemon.pid))]
    return {pid: proc_status(pid, "Threads") for pid in pids}


def test_a_thousand_requests_at_once_cost_no_thread_and_no_process(daemon):
    before = census(daemon)
    clients = [daemon.connect(timeout=3 * PATIENCE) for _ in range(1000)]
    try:
        for i, client in enumerate(clients):
            client.send(compose("POST", "/generate", {"prompt": f"crowd {i}", "provider": "pace",
                                                      "max_tokens": 15000}))
        eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 1000,
                   what="1,000 in flight")
        assert census(daemon) == before
        assert all(threads in usual_threads() for threads in before.values())
        assert daemon.request("GET", "/health").status == 200, "the others are still served"
        texts = set()
        for client in clients:
            answer = client.read_answer()
            assert answer.status == 200, answer
            texts.add(answer.json()["text"])
        assert len(texts) == 1000, "everyone has an answer of their own"
    finally:
        for client in clients:
            client.close()
    assert daemon.metrics().total("llm_requests_total", provider="pace", outcome="ok") == 1000


def test_five_hundred_connections_are_kept(daemon):
    clients = [daemon.connect() for _ in range(500)]
    try:
        for _ in range(3):
            for client in clients:
                client.send(compose("GET", "/health"))
            for client in clients:
                assert client.read_answer().status == 200
        eventually(lambda: daemon.metrics().total("optiroute_connections", state="idle") == 500)
    finally:
        for client in clients:
            client.close()
    eventually(lambda: daemon.metrics().total("optiroute_connections") == 0)
