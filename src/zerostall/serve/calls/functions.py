"""Calls as Qwen3-Coder writes them: <function=NAME>, and a <parameter=NAME> for each argument."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from zerostall.serve.calls.feed import Feed, Reading
from zerostall.serve.parts import Arguments, Call

FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"
Schemas = Mapping[str, Mapping[str, Any]]

_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def function_call(feed: Feed, schemas: Schemas) -> Reading[bool]:
    """Read one call; its arguments become JSON, of the types that the function's schema has.

    Args:
        feed: stands before it.
        schemas: the parameters of each function that is known.

    Returns:
        Whether it was a call, whose end is not told yet.
    """
    feed.take(len(FUNCTION))
    name = yield from feed.until(">")
    if not name or "<" in name or "\n" in name:
        return False
    feed.emit(Call(name))
    feed.emit(Arguments("{"))
    known = schemas.get(name, {}).get("properties")
    known = known if isinstance(known, Mapping) else {}
    between = ""
    while True:
        yield from feed.space()
        begin = yield from feed.starts(PARAMETER, FUNCTION_END)
        if begin != PARAMETER:
            break
        feed.take(len(PARAMETER))
        key = yield from feed.until(">")
        value = yield from feed.until(PARAMETER_END)
        if key is None or value is None:
            feed.take(len(feed.text))
            feed.cut = True
            return True
        feed.emit(Arguments(f"{between}{_quoted(key)}: {as_json(value, known.get(key))}"))
        between = ", "
    feed.cut = begin is None and feed.over
    feed.take(len(feed.text) if feed.cut else len(begin or ""))
    if not feed.cut:
        feed.emit(Arguments("}"))
    return True


def as_json(text: str, schema: Any) -> str:
    """A parameter's value as JSON: text, unless its schema allows something else and it is that."""
    text = text.removeprefix("\n").removesuffix("\n")
    kinds = _kinds(schema)
    if kinds == {"string"}:
        return _quoted(text)
    plain = text.strip()
    if plain in ("True", "False", "None"):
        plain = {"True": "true", "False": "false", "None": "null"}[plain]
    try:
        value = json.loads(plain)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return _quoted(text)
    return _quoted(text) if isinstance(value, str) and "string" in kinds else plain


def _kinds(schema: Any) -> set[str]:
    """The types that a schema allows, as far as it says; nobody has checked it."""
    if not isinstance(schema, Mapping):
        return set()
    kinds = {kind for kind in _listed(schema.get("type")) if isinstance(kind, str)}
    kinds |= {_KINDS[type(value)] for value in _listed(schema.get("enum")) if type(value) in _KINDS}
    for other in (*_listed(schema.get("anyOf")), *_listed(schema.get("oneOf"))):
        if isinstance(other, Mapping):
            kinds |= {kind for kind in _listed(other.get("type")) if isinstance(kind, str)}
    return kinds


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
