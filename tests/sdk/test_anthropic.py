"""The official Anthropic SDK for Python against /v1/messages and /v1/models: whole and as streams,
tools, errors, retries, cancellation, timeouts, and the cache."""
import asyncio
import json
import time

import anthropic
import pytest

from world import CLIENT_KEY

WORDS = " ".join(["word"] * 10)
HELLO = [{"role": "user", "content": "four byte words"}]
PROVIDERS = ["ant", "oai", "sim"]
FRESH = {"Cache-Control": "no-store"}
ENDLESS = "+tokens=100000+pace=20"
SILENT = "+delay=600000"
TOOLS = [{"name": "get_weather", "description": "of a city",
          "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]


@pytest.fixture(scope="module")
def client(world):
    with anthropic.Anthropic(base_url=world.url, api_key=CLIENT_KEY, max_retries=0) as one:
        yield one


@pytest.fixture
def ask(here):
    """Arguments of a call; the simulated provider has one model."""
    def arguments(provider="ant", orders="", **members):
        model = "sim" if provider == "sim" else here.model(provider, orders)
        return {"model": model, "max_tokens": 500, "messages": HELLO, **members}
    return arguments


# -- answers ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("provider", PROVIDERS)
def test_messages(client, ask, provider):
    answer = client.messages.create(**ask(provider))
    block, = answer.content
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert block.type == "text" and (block.text == WORDS if provider != "sim" else block.text)
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    assert answer.id.startswith("msg_") and answer._request_id


@pytest.mark.parametrize("provider", PROVIDERS)
def test_messages_stream(client, ask, provider):
    whole = client.messages.create(extra_headers=FRESH, **ask(provider))
    with client.messages.create(stream=True, extra_headers=FRESH, **ask(provider)) as stream:
        events = list(stream)
    types = [event.type for event in events if event.type != "ping"]
    deltas = types.count("content_block_delta")
    assert types == ["message_start", "content_block_start", *["content_block_delta"] * deltas,
                     "content_block_stop", "message_delta", "message_stop"] and deltas > 5
    assert "".join(event.delta.text for event in events
                   if event.type == "content_block_delta") == whole.content[0].text
    assert events[-2].delta.stop_reason == "end_turn" and events[-2].usage.output_tokens > 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_stream_helper(client, ask, provider):
    whole = client.messages.create(extra_headers=FRESH, **ask(provider))
    with client.messages.stream(extra_headers=FRESH, **ask(provider)) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
        assert stream.request_id == stream.response.headers["request-id"]
    assert len(pieces) > 5 and "".join(pieces) == whole.content[0].text == final.content[0].text
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == whole.usage.output_tokens


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_limit_is_a_reason_to_stop(client, ask, provider):
    orders = "" if provider == "sim" else "+stop=length"
    with client.messages.stream(**{**ask(provider, orders), "max_tokens": 10}) as stream:
        assert stream.get_final_message().stop_reason == "max_tokens"


def test_system_parts_and_images_pass_as_they_are(client, here, ask):
    system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    content = [{"type": "text", "text": "what is it?"},
               {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                            "data": "iVBORw0KGgo="}}]
    members = {"system": system, "messages": [{"role": "user", "content": content}]}
    extra = {"top_k": 5, "x_new": [1.0]}
    client.messages.create(extra_body=extra, **ask(**members))
    assert {name: here.sent()[name] for name in (*members, *extra)} == {**members, **extra}


def test_system_and_images_are_translated(client, here, ask):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                         "data": "iVBORw0KGgo="}}
    client.messages.create(system="be brief", stop_sequences=["END"],
                           extra_body={"temperature": 0.5},
                           **ask("oai", messages=[{"role": "user", "content": [image]}]))
    sent = here.sent()
    system, user = sent["messages"]
    assert system == {"role": "system", "content": "be brief"}
    assert user["content"][0]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="
    assert (sent["temperature"], sent["stop"]) == (0.5, ["END"])


def test_version_and_beta_go_on_and_the_key_does_not(client, here, ask):
    client.beta.messages.create(betas=["new-things-1", "more-2"], **ask())
    fields = here.world.mock.last()["fields"]
    assert set(fields["anthropic-beta"].replace(" ", "").split(",")) == {"new-things-1", "more-2"}
    assert fields["anthropic-version"] and CLIENT_KEY not in str(fields)


def test_models(client):
    names = [one.id for one in client.models.list(limit=100)]
    assert {"auto", "ant", "oai/m", "sim"} <= set(names)
    for name in names:
        one = client.models.retrieve(name)
        assert (one.id, one.type) == (name, "model") and one.display_name and one.created_at


# -- tools -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("provider", ["ant", "oai"])
def test_tools(client, here, ask, provider, stream):
    members = ask(provider, "+tool", tools=TOOLS,
                  tool_choice={"type": "tool", "name": "get_weather"})
    if stream:
        with client.messages.stream(**members) as events:
            kinds = {event.type for event in events}
            answer = events.get_final_message()
        assert "input_json" in kinds
    else:
        answer = client.messages.create(**members)
    call, = answer.content
    assert answer.stop_reason == "tool_use"
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather",
                                                  {"city": "Paris", "days": 3})
    used = {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"}
    last = client.messages.create(**ask(provider, tools=TOOLS, messages=[
        *HELLO, {"role": "assistant", "content": [used]}, {"role": "user", "content": [result]}]))
    assert last.content[0].text == WORDS
    messages = here.sent()["messages"]
    if provider == "ant":
        assert messages[1:] == [{"role": "assistant", "content": [used]},
                                {"role": "user", "content": [result]}]
        return
    told, = messages[1]["tool_calls"]
    assert (told["id"], told["function"]["name"]) == (call.id, "get_weather")
    assert json.loads(told["function"]["arguments"]) == call.input
    assert messages[2] == {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}


# -- the cache -------------------------------------------------------------------------------------

@pytest.mark.parametrize("provider", ["ant", "oai"])
@pytest.mark.parametrize("first", ["whole", "stream"])
def test_a_stored_answer_is_replayed_in_both_ways(client, here, ask, provider, first):
    raw = client.messages.with_raw_response
    missed = raw.create(stream=first == "stream", **ask(provider))
    before = missed.parse()
    before = list(before)[0].message.id if first == "stream" else before.id
    whole = raw.create(**ask(provider))
    assert missed.headers["x-optiroute-cache"] == "miss"
    assert whole.headers["x-optiroute-cache"] == "hit"
    with client.messages.stream(**ask(provider)) as stream:
        final = stream.get_final_message()
        assert stream.response.headers["x-optiroute-cache"] == "hit"
    answer = whole.parse()
    assert final.id == answer.id == before
    assert final.content[0].text == answer.content[0].text == WORDS
    assert final.usage.output_tokens == answer.usage.output_tokens == 10
    assert final.usage.input_tokens == answer.usage.input_tokens > 0
    assert here.requests(ask(provider)["model"]) == 1


def test_a_thread_that_the_provider_keeps_is_not_stored(client, here, ask):
    create = client.beta.messages.with_raw_response.create
    for times in (1, 2):
        answer = create(extra_body={"thread": {"type": "create"}}, **ask())
        assert answer.headers["x-optiroute-cache"] == "bypass"
        assert here.requests(ask()["model"]) == times


# -- errors ----------------------------------------------------------------------------------------

def fails(what, kind, word, **members):
    """The exception of a call, in Anthropic's form and with an id of the request."""
    with pytest.raises(kind) as caught:
        what()
    error = caught.value
    assert type(error) is kind and error.request_id == error.response.headers["request-id"]
    assert error.body["type"] == "error" and error.body["error"]["type"] == word
    assert error.body["error"]["message"]
    for name, value in members.items():
        assert error.body["error"][name] == value, name
    return error


@pytest.mark.parametrize("members,param,code", [
    ({"max_tokens": None}, "max_tokens", "missing"),
    ({"max_tokens": "many"}, "max_tokens", "invalid_type"),
    ({"messages": []}, "messages", "invalid_value"),
    ({"system": 7}, "system", "invalid_type"),
])
def test_a_bad_request(client, ask, members, param, code):
    fails(lambda: client.messages.create(extra_body=members, **ask()),
          anthropic.BadRequestError, "invalid_request_error", param=param, code=code)


def test_no_such_model(client, ask):
    missing = {**ask(), "model": "no/such"}
    for stream in (False, True):
        fails(lambda: client.messages.create(stream=stream, **missing), anthropic.NotFoundError,
              "not_found_error", param="model", code="model_not_found")
    fails(lambda: client.models.retrieve("no/such"), anthropic.NotFoundError, "not_found_error",
          param="model", code="model_not_found")


def test_a_body_that_is_too_large(client, ask):
    large = ask(messages=[{"role": "user", "content": "x" * (1 << 20)}])
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**large)
    assert caught.value.status_code == 413
    assert caught.value.body["error"]["type"] == "request_too_large"


REFUSED = [
    (400, anthropic.BadRequestError, 400, "invalid_request_error"),
    (401, anthropic.InternalServerError, 502, "api_error"),
    (403, anthropic.InternalServerError, 502, "api_error"),
    (404, anthropic.NotFoundError, 404, "not_found_error"),
    (409, anthropic.ConflictError, 409, "invalid_request_error"),
    (422, anthropic.UnprocessableEntityError, 422, "invalid_request_error"),
    (429, anthropic.RateLimitError, 429, "rate_limit_error"),
    (500, anthropic.InternalServerError, 502, "api_error"),
    (529, anthropic.InternalServerError, 502, "api_error"),
]


@pytest.mark.parametrize("provider", ["ant", "oai"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status,kind,seen,word", REFUSED)
def test_an_error_of_the_provider(client, ask, provider, stream, status, kind, seen, word):
    error = fails(lambda: client.messages.create(stream=stream,
                                                 **ask(provider, f"+status={status}")), kind, word)
    assert error.status_code == seen


@pytest.mark.parametrize("provider,orders,code", [
    ("ant", "+kill=5", "stream_truncated"), ("ant", "+errorevent=6", "stream_error"),
    ("ant", "+badevent=6", "bad_json"), ("ant", "+nodone", "stream_truncated"),
    ("oai", "+kill=5", "stream_truncated"), ("oai", "+errorevent=5", "stream_error")])
def test_a_stream_that_breaks_raises(client, ask, provider, orders, code):
    got = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        with client.messages.stream(**ask(provider, orders)) as stream:
            got.extend(stream.text_stream)
    assert got and caught.value.body["error"]["code"] == code
    assert caught.value.body["error"]["type"] == "api_error"


# -- retries, cancellation, timeouts ---------------------------------------------------------------

def test_the_sdk_tries_again(client, here, ask):
    again = ask("ant", "+status=529+times=2")
    answer = client.with_options(max_retries=2).messages.create(**again)
    assert answer.content[0].text == WORDS and here.requests(again["model"]) == 3


def test_the_sdk_does_not_try_again_what_is_in_vain(client, here, ask):
    vain = ask("ant", "+status=401")
    with pytest.raises(anthropic.InternalServerError):
        client.with_options(max_retries=3).messages.create(**vain)
    assert here.requests(vain["model"]) == 1


def test_the_sdk_waits_as_long_as_it_is_told(client, here, ask):
    limited = ask("ant", "+status=429+retry_after=1+times=1")
    begun = time.monotonic()
    assert client.with_options(max_retries=1).messages.create(**limited).content
    assert time.monotonic() - begun >= 0.99 and here.requests(limited["model"]) == 2


@pytest.mark.parametrize("provider", ["ant", "oai"])
def test_a_closed_stream_stops_the_provider(client, here, ask, provider):
    endless = ask(provider, ENDLESS)
    with client.messages.stream(**endless) as stream:
        assert next(iter(stream.text_stream)) == "word"
    here.aborted(endless["model"])


def test_a_timeout_stops_the_provider(client, here, ask):
    silent = ask("ant", SILENT)
    with pytest.raises(anthropic.APITimeoutError):
        client.with_options(timeout=1.0).messages.create(**silent)
    here.aborted(silent["model"])


def test_the_async_client(world, here, ask, run):
    async def one(client, i):
        async with client.messages.stream(**ask("ant" if i % 2 else "oai",
                                                f"+tokens={i + 1}+pace=1")) as stream:
            return (await stream.get_final_message()).content[0].text

    async def everything():
        async with anthropic.AsyncAnthropic(base_url=world.url, api_key="x",
                                            max_retries=0) as client:
            answers = await asyncio.gather(*[one(client, i) for i in range(16)])
            task = asyncio.create_task(client.messages.create(**ask("ant", SILENT)))
            await asyncio.to_thread(here.started, here.model("ant", SILENT))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return answers

    assert run(everything()) == [" ".join(["word"] * (i + 1)) for i in range(16)]
    here.aborted(here.model("ant", SILENT))
