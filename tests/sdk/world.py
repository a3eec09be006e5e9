"""What the SDKs of all languages are run against: one scripted upstream and one daemon before it.

The clients are unmodified and believe to speak with OpenAI or Anthropic; what the upstream does is
ordered by the model's name (tests/mock/orders.c), what it was told is asked of it afterwards. A
test that wants to be alone with its counters has a name of its own in the model's:
`oai/NAME+orders`.
"""
import contextlib
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "blackbox"))
from mock import Mock  # noqa: E402
from optiroute import Daemon, environment  # noqa: E402

KEY = "sk-upstream-key-of-the-tests"
CLIENT_KEY = "sk-key-of-the-client"

# Bodies that the scripted upstream sends as they are (`+file=NAME`): members nobody here has heard
# of, and an answer in JSON for clients that ask for a schema.
FILES = {
    "unknown.json": {
        "id": "chatcmpl-7", "object": "chat.completion", "created": 1700000000, "model": "m",
        "service_tier": "scale", "system_fingerprint": "fp_44709d6fcb",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "x_rank": 1.0,
                     "message": {"role": "assistant", "content": "kept", "refusal": None,
                                 "x_mood": {"joy": [1, 2.50]}}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
        "x_vendor": {"region": "north", "big": 12345678901234567890},
    },
    "city.json": {
        "id": "chatcmpl-8", "object": "chat.completion", "created": 1700000000, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None,
                     "message": {"role": "assistant", "refusal": None,
                                 "content": '{"name":"Oslo","people":709000}'}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12},
    },
}


def provider(url, kind="openai", **changes):
    """One that forgives everything at once, so that a test of failures leaves nothing behind."""
    return {"type": kind, "url": url, "default_model": "m", "api_key_env": "TEST_KEY",
            "allow_unlisted_models": True, "retry": {"attempts": 0},
            "models": {"m": {"input": "1", "output": "2"}},
            "breaker": {"failures": 255, "open": "1ms", "max_open": "1ms"}, **changes}


def settings(mock):
    """oai and ant: the upstream in its two dialects; limited: with a circuit as in real life, of
    one test; sim: built in. Their prices are known but for models that are not listed."""
    simulated = {"type": "simulated", "default_model": "sim-1", "per_second": "0.000005",
                 "simulated": {"latency": "2ms", "per_token": "0ms", "max_latency": "2ms"}}
    return {
        "providers": {
            "small": None, "large": None, "pace": None, "broken": None,
            "oai": provider(mock.url + "/v1"),
            "ant": provider(mock.url + "/anthropic", kind="anthropic"),
            "limited": provider(mock.url + "/v1", breaker={"failures": 255}),
            "sim": simulated,
        },
        "routes": {"auto": {"cheap": "sim", "strong": "oai", "policy": "length"}},
        "limits": {"max_body": "1MB"},
    }


class World:
    """Both processes; as a context manager they end well or the tests fail."""

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for name, body in FILES.items():
                (directory / name).write_text(json.dumps(body))
            self.mock = stack.enter_context(Mock(files=directory))
            self.daemon = stack.enter_context(
                Daemon(settings(self.mock), env=environment(TEST_KEY=KEY)))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *how):
        return self.stack.__exit__(*how)

    @property
    def url(self):
        return "http://{}:{}".format(*self.daemon.address)
