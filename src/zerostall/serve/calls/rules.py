"""Rules of a grammar for calls in a style: `call` is one, `calls` as many as an answer may have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zerostall.errors import InvalidRequestError
from zerostall.serve.calls.functions import (
    FUNCTION,
    FUNCTION_END,
    PARAMETER,
    PARAMETER_END,
)
from zerostall.serve.calls.styles import (
    ARGS,
    CALL,
    CALL_ID,
    CALLED,
    CALLS,
    CODER,
    LLAMA,
    MISTRAL,
    MISTRAL_LIST,
    Calling,
)

Rule = Callable[[Mapping[str, Any]], str]  # of a JSON schema
Function = Mapping[str, Any]  # {"name", "parameters"}
# What a schema can ask of a text that is not written as JSON here.
_UNKEPT = ("pattern", "format", "minLength", "maxLength")
_END = f"\n{PARAMETER_END}\n"
_TEXT = r"text_value[lazy]: /(.|\n)*\n<\/parameter>\n/"


def call_rules(calling: Calling, tools: Sequence[Function], rule: Rule) -> str:
    """The rules, in Lark's form.

    Args:
        calling: the style, and its markers that are control tokens.
        tools: the functions of which each call takes one.
        rule: makes one of a JSON schema.

    Raises:
        InvalidRequestError: a schema asks for what calls in this style cannot be held to.
    """
    names = [f"call_{i}" for i in range(len(tools))]
    one = f"({' | '.join(names)})"
    write = {CODER.name: _function, MISTRAL.name: _named}.get(calling.style.name, _object)
    lines = [
        f"{name}: {write(calling, tool, rule)}" for name, tool in zip(names, tools, strict=True)
    ]
    if calling.style.name == LLAMA.name:
        lines += [f"call: {one}", "calls: call"]  # its templates have no place for more
    elif calling.style.name == MISTRAL.name:
        lines += [f"call: {one}", "calls: call+"]
    elif calling.style.name == MISTRAL_LIST.name:
        begin = f'{_mark(calling, CALLS)} " "? "["'
        lines += [f'call: {begin} {one} "]"', f'calls: {begin} {one} (", " {one})* "]"']
    else:
        begin, end = _mark(calling, CALL), _mark(calling, CALLED)
        lines += [f'call: {begin} "\\n" {one} "\\n" {end}', 'calls: call ("\\n" call)*']
    if calling.style.name == CODER.name:
        lines.append(_TEXT)
    return "\n".join(lines) + "\n"


def _object(calling: Calling, tool: Function, rule: Rule) -> str:
    key = "parameters" if calling.style.name == LLAMA.name else "arguments"
    begin = f'{{"name": {json.dumps(tool["name"], ensure_ascii=False)}, "{key}": '
    return f'{_literal(begin)} {rule(tool["parameters"])} "}}"'


def _named(calling: Calling, tool: Function, rule: Rule) -> str:
    id = f"{_mark(calling, CALL_ID)} /[a-zA-Z0-9]{{9}}/ " if CALL_ID in calling.template else ""
    begin = f"{_mark(calling, CALLS)} {_literal(tool['name'])} {id}{_mark(calling, ARGS)}"
    return f"{begin} {rule(tool['parameters'])}"


def _function(_: Calling, tool: Function, rule: Rule) -> str:
    """Parameters come in the order of the schema, and no others."""
    schema = tool["parameters"]
    parts = [_literal(f"{FUNCTION}{tool['name']}>\n")]
    shared = {
        name: schema[name] for name in ("$defs", "definitions") if schema.get(name) is not None
    }
    properties = _member(schema, "properties", dict, "parameters") or {}
    required = _member(schema, "required", list, "parameters") or []
    for name, value in properties.items():
        begin = _literal(f"{PARAMETER}{name}>\n")
        part = f"{begin} {_value(name, value, shared, rule)}"
        parts.append(part if name in required else f"({part})?")
    return " ".join([*parts, _literal(FUNCTION_END)])


def _value(name: str, schema: Any, shared: Mapping[str, Any], rule: Rule) -> str:
    """A parameter's value and its end: text as it is, everything else as JSON."""
    if schema is None or isinstance(schema, bool):
        schema = {}
    if not isinstance(schema, dict):
        raise InvalidRequestError(f"{name} of properties is no schema")
    if schema.get("type") != "string":
        return f"{rule({**schema, **shared})} {_literal(_END)}"
    for unkept in _UNKEPT:
        if schema.get(unkept) is not None:
            raise InvalidRequestError(
                f"{name} has {unkept}, which calls of this model cannot be held to: they have "
                "texts without quotes; leave it out"
            )
    allowed = _member(schema, "enum", list, name)
    if allowed is None and schema.get("const") is not None:
        allowed = [schema["const"]]
    if allowed is None:
        return "text_value"
    texts = [_literal(f"{text}{_END}") for text in allowed if isinstance(text, str)]
    if not texts:
        raise InvalidRequestError(f"{name} is a string, but its enum or const has none")
    return f"({' | '.join(texts)})"


def _member(schema: Mapping[str, Any], key: str, kind: type, of: str) -> Any:
    """What a schema has there, which nobody has checked; null is as if it were not there."""
    value = schema.get(key)
    if value is not None and not isinstance(value, kind):
        raise InvalidRequestError(f"{key} of {of} is no {'list' if kind is list else 'object'}")
    return value


def _mark(calling: Calling, marker: str) -> str:
    """A marker as text, or as the control token that it is."""
    id = calling.controls.get(marker)
    return _literal(marker) if id is None else f"<[{id}]>"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
