"""Answers held to a schema, a grammar or a call; switches of the chat template."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from openai import BadRequestError
from pydantic import BaseModel, Field

from tests.serve.process import serving
from tests.serve.scripted import ScriptedLLM, talk
from zerostall.serve.calls.styles import ANY
from zerostall.serve.forms import Form, after_thought, called

HELLO = [{"role": "user", "content": "import sys"}]
ASK = {"model": "any", "messages": HELLO, "max_tokens": 200, "seed": 3}
RANGE = {"type": "integer", "minimum": 0, "maximum": 99}
PARAMETERS = {
    "type": "object",
    "properties": {"a": RANGE, "b": RANGE},
    "required": ["a", "b"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "additionalProperties": False}
TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": PARAMETERS}},
    {"type": "function", "function": {"name": "now", "parameters": NOTHING}},
]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "pair", "schema": PARAMETERS}}


def message(client, **fields):
    (choice,) = client.chat.completions.create(**ASK | fields).choices
    return choice.message, choice.finish_reason


def test_a_response_format_is_kept(client):
    said, reason = message(client, response_format=SCHEMA)
    assert reason == "stop"
    jsonschema.validate(json.loads(said.content), PARAMETERS)
    said, _ = message(client, response_format={"type": "json_object"}, seed=5)
    assert said.content.startswith("{")
    said, _ = message(client, response_format={"type": "text"})
    assert not said.content.startswith("{")


def test_the_client_parses_an_answer_into_its_model(client):
    class Pair(BaseModel):
        a: int = Field(ge=0, le=99)
        name: str = Field(max_length=6)

    answer = client.chat.completions.parse(**ASK, response_format=Pair)
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Pair)
    assert 0 <= parsed.a <= 99


def test_completions_take_the_same_forms_and_grammars(client, server):
    fields = {"model": "any", "prompt": "x = ", "max_tokens": 60, "seed": 1}
    for extra, form in (
        ({"grammar": 'root ::= ("a" | "b") "c"'}, "[ab]c"),
        ({"regex": "[0-9]{3}"}, "[0-9]{3}"),
        ({"json_schema": {"enum": [1, 2]}}, "[12]"),
        ({"response_format": {"type": "json_object", "schema": {"const": 7}}}, "7"),
        ({"guided_json": {"const": 7}}, "7"),
        ({"guided_json": '{"const": 7}'}, "7"),
        ({"guided_regex": "[0-9]{3}"}, "[0-9]{3}"),
        ({"guided_grammar": 'root ::= ("a" | "b") "c"'}, "[ab]c"),
        ({"guided_choice": ["yes", "no (1)"]}, r"yes|no \(1\)"),
        ({"structured_outputs": {"json": {"const": 7}}}, "7"),
        ({"structured_outputs": {"choice": ["yes"]}}, "yes"),
        ({"structured_outputs": {"regex": "[0-9]{3}"}}, "[0-9]{3}"),
        ({"structured_outputs": {"grammar": 'start: "x"'}}, "x"),
        ({"structured_outputs": {"json_object": True}}, r"\{[\s\S]*"),
    ):
        (choice,) = client.completions.create(**fields, extra_body=extra).choices
        assert re.fullmatch(form, choice.text)
        assert choice.finish_reason == "stop" or "json_object" in str(extra)


def test_of_allowed_tools_one_must_be_called_and_no_other_is_offered(client):
    def choice(mode, *names):
        tools = [{"type": "function", "function": {"name": name}} for name in names]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}

    for seed in range(3):
        must = choice("required", "now")
        said, _ = message(client, tools=TOOLS, tool_choice=must, seed=seed)
        assert {call.function.name for call in said.tool_calls} == {"now"}
    for wrong in (choice("auto", "sub"), choice("sometimes", "now"), {"type": "allowed_tools"}):
        with pytest.raises(BadRequestError) as caught:
            message(client, tools=TOOLS, tool_choice=wrong)
        assert caught.value.param == "tool_choice"


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_is_made_and_its_arguments_satisfy_the_schema(client, seed):
    said, reason = message(
        client, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, seed=seed
    )
    assert reason == "tool_calls"
    (call,) = said.tool_calls
    arguments = json.loads(call.function.arguments)
    if call.function.name == "add":
        jsonschema.validate(arguments, PARAMETERS)
    assert call.function.name in ("add", "now")


def test_a_named_function_is_the_one_that_is_called(client):
    choice = {"type": "function", "function": {"name": "add"}}
    said, reason = message(client, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)
    assert reason == "tool_calls"
    assert [call.function.name for call in said.tool_calls] == ["add"]
    jsonschema.validate(json.loads(said.tool_calls[0].function.arguments), PARAMETERS)


def test_with_tools_offered_the_answer_is_a_call_or_of_the_schema(client):
    for seed in range(6):
        said, reason = message(client, tools=TOOLS[:1], response_format=SCHEMA, seed=seed)
        if reason == "length":
            continue
        texts = [call.function.arguments for call in said.tool_calls or []] or [said.content]
        for text in texts:
            jsonschema.validate(json.loads(text), PARAMETERS)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": 3}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
            "response_format",
        ),
        ({"extra_body": {"grammar": "start: ["}}, "grammar"),
        ({"extra_body": {"regex": "("}}, "regex"),
        ({"extra_body": {"json_schema": {"type": "x"}}}, "json_schema"),
        ({"extra_body": {"regex": "a", "grammar": "start: b"}}, "regex"),
        ({"response_format": SCHEMA, "extra_body": {"regex": "a"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "sub"}}},
            "tool_choice",
        ),
        ({"tools": [{"function": {}}], "tool_choice": "required"}, "tools"),
        (
            {
                "tools": [{"function": {"name": "f", "parameters": {"type": "x"}}}],
                "tool_choice": "required",
            },
            "tools",
        ),
        ({"extra_body": {"chat_template_kwargs": {"messages": []}}}, "chat_template_kwargs"),
    ],
)
def test_a_form_that_is_wrong_is_a_400_that_names_the_field(client, fields, param):
    with pytest.raises(BadRequestError) as caught:
        message(client, **fields)
    assert caught.value.param == param


def test_reasoning_that_the_prompt_has_opened_comes_before_the_form(tmp_path):
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages[-1].content }}{% if enable_thinking %}<think>{% endif %}")
    with serving(tmp_path / "log.jsonl", "--chat-template", str(template)) as server:
        body = ASK | {"response_format": SCHEMA, "max_tokens": 20}
        off = {"chat_template_kwargs": {"enable_thinking": False}}
        plain = server.post("/v1/chat/completions", ASK | {"response_format": SCHEMA} | off).json()
        on = {"chat_template_kwargs": {"enable_thinking": True}}
        thought = server.post("/v1/chat/completions", body | on).json()
    said = plain["choices"][0]["message"]
    assert "reasoning_content" not in said
    jsonschema.validate(json.loads(said["content"]), PARAMETERS)
    (choice,) = thought["choices"]
    assert not choice["message"]["reasoning_content"].startswith("{")
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")


THOUGHTS = "I </b> think </think>\n\n"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (Form("response_format", {"json_schema": PARAMETERS}), '{"a": 1, "b": 2}'),
        (
            called([{"name": "add", "parameters": PARAMETERS}], "tools", ANY, several=True),
            '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>',
        ),
    ],
)
def test_the_form_after_a_thought_takes_the_thought_and_then_only_the_form(llm, form, said):
    from zerostall import SamplingParams
    from zerostall.text.grammar import Grammars

    params = SamplingParams(**after_thought(form).given)
    matcher = Grammars(llm.tokenizer).constraint(params)._matcher
    tokens = llm.tokenize(THOUGHTS + said)
    assert matcher.validate_tokens(tokens) == len(tokens)
    early = llm.tokenize("</think>x")
    assert matcher.validate_tokens(early) < len(early)


def test_the_template_sees_its_switches_and_the_effort():
    llm = ScriptedLLM("x")

    async def ask(client):
        body = {"messages": HELLO, "reasoning_effort": "none"}
        return await client.post(
            "/v1/chat/completions", json=body | {"chat_template_kwargs": {"style": "terse"}}
        )

    assert talk(llm, ask).status_code == 200
    assert llm.variables == {
        "reasoning_effort": "none",
        "enable_thinking": False,
        "style": "terse",
    }
