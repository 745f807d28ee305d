"""What an answer is held to: a schema, a grammar, or a call of a tool, as fields of sampling."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zerostall.errors import InvalidRequestError
from zerostall.sampling import FORMS, is_text
from zerostall.serve.calls.rules import call_rules
from zerostall.serve.calls.styles import Calling
from zerostall.serve.faults import ApiError
from zerostall.serve.output import THOUGHT
from zerostall.text.grammar import json_rule

ANY_OBJECT = {"type": "object"}


@dataclass(frozen=True)
class Form:
    """Fields of SamplingParams that hold an answer to a form.

    Attributes:
        where: the request's field that asked for it; errors name it.
        given: at most one of json_schema, grammar and regex.
        whole: it describes all of the text, also reasoning.
    """

    where: str
    given: dict[str, Any]
    whole: bool = False

    def refused(self, message: str) -> ApiError | None:
        """The answer to an error of the engine if this form is at fault."""
        name = message.split(" ", 1)[0].rstrip(":")
        if name not in FORMS or not self.given:
            return None
        told = message if name == self.where else f"{self.where}: {message.partition(': ')[2]}"
        return ApiError(400, told, param=self.where)


FREE = Form("", {})
_OWN = ("grammar", "regex")  # of the caller's own
_GUIDED = ("json", "regex", "grammar", "choice")


def asked_for(given: Mapping[str, Any], response_format: Any) -> Form:
    """What fields of a request ask for.

    Args:
        given: those of FORMS, vLLM's guided_* and its structured_outputs, as far as they are there.
        response_format: as for of_format().

    Raises:
        ApiError: 400, one is not what it should be, or there are two.
    """
    found: list[Form] = []
    for name in FORMS:
        if given.get(name) is not None:
            found.append(Form(name, {name: given[name]}, whole=name in _OWN))
    for kind in _GUIDED:
        if given.get(f"guided_{kind}") is not None:
            found.append(_guided(f"guided_{kind}", kind, given[f"guided_{kind}"]))
    if given.get("structured_outputs") is not None:
        found += _structured(given["structured_outputs"])
    schema = of_format(response_format)
    if schema is not None:
        found.append(Form("response_format", {"json_schema": schema}))
    if len(found) > 1:
        first, second = found[0].where, found[1].where
        raise ApiError(400, f"{second} is given beside {first}", param=second)
    return found[0] if found else FREE


def _structured(given: Mapping[str, Any]) -> list[Form]:
    """vLLM's newer form: the same kinds as members of one object."""
    where, found = "structured_outputs", []
    for kind, value in given.items():
        if kind in _GUIDED and value is not None:
            found.append(_guided(where, kind, value))
        elif kind == "json_object" and value:
            found.append(Form(where, {"json_schema": ANY_OBJECT}))
        elif kind == "structural_tag" and value is not None:
            raise ApiError(400, f"{where}: {kind} is not supported; give json", param=where)
    return found


def _guided(where: str, kind: str, value: Any) -> Form:
    if kind == "json":
        return Form(where, {"json_schema": _schema(where, value)})
    if kind != "choice":
        if not isinstance(value, str) or not is_text(value):
            raise ApiError(400, f"{where}: {kind} is no text", param=where)
        return Form(where, {kind: value}, whole=True)
    if not isinstance(value, list) or not value or not all(map(_is_choice, value)):
        raise ApiError(400, f"{where}: give a list of texts to choose from", param=where)
    texts = " | ".join(json.dumps(text, ensure_ascii=False) for text in value)
    return Form(where, {"grammar": f"start: body\nbody: {texts}\n"})


def _is_choice(value: Any) -> bool:
    return isinstance(value, str) and value != "" and is_text(value)


def _schema(where: str, value: Any) -> dict[str, Any]:
    """A JSON schema, which may come as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"{where}: the schema is not JSON", param=where) from error
    if not isinstance(value, dict):
        raise ApiError(400, f"{where}: the schema is no object", param=where)
    return value


def of_format(asked: Any, where: str = "response_format") -> dict[str, Any] | None:
    """The schema that a response_format asks for; None if it asks for text.

    Both forms of OpenAI's API are read, and llama.cpp's, whose schema stands beside the type.

    Raises:
        ApiError: 400, it asks for something else.
    """
    if asked is None or asked.get("type", "text") == "text":
        return None
    kind = asked["type"]
    if kind == "json_object":
        schema = asked.get("schema", ANY_OBJECT)
    elif kind == "json_schema":
        inner = asked.get("json_schema")
        schema = (inner if isinstance(inner, dict) else asked).get("schema")
    else:
        raise ApiError(
            400, f"{where}: {kind!r} is not supported; give json_schema or text", param=where
        )
    if not isinstance(schema, dict):
        raise ApiError(400, f"{where}: schema is missing or no object", param=where)
    return schema


def held(
    schema: Mapping[str, Any] | None,
    where: str,
    tools: Sequence[Mapping[str, Any]] | None,
    calling: Calling,
) -> Form:
    """An answer of that schema, or instead of it calls of the tools that are offered."""
    if schema is None:
        return FREE
    if not tools:
        return Form(where, {"json_schema": schema})
    rules = f"start: calls | body\nbody: {_rule(schema, where)}\n{_calls(tools, calling)}"
    return Form(where, {"grammar": rules})


def called(
    tools: Sequence[Mapping[str, Any]], where: str, calling: Calling, *, several: bool
) -> Form:
    """Calls of these functions and nothing else, in the form that the parser of outputs reads.

    Args:
        tools: {"name", "parameters"} each; parameters is a JSON schema.
        where: the request's field, for errors.
        calling: how the model writes calls.
        several: more than one call may be made.
    """
    start = "calls" if several else "call"
    return Form(where, {"grammar": f"start: {start}\n{_calls(tools, calling)}"})


def after_thought(form: Form) -> Form:
    """The same after the end of the reasoning that a prompt has opened.

    A grammar or expression of the caller's own describes the whole text, and stays as it is.
    """
    if "json_schema" in form.given:
        text = f"start: body\nbody: {_rule(form.given['json_schema'], form.where)}\n"
    elif form.whole or not form.given:
        return form
    else:
        text = form.given["grammar"]
    closing = THOUGHT.replace("/", r"\/")
    text = text.replace("start: ", "start: thought gap answer\nanswer: ", 1)
    text += f"thought[lazy]: /(.|\\n)*{closing}/\ngap: /[ \\n]{{0,4}}/\n"
    return Form(form.where, {"grammar": text})


def functions(tools: Sequence[Mapping[str, Any]], where: str = "tools") -> list[dict[str, Any]]:
    """Name and parameters of each tool, from the form that chats have them in.

    Raises:
        ApiError: 400, one is no function.
    """
    found = []
    for tool in tools:
        function = tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ApiError(400, f"{where}: each needs a function with a name", param=where)
        schema = function.get("parameters")
        if schema is not None and not isinstance(schema, dict):
            raise ApiError(400, f"{where}: parameters is no JSON schema", param=where)
        found.append({"name": function["name"], "parameters": schema or ANY_OBJECT})
    return found


def mode(allowed: Any, where: str = "tool_choice") -> str:
    """Whether one of the allowed tools must be called.

    Raises:
        ApiError: 400, it is neither "auto" nor "required".
    """
    told = allowed.get("mode", "auto") if isinstance(allowed, Mapping) else None
    if told not in ("auto", "required"):
        raise ApiError(400, f'{where}: mode of allowed_tools is "auto" or "required"', param=where)
    return str(told)


def allowed(
    tools: Sequence[Mapping[str, Any]] | None, asked: Any, where: str = "tool_choice"
) -> list[dict[str, Any]]:
    """The tools, in the form of chats, that OpenAI's allowed_tools leaves; None leaves all.

    Raises:
        ApiError: 400, it names one that is not there.
    """
    if asked is None:
        return [dict(tool) for tool in tools or []]
    named = asked.get("tools") if isinstance(asked, Mapping) else None
    if not isinstance(named, list) or not all(isinstance(each, dict) for each in named):
        raise ApiError(400, f"{where}: tools of allowed_tools is no list of tools", param=where)
    names = []
    for each in named:
        function = each.get("function", each)
        names.append(function.get("name") if isinstance(function, dict) else None)
    known = [function["name"] for function in functions(tools or [])]
    for name in names:
        if name not in known:
            raise ApiError(400, f"{where}: there is no tool {name!r}", param=where)
    return [dict(tool) for tool, name in zip(tools or [], known, strict=True) if name in names]


def chosen(
    tools: Sequence[Mapping[str, Any]] | None, name: str | None, where: str = "tool_choice"
) -> list[dict[str, Any]]:
    """The functions of which one must be called: the named one, or all.

    Raises:
        ApiError: 400, there is no such function.
    """
    found = functions(tools or [])
    if name is not None:
        found = [each for each in found if each["name"] == name]
    if not found:
        missing = "tools is empty" if name is None else f"there is no tool {name!r}"
        raise ApiError(400, f"{where}: {missing}", param=where)
    return found


def _rule(schema: Mapping[str, Any], where: str) -> str:
    try:
        return json_rule(schema)
    except InvalidRequestError as error:
        raise ApiError(400, f"{where}: {error}", param=where) from error


def _calls(tools: Sequence[Mapping[str, Any]], calling: Calling) -> str:
    """Rules for `call`, any of the tools, and for `calls`, one or more."""
    try:
        return call_rules(calling, tools, lambda schema: _rule(schema, "tools"))
    except InvalidRequestError as error:
        raise ApiError(400, f"tools: {error}", param="tools") from error
