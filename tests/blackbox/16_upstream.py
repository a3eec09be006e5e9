"""Real providers: what is asked of each dialect, what is made of the answers of the servers that people
run, what they cost, and that ten thousand requests with faults among them leave the books exact.
"""
import json
import os
import pathlib
import re
import signal
import time
from decimal import Decimal

import pytest
import yaml

from mock import Mock
from optiroute import (TOP, USD, Daemon, environment, eventually, in_parallel, merged, run,
                       stream_events)
from processes import count_files, own_kib, proc_state

CONTRACTS = pathlib.Path(__file__).resolve().parent / "contracts"
KEY = "sk-secret-of-the-tests-0123456789"
PRICES = {"input": "3", "output": "15", "cached_input": "0.3"}


@pytest.fixture(scope="module")
def mock():
    with Mock(files=CONTRACTS) as running:
        yield running


def provider(mock, kind, **changes):
    path = {"openai": "/v1", "anthropic": "", "huggingface": "/models"}[kind]
    return merged({"type": kind, "url": mock.url + path, "default_model": "plain",
                   "models": {"plain": PRICES}, "api_key_env": "TEST_KEY",
                   "allow_unlisted_models": True, "retry": {"attempts": 0}}, changes)


CONFIG_KINDS = ("openai", "anthropic", "huggingface")


@pytest.fixture(scope="module")
def daemon(mock):
    providers = {kind: provider(mock, kind) for kind in CONFIG_KINDS}
    with Daemon({"providers": providers}, env=environment(TEST_KEY=KEY)) as running:
        yield running


# -- what is asked ---------------------------------------------------------------------------------

def asked(daemon, mock, kind, **members):
    answer = daemon.generate(f"say it {time.monotonic_ns()}", provider=kind, **members)
    assert answer.status == 200, answer
    last = mock.last()
    return last, json.loads(last["body"])


def test_openai_is_asked(daemon, mock):
    last, body = asked(daemon, mock, "openai", max_tokens=7, temperature=0.5)
    assert (last["method"], last["path"]) == ("POST", "/v1/chat/completions")
    assert last["fields"]["authorization"] == f"Bearer {KEY}"
    assert last["fields"]["content-type"] == "application/json"
    assert re.fullmatch(r"optiroute/\d+\.\d+\.\d+", last["fields"]["user-agent"])
    assert "expect" not in last["fields"] and "accept-encoding" not in last["fields"]
    assert body == {"model": "plain", "max_tokens": 7, "temperature": 0.5,
                    "messages": [{"role": "user", "content": body["messages"][0]["content"]}]}


def test_anthropic_is_asked(daemon, mock):
    last, body = asked(daemon, mock, "anthropic")
    assert (last["method"], last["path"]) == ("POST", "/v1/messages")
    assert last["fields"]["x-api-key"] == KEY and "authorization" not in last["fields"]
    assert last["fields"]["anthropic-version"] == "2023-06-01"
    assert (body["model"], body["max_tokens"]) == ("plain", 100)


def test_huggingface_is_asked(daemon, mock):
    last, body = asked(daemon, mock, "huggingface", model_id="mistralai/Mistral 7B?v=2")
    assert last["path"] == "/models/mistralai/Mistral%207B%3Fv%3D2"
    assert last["fields"]["authorization"] == f"Bearer {KEY}"
    assert body["parameters"] == {"max_new_tokens": 100, "return_full_text": False,
                                  "details": True}


def test_a_clients_own_key_goes_nowhere(daemon, mock):
    answer = daemon.generate("whose key", ["Authorization: Bearer clients-own", "X-Api-Key: own"],
                             provider="openai")
    assert answer.status == 200
    assert "own" not in json.dumps(mock.last()["fields"])


@pytest.mark.parametrize("name", ["../../whoami", "a/../b", ".", "a//b"])
def test_a_models_name_cannot_climb_out_of_its_address(daemon, mock, name):
    before = mock.counters()["requests"]
    answer = daemon.generate("climb", provider="huggingface", model_id=name)
    assert (answer.status, answer.error()["code"]) == (400, "model_not_found")
    assert mock.counters()["requests"] == before


def test_prompts_arrive_as_they_are(daemon, mock):
    prompt = "quotes \" and \\ and \u00e9 \U0001f600 and \u0001\t\n</script>" + "x" * 100000
    for kind in CONFIG_KINDS:
        assert daemon.generate(prompt, provider=kind).status == 200
        body = json.loads(mock.last()["body"])
        said = body.get("inputs") or body["messages"][0]["content"]
        assert said in (prompt, [{"type": "text", "text": prompt}])


def test_a_stream_is_answered_too(daemon):
    events = stream_events(daemon.generate("as a stream", provider="openai", stream=True).body)
    assert events[-1] == ("data", "[DONE]")
    whole = json.loads(events[-3][1], parse_float=Decimal)
    assert whole["actual_provider_name"] == "openai" and whole["cost"] > 0
    assert "".join(json.loads(text)["text"] for _, text in events[:-3]) == whole["text"]


# -- what real servers answer ------------------------------------------------------------------------

# file -> (provider type, prompt tokens, completion tokens, cost). Prices: 3, 15, cached 0.3 USD per
# million; Anthropic's writes 3.75 and 6.
ANSWERS = {
    "openai-chat": ("openai", 2006, 300, "0.005334"),  # 86 x 3 + 1920 x 0.3 + 300 x 15
    "router-chat": ("openai", 17, 5, "0.000126"),
    "vllm-chat": ("openai", 17, 13, "0.000246"),
    "llama-chat": ("openai", 17, 5, "0.000126"),
    "ollama-chat": ("openai", 31, 5, "0.000168"),
    "anthropic-message": ("anthropic", 1121, 50, "0.001533"),
    "tgi-generate": ("huggingface", None, 5, None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_of_real_servers(mock, name):
    """Text, tokens and cost, to the nano-dollar; a model is priced by its name."""
    kind, prompt_tokens, completion_tokens, cost = ANSWERS[name]
    model = f"x+file={name}.json"
    prices = {model: PRICES, "dear": {"input": "1000", "output": "1000"}}
    with Daemon({"providers": {"p": provider(mock, kind, models=prices)}, "workers": 1},
                env=environment(TEST_KEY=KEY)) as daemon:
        prompt = "What is the capital of France?"
        answer = daemon.generate(prompt, provider="p", model_id=model)
        assert answer.status == 200, answer
        body = answer.json()
        if prompt_tokens is None:  # the API does not count them
            prompt_tokens = (len(prompt) + 3) // 4
            cost = (prompt_tokens * 3 + completion_tokens * 15) * Decimal("0.000001")
        assert body["text"] == "It is Paris."
        assert body["usage"] == {"prompt_tokens": prompt_tokens,
                                 "completion_tokens": completion_tokens,
                                 "total_tokens": prompt_tokens + completion_tokens}
        assert body["cost"] == Decimal(cost).quantize(USD)
        metrics = daemon.metrics()
        assert metrics.total("llm_total_cost_usd_total", model=model) == body["cost"]
        assert metrics.total("llm_usage_invalid_total") == 0
        line = daemon.access_line(body["request_id"])
        assert line["estimated"] is (kind == "huggingface")
        assert line["cached_tokens"] == {"openai-chat": 1920, "anthropic-message": 1000}.get(name, 0)


@pytest.mark.parametrize("kind, status, name, expected, code, opens", [
    ("openai", 400, "llama-context", 400, "exceed_context_size_error", False),
    ("openai", 400, "vllm-error", 400, "rejected", False),
    ("openai", 404, "ollama-error", 404, "not_found_error", False),
    ("openai", 503, "llama-loading", 502, "http_5xx", False),
    ("anthropic", 529, "anthropic-overloaded", 502, "http_5xx", False),
    ("huggingface", 503, "hf-loading", 503, "http_5xx", True),
])
def test_errors_of_real_servers(daemon, kind, status, name, expected, code, opens):
    answer = daemon.generate(f"{name}", provider=kind,
                             model_id=f"x+status={status}+file={name}.json")
    assert (answer.status, answer.error()["code"]) == (expected, code), answer
    for text in ("exceeds", "maximum", "pulling", "Loading", "Overloaded", "loading"):
        assert text not in answer.body.decode()
    if opens:  # the body says how long the model takes to load
        assert 20 <= int(answer.field("retry-after")) <= 21
        answer = daemon.generate("now", provider=kind)
        assert (answer.status, answer.error()["code"]) == (503, "breaker_open")


# -- prices -------------------------------------------------------------------------------------------

def test_time_is_money_for_a_local_model(mock):
    """Paid by the second of measured upstream time."""
    upstream = {**provider(mock, "openai", per_second="0.01"), "models": {"plain": {}}}
    with Daemon({"providers": {"p": upstream}}, env=environment(TEST_KEY=KEY)) as daemon:
        answer = daemon.generate("slowly", provider="p", model_id="m+delay=300").json()
        assert Decimal("0.003") <= answer["cost"] <= Decimal("0.01") * answer["latency"]
        assert daemon.metrics().total("llm_total_cost_usd_total") == answer["cost"]


def test_an_unknown_price_is_unknown(daemon):
    answer = daemon.generate("what does it cost", provider="openai", model_id="unlisted")
    assert answer.status == 200 and answer.json()["cost"] is None
    assert answer.field("x-optiroute-cost-usd") is None
    assert answer.json()["model"] == "other"
    assert daemon.metrics().total("llm_unknown_price_total", provider="openai", model="other") > 0


# -- ten thousand ------------------------------------------------------------------------------------

def one_after_the_other(workers):
    """Each of them alone gets the connections, while the others are stopped: then each has taken the
    memory that so many clients need, and how they are spread later makes no difference."""
    for worker in workers:
        others = [pid for pid in workers if pid != worker]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: all(proc_state(pid) == "T" for pid in others), what="they stop")
            yield worker
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)


def test_ten_thousand_requests_with_faults_leave_the_books_exact():
    """Every hundredth request fails, each in another way; the answers' costs are the totals."""
    model = "m+fault_every=100"
    with Mock() as mock:
        upstream = provider(mock, "openai", models={model: PRICES}, default_model=model,
                            max_concurrency=100000, breaker={"failures": 255})
        with Daemon({"providers": {"p": upstream}}, env=environment(TEST_KEY=KEY)) as daemon:
            def many(number, count):
                spent, failed = Decimal(0), 0
                with daemon.connect() as client:
                    for i in range(count):
                        answer = client.request("POST", "/generate", {
                            "prompt": f"{number} {i} " + "x" * (i % 50), "provider": "p"},
                            ["Cache-Control: no-store"] if i % 3 else [])
                        if answer.status == 200:
                            spent += answer.json()["cost"]
                        else:
                            assert answer.status == 502
                            failed += 1
                return spent, failed
            warm = sum((in_parallel(10, lambda i: many(f"warm {worker} {i}", 50))
                        for worker in one_after_the_other(daemon.workers())), [])
            before = count_files(*daemon.workers()), own_kib(*daemon.workers())
            results = warm + in_parallel(10, lambda i: many(i, 1000))
            spent = sum(one for one, _ in results)
            failed = sum(count for _, count in results)
            metrics = daemon.metrics()
            assert metrics.total("llm_total_cost_usd_total") == spent > 0
            # 110 faults; one that closes a kept connection without a byte is sent again by libcurl
            stale = metrics.total("llm_retries_total", reason="stale")
            assert failed + stale == 110 and failed > 60
            assert metrics.total("llm_upstream_errors_total", provider="p") == failed
            assert metrics.total("llm_requests_total", outcome="ok") == 11000 - failed
            eventually(lambda: count_files(*daemon.workers()) <= before[0] + 12, what="descriptors")
            if "ASAN_OPTIONS" not in os.environ:  # its quarantine grows by design
                assert own_kib(*daemon.workers()) - before[1] < 512
            daemon.stop()
            lines = daemon.access_lines()
            assert sum(line["cost_usd"] for line in lines) == spent
            assert len(lines) == 11000


# -- the README ---------------------------------------------------------------------------------------

def test_the_providers_in_the_readme_are_good(tmp_path):
    """Each example loads, and there is one for each of the servers that people run."""
    text = (TOP / "README.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", text, re.S)
    examples = [example for example in examples if "providers:" in example]
    names = " ".join(examples)
    for url in ("https://api.openai.com/v1", "https://router.huggingface.co/v1",
                "http://127.0.0.1:8001/v1", "http://127.0.0.1:8080/v1",
                "http://127.0.0.1:11434/v1", "https://api.anthropic.com"):
        assert url in names, url
    for example in examples:
        file = tmp_path / "optiroute.yaml"
        file.write_text(example)
        settings = yaml.safe_load(example)
        keys = {one["api_key_env"]: "k" for one in settings["providers"].values()
                if "api_key_env" in one}
        done = run("-t", "-c", file, env=environment(**keys))
        assert done.returncode == 0, done.stderr
