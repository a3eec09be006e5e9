"""The official OpenAI SDK for Python when something goes wrong: classes of errors, streams that
break, its own retries, clients that leave, and its timeouts."""
import asyncio
import itertools
import time

import openai
import pytest
from openai.types.responses import ResponseErrorEvent

from optiroute import Daemon, eventually
from world import CLIENT_KEY

HELLO = [{"role": "user", "content": "four byte words"}]
ENDLESS = "+tokens=100000+pace=20"
SILENT = "+delay=600000"


@pytest.fixture(scope="module")
def client(world):
    with openai.OpenAI(base_url=world.url + "/v1", api_key=CLIENT_KEY, max_retries=0) as one:
        yield one


def fails(what, kind, **members):
    """The exception of a call, with exactly this class and an id of the request."""
    with pytest.raises(kind) as caught:
        what()
    error = caught.value
    assert type(error) is kind and error.request_id
    assert error.request_id == error.response.headers["x-request-id"]
    assert set(error.body) == {"message", "type", "param", "code"} and error.body["message"]
    for name, value in members.items():
        assert getattr(error, name) == value, name
    return error


# -- what the daemon refuses -----------------------------------------------------------------------

BAD = [
    ({"messages": "text"}, "messages", "invalid_type"),
    ({"messages": []}, "messages", "invalid_value"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "invalid_type"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens", "invalid_type"),
    ({"temperature": "hot"}, "temperature", "invalid_type"),
    ({"stream": "yes"}, "stream", "invalid_type"),
]


@pytest.mark.parametrize("members,param,code", BAD)
def test_a_bad_request(client, members, param, code):
    fails(lambda: client.chat.completions.create(
        **{"model": "oai", "messages": HELLO, "extra_body": members}),
        openai.BadRequestError, status_code=400, code=code, param=param,
        type="invalid_request_error")


@pytest.mark.parametrize("call", [
    lambda client: client.chat.completions.create(model="no/such", messages=HELLO),
    lambda client: client.chat.completions.create(model="no/such", messages=HELLO, stream=True),
    lambda client: client.completions.create(model="no/such", prompt="words"),
    lambda client: client.embeddings.create(model="no/such", input="words"),
    lambda client: client.responses.create(model="no/such", input="words"),
    lambda client: client.models.retrieve("no/such"),
], ids=["chat", "stream", "completions", "embeddings", "responses", "models"])
def test_no_such_model(client, call):
    fails(lambda: call(client), openai.NotFoundError, status_code=404, code="model_not_found",
          param="model", type="invalid_request_error")


def test_no_such_path(client):
    fails(lambda: client.post("/audio/nothing", cast_to=object, body={}), openai.NotFoundError,
          code="not_found")


def test_a_body_that_is_too_large(client):
    large = [{"role": "user", "content": "x" * (1 << 20)}]
    fails(lambda: client.chat.completions.create(model="oai", messages=large),
          openai.APIStatusError, status_code=413)


# -- what providers refuse -------------------------------------------------------------------------

# Status of the provider, class, status, code and whether the SDK is told not to try again. The keys
# are the gateway's, so that a provider does not take them is nothing that a client could mend.
REFUSED = [
    (400, openai.BadRequestError, 400, "some_code", True),
    (401, openai.InternalServerError, 502, "provider_auth", True),
    (403, openai.InternalServerError, 502, "provider_auth", True),
    (404, openai.NotFoundError, 404, "some_code", True),
    (409, openai.ConflictError, 409, "some_code", False),
    (413, openai.APIStatusError, 413, "some_code", True),
    (422, openai.UnprocessableEntityError, 422, "some_code", True),
    (429, openai.RateLimitError, 429, "rate_limited", False),
    (500, openai.InternalServerError, 502, "http_5xx", False),
    (503, openai.InternalServerError, 502, "http_5xx", False),
    (504, openai.InternalServerError, 504, "http_5xx", False),
    (529, openai.InternalServerError, 502, "http_5xx", False),
]


@pytest.mark.parametrize("provider", ["oai", "ant"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status,kind,seen,code,final", REFUSED)
def test_an_error_of_the_provider(client, here, provider, stream, status, kind, seen, code, final):
    # an error of Anthropic has no code but its type
    code = {"some_code": None}.get(code, code) if provider == "ant" else code
    error = fails(lambda: client.chat.completions.create(
        model=here.model(provider, f"+status={status}+code=some_code"), messages=HELLO,
        stream=stream), kind, status_code=seen, param=None)
    assert error.code == code if code else error.code
    assert error.type == ("upstream_error" if seen != 429 else error.type)
    assert error.response.headers.get("x-should-retry") == ("false" if final else None)
    assert error.response.headers["x-optiroute-provider"] == provider


def test_the_time_to_wait_is_told(client, here):
    error = fails(lambda: client.chat.completions.create(
        model=here.model("limited", "+status=429+retry_after=7+times=1"), messages=HELLO),
        openai.RateLimitError)
    assert 1 <= int(error.response.headers["retry-after"]) <= 7
    # and now the circuit is open, for everyone
    error = fails(lambda: client.chat.completions.create(model=here.model("limited"),
                                                         messages=HELLO),
                  openai.InternalServerError, status_code=503, code="breaker_open")
    assert 1 <= int(error.response.headers["retry-after"]) <= 7
    assert here.requests(here.model("limited")) == 0


def test_nobody_listens():
    with Daemon() as daemon:
        url = "http://{}:{}/v1".format(*daemon.address)
        with openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
            assert client.chat.completions.create(model="small", messages=HELLO).choices
            daemon.stop()
            with pytest.raises(openai.APIConnectionError) as caught:
                client.chat.completions.create(model="small", messages=HELLO)
    assert type(caught.value) is openai.APIConnectionError


# -- streams that break ----------------------------------------------------------------------------

def streams(client, model):
    return {
        "chat": lambda: client.chat.completions.create(model=model, messages=HELLO, stream=True),
        "completions": lambda: client.completions.create(model=model, prompt="words", stream=True),
        "responses": lambda: client.responses.create(model=model, input="words", stream=True,
                                                      store=False),
    }


@pytest.mark.parametrize("orders,code", [("+kill=5", "stream_truncated"),
                                         ("+kill=5+then=rst", "stream_truncated"),
                                         ("+badevent=7", "bad_json"),
                                         ("+errorevent=7", "stream_error"),
                                         ("+nodone+cut=half", "stream_truncated")])
@pytest.mark.parametrize("kind", ["chat", "completions", "responses"])
def test_a_stream_that_breaks_raises(client, here, kind, orders, code):
    model = here.model("oai", orders)
    got = []
    with pytest.raises(openai.APIError) as caught:
        for event in streams(client, model)[kind]():
            got.append(event)
    assert type(caught.value) is openai.APIError
    assert (caught.value.code, caught.value.type) == (code, "upstream_error")
    assert got, "nothing came before it"
    again = streams(client, model)[kind]()  # what broke is not in the cache
    assert again.response.headers["x-optiroute-cache"] == "miss"
    again.close()


@pytest.mark.parametrize("provider,orders", [("oai", "+kill=1"), ("ant", "+kill=2"),
                                             ("oai", "+errorevent=2"), ("ant", "+errorevent=3")])
def test_a_stream_that_breaks_before_its_first_word_is_an_error_like_others(client, here, provider,
                                                                            orders):
    fails(lambda: client.chat.completions.create(model=here.model(provider, orders), messages=HELLO,
                                                 stream=True),
          openai.InternalServerError, status_code=502, type="upstream_error")


def test_a_response_that_breaks_says_so_in_its_own_event(client, here):
    raw = client.responses.with_streaming_response.create
    with raw(model=here.model("oai", "+kill=5"), input="words", stream=True) as answer:
        lines = []
        with pytest.raises(Exception):  # the connection ends where no stream does
            for line in answer.iter_lines():
                lines.append(line)
    name, data = [line for line in lines if line][-2:]
    event = ResponseErrorEvent.model_validate_json(data.removeprefix("data: "))
    assert name == "event: error" and event.type == "error" and event.code == "stream_truncated"
    assert event.sequence_number == sum(line.startswith("data: ") for line in lines) - 1


def test_the_stream_helper_raises_too(client, here):
    with pytest.raises(openai.APIError) as caught:
        with client.chat.completions.stream(model=here.model("ant", "+kill=6"),
                                            messages=HELLO) as stream:
            stream.until_done()
    assert caught.value.code == "stream_truncated"


# -- retries of the SDK ----------------------------------------------------------------------------

@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_sdk_tries_again(client, here, stream):
    model = here.model("oai", "+status=500+times=2")
    answer = client.with_options(max_retries=2).chat.completions.create(
        model=model, messages=HELLO, stream=stream)
    assert (list(answer)[-1] if stream else answer).choices[0].finish_reason == "stop"
    assert here.requests(model) == 3


def test_the_sdk_gives_up(client, here):
    model = here.model("oai", "+status=503")
    fails(lambda: client.with_options(max_retries=1).chat.completions.create(
        model=model, messages=HELLO), openai.InternalServerError, status_code=502)
    assert here.requests(model) == 2


@pytest.mark.parametrize("status", [400, 401, 422])
def test_the_sdk_does_not_try_again_what_is_in_vain(client, here, status):
    model = here.model("oai", f"+status={status}")
    with pytest.raises(openai.APIStatusError):
        client.with_options(max_retries=3).chat.completions.create(model=model, messages=HELLO)
    assert here.requests(model) == 1


def test_the_sdk_waits_as_long_as_it_is_told(client, here):
    model = here.model("oai", "+status=429+retry_after=1+times=1")
    begun = time.monotonic()
    # the SDK's own pause would be half a second
    hinted = client.with_options(max_retries=1).chat.completions.create(model=model, messages=HELLO)
    assert hinted.choices and here.requests(model) == 2
    assert time.monotonic() - begun >= 0.99


# -- clients that leave ----------------------------------------------------------------------------

@pytest.mark.parametrize("provider", ["oai", "ant"])
@pytest.mark.parametrize("reset", [False, True], ids=["close", "abandon"])
def test_a_closed_stream_stops_the_provider(client, here, provider, reset):
    model = here.model(provider, ENDLESS)
    before = here.total("llm_client_aborts_total")
    stream = client.chat.completions.create(model=model, messages=HELLO, stream=True)
    texts = (chunk.choices[0].delta.content for chunk in stream)
    assert "".join(itertools.islice(filter(None, texts), 3)) == "word word word"
    stream.response.close() if reset else stream.close()
    here.aborted(model)
    eventually(lambda: here.total("llm_client_aborts_total") == before + 1)
    line = here.world.daemon.access_line(stream.response.headers["x-request-id"])
    assert line["status"] == 499 and line["completion_tokens"] >= 3
    assert line["estimated"] and line["provider"] == provider


@pytest.mark.parametrize("kind", ["completions", "responses"])
def test_other_streams_can_be_closed_too(client, here, kind):
    model = here.model("oai", ENDLESS)
    with streams(client, model)[kind]() as stream:
        next(iter(stream))
    here.aborted(model)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_cancelled_task_stops_the_provider(world, here, run, stream):
    model = here.model("oai", SILENT)

    async def everything():
        async with openai.AsyncOpenAI(base_url=world.url + "/v1", api_key="x",
                                      max_retries=0) as client:
            task = asyncio.create_task(client.chat.completions.create(
                model=model, messages=HELLO, stream=stream))
            await asyncio.to_thread(here.started, model)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(everything())
    here.aborted(model)


# -- timeouts of the SDK ---------------------------------------------------------------------------

@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_timeout_stops_the_provider(client, here, stream):
    model = here.model("oai", SILENT)
    with pytest.raises(openai.APITimeoutError) as caught:
        client.with_options(timeout=1.0).chat.completions.create(model=model, messages=HELLO,
                                                                 stream=stream)
    assert isinstance(caught.value, openai.APIConnectionError)
    here.aborted(model)
    assert here.requests(model) == 1


def test_a_timeout_is_tried_again(client, here):
    model = here.model("oai", SILENT)
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5, max_retries=1).chat.completions.create(model=model,
                                                                                messages=HELLO)
    here.aborted(model, 2)
