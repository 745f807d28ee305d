"""What an answer is held to: a schema, a grammar, or a call of a tool, as fields of sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zerostall.errors import InvalidRequestError
from zerostall.sampling import FORMS
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
    """

    where: str
    given: dict[str, Any]

    def refused(self, message: str) -> ApiError | None:
        """The answer to an error of the engine if this form is at fault."""
        name = message.split(" ", 1)[0].rstrip(":")
        if name not in FORMS or not self.given:
            return None
        told = message if name == self.where else f"{self.where}: {message.partition(': ')[2]}"
        return ApiError(400, told, param=self.where)


FREE = Form("", {})


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
    elif form.where in FORMS or not form.given:
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
