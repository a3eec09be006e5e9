"""Between the APIs: what an OpenAI client's request becomes at a provider that speaks Anthropic's, and
the other way; what /generate and the classic Hugging Face API are asked; what cannot be said is a 400
that names its place, or goes to who can be asked it.
"""
import json

import pytest

from mock import Mock, upstream
from optiroute import Daemon, anthropic_error, named_events

FRESH = ["Cache-Control: no-store"]
HELLO = [{"role": "user", "content": "Hello there"}]
PNG = "iVBORw0KGgo="


@pytest.fixture(scope="module")
def mock():
    with Mock() as running:
        yield running


@pytest.fixture(scope="module")
def daemon(mock):
    providers = {name: upstream(mock, kind) for name, kind in
                 (("oa", "openai"), ("an", "anthropic"), ("hf", "huggingface"))}
    providers["down"] = upstream(mock, "openai", url="http://127.0.0.1:1/v1",
                                 breaker={"failures": 1, "open": "300s"})
    routes = {
        "an-oa": {"cheap": "an", "strong": "an", "fallback": ["oa"]},
        "hf-oa": {"cheap": "hf", "strong": "hf", "fallback": ["oa"]},
        "oa-an": {"cheap": "oa", "strong": "oa", "fallback": ["an"]},
        "an-hf": {"cheap": "an", "strong": "an", "fallback": ["hf"]},
        "down-an": {"cheap": "down", "strong": "down", "fallback": ["an"]},
        "an-down": {"cheap": "an", "strong": "an", "fallback": ["down"]},
    }
    with Daemon({"providers": providers, "routes": routes}) as running:
        yield running


def chat(daemon, model, fields=(), **members):
    body = {"model": model, "messages": HELLO, **members}
    return daemon.request("POST", "/v1/chat/completions", body, [*FRESH, *fields])


def messages(daemon, model, fields=(), **members):
    body = {"model": model, "messages": HELLO, "max_tokens": 99, **members}
    return daemon.request("POST", "/v1/messages", body, [*FRESH, *fields])


def arrived(mock):
    return json.loads(mock.last()["body"])


def text(words, **members):
    return {"type": "text", "text": words, **members}


def user(content):
    return {"role": "user", "content": content}


def call(number, arguments):
    return {"id": f"t{number}", "type": "function",
            "function": {"name": "weather", "arguments": arguments}}


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


# -- a chat, asked of Anthropic ----------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": [text("Be kind."), text("")]},
    user("Weather in Paris and Oslo?"),
    {"role": "assistant", "content": "I look.", "reasoning_content": "hm",
     "tool_calls": [call(1, '{"city": "Paris"}'), call(2, "")]},
    {"role": "tool", "tool_call_id": "t1", "content": "Sun"},
    {"role": "tool", "tool_call_id": "t2", "content": [text("Rain")]},
    user([text("And \u00e9 \"this\"?"), image(f"data:image/png;base64,{PNG}"), image("https://x.test/a.png"),
          {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"}}]),
    {"role": "assistant", "content": None, "refusal": "No."},
    {"role": "system", "content": "Go on."},
    user("Well?"),
]
TRANSLATED = [
    user([text("Weather in Paris and Oslo?")]),
    {"role": "assistant", "content": [
        text("I look."),
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "t2", "name": "weather", "input": {}}]},
    user([{"type": "tool_result", "tool_use_id": "t1", "content": [text("Sun")]},
          {"type": "tool_result", "tool_use_id": "t2", "content": [text("Rain")]},
          text("And \u00e9 \"this\"?"),
          {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
          {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
          {"type": "document", "title": "a.pdf",
           "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}}]),
    {"role": "assistant", "content": [text("No.")]},
    user([text("Well?")]),
]


def test_a_conversation_is_asked_of_anthropic(daemon, mock):
    answer = chat(daemon, "an", messages=CONVERSATION, max_tokens=50, temperature=0.5, top_p=0.9, stop="END",
                  user="me", parallel_tool_calls=False, tool_choice="required", n=1, store=False,
                  logprobs=False, presence_penalty=0, frequency_penalty=0.0, logit_bias={},
                  response_format={"type": "text"}, metadata={"a": "b"}, service_tier="auto",
                  tools=[{"type": "function", "function": {"name": "weather", "description": "d",
                                                           "parameters": SCHEMA, "strict": True}},
                         {"type": "function", "function": {"name": "bare"}}])
    assert answer.status == 200, answer
    assert arrived(mock) == {
        "model": "plain", "max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"],
        "metadata": {"user_id": "me"}, "messages": TRANSLATED,
        "system": [text("Be brief."), text("Be kind."), text("Go on.")],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "tools": [{"name": "weather", "description": "d", "strict": True, "input_schema": SCHEMA},
                  {"name": "bare", "input_schema": {"type": "object", "properties": {}}}]}


@pytest.mark.parametrize("given,made", [
    ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
    ({"tools": [], "tool_choice": "auto"}, {}),
    ({"reasoning_effort": "low"}, {"output_config": {"effort": "low"}}),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}},
     {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
    ({"temperature": 1, "user": None, "stop": None, "tools": None}, {"temperature": 1}),
    ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
])
def test_a_member_is_said_in_its_own_way(daemon, mock, given, made):
    assert chat(daemon, "an", **given).status == 200
    assert arrived(mock) == {"model": "plain", "max_tokens": 4096, "messages": [user([text("Hello there")])],
                             **made}


@pytest.mark.parametrize("choice,made", [
    ("auto", {"type": "auto"}), ("none", {"type": "none"}), ("required", {"type": "any"}),
    ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"})])
def test_the_choice_of_tools(daemon, mock, choice, made):
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert chat(daemon, "an", tools=tools, tool_choice=choice).status == 200
    assert arrived(mock)["tool_choice"] == made
    back = {"auto": "auto", "none": "none", "any": "required"}.get(made["type"], choice)
    assert messages(daemon, "oa", tools=[{"name": "f", "input_schema": SCHEMA}], tool_choice=made).status == 200
    assert arrived(mock)["tool_choice"] == back


def test_an_answer_of_anthropic_as_a_chat(daemon):
    answer = chat(daemon, "an/x+tokens=3+prompt=7+cached=5+cache_write=2+reasoning_text").json()
    choice = answer["choices"][0]
    assert (answer["object"], len(answer["choices"])) == ("chat.completion", 1)
    assert answer["id"].startswith("chatcmpl-") and answer["created"] > 0
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert choice["message"]["role"] == "assistant" and choice["message"]["reasoning_content"]
    assert len(choice["message"]["content"].split()) == 3
    usage = answer["usage"]
    assert usage["prompt_tokens"] == 14 and usage["prompt_tokens_details"]["cached_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_an_answer_of_openai_as_a_message(daemon):
    answer = messages(daemon, "oa/x+tokens=3+prompt=9+cached=5+reasoning_text").json()
    assert (answer["type"], answer["role"], answer["stop_reason"]) == ("message", "assistant", "end_turn")
    assert answer["id"].startswith("msg_") and answer["stop_sequence"] is None
    assert [block["type"] for block in answer["content"]] == ["thinking", "text"]
    assert len(answer["content"][1]["text"].split()) == 3
    assert answer["usage"]["input_tokens"] == 4 and answer["usage"]["cache_read_input_tokens"] == 5
    assert answer["usage"]["output_tokens"] == 3


STOPS = {"": ("stop", "end_turn"), "+stop=length": ("length", "max_tokens"),
         "+stop=filter": ("content_filter", "refusal"), "+tool": ("tool_calls", "tool_use")}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("order", STOPS)
def test_why_a_model_stops(daemon, order, stream):
    """The same word whoever answers, as a whole and as a stream."""
    for provider in ("oa", "an"):
        answer = chat(daemon, f"{provider}/x{order}", stream=stream)
        reasons = [answer.json()["choices"][0]["finish_reason"]] if not stream else [
            choice["finish_reason"] for _, data in named_events(answer.body)[:-1]
            for choice in json.loads(data)["choices"] if choice["finish_reason"]]
        assert reasons == [STOPS[order][0]], (provider, answer)
        answer = messages(daemon, f"{provider}/x{order}", stream=stream)
        reasons = [answer.json()["stop_reason"]] if not stream else [
            json.loads(data)["delta"]["stop_reason"] for name, data in named_events(answer.body)
            if name == "message_delta"]
        assert reasons == [STOPS[order][1]], (provider, answer)


# -- streams ---------------------------------------------------------------------------------------

def chunks_of(answer):
    events = named_events(answer.body)
    assert answer.status == 200 and events[-1] == (None, "[DONE]"), answer
    chunks = [json.loads(data) for _, data in events[:-1]]
    for key in ("id", "created", "model", "object"):
        assert len({chunk[key] for chunk in chunks}) == 1
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    return chunks


def joined(chunks, member):
    return "".join(choice["delta"].get(member) or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_of_anthropic_as_chunks(daemon, usage):
    chunks = chunks_of(chat(daemon, "an/x+tokens=5+prompt=7+cached=5+reasoning_text", stream=True,
                            stream_options={"include_usage": usage}))
    assert len(joined(chunks, "content").split()) == 5 and joined(chunks, "reasoning_content")
    assert [chunk["choices"] == [] for chunk in chunks] == [False] * (len(chunks) - 1) + [usage]
    if usage:
        assert chunks[-1]["usage"]["prompt_tokens"] == 12
        assert all(chunk["usage"] is None for chunk in chunks[:-1])
    else:
        assert not any("usage" in chunk for chunk in chunks)


def test_a_stream_of_a_call_as_chunks(daemon):
    chunks = chunks_of(chat(daemon, "an/x+tool", stream=True))
    calls = [one for chunk in chunks for choice in chunk["choices"]
             for one in choice["delta"].get("tool_calls", [])]
    assert {one["index"] for one in calls} == {0}
    assert calls[0]["id"] and calls[0]["type"] == "function" and calls[0]["function"]["name"]
    assert isinstance(json.loads("".join(one["function"]["arguments"] for one in calls)), dict)
    whole = chat(daemon, "an/x+tool").json()["choices"][0]["message"]["tool_calls"]
    assert len(whole) == 1 and whole[0]["function"]["name"] == calls[0]["function"]["name"]
    assert isinstance(json.loads(whole[0]["function"]["arguments"]), dict)


@pytest.mark.parametrize("order,kinds", [
    ("", ["text"]), ("+reasoning_text", ["thinking", "text"]), ("+tool", ["tool_use"])])
def test_a_stream_of_openai_as_events(daemon, order, kinds):
    answer = messages(daemon, f"oa/x+tokens=5+prompt=9+cached=5{order}", stream=True)
    events = [(name, json.loads(data)) for name, data in named_events(answer.body)]
    assert all(name == data["type"] for name, data in events)
    names = [name for name, _ in events]
    assert names[0] == "message_start" and names[-2:] == ["message_delta", "message_stop"]
    blocks = []
    for name, data in events[1:-2]:
        if name == "content_block_start":
            assert data["index"] == len(blocks)
            blocks.append((data["content_block"]["type"], []))
        elif name == "content_block_delta":
            assert data["index"] == len(blocks) - 1
            blocks[-1][1].append(data["delta"])
        else:
            assert name == "content_block_stop" and data["index"] == len(blocks) - 1
    assert [kind for kind, _ in blocks] == kinds
    if kinds == ["tool_use"]:
        assert isinstance(json.loads("".join(one["partial_json"] for one in blocks[0][1])), dict)
    else:
        assert len("".join(one["text"] for one in blocks[-1][1]).split()) == 5
    usage = events[-2][1]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (4, 5)


# -- a message, asked of OpenAI ---------------------------------------------------------------------

def test_a_conversation_is_asked_of_openai(daemon, mock):
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    turns = [
        user([text("Weather?"), {"type": "image", "source": source},
              {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
              {"type": "document", "title": "a.pdf", "source": {**source, "media_type": "application/pdf"}},
              {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}}]),
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"}, text("I"), text("look."),
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "\u00e9\""}},
            {"type": "tool_use", "id": "t2", "name": "weather", "input": {}}]},
        user([{"type": "tool_result", "tool_use_id": "t1", "content": "Sun"},
              {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": [text("no"), text("way")]},
              text("And now?", cache_control={"type": "ephemeral"})]),
        {"role": "assistant", "content": "Well"},
        user("?"),
    ]
    answer = messages(daemon, "oa", messages=turns, system=[text("Be brief."), text("Be kind.")],
                      temperature=0.5, top_p=0.9, stop_sequences=["END"], metadata={"user_id": "me"},
                      service_tier="auto",
                      tools=[{"name": "weather", "description": "d", "input_schema": SCHEMA,
                              "cache_control": {"type": "ephemeral"}}],
                      tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert answer.status == 200, answer
    body = arrived(mock)
    calls = body["messages"][2]["tool_calls"]
    assert [json.loads(one["function"].pop("arguments")) for one in calls] == [{"city": "\u00e9\""}, {}]
    assert body == {
        "model": "plain", "max_tokens": 99, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "user": "me",
        "tools": [{"type": "function",
                   "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}],
        "tool_choice": "auto", "parallel_tool_calls": False,
        "messages": [
            {"role": "system", "content": "Be brief.\nBe kind."},
            user([text("Weather?"), image(f"data:image/png;base64,{PNG}"), image("https://x.test/a.png"),
                  {"type": "file", "file": {"filename": "a.pdf",
                                            "file_data": f"data:application/pdf;base64,{PNG}"}}, text("doc")]),
            {"role": "assistant", "content": "I\nlook.", "tool_calls": [
                {"id": f"t{i}", "type": "function", "function": {"name": "weather"}} for i in (1, 2)]},
            {"role": "tool", "tool_call_id": "t1", "content": "Sun"},
            {"role": "tool", "tool_call_id": "t2", "content": "Error: no\nway"},
            user("And now?"), {"role": "assistant", "content": "Well"}, user("?")]}


@pytest.mark.parametrize("given,made", [
    ({"system": ""}, {}), ({"tools": []}, {}),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning_effort": "low"}),
    ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, {"reasoning_effort": "high"}),
    ({"thinking": {"type": "disabled"}}, {}),
    ({"output_config": {"effort": "medium"}}, {"reasoning_effort": "medium"}),
    ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
     {"response_format": {"type": "json_schema",
                          "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}}),
    ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
])
def test_a_member_is_said_in_openais_way(daemon, mock, given, made):
    assert messages(daemon, "oa", **given).status == 200
    assert arrived(mock) == {"model": "plain", "max_tokens": 99, "messages": HELLO, **made}


# -- the classic API of Hugging Face, the simulated provider, /generate ------------------------------

@pytest.mark.parametrize("stream", [False, True])
def test_hugging_face_is_asked_by_both(daemon, mock, stream):
    both = {"temperature": 0, "top_p": 0.9, "stream": stream}
    answer = chat(daemon, "hf", max_tokens=5, stop=["END"], seed=7, **both,
                  messages=[user([text("He\u00e9"), text("llo")])])
    assert answer.status == 200, answer
    assert arrived(mock) == {"inputs": "He\u00e9llo", "parameters": {
        "return_full_text": False, "details": True, "max_new_tokens": 5, "do_sample": False, "top_p": 0.9,
        "stop": ["END"], "seed": 7}}
    assert not stream or joined(chunks_of(answer), "content")
    answer = messages(daemon, "hf", max_tokens=5, stop_sequences=["END"], top_k=3, **both)
    assert answer.status == 200, answer
    assert arrived(mock) == {"inputs": "Hello there", "parameters": {
        "return_full_text": False, "details": True, "max_new_tokens": 5, "do_sample": False, "top_p": 0.9,
        "top_k": 3, "stop": ["END"]}}
    assert not stream or named_events(answer.body)[-1][0] == "message_stop"


def test_the_simulated_provider_says_the_same_to_all(daemon):
    words = chat(daemon, "small", max_tokens=9).json()["choices"][0]["message"]["content"]
    assert messages(daemon, "small", max_tokens=9).json()["content"][0]["text"] == words
    assert joined(chunks_of(chat(daemon, "small", max_tokens=9, stream=True)), "content") == words
    deltas = [json.loads(data)["delta"]["text"]
              for name, data in named_events(messages(daemon, "small", max_tokens=9, stream=True).body)
              if name == "content_block_delta"]
    assert "".join(deltas) == words and len(deltas) > 1
    assert chat(daemon, "small", max_tokens=9).json()["choices"][0]["finish_reason"] == "length"
    assert messages(daemon, "small", max_tokens=9).json()["stop_reason"] == "max_tokens"


def test_generate_is_asked_of_all(daemon, mock):
    for stream in (False, True):
        for provider in ("oa", "an", "hf"):
            answer = daemon.generate("Hello there", FRESH, provider=provider, max_tokens=8, stream=stream)
            assert answer.status == 200, answer
            body = arrived(mock)
            if provider == "hf":
                assert (body["inputs"], body["parameters"]["max_new_tokens"]) == ("Hello there", 8)
                continue
            assert body["max_tokens"] == 8 and body.get("stream", False) == stream
            expected = {"oa": HELLO, "an": [user([text("Hello there")])]}[provider]
            assert body["messages"] == expected


# -- what cannot be said ---------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "f"}}
OF_A_CHAT = [  # members, where, at whom
    ({"n": 2}, "n", "an hf"), ({"logprobs": True}, "logprobs", "an hf"), ({"seed": 5}, "seed", "an"),
    ({"logit_bias": {"5": 1}}, "logit_bias", "an hf"), ({"presence_penalty": 0.5}, "presence_penalty", "an hf"),
    ({"temperature": 1.5}, "temperature", "an"), ({"service_tier": "flex"}, "service_tier", "an hf"),
    ({"reasoning_effort": "minimal"}, "reasoning_effort", "an"), ({"store": True}, "store", "an hf"),
    ({"response_format": {"type": "json_object"}}, "response_format", "an hf"),
    ({"modalities": ["text", "audio"]}, "modalities", "an"), ({"x_unknown": 0}, "x_unknown", "an hf"),
    ({"audio": {"voice": "a"}}, "audio", "an hf"), ({"tools": [TOOL]}, "tools", "hf"),
    ({"tools": [TOOL, {"type": "web_search"}]}, "tools[1]", "an"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice", "an"),
    ({"messages": [*HELLO, {"role": "critic", "content": "a"}]}, "messages[1].role", "an"),
    ({"messages": [{**HELLO[0], "name": "me"}]}, "messages[0].name", "an hf"),
    ({"messages": [user([text("a"), {"type": "input_audio", "input_audio": {}}])]}, "messages[0].content[1]",
     "an"),
    ({"messages": [user([image("ftp://x/a.png")])]}, "messages[0].content[0]", "an"),
    ({"messages": [user([image("data:image/png,raw")])]}, "messages[0].content[0]", "an"),
    ({"messages": [user([{"type": "file", "file": {"file_id": "f"}}])]}, "messages[0].content[0]", "an"),
    ({"messages": [user([{**image("https://x.test/"), "x_unknown": 1}])]}, "messages[0].content[0].x_unknown",
     "an"),
    ({"messages": [user([text("a", x_unknown=1)])]}, "messages[0].content[0].x_unknown", "an hf"),
    ({"tools": [{"type": "function", "function": {"name": "f", "x_unknown": 1}}]},
     "tools[0].function.x_unknown", "an"),
    ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [call(1, "[1]")]}]},
     "messages[1].tool_calls[0].function.arguments", "an"),
    ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [call(1, "{bad")]}]},
     "messages[1].tool_calls[0].function.arguments", "an"),
    ({"messages": [*HELLO, {"role": "tool", "content": "a"}]}, "messages[1].tool_call_id", "an"),
    ({"messages": [*HELLO, *HELLO]}, "messages", "hf"),
    ({"messages": [user([image("https://x.test/")])]}, "messages[0].content", "hf"),
]
OF_A_MESSAGE = [
    ({"top_k": 5}, "top_k", "oa"), ({"system": "a"}, "system", "hf"), ({"mcp_servers": [{}]}, "mcp_servers", "oa hf"),
    ({"x_unknown": "a"}, "x_unknown", "oa hf"), ({"container": "c"}, "container", "oa hf"),
    ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools[0]", "oa"),
    ({"tools": [{"name": "f", "input_schema": {}, "x_unknown": 1}]}, "tools[0].x_unknown", "oa"),
    ({"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "odd"}}, "tool_choice", "oa"),
    ({"messages": [*HELLO, {"role": "system", "content": "a"}]}, "messages[1].role", "oa"),
    ({"messages": [user([text("a"), {"type": "image", "source": {"type": "file", "file_id": "f"}}])]},
     "messages[0].content[1]", "oa"),
    ({"messages": [user([text("a", citations=[{}])])]}, "messages[0].content[0].citations", "oa"),
    ({"messages": [*HELLO, {"role": "assistant", "content": [{"type": "server_tool_use"}]}, *HELLO]},
     "messages[1].content[0]", "oa"),
    ({"messages": [user([{"type": "tool_result", "tool_use_id": "t",
                          "content": [{"type": "image", "source": {}}]}])]},
     "messages[0].content[0].content", "oa"),
    ({"messages": [user([{"type": "document", "citations": {"enabled": True},
                          "source": {"type": "text", "media_type": "text/plain", "data": "a"}}])]},
     "messages[0].content[0]", "oa"),
    ({"system": [{"type": "image"}]}, "system", "oa"),
    ({"output_config": {"effort": "max"}}, "output_config.effort", "oa"),
    ({"output_config": {"x_unknown": 1}}, "output_config.x_unknown", "oa"),
]


def rows(table):
    return [pytest.param(members, place, provider, id=f"{place}-{provider}")
            for members, place, providers in table for provider in providers.split()]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("members,place,provider", rows(OF_A_CHAT))
def test_what_cannot_be_said_of_a_chat(daemon, mock, members, place, provider, stream):
    before = mock.counters()["requests"]
    answer = chat(daemon, provider, stream=stream, **members)
    error = answer.error()
    assert (answer.status, error["code"]) == (400, "untranslatable"), answer
    assert error["param"].startswith(place), error  # or a place inside it
    assert error["type"] == "invalid_request_error" and answer.field("x-should-retry") == "false"
    assert mock.counters()["requests"] == before
    answer = chat(daemon, provider + "-oa", stream=stream, **members)  # who can be asked it, is
    assert answer.status == 200 and answer.field("x-optiroute-provider") == "oa", answer
    assert {**arrived(mock), "stream_options": None} == {
        "model": "plain", "messages": HELLO, "stream": stream, **members, "stream_options": None}


@pytest.mark.parametrize("members,place,provider", rows(OF_A_MESSAGE))
def test_what_cannot_be_said_of_a_message(daemon, mock, members, place, provider):
    before = mock.counters()["requests"]
    answer = messages(daemon, provider, **members)
    error = anthropic_error(answer)
    assert (answer.status, error["type"]) == (400, "invalid_request_error"), answer
    assert error["code"] == "untranslatable" and error["param"].startswith(place), error
    assert mock.counters()["requests"] == before
    if provider == "oa":
        answer = messages(daemon, "oa-an", **members)
        assert (answer.status, answer.field("x-optiroute-provider")) == (200, "an"), answer
        assert arrived(mock) == {"model": "plain", "messages": HELLO, "max_tokens": 99, **members}


def test_who_was_passed_over_is_said_and_saves_nothing(daemon):
    """The strong provider cannot be asked this, so its price is no measure of what was saved."""
    answer = chat(daemon, "an-oa", seed=5)
    assert answer.field("x-optiroute-fallback-from") == "an:untranslatable"
    assert answer.field("x-optiroute-saved-usd") == "0.000000000"
    assert chat(daemon, "an-oa").field("x-optiroute-fallback-from") is None
    error = chat(daemon, "an", seed=5).error()
    assert "`seed`" in error["message"] and "provider an" in error["message"]


def test_nobody_can_be_asked_it(daemon):
    """The first one's reason counts."""
    error = chat(daemon, "an-hf", seed=5, messages=[user("a"), user("b")]).error()
    assert (error["code"], error["param"]) == ("untranslatable", "seed")


def test_the_place_is_of_the_one_who_could_not_say_it(daemon):
    """A circuit that is open has no place in a request."""
    assert chat(daemon, "down").status == 502
    answer = chat(daemon, "an-down", seed=5)
    assert (answer.status, answer.error()["code"], answer.error()["param"]) == (503, "breaker_open", None)
    answer = chat(daemon, "down-an")
    assert answer.field("x-optiroute-fallback-from") == "down:breaker_open"


def test_a_refusal_is_no_failure_of_the_provider(daemon):
    before = daemon.metrics()
    for _ in range(4):
        assert chat(daemon, "an", seed=5).status == 400
    after = daemon.metrics()
    name = "llm_circuit_transitions_total"
    assert after.total(name, provider="an") == before.total(name, provider="an")
    assert after.total("llm_circuit_state", provider="an") == 0
