"""Calls of tools in the styles of Llama, Mistral and Qwen3-Coder, however the text is cut."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.bodies import cut_anywhere
from tests.serve.merged import ToolCall, content, merge, reasoning
from tests.serve.scripted import ScriptedLLM, talk
from tests.text import metadata
from zerostall import SamplingParams
from zerostall.serve.calls.styles import (
    ANY,
    CODER,
    HERMES,
    LLAMA,
    MISTRAL,
    MISTRAL_LIST,
    Calling,
    style_of,
)
from zerostall.serve.faults import ApiError
from zerostall.serve.forms import called
from zerostall.serve.output import OutputParser
from zerostall.serve.parts import Arguments, Call, CallEnd
from zerostall.text import Tokenizer
from zerostall.text.grammar import Grammars

PROPERTIES = {
    "a": {"type": "integer"},
    "note": {"type": "string"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "unit": {"type": "string", "enum": ["C", "F"]},
    "exact": {"type": ["boolean", "null"]},
}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["a"]}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}]
SCHEMAS = {"add": SCHEMA}
ADD = ToolCall("add", '{"a": 1}')
ARGUMENTS = '{"a": 1}'
LLAMAS = '{"name": "add", "parameters": {"a": 1}}'
OBJECT = '{"name": "add", "arguments": {"a": 1}}'
CODERS = "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
TEMPLATES = {
    LLAMA: '<|start_header_id|>{"name": function name, "parameters": dictionary}',
    MISTRAL_LIST: "[TOOL_CALLS] [",
    MISTRAL: "[TOOL_CALLS]name[ARGS]",
    CODER: "<tool_call>\n<function=example>\n<parameter=x>",
    HERMES: "<tool_call>",
}

CASES = [
    (LLAMA, LLAMAS, [ADD]),
    (LLAMA, f"\n {LLAMAS} ", [ADD]),
    (LLAMA, f"<think>x</think>\n{LLAMAS}", [reasoning("x"), ADD]),
    (LLAMA, f"{LLAMAS}; {LLAMAS}", [ADD, ADD]),
    (LLAMA, f"<|python_tag|>{LLAMAS}", [ADD]),
    (LLAMA, f"So: <|python_tag|>{OBJECT}", [content("So:"), ADD]),
    (LLAMA, '{"type": "function", "name": "add", "parameters": {}}', [ToolCall("add", "{}")]),
    (LLAMA, f"Say {LLAMAS}", [content(f"Say {LLAMAS}")]),
    (LLAMA, '{"name": "Bob", "parameters": {}}', [content('{"name": "Bob", "parameters": {}}')]),
    (LLAMA, '{"name": "add", "age": 3}', [content('{"name": "add", "age": 3}')]),
    (LLAMA, ' {"a"', [content(' {"a"')]),
    (LLAMA, "<|python_tag|>print(1)", [content("<|python_tag|>print(1)")]),
    (LLAMA, '{"name": "add", "parameters": {"a": 1', [ToolCall("add", '{"a": 1', ended=False)]),
    (LLAMA, f"{LLAMAS};{{1}}", [ADD, content("{1}")]),
    (MISTRAL_LIST, f"[TOOL_CALLS] [{OBJECT}, {OBJECT}]", [ADD, ADD]),
    (MISTRAL_LIST, f"Yes.\n[TOOL_CALLS][{OBJECT[:-1]}, 'id': 3}}] ", [content("Yes."), ADD]),
    (MISTRAL_LIST, "a [TOOL_CALLS] [1]", [content("a [TOOL_CALLS] [1]")]),
    (MISTRAL_LIST, f"[TOOL_CALLS] [{OBJECT}, 1]", [ADD, content(", 1]")]),
    (MISTRAL_LIST, '[TOOL_CALLS] [{"arguments": {"a": 1}, "name": "add"}]', [ADD]),
    (MISTRAL, f"[TOOL_CALLS]add[ARGS]{ARGUMENTS}", [ADD]),
    (MISTRAL, f"[TOOL_CALLS]add[ARGS]{ARGUMENTS}[TOOL_CALLS]add[ARGS]{ARGUMENTS}", [ADD, ADD]),
    (MISTRAL, f"[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{ARGUMENTS}", [ADD]),
    (MISTRAL, f"Hm. [TOOL_CALLS] add {ARGUMENTS} so", [content("Hm."), ADD, content("so")]),
    (MISTRAL, f"[TOOL_CALLS] [{OBJECT}]", [ADD]),
    (MISTRAL, "[TOOL_CALLS]add[ARGS] none", [content("[TOOL_CALLS]add[ARGS] none")]),
    (MISTRAL, "[TOOL_CALLS]" + "x" * 600, [content("[TOOL_CALLS]" + "x" * 600)]),
    (CODER, CODERS, [ADD]),
    (CODER, CODERS.removeprefix("<tool_call>\n"), [ADD]),
    (CODER, f"Let me.\n{CODERS}\n{CODERS}", [content("Let me."), ADD, ADD]),
    (CODER, f"<tool_call>{OBJECT}</tool_call>", [ADD]),
    (CODER, "<function=add></function>", [ToolCall("add", "{}")]),
    (CODER, "a <function=b c", [content("a <function=b c")]),
    (CODER, "<function=add><parameter=a>1", [ToolCall("add", "{", ended=False)]),
    (HERMES, f"<tool_call>{OBJECT}}}</tool_call> ok", [ADD, content("ok")]),
    (HERMES, f"<tool_call>{OBJECT[:-1]}</tool_call>", [ADD]),
    (
        HERMES,
        '<tool_call>{"name": "f", "arguments": {"t": "</tool_call>{\\""}}</tool_call>',
        [ToolCall("f", '{"t": "</tool_call>{\\""}')],
    ),
    (HERMES, f"<function=add> {LLAMAS}", [content(f"<function=add> {LLAMAS}")]),
]


def parse(style, pieces):
    calling = Calling(style, schemas=SCHEMAS)
    return merge(OutputParser(thinking=False, calling=calling), pieces)


@pytest.mark.parametrize(("style", "text", "parts"), CASES)
def test_the_calls_of_a_text(style, text, parts):
    assert parse(style, [text]) == parts
    assert parse(style, list(text)) == parts


WORDS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]"]
WORDS += ["[ARGS]", "add", LLAMAS, OBJECT, ARGUMENTS, "[", "]", ",", ";", " ", "\n", "{", "}", '"']
WORDS += ["<function=add>", "<parameter=a>", "</parameter>", "</function>", "<", "[TOOL", '{"name']


@given(
    st.sampled_from(list(TEMPLATES)),
    st.lists(st.sampled_from(WORDS)),
    st.randoms(use_true_random=False),
)
def test_how_a_text_is_cut_changes_nothing(style, words, random):
    text = "".join(words)
    pieces = cut_anywhere(text, random)
    assert parse(style, pieces) == parse(style, [text])


def test_arguments_come_as_they_are_written():
    parser = OutputParser(thinking=False, calling=Calling(LLAMA, schemas=SCHEMAS))
    pieces = ['{"name": "add"', ', "parameters": ', '{"a"', ": 1", "}", "}"]
    assert [parser.push(piece) for piece in pieces] == [
        [],
        [],
        [Call("add"), Arguments('{"a"')],
        [Arguments(": 1")],
        [Arguments("}")],
        [CallEnd()],
    ]


def test_parameters_without_quotes_become_json_of_the_types_that_the_schema_has():
    text = "<function=add>\n"
    for name, value in (
        ("a", "7"),
        ("note", "7\n</p>\n"),
        ("tags", '["x"]'),
        ("unit", "F"),
        ("exact", "True"),
        ("other", "x y"),
    ):
        text += f"<parameter={name}>\n{value}\n</parameter>\n"
    (call,) = parse(CODER, [text + "</function>"])
    assert json.loads(call.arguments) == {
        "a": 7,
        "note": "7\n</p>\n",
        "tags": ["x"],
        "unit": "F",
        "exact": True,
        "other": "x y",
    }


def test_a_style_is_known_by_the_markers_of_the_template():
    for style, template in TEMPLATES.items():
        assert style_of(template) is style
    assert style_of("<|start_header_id|>") is HERMES
    assert style_of("{{ messages }}") is style_of(None) is HERMES


class Markers:
    """A tokenizer that has one control token."""

    def template_for(self, tools):
        return TEMPLATES[MISTRAL]

    def id_of(self, token):
        return {"[TOOL_CALLS]": 5, "[ARGS]": 6}.get(token)

    def token_bytes(self, id):
        return b"" if id == 5 else b"[ARGS]"


def test_markers_that_are_control_tokens_are_found():
    calling = Calling.of(Markers(), TOOLS)
    assert (calling.style, dict(calling.controls)) == (MISTRAL, {"[TOOL_CALLS]": 5})
    assert calling.schemas == SCHEMAS


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("style", TEMPLATES)
def test_a_forced_call_is_one_that_the_parser_reads(llm, style, several):
    calling = Calling(style, template=TEMPLATES[style], schemas=SCHEMAS)
    tools = [{"name": "add", "parameters": SCHEMA}, {"name": "now", "parameters": {}}]
    form = called(tools[:1], "tools", calling, several=several)
    for seed in range(3):
        params = SamplingParams(max_tokens=300, seed=seed, top_k=4, **form.given)
        answer = llm.generate("add(1)", params)
        if answer.finish_reason == "length":
            continue
        calls = parse(style, [answer.text])
        assert all(call.name == "add" for call in calls)
        assert several or len(calls) == 1
        for call in calls:
            jsonschema.validate(json.loads(call.arguments), SCHEMA)


@pytest.mark.parametrize(
    ("style", "text"),
    [
        (LLAMA, LLAMAS),
        (MISTRAL_LIST, f"[TOOL_CALLS] [{OBJECT}, {OBJECT}]"),
        (MISTRAL_LIST, f"[TOOL_CALLS][{OBJECT}]"),
        (MISTRAL, f"[TOOL_CALLS]add[ARGS]{ARGUMENTS}[TOOL_CALLS]add[ARGS]{ARGUMENTS}"),
        (HERMES, f"<tool_call>\n{OBJECT}\n</tool_call>\n<tool_call>\n{OBJECT}\n</tool_call>"),
        (CODER, f"{CODERS}\n{CODERS}"),
        (
            CODER,
            CODERS.replace(
                "</function>",
                "<parameter=note>\na </p>\nb\n</parameter>\n<parameter=unit>\nF\n</parameter>\n"
                "</function>",
            ),
        ),
    ],
)
def test_a_forced_call_has_the_form_of_the_template(llm, style, text):
    calling = Calling(style, template=TEMPLATES[style], schemas=SCHEMAS)
    form = called([{"name": "add", "parameters": SCHEMA}], "tools", calling, several=True)
    matcher = Grammars(llm.tokenizer).constraint(SamplingParams(**form.given))._matcher
    tokens = llm.tokenize(text)
    assert matcher.validate_tokens(tokens) == len(tokens)
    for _, other in TEMPLATES.items():
        assert matcher.validate_tokens(llm.tokenize(f"x{other}")) == 0


def test_a_forced_call_begins_with_the_control_token_that_the_marker_is():
    tokenizer = Tokenizer.from_gguf(metadata.bpe())
    control = tokenizer.id_of("<|im_start|>")
    calling = Calling(MISTRAL, {"[TOOL_CALLS]": control}, TEMPLATES[MISTRAL], SCHEMAS)
    form = called([{"name": "add", "parameters": SCHEMA}], "tools", calling, several=False)
    matcher = Grammars(tokenizer).constraint(SamplingParams(**form.given))._matcher
    tokens = [control, *tokenizer.encode(f"add[ARGS]{ARGUMENTS}", add_special=False)]
    assert matcher.validate_tokens(tokens) == len(tokens)
    assert matcher.validate_tokens(tokenizer.encode("[TOOL_CALLS]add", add_special=False)) == 0


def test_a_text_without_quotes_cannot_be_held_to_a_pattern():
    tool = {"name": "f", "parameters": {"properties": {"a": {"type": "string", "pattern": "x"}}}}
    with pytest.raises(ApiError, match="tools: a has pattern"):
        called([tool], "tools", Calling(CODER), several=False)
    assert called([tool], "tools", ANY, several=False).given


STRING = {"type": "string"}
WRONG = [5, True, "a", {}, {"a": 1}]


@pytest.mark.parametrize("key", ["properties", "required", "$defs", "definitions"])
def test_null_in_a_schema_is_as_if_it_were_not_there(key):
    absent = {"type": "object", "properties": {"a": STRING}, "required": ["a"]}
    absent.pop(key, None)
    form = forced(absent | {key: None})
    assert form == forced(absent)


@pytest.mark.parametrize("key", ["enum", "const", "pattern", "format", "minLength", "maxLength"])
def test_null_in_the_schema_of_a_text_is_as_if_it_were_not_there(key):
    assert forced({"properties": {"a": STRING | {key: None}}}) == forced(
        {"properties": {"a": STRING}}
    )


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        *(({"required": value}, "required of parameters is no list") for value in WRONG),
        *(
            ({"properties": value}, "properties of parameters is no object")
            for value in (5, True, "a", ["a"])
        ),
        *(({"properties": {"a": value}}, "a of properties is no schema") for value in (5, "x", [])),
        *(({"properties": {"a": STRING | {"enum": v}}}, "enum of a is no list") for v in WRONG),
        *(({"properties": {"a": STRING | {"enum": v}}}, "a is a string, but") for v in ([], [1])),
        ({"properties": {"a": STRING | {"const": 1}}}, "a is a string, but"),
    ],
)
def test_a_schema_of_wrong_types_is_refused_and_tools_named(schema, told):
    with pytest.raises(ApiError, match=f"^tools: {told}") as caught:
        forced(schema)
    assert (caught.value.status, caught.value.param) == (400, "tools")


def forced(schema):
    tool = {"name": "f", "parameters": schema}
    return called([tool], "tools", Calling(CODER), several=True)


def chat(llm, **fields):
    async def ask(client):
        return await client.post("/v1/chat/completions", json={"tools": TOOLS} | fields)

    return talk(llm, ask)


HELLO = [{"role": "user", "content": "x"}]
PIECES = ['{"name": "add", ', '"parameters": {"a"', ": 1", "}}"]


def test_a_chat_stream_has_the_name_first_and_the_arguments_in_pieces():
    llm = ScriptedLLM(*PIECES, template=TEMPLATES[LLAMA])
    text = chat(llm, messages=HELLO, stream=True).text
    chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    choices = [chunk["choices"][0] for chunk in chunks]
    (first, *others) = [
        call for choice in choices for call in choice["delta"].get("tool_calls", [])
    ]
    assert first.pop("id").startswith("call_")
    assert first == {
        "index": 0,
        "type": "function",
        "function": {"name": "add", "arguments": ""},
    }
    assert others == [
        {"index": 0, "function": {"arguments": piece}} for piece in ('{"a"', ": 1", "}")
    ]
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert not any(choice["delta"].get("content") for choice in choices)


def test_a_whole_answer_of_a_llama_has_the_call():
    choice = chat(ScriptedLLM(*PIECES, template=TEMPLATES[LLAMA]), messages=HELLO).json()
    (call,) = choice["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert choice["choices"][0]["finish_reason"] == "tool_calls"


def test_mistrals_templates_get_ids_of_nine_characters_that_still_match():
    llm = ScriptedLLM("x", template=TEMPLATES[MISTRAL])
    calls = [
        {"id": id, "type": "function", "function": {"name": "add", "arguments": "{}"}}
        for id in ("call_0123456789", "abcdefghi")
    ]
    turns = [
        *HELLO,
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_0123456789", "content": "2"},
    ]
    assert chat(llm, messages=turns).status_code == 200
    _, said, result = llm.asked[0][0]
    short, kept = [call["id"] for call in said["tool_calls"]]
    assert (len(short), short.isalnum(), kept) == (9, True, "abcdefghi")
    assert result["tool_call_id"] == short


@pytest.mark.parametrize(
    ("template", "role"), [("{{ messages }}", "system"), ("'developer'", "developer")]
)
def test_a_developer_is_a_system_unless_the_template_knows_the_role(template, role):
    llm = ScriptedLLM("x", template=template)
    turns = [{"role": "developer", "content": "be short"}, *HELLO]
    assert chat(llm, messages=turns).status_code == 200
    assert [turn["role"] for turn in llm.asked[0][0]] == [role, "user"]
