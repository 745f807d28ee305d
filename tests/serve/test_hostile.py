"""No field of a request makes the server fail, whatever is in it."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.llm.models import nano, with_template
from tests.serve.process import JSON, serving
from tests.tasks import HANG_S

HI = [{"role": "user", "content": "x"}]
BASES = {
    "/v1/completions": {"prompt": "x", "max_tokens": 1},
    "/v1/chat/completions": {"messages": HI, "max_tokens": 1},
    "/v1/messages": {"messages": HI, "max_tokens": 1},
    "/v1/messages/count_tokens": {"messages": HI},
    "/v1/responses": {"input": "x", "max_output_tokens": 1},
    "/tokenize": {"content": "x"},
    "/detokenize": {"tokens": [5]},
    "/apply-template": {"messages": HI},
}
SAMPLING = ["max_tokens", "temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "stop"]
SAMPLING += ["logit_bias", "stop_token_ids", "presence_penalty", "repetition_penalty", "ignore_eos"]
FORM = [
    "priority",
    "return_progress",
    "n",
    "stream",
    "stream_options",
    "response_format",
    "model",
    "logprobs",
]
HELD = ["json_schema", "grammar", "regex", "parallel_tool_calls", "chat_template_kwargs"]
BLOCKS = ["messages", "system", "tools", "tool_choice", "thinking", "output_config"]
BLOCKS += ["chat_template_kwargs"]
ITEMS = ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "metadata"]
ITEMS += ["max_output_tokens", "previous_response_id", "background", "top_logprobs", "include"]
FIELDS = {
    "/v1/completions": [*SAMPLING, *FORM, *HELD[:3], "prompt", "echo", "suffix", "best_of"],
    "/v1/chat/completions": [*FORM, *HELD, "messages", "tools", "tool_choice", "top_logprobs"],
    "/v1/messages": [*BLOCKS, *FORM, *HELD[:3], "max_tokens", "stop_sequences", "output_format"],
    "/v1/messages/count_tokens": BLOCKS,
    "/v1/responses": [*FORM, *HELD, *ITEMS],
    "/tokenize": ["content", "add_special", "with_pieces"],
    "/detokenize": ["tokens"],
    "/apply-template": ["messages", "tools", "chat_template_kwargs"],
}
VALUES = [None, True, -1, 0, 1.5, float("inf"), float("nan"), 10**30, "", "x", "\ud800", {}]
VALUES += [[], [1], ["\ud800"], [[1]], [[]], [None], {"a": 1}, {"1": -1e308}, {"-1": 1}]
VALUES += [{"type": "object"}, {"type": "\ud800"}, {"const": "\ud800"}, {"type": "tool", "name": 1}]
VALUES += [{"format": {"type": "json_schema", "schema": {"const": float("nan")}}}, [{"type": "x"}]]
VALUES += [
    [{"role": "\ud800", "content": "\ud800"}],
    [{"role": "user", "content": ["x"]}],
    [{"role": "user", "content": "x", "tool_calls": [1, {"function": {"arguments": "["}}]}],
]


# A kilobyte of it needs more frames than Python has, and less than its parser of JSON takes.
DEEP = json.loads('{"a":' * 600 + "1" + "}" * 600)
CALL = {"type": "function", "id": "x", "function": {"name": "f", "arguments": json.dumps(DEEP)}}
TOOL = {"name": "f", "parameters": DEEP}
VALUES += [DEEP, [DEEP], {"format": {"type": "json_schema", "schema": DEEP}}]
VALUES += [[{"role": "user", "content": "x", "a": DEEP}]]
VALUES += [[{"role": "assistant", "content": "x", "tool_calls": [CALL]}, *HI]]
VALUES += [[{"name": "f", "input_schema": DEEP}], [{"type": "function", "function": TOOL}]]
VALUES += [[{"type": "function", **TOOL}]]


def failures(server, path, bodies):
    """What of these bodies is answered with anything but an answer or a refusal."""
    failed = []
    with httpx.Client(base_url=server.url, headers=JSON, timeout=HANG_S) as client:
        for what, body in bodies:
            try:
                status = client.post(path, content=json.dumps(body)).status_code
            except httpx.TransportError as error:  # of a connection that a failure has closed
                status = repr(error)
            if status not in (200, 400):
                failed.append((what, status))
    return failed


@pytest.mark.parametrize("path", BASES)
def test_a_hostile_value_is_answered_or_refused(server, path):
    bodies = [
        ((field, str(value)[:80]), BASES[path] | {field: value})
        for field in FIELDS[path]
        for value in VALUES
    ]
    assert failures(server, path, bodies) == []


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/v1/chat/completions", "messages", [{**HI[0], "a": DEEP}]),
        ("/v1/chat/completions", "tools", [{"type": "function", "function": TOOL}]),
        ("/v1/chat/completions", "chat_template_kwargs", {"a": DEEP}),
        ("/v1/responses", "chat_template_kwargs", {"a": DEEP}),
        ("/v1/responses", "tools", [{"type": "function", **TOOL}]),
        ("/apply-template", "messages", [{**HI[0], "a": DEEP}]),
        ("/apply-template", "tools", [DEEP]),
        ("/apply-template", "chat_template_kwargs", {"documents": [DEEP]}),
    ],
)
def test_a_value_nested_too_deep_is_refused_by_the_name_of_its_field(server, path, field, value):
    answer = server.post(path, BASES[path] | {field: value})
    told = answer.json()["error"]
    assert (answer.status_code, told["param"]) == (400, field)
    assert "nested deeper than 100 levels" in told["message"]


def test_what_a_conversation_makes_a_template_do_is_a_400(coder):
    tools = [{"type": "function", "function": {"name": "f"}}] * 200
    answer = coder.post("/v1/chat/completions", {"messages": HI * 600, "tools": tools})
    told = answer.json()["error"]
    assert (answer.status_code, told["param"]) == (400, "messages")
    assert "more than 2000000 loop turns" in told["message"]


# Of Qwen3-Coder's kind: grammars for its calls are made of the parts of a schema. Many messages
# and tools are too much for it.
CODER = "{% macro show(t) %}{{ t.function.name }}{% endmacro %}{% for m in messages %}"
CODER += "{{ m.content }}{% for t in tools or [] %}{{ show(t) }}{% endfor %}{% endfor %}"
CODER += "{# <tool_call>\n<function=example>\n<parameter=x> #}"
PATHS = {
    "/v1/chat/completions": (lambda tool: {"type": "function", "function": tool}, "required"),
    "/v1/responses": (lambda tool: {"type": "function", **tool}, "required"),
    "/v1/messages": (
        lambda tool: {"name": tool["name"], "input_schema": tool["parameters"]},
        {"type": "any"},
    ),
}


@pytest.fixture(scope="module")
def coder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coder")
    (folder / "coder.gguf").write_bytes(with_template(nano(), CODER))
    with serving(folder / "log.jsonl", "-m", str(folder / "coder.gguf")) as server:
        yield server


@pytest.mark.parametrize("path", PATHS)
def test_a_hostile_schema_of_a_call_that_must_be_made_is_answered_or_refused(coder, path):
    form, choice = PATHS[path]
    schemas = [
        {"type": "object", "properties": {"a": {"type": "string"}}, key: value}
        for key in ("type", "properties", "required", "$defs")
        for value in VALUES
    ] + [
        {"type": "object", "properties": {"a": {"type": "string"} | {key: value}}}
        for key in ("type", "enum", "const", "pattern")
        for value in VALUES
    ]
    bodies = []
    for schema in schemas:
        tool = form({"name": "f", "parameters": schema})
        bodies.append((str(schema)[:200], BASES[path] | {"tools": [tool], "tool_choice": choice}))
    assert failures(coder, path, bodies) == []
