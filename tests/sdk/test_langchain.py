"""LangChain's OpenAI integration (langchain-openai), which reads answers and streams in its own
way: usage, tool calls in pieces, structured output, embeddings and the Responses API."""
import asyncio

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

WORDS = " ".join(["word"] * 10)
PROVIDERS = ["oai", "ant", "sim"]
ASK = [SystemMessage("be brief"), HumanMessage("four byte words")]
FRESH = {"default_headers": {"Cache-Control": "no-store"}}


@tool
def get_weather(city: str, days: int) -> str:
    """The weather of a city."""
    return f"21 degrees in {city} for {days} days"


class City(BaseModel):
    """A city and how many live there."""
    name: str
    people: int


@pytest.fixture
def chat(world, here):
    def make(provider="oai", orders="", **options):
        model = "sim" if provider == "sim" else here.model(provider, orders)
        return ChatOpenAI(model=model, base_url=world.url + "/v1", api_key="x",
                          **{"max_retries": 0, **options})
    return make


@pytest.mark.parametrize("provider", PROVIDERS)
def test_invoke(chat, here, provider):
    answer = chat(provider).invoke(ASK)
    assert answer.content == WORDS if provider != "sim" else answer.content
    assert answer.response_metadata["finish_reason"] == "stop"
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    if provider == "ant":
        assert "be brief" in str(here.sent()["system"])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_stream(chat, provider):
    whole = chat(provider, **FRESH).invoke(ASK)
    pieces = list(chat(provider, stream_usage=True, **FRESH).stream(ASK))
    total = pieces[0]
    for piece in pieces[1:]:
        total += piece
    assert len(pieces) > 5 and total.content == whole.content
    assert total.response_metadata["finish_reason"] == "stop"
    assert total.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"]


def test_batch_and_async(chat):
    answers = chat("oai", "+tokens=3").batch([[HumanMessage(f"question {i}")] for i in range(8)])
    assert [answer.content for answer in answers] == ["word word word"] * 8

    async def both():  # in one loop: LangChain keeps its client
        pieces = [piece.content async for piece in chat("ant").astream(ASK)]
        return "".join(pieces), (await chat().ainvoke(ASK)).content

    assert asyncio.run(both()) == (WORDS, WORDS)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("provider", ["oai", "ant"])
def test_tools(chat, here, provider, stream):
    calling = chat(provider, "+tool").bind_tools([get_weather])
    if stream:
        pieces = list(calling.stream(ASK))
        said = pieces[0]
        for piece in pieces[1:]:
            said += piece
    else:
        said = calling.invoke(ASK)
    call, = said.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris", "days": 3})
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage) and result.tool_call_id == call["id"]
    last = chat(provider).bind_tools([get_weather]).invoke(
        [*ASK, AIMessage(content=said.content, tool_calls=said.tool_calls), result])
    assert last.content == WORDS and "21 degrees in Paris for 3 days" in str(here.sent())


def test_structured_output(chat, here):
    answer = chat("oai", "+file=city.json").with_structured_output(City).invoke(ASK)
    assert answer == City(name="Oslo", people=709000)
    assert here.sent()["response_format"]["type"] == "json_schema"


def test_embeddings(world, here):
    embeddings = OpenAIEmbeddings(model=here.model(), base_url=world.url + "/v1", api_key="x",
                                  check_embedding_ctx_length=False, max_retries=0)
    vectors = embeddings.embed_documents(["one", "two"])
    assert len(vectors) == 2 and vectors[0] == embeddings.embed_query("three")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_responses_api(chat, stream):
    model = chat("oai", use_responses_api=True)
    answer = model.invoke(ASK)
    if stream:
        pieces = list(model.stream(ASK))
        answer = pieces[0]
        for piece in pieces[1:]:
            answer += piece
    assert answer.text == WORDS and answer.usage_metadata["output_tokens"] == 10


def test_errors_are_those_of_the_sdk(chat, here):
    with pytest.raises(openai.NotFoundError):
        ChatOpenAI(model="no/such", base_url=here.world.url + "/v1", api_key="x").invoke(ASK)
    with pytest.raises(openai.RateLimitError):
        chat("oai", "+status=429").invoke(ASK)
    with pytest.raises(openai.APIError) as caught:
        list(chat("oai", "+kill=5").stream(ASK))
    assert caught.value.code == "stream_truncated"


def test_retries(chat, here):
    model = chat("oai", "+status=500+times=1", max_retries=1)
    assert model.invoke(ASK).content == WORDS
    assert here.requests(here.model("oai", "+status=500+times=1")) == 2


def test_a_stream_that_is_left_stops_the_provider(chat, here):
    stream = chat("oai", "+tokens=100000+pace=20").stream(ASK)
    next(stream)
    stream.close()
    here.aborted(here.model("oai", "+tokens=100000+pace=20"))


def test_a_timeout_stops_the_provider(chat, here):
    with pytest.raises(openai.APITimeoutError):
        chat("oai", "+delay=600000", timeout=1.0).invoke(ASK)
    here.aborted(here.model("oai", "+delay=600000"))
