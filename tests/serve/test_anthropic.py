"""/v1/messages, as Anthropic's own client sees it."""

from __future__ import annotations

import json

import anthropic
import jsonschema
import pytest
from anthropic import BadRequestError

from tests.serve.process import serving
from tests.serve.scripted import ScriptedLLM, talk
from zerostall import SamplingParams

HELLO = [{"role": "user", "content": "import sys"}]
ASK = {"model": "any", "messages": HELLO, "max_tokens": 16}
SEED = {"extra_body": {"seed": 3}}
RANGE = {"type": "integer", "minimum": 0, "maximum": 99}
PARAMETERS = {
    "type": "object",
    "properties": {"a": RANGE, "b": RANGE},
    "required": ["a", "b"],
    "additionalProperties": False,
}
TOOLS = [{"name": "add", "description": "Adds.", "input_schema": PARAMETERS}]


@pytest.fixture(scope="module")
def claude(server):
    with server.anthropic() as client:
        yield client


@pytest.fixture(scope="module")
def expected(llm):
    return llm.chat(HELLO, SamplingParams(max_tokens=16, seed=3))


def test_an_answer_is_what_the_llm_gives_with_that_seed(claude, expected):
    answer = claude.messages.create(**ASK, **SEED)
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", "nano-chat")
    assert answer.id.startswith("msg_")
    (block,) = answer.content
    assert (block.type, block.text) == ("text", expected.text)
    assert (answer.stop_reason, answer.stop_sequence) == ("max_tokens", None)
    usage = answer.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == expected.usage.prompt_tokens
    assert usage.output_tokens == 16
    assert answer._request_id


def test_a_stream_gives_the_same_as_events(claude, expected):
    with claude.messages.stream(**ASK, **SEED) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_message()
    assert events[0] == "message_start"
    assert events[1] == "content_block_start"
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert final.content[0].text == expected.text
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 16)
    usage = final.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == expected.usage.prompt_tokens


def test_a_stream_begins_with_the_counts_that_it_ends_with(claude, llm):
    turns = [{"role": "user", "content": "".join(f"y{i} = {i}\n" for i in range(40))}]
    read = len(llm.encode_chat(turns))
    for cached in (False, True):
        ask = {"model": "", "messages": turns, "max_tokens": 2, "stream": True}
        events = list(claude.messages.create(**ask))
        first, last = events[0].message.usage, events[-2].usage
        assert first.output_tokens == 0
        for usage in (first, last):
            assert usage.input_tokens + usage.cache_read_input_tokens == read
            assert (usage.cache_read_input_tokens > 0) is cached
        assert first.cache_read_input_tokens == last.cache_read_input_tokens


def test_a_conversation_longer_than_the_context_is_counted_too(claude, llm):
    turns = [{"role": "user", "content": "import sys\n" * 2000}]
    text = llm.render_chat(turns)
    ids = llm.tokenize(text, add_special=False, parse_special=True)
    counted = claude.messages.count_tokens(model="any", messages=turns).input_tokens
    assert llm.context < len(ids) == counted - (llm.bos_id is not None and ids[0] != llm.bos_id)


def test_an_answer_ends_before_a_stop_sequence_and_tells_which(claude, llm):
    whole = llm.chat(HELLO, SamplingParams(max_tokens=16, seed=3)).text
    stop = whole[5:8]
    for stream in (False, True):
        fields = {**ASK, **SEED, "stop_sequences": ["never this", stop]}
        if stream:
            with claude.messages.stream(**fields) as events:
                answer = events.get_final_message()
        else:
            answer = claude.messages.create(**fields)
        assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
        assert answer.content[0].text == whole[: whole.index(stop)]


def test_system_and_blocks_reach_the_template_and_are_counted(claude, llm):
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = {"system": blocks, "messages": [{"role": "user", "content": blocks}]}
    turns = [{"role": "system", "content": "a\nb"}, {"role": "user", "content": "a\nb"}]
    counted = claude.messages.count_tokens(model="any", **asked)
    assert counted.input_tokens == len(llm.encode_chat(turns))


def test_a_named_tool_is_called_and_its_input_satisfies_the_schema(claude):
    choice = {"type": "tool", "name": "add", "disable_parallel_tool_use": True}
    fields = ASK | {"max_tokens": 200, "tools": TOOLS, "tool_choice": choice}
    answer = claude.messages.create(**fields, **SEED)
    with claude.messages.stream(**fields, **SEED) as stream:
        streamed = stream.get_final_message()
    for each in (answer, streamed):
        assert each.stop_reason == "tool_use"
        (block,) = each.content
        assert (block.type, block.name) == ("tool_use", "add")
        assert block.id.startswith("toolu_")
        jsonschema.validate(block.input, PARAMETERS)
    assert streamed.content[0].input == answer.content[0].input


def test_any_tool_means_that_one_is_called(claude):
    choice = {"type": "any", "disable_parallel_tool_use": True}
    fields = ASK | {"max_tokens": 200, "tools": TOOLS, "tool_choice": choice}
    answer = claude.messages.create(**fields, **SEED)
    assert {block.type for block in answer.content} == {"tool_use"}


def test_an_output_format_is_kept(claude):
    form = {"format": {"type": "json_schema", "schema": PARAMETERS}}
    answer = claude.messages.create(**ASK | {"max_tokens": 200}, output_config=form, **SEED)
    assert answer.stop_reason == "end_turn"
    jsonschema.validate(json.loads(answer.content[0].text), PARAMETERS)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role is 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "'image'"),
        ({"messages": [{"role": "user", "content": []}]}, "content is empty"),
        ({"messages": [*HELLO, {"role": "assistant", "content": " "}]}, "the last"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"extra_body": {"temperature": -1}}, "temperature"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"tool_choice": {"type": "any"}}, "tools is empty"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "sub"}}, "no tool 'sub'"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "does not run here"),
        (
            {
                "output_config": {"format": {"type": "json_schema", "schema": {"type": "x"}}},
            },
            "output_config",
        ),
        ({"system": [{"type": "image"}]}, "system"),
        ({"extra_body": {"n": 2}}, "n: there is one answer"),
        ({"messages": [{"role": "user", "content": "import sys\n" * 2000}]}, "context"),
    ],
)
def test_what_cannot_be_done_is_an_error_of_anthropics_form(claude, fields, word):
    with pytest.raises(BadRequestError) as caught:
        claude.messages.create(**ASK | fields)
    body = caught.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert word in body["error"]["message"]
    assert body["request_id"] == caught.value.request_id


def test_errors_before_the_route_have_that_form_too(server):
    body = {"messages": HELLO, "max_tokens": 1}
    for answer, status, kind in (
        (server.get("/v1/messages"), 405, "invalid_request_error"),
        (server.post("/v1/messages", {"messages": ["x" * 200_000]}), 413, "request_too_large"),
        (server.post("/v1/messages/none", body), 404, "not_found_error"),
    ):
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
        assert answer.headers["content-type"] == "application/json"


def test_the_key_may_come_as_x_api_key_or_as_authorization(tmp_path):
    with serving(tmp_path / "log.jsonl", "--api-key", "sesame") as server:
        for options in ({"api_key": "sesame"}, {"api_key": None, "auth_token": "sesame"}):
            with server.anthropic(**options) as client, pytest.raises(BadRequestError):
                client.messages.create(**ASK)  # past the key: nano is a base model
        with server.anthropic(api_key="wrong") as client:
            with pytest.raises(anthropic.AuthenticationError) as caught:
                client.messages.create(**ASK)
            assert caught.value.body["error"]["type"] == "authentication_error"


def ask(llm, **fields):
    async def post(client):
        return await client.post("/v1/messages", json=ASK | fields)

    return talk(llm, post)


CALLING = (
    "<think>I",
    " add</think>\n",
    "So: <tool",
    '_call>{"name": "add", "argu',
    'ments": {"a": 1}}',
    "</tool_call>",
)


def test_thoughts_text_and_calls_are_blocks():
    answer = ask(ScriptedLLM(*CALLING), tools=TOOLS).json()
    thought, text, call = answer["content"]
    assert thought == {"type": "thinking", "thinking": "I add", "signature": ""}
    assert text == {"type": "text", "text": "So:"}
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "add", {"a": 1})
    assert answer["stop_reason"] == "tool_use"


def test_a_stream_opens_and_closes_each_block_in_turn():
    text = ask(ScriptedLLM(*CALLING), tools=TOOLS, stream=True).text
    events = [json.loads(each.split("data: ")[1]) for each in text.strip().split("\n\n")]
    assert [line for line in text.split("\n") if line.startswith("event: ")] == [
        f"event: {event['type']}" for event in events
    ]
    frames = [
        (event["type"], event["index"])
        for event in events
        if event["type"].endswith("start")
        if "index" in event
    ]
    assert frames == [("content_block_start", i) for i in range(3)]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(delta.get("thinking", "") for delta in deltas) == "I add"
    assert "".join(delta.get("text", "") for delta in deltas) == "So:"
    assert json.loads("".join(delta.get("partial_json", "") for delta in deltas)) == {"a": 1}


def test_templates_see_calls_results_and_thoughts_as_openais_messages():
    llm = ScriptedLLM("x")
    use = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "2"}],
    }
    turns = [
        {"role": "user", "content": "add"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, use],
        },
        {"role": "user", "content": [result, {"type": "text", "text": "and?"}]},
    ]
    assert ask(llm, messages=turns, tools=TOOLS, thinking={"type": "disabled"}).status_code == 200
    (shown, tools) = llm.asked[0]
    function = {"name": "add", "arguments": {"a": 1}}
    assert shown == [
        {"role": "user", "content": "add"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "2"},
        {"role": "user", "content": "and?"},
    ]
    function = {"name": "add", "description": "Adds.", "parameters": PARAMETERS}
    assert tools == [{"type": "function", "function": function}]
    assert llm.variables == {"enable_thinking": False}


def test_an_error_in_the_middle_of_a_stream_is_an_event_and_silence_is_a_ping():
    async def post(client):
        return await client.post("/v1/messages", json=ASK | {"stream": True})

    # No token comes before the ping.
    text = talk(ScriptedLLM("a", silent_until="kept alive"), post, keep_alive_s=0.05).text
    assert "event: ping\n" in text
    assert "event: message_stop\n" in text
    text = talk(ScriptedLLM("a", silent_until="cancelled"), post, timeout_s=0.1).text
    last = text.strip().split("\n\n")[-1]
    assert last.startswith("event: error\n")
    assert json.loads(last.split("data: ")[1])["error"]["type"] == "timeout_error"


def test_a_fault_inside_is_an_api_error():
    def broken(*_):
        raise RuntimeError("secret")

    llm = ScriptedLLM("a")
    llm.render_chat = broken
    answer = ask(llm)
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "api_error"
    assert "secret" not in answer.text


@pytest.mark.parametrize("value", ["1e999", "NaN", '"\\ud800"'])
def test_what_json_can_say_and_no_answer_can_is_sent_as_text(value):
    call = f'<tool_call>{{"name": "add", "arguments": {{"a": {value}}}}}</tool_call>'
    answer = ask(ScriptedLLM(call), tools=TOOLS)
    assert answer.status_code == 200
    (block,) = answer.json()["content"]
    assert list(block["input"]) == ["value"]
