"""/v1/responses, as OpenAI's own client sees it."""

from __future__ import annotations

import json

import jsonschema
import pytest
from openai import BadRequestError
from pydantic import BaseModel, Field

from tests.serve.scripted import ScriptedLLM, talk
from zerostall import SamplingParams
from zerostall.serve.parts import Arguments, Call, CallEnd, Text
from zerostall.serve.responses.output import Items

ASK = {"model": "any", "input": "import sys", "max_output_tokens": 16}
SEED = {"extra_body": {"seed": 3}}
RANGE = {"type": "integer", "minimum": 0, "maximum": 99}
PARAMETERS = {
    "type": "object",
    "properties": {"a": RANGE, "b": RANGE},
    "required": ["a", "b"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "name": "add", "parameters": PARAMETERS, "strict": True}]


@pytest.fixture(scope="module")
def expected(llm):
    hello = [{"role": "user", "content": "import sys"}]
    return llm.chat(hello, SamplingParams(max_tokens=16, seed=3))


def test_an_answer_is_what_the_llm_gives_with_that_seed(client, expected):
    answer = client.responses.create(**ASK, **SEED)
    assert answer.output_text == expected.text
    assert (answer.object, answer.model) == ("response", "nano-chat")
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    (item,) = answer.output
    assert (item.type, item.role, item.status) == ("message", "assistant", "incomplete")
    assert answer.usage.input_tokens == expected.usage.prompt_tokens
    assert answer.usage.output_tokens == 16
    assert answer.usage.total_tokens == expected.usage.prompt_tokens + 16


def test_a_stream_gives_the_same_as_numbered_events(client, expected):
    with client.responses.stream(**ASK, **SEED) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == expected.text
    assert events[-1].response.output_text == expected.text


@pytest.mark.parametrize(
    ("asked", "alternatives"),
    [
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, 2),
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"top_logprobs": 3}, 3),
    ],
)
def test_logprobs_are_the_engines_streamed_or_not(client, llm, asked, alternatives):
    hello = [{"role": "user", "content": "import sys"}]
    said = llm.chat(hello, SamplingParams(max_tokens=16, seed=3, logprobs=alternatives))
    expected = [(entry.logprob, [value for _, value in entry.top]) for entry in said.logprobs]
    whole = client.responses.create(**ASK, **SEED, **asked)
    (content,) = whole.output[0].content
    assert b"".join(bytes(entry.bytes) for entry in content.logprobs).decode() == content.text
    with client.responses.stream(**ASK, **SEED, **asked) as stream:
        events = list(stream)
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    (done,) = [event for event in events if event.type == "response.output_text.done"]
    (last,) = events[-1].response.output[0].content
    streamed = [entry for delta in deltas for entry in delta.logprobs]
    for found in (content.logprobs, streamed, done.logprobs, last.logprobs):
        told = [(e.logprob, [top.logprob for top in e.top_logprobs]) for e in found]
        assert told == expected
    assert whole.top_logprobs == alternatives


def test_without_being_asked_for_there_are_no_logprobs(client):
    for asked in ({}, {"include": ["reasoning.encrypted_content"]}, {"top_logprobs": 0}):
        assert client.responses.create(**ASK, **asked).output[0].content[0].logprobs == []


def test_logprobs_are_the_texts_own_not_those_of_the_calls_between():
    items = Items()
    events = []
    for token, parts in (
        ("a", [Text("content", "a")]),
        ("<tool", []),
        ("_call>", [Call("f"), Arguments("{}")]),
        ("</tool_call>", [CallEnd()]),
        ("b", []),
        ("c", [Text("content", "bc")]),
    ):
        items.note([{"token": token}])
        for part in parts:
            events += items.add(part)
    events += items.close()
    first, _, second = items.items
    assert first["content"][0]["logprobs"] == [{"token": "a"}]
    assert second["content"][0]["logprobs"] == [{"token": "b"}, {"token": "c"}]
    deltas = [e["logprobs"] for e in events if e["type"] == "response.output_text.delta"]
    assert deltas == [[{"token": "a"}], [{"token": "b"}, {"token": "c"}]]


def test_items_and_instructions_become_the_conversation(client, llm):
    items = [
        {"role": "developer", "content": "be short"},
        {"role": "user", "content": [{"type": "input_text", "text": "import os"}]},
    ]
    turns = [
        {"role": "system", "content": "You code."},
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "import os"},
    ]
    answer = client.responses.create(**ASK | {"input": items}, instructions="You code.", **SEED)
    said = llm.chat(turns, SamplingParams(max_tokens=16, seed=3))
    assert answer.output_text == said.text
    assert answer.usage.input_tokens == said.usage.prompt_tokens


def test_a_format_is_kept_and_parsed_by_the_client(client):
    class Pair(BaseModel):
        a: int = Field(ge=0, le=99)
        name: str = Field(max_length=6)

    fields = ASK | {"max_output_tokens": 200}
    answer = client.responses.parse(**fields, **SEED, text_format=Pair)
    assert answer.status == "completed"
    assert isinstance(answer.output_parsed, Pair)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "add"}])
def test_a_required_call_is_made_and_its_arguments_satisfy_the_schema(client, choice):
    fields = ASK | {"max_output_tokens": 200, "tools": TOOLS, "tool_choice": choice}
    fields |= {"parallel_tool_calls": False}
    (call,) = client.responses.create(**fields, **SEED).output
    with client.responses.stream(**fields, **SEED) as stream:
        (streamed,) = stream.get_final_response().output
    for each in (call, streamed):
        assert (each.type, each.name, each.status) == ("function_call", "add", "completed")
        jsonschema.validate(json.loads(each.arguments), PARAMETERS)
    assert streamed.arguments == call.arguments


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        ({"input": [{"role": "judge", "content": "x"}]}, "input"),
        ({"input": "import sys\n" * 2000}, "input"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"include": "message.output_text.logprobs"}, "include"),
        ({"temperature": -1}, "temperature"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "sub"}}, "tool_choice"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "x"}}}},
            "text",
        ),
        ({"text": {"format": {"type": "xml"}}}, "text"),
    ],
)
def test_what_cannot_be_done_is_a_400_that_names_the_field(client, fields, param):
    with pytest.raises(BadRequestError) as caught:
        client.responses.create(**ASK | fields)
    assert caught.value.param == param


CALLING = (
    "<think>I",
    " add</think>\n",
    "So: <tool",
    '_call>{"name": "add", "argu',
    'ments": {"a": 1}}',
    "</tool_call>",
)


def ask(llm, **fields):
    async def post(client):
        return await client.post("/v1/responses", json={"input": "x"} | fields)

    return talk(llm, post)


def test_thoughts_text_and_calls_are_items():
    answer = ask(ScriptedLLM(*CALLING), tools=TOOLS).json()
    thought, text, call = answer["output"]
    assert (thought["type"], thought["content"][0]["text"]) == ("reasoning", "I add")
    assert (text["type"], text["content"][0]["text"]) == ("message", "So:")
    assert (call["type"], call["name"], call["arguments"]) == ("function_call", "add", '{"a": 1}')
    assert answer["status"] == "completed"
    assert answer["usage"]["output_tokens_details"]["reasoning_tokens"] == 2


def test_an_error_in_the_middle_of_a_stream_is_an_event():
    async def post(client):
        return await client.post("/v1/responses", json={"input": "x", "stream": True})

    text = talk(ScriptedLLM("a", silent_until="cancelled"), post, timeout_s=0.1).text
    last = json.loads(text.strip().split("\n\n")[-1].split("data: ")[1])
    assert (last["type"], last["code"], last["sequence_number"]) == ("error", "timeout", 2)


def test_reasoning_calls_and_their_results_are_one_conversation():
    llm = ScriptedLLM("x")
    items = [
        {"role": "user", "content": "add"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
    ]
    assert ask(llm, input=items, reasoning={"effort": "low"}).status_code == 200
    function = {"name": "add", "arguments": {"a": 1}}
    assert llm.asked[0][0] == [
        {"role": "user", "content": "add"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]
    assert llm.variables == {"reasoning_effort": "low", "enable_thinking": True}
