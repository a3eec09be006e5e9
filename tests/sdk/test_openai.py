"""The official OpenAI SDK for Python: every endpoint, whole and as a stream, tools, and what an
application sees of our headers and of the cache. What goes wrong is in test_openai_faults.py."""
import asyncio
import json

import openai
import pytest
from pydantic import BaseModel

from world import CLIENT_KEY, FILES

WORDS = " ".join(["word"] * 10)
HELLO = [{"role": "user", "content": "four byte words"}]
PROVIDERS = ["oai", "ant", "sim"]
FRESH = {"Cache-Control": "no-store"}
TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]


@pytest.fixture(scope="module")
def client(world):
    with openai.OpenAI(base_url=world.url + "/v1", api_key=CLIENT_KEY, max_retries=0) as one:
        yield one


@pytest.fixture
def model(here):
    """The model of a provider that this test may ask; the simulated one has one."""
    return lambda provider, orders="": "sim" if provider == "sim" else here.model(provider, orders)


# -- chat ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("provider", PROVIDERS)
def test_chat(client, model, provider):
    answer = client.chat.completions.create(model=model(provider), messages=HELLO)
    choice, = answer.choices
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert choice.message.content == WORDS if provider != "sim" else choice.message.content
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_chat_by_route(client):
    answer = client.chat.completions.with_raw_response.create(model="auto", messages=HELLO)
    assert answer.headers["x-optiroute-provider"] == "sim"
    assert answer.headers["x-optiroute-route-reason"]
    assert answer.parse().choices[0].message.content


@pytest.mark.parametrize("provider", PROVIDERS)
def test_chat_stream(client, model, provider):
    ask = {"model": model(provider), "messages": HELLO, "extra_headers": FRESH}
    whole = client.chat.completions.create(**ask)
    with client.chat.completions.create(stream=True, **ask) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == \
        whole.choices[0].message.content
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].object == "chat.completion.chunk"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] \
        == [chunks[-1].choices[0].finish_reason] == ["stop"]
    assert len(chunks) > 5, "not one by one"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_usage_of_a_stream_is_told_to_those_who_ask(client, model, provider):
    ask = {"model": model(provider), "messages": HELLO, "stream": True, "extra_headers": FRESH}
    *chunks, last = client.chat.completions.create(stream_options={"include_usage": True}, **ask)
    assert last.choices == [] and last.usage.completion_tokens > 0
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_usage_of_a_stream_is_not_told_to_others(client, here, model, provider, options):
    chunks = list(client.chat.completions.create(model=model(provider), messages=HELLO, stream=True,
                                                 extra_headers=FRESH, **options))
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)
    if provider == "oai":  # but the daemon wants to know what it costs
        assert here.sent()["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_chat_stream_helper(client, model, provider):
    ask = {"model": model(provider), "messages": HELLO, "extra_headers": FRESH}
    whole = client.chat.completions.create(**ask)
    with client.chat.completions.stream(stream_options={"include_usage": True}, **ask) as stream:
        types = [event.type for event in stream]
        final = stream.get_final_completion()
    assert types.count("content.delta") > 5 and types.count("content.done") == 1
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"
    assert final.usage.total_tokens == whole.usage.total_tokens


def test_chat_with_several_choices_and_logprobs(client, here):
    ask = {"model": here.model("oai", "+logprobs+tokens=3"), "messages": HELLO, "n": 2,
           "logprobs": True}
    answer = client.chat.completions.create(**ask)
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert [one.token for one in choice.logprobs.content] == ["word", " word", " word"]
    chunks = list(client.chat.completions.create(stream=True, extra_headers=FRESH, **ask))
    assert {chunk.choices[0].index for chunk in chunks} == {0, 1}
    assert sum(len(chunk.choices[0].logprobs.content) for chunk in chunks
               if chunk.choices[0].logprobs) == 6


def test_members_nobody_has_heard_of_are_kept_both_ways(client, here):
    extra = {"x_plan": {"depth": 1.50, "steps": [1, None]}, "service_tier": "flex"}
    answer = client.chat.completions.create(
        model=here.model("oai", "+file=unknown.json"), messages=HELLO, extra_body=extra)
    wanted = FILES["unknown.json"]
    assert answer.model_extra == {"x_vendor": wanted["x_vendor"]}
    assert answer.choices[0].model_extra == {"x_rank": 1.0}
    assert answer.choices[0].message.model_extra == {"x_mood": {"joy": [1, 2.5]}}
    assert (answer.service_tier, answer.system_fingerprint) == ("scale", "fp_44709d6fcb")
    assert {key: here.sent()[key] for key in extra} == extra
    assert '"depth":1.5,' in here.world.mock.last()["body"]


def test_reasoning_is_kept(client, here):
    ask = {"model": here.model("oai", "+reasoning_text"), "messages": HELLO}
    answer = client.chat.completions.create(**ask)
    assert answer.choices[0].message.reasoning_content == "Let me think."
    chunks = client.chat.completions.create(stream=True, extra_headers=FRESH, **ask)
    assert "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or ""
                   for chunk in chunks) == "Let me think."


def test_an_image_gets_to_the_provider_as_it_is(client, here):
    parts = [{"type": "text", "text": "what is it?"},
             {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=",
                                                 "detail": "low"}}]
    client.chat.completions.create(model=here.model(), max_completion_tokens=7,
                                   messages=[{"role": "user", "content": parts}])
    assert here.sent()["messages"] == [{"role": "user", "content": parts}]
    assert here.sent()["max_completion_tokens"] == 7 and "max_tokens" not in here.sent()


def test_chat_parsed_by_a_schema(client, here):
    class City(BaseModel):
        name: str
        people: int

    answer = client.chat.completions.parse(
        model=here.model("oai", "+file=city.json"), messages=HELLO, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Oslo", people=709000)
    assert here.sent()["response_format"]["json_schema"]["name"] == "City"


# -- tools -----------------------------------------------------------------------------------------

def second_turn(client, here, provider, message):
    """The result of the call goes back, and what the provider gets of it."""
    call, = message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Paris", "days": 3}
    # a parsed message has members that only the SDK knows
    said = {"role": "assistant", "content": None, "tool_calls": [
        {"id": call.id, "type": "function", "function": {
            "name": call.function.name, "arguments": call.function.arguments}}]}
    answer = client.chat.completions.create(
        model=here.model(provider), tools=TOOLS,
        messages=[*HELLO, said, {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}])
    assert answer.choices[0].message.content == WORDS
    messages = here.sent()["messages"]
    if provider == "oai":
        assert messages[2] == {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}
        return
    used, result = messages[1]["content"][-1], messages[2]["content"][-1]
    assert (used["type"], used["id"], used["input"]) == \
        ("tool_use", call.id, {"city": "Paris", "days": 3})
    assert (result["type"], result["tool_use_id"]) == ("tool_result", call.id)
    assert "21 degrees" in json.dumps(result["content"])


@pytest.mark.parametrize("provider", ["oai", "ant"])
def test_tools(client, here, provider):
    answer = client.chat.completions.create(
        model=here.model(provider, "+tool"), messages=HELLO, tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "get_weather"}})
    assert answer.choices[0].finish_reason == "tool_calls"
    choice = here.sent()["tool_choice"]
    assert choice == {"type": "tool", "name": "get_weather"} if provider == "ant" else \
        choice["function"] == {"name": "get_weather"}
    second_turn(client, here, provider, answer.choices[0].message)


@pytest.mark.parametrize("provider", ["oai", "ant"])
def test_tools_in_a_stream(client, here, provider):
    with client.chat.completions.stream(model=here.model(provider, "+tool"), messages=HELLO,
                                        tools=TOOLS) as stream:
        types = [event.type for event in stream]
        final = stream.get_final_completion()
    assert types.count("tool_calls.function.arguments.delta") > 1
    assert types.count("tool_calls.function.arguments.done") == 1
    assert final.choices[0].finish_reason == "tool_calls"
    second_turn(client, here, provider, final.choices[0].message)


# -- completions, embeddings, models ---------------------------------------------------------------

@pytest.mark.parametrize("provider", PROVIDERS)
def test_completions(client, model, provider):
    ask = {"model": model(provider), "prompt": "four byte words", "extra_headers": FRESH}
    answer = client.completions.create(**ask)
    assert answer.object == "text_completion" and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    *chunks, last = client.completions.create(
        stream=True, stream_options={"include_usage": True}, **ask)
    assert "".join(chunk.choices[0].text for chunk in chunks) == answer.choices[0].text
    assert last.choices == [] and last.usage == answer.usage
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_embeddings(client, here):
    answer = client.embeddings.create(model=here.model(), input=["one", "two"])
    assert [one.index for one in answer.data] == [0, 1]
    assert answer.data[1].embedding == [0.125, -0.25, 0.375, -0.5, 0.625, -0.75, 0.875, -1.0]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0
    again = client.embeddings.with_raw_response.create(model=here.model(), input=["one", "two"])
    assert again.headers["x-optiroute-cache"] == "hit" and again.parse() == answer
    assert here.sent()["encoding_format"] == "base64"
    floats = client.embeddings.create(model=here.model(), input="one", encoding_format="float")
    assert floats.data[0].embedding == answer.data[0].embedding
    client.embeddings.create(model=here.model(), input=[[1, 2, 3]], dimensions=8)
    assert (here.sent()["input"], here.sent()["dimensions"]) == ([[1, 2, 3]], 8)


def test_models(client):
    names = [one.id for one in client.models.list()]
    assert {"auto", "oai", "oai/m", "ant", "limited", "sim"} <= set(names)
    for name in names:  # the SDK writes the slash as %2F
        one = client.models.retrieve(name)
        assert (one.id, one.object) == (name, "model") and one.created > 0 and one.owned_by
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody/nothing")
    assert caught.value.code == "model_not_found" and caught.value.param == "model"


# -- responses -------------------------------------------------------------------------------------

RESPONSE_TOOLS = [{"type": "function", "name": "get_weather", "strict": None, "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}]


def test_responses(client, here):
    answer = client.responses.create(model=here.model(), input="four byte words",
                                     instructions="be brief", store=False)
    assert (answer.status, answer.output_text) == ("completed", WORDS)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert here.sent()["instructions"] == "be brief"
    assert here.world.mock.last()["path"] == "/v1/responses"


def test_responses_stream(client, here):
    ask = {"model": here.model(), "input": "four byte words"}
    with client.responses.create(stream=True, **ask) as stream:
        events = list(stream)
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events
                   if event.type == "response.output_text.delta") == WORDS
    assert events[-1].response.output_text == WORDS
    with client.responses.stream(**ask) as stream:
        types = [event.type for event in stream]
        assert stream.get_final_response().output_text == WORDS
    assert types.count("response.output_text.delta") == 10


def test_responses_with_tools(client, here):
    ask = {"input": "weather?", "tools": RESPONSE_TOOLS}
    with client.responses.stream(model=here.model("oai", "+tool"), **ask) as stream:
        stream.until_done()
        streamed, = stream.get_final_response().output
    answer = client.responses.create(model=here.model("oai", "+tool"), **ask)
    for call in (streamed, answer.output[0]):
        assert (call.type, call.name) == ("function_call", "get_weather")
        assert json.loads(call.arguments) == {"city": "Paris", "days": 3}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
    said = {"type": "function_call", "call_id": call.call_id, "name": call.name,
            "arguments": call.arguments}
    last = client.responses.create(model=here.model(), tools=RESPONSE_TOOLS,
                                   input=[{"role": "user", "content": "weather?"}, said, result])
    assert last.output_text == WORDS and here.sent()["input"][-1] == result


def test_a_stored_response_is_replayed_in_both_ways(client, here):
    ask = {"model": here.model(), "input": "four byte words", "store": False}
    events = list(client.responses.create(stream=True, **ask))
    hit = client.responses.with_raw_response.create(**ask)
    assert hit.headers["x-optiroute-cache"] == "hit"
    assert hit.parse().output == events[-1].response.output
    raw = client.responses.with_raw_response.create(stream=True, **ask)
    replayed = list(raw.parse())
    assert raw.headers["x-optiroute-cache"] == "hit" and here.requests(ask["model"]) == 1
    assert replayed[-1].response.output_text == WORDS
    with client.responses.stream(**ask) as stream:  # it checks the order of events
        stream.until_done()
        assert stream.get_final_response().output_text == WORDS


@pytest.mark.parametrize("endpoint", ["responses", "embeddings"])
@pytest.mark.parametrize("provider", ["ant", "sim"])
def test_what_a_provider_does_not_have_is_a_bad_request(client, model, provider, endpoint):
    with pytest.raises(openai.BadRequestError) as caught:
        getattr(client, endpoint).create(model=model(provider), input="words")
    assert caught.value.code == "unsupported_endpoint" and caught.value.request_id


# -- headers and cache -----------------------------------------------------------------------------

def test_headers_of_an_answer(client, here):
    fields = {"x-request-id": "of-the-client.1"}
    answer = client.chat.completions.with_raw_response.create(
        model="oai/m", messages=[{"role": "user", "content": here.name}], extra_headers=fields)
    assert answer.parse()._request_id == answer.headers["x-request-id"] == "of-the-client.1"
    assert answer.headers["x-optiroute-provider"] == "oai"
    assert answer.headers["x-optiroute-model"] == "m"
    assert float(answer.headers["x-optiroute-cost-usd"]) > 0
    line = here.world.daemon.access_line("of-the-client.1")
    assert (line["status"], line["path"]) == (200, "/v1/chat/completions")
    sent = here.world.mock.last()["fields"]
    assert CLIENT_KEY not in str(sent), "the client's key must stay here"


@pytest.mark.parametrize("provider", ["oai", "ant"])
@pytest.mark.parametrize("first", ["whole", "stream"])
def test_a_stored_answer_is_replayed_in_both_ways(client, here, provider, first):
    ask = {"model": here.model(provider), "messages": HELLO}
    create = client.chat.completions.with_raw_response.create
    missed = create(stream=first == "stream", **ask)
    assert missed.headers["x-optiroute-cache"] == "miss"
    before = missed.parse()
    before = list(before)[0].id if first == "stream" else before.id
    whole = create(**ask)
    streamed = create(stream=True, stream_options={"include_usage": True}, **ask)
    answer, chunks = whole.parse(), list(streamed.parse())
    assert whole.headers["x-optiroute-cache"] == streamed.headers["x-optiroute-cache"] == "hit"
    assert answer.choices[0].message.content == WORDS
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == WORDS
    assert chunks[-1].choices == [] and chunks[-1].usage == answer.usage
    assert {chunk.id for chunk in chunks} == {answer.id} == {before}
    assert here.requests(ask["model"]) == 1


def test_a_replay_keeps_what_nobody_has_heard_of(client, here):
    ask = {"model": here.model("oai", "+file=unknown.json"), "messages": HELLO}
    first = client.chat.completions.with_raw_response.create(**ask)
    again = client.chat.completions.with_raw_response.create(**ask)
    assert again.headers["x-optiroute-cache"] == "hit" and again.text == first.text
    chunks = list(client.chat.completions.create(stream=True, **ask))
    assert all(chunk.model_extra == {"x_vendor": FILES["unknown.json"]["x_vendor"]}
               for chunk in chunks)
    assert {chunk.service_tier for chunk in chunks} == {"scale"}


def test_no_store_goes_past_the_cache(client, here):
    ask = {"model": here.model(), "messages": HELLO, "extra_headers": FRESH}
    for times in (1, 2):
        answer = client.chat.completions.with_raw_response.create(**ask)
        assert answer.headers["x-optiroute-cache"] == "bypass"
        assert here.requests(ask["model"]) == times


# -- the async client ------------------------------------------------------------------------------

def test_many_at_once(world, here, run):
    async def whole(client, i):
        answer = await client.chat.completions.create(
            model=here.model("ant" if i % 2 else "oai", f"+tokens={i + 1}"), messages=HELLO)
        return answer.choices[0].message.content

    async def streamed(client, i):
        stream = await client.chat.completions.create(
            model=here.model("ant" if i % 2 else "oai", f"+tokens={i + 1}+pace=1"), messages=HELLO,
            stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def everything():
        async with openai.AsyncOpenAI(base_url=world.url + "/v1", api_key="x",
                                      max_retries=0) as client:
            return await asyncio.gather(*[kind(client, i) for i in range(24)
                                          for kind in (whole, streamed)])

    assert run(everything()) == [" ".join(["word"] * (i + 1)) for i in range(24) for _ in "ab"]


def test_async_endpoints(world, here, run):
    async def everything():
        async with openai.AsyncOpenAI(base_url=world.url + "/v1", api_key="x",
                                      max_retries=0) as client:
            name = here.model()
            async with client.chat.completions.stream(model=name, messages=HELLO) as stream:
                chat = (await stream.get_final_completion()).choices[0].message.content
            async with client.responses.stream(model=name, input="words") as stream:
                response = (await stream.get_final_response()).output_text
            texts = [chunk.choices[0].text async for chunk in await client.completions.create(
                model=name, prompt="words", stream=True)]
            vector = (await client.embeddings.create(model=name, input="words")).data[0].embedding
            names = [one.id async for one in client.models.list()]
            return chat, response, "".join(texts), len(vector), "auto" in names

    assert run(everything()) == (WORDS, WORDS, WORDS, 8, True)
