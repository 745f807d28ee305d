"""Items of an input as messages of chats, which templates know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zerostall.serve.faults import ApiError
from zerostall.serve.messages import Message

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


def to_messages(instructions: str | None, given: str | Sequence[Message]) -> list[Message]:
    """A conversation in the form of chats.

    Reasoning and calls join the message of the assistant's that they belong to.

    Raises:
        ApiError: 400, an item is unknown, or is no text.
    """
    turns: list[Message] = []
    if instructions:
        turns.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        return [*turns, {"role": "user", "content": given}]
    for item in given:
        kind = item.get("type", "message")
        if kind == "message":
            _say(turns, item)
        elif kind == "function_call":
            _call(turns, item)
        elif kind == "function_call_output":
            text = _text(item.get("output"))
            turns.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": text})
        elif kind == "reasoning":
            parts = item.get("content") or item.get("summary") or []
            turns.append(_assistant() | {"reasoning_content": _text(parts)})
        else:
            raise _wrong(f"an item is {kind!r}, which this server cannot read")
    return turns


def _say(turns: list[Message], item: Message) -> None:
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise _wrong(f"role is {role!r}; give user, assistant, system or developer")
    text = _text(item.get("content"))
    if role == "assistant" and _unanswered(turns):
        turns[-1]["content"] = text
    else:
        turns.append({"role": _ROLES[role], "content": text})


def _unanswered(turns: list[Message]) -> bool:
    """Whether the last message is reasoning that waits for what it led to."""
    return bool(turns) and "reasoning_content" in turns[-1] and not turns[-1]["content"]


def _call(turns: list[Message], item: Message) -> None:
    if not isinstance(item.get("name"), str) or not isinstance(item.get("arguments"), str):
        raise _wrong("function_call needs a name and arguments, which is JSON in a string")
    if not turns or turns[-1]["role"] != "assistant":
        turns.append(_assistant())
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    turns[-1].setdefault("tool_calls", []).append(call)


def _assistant() -> Message:
    return {"role": "assistant", "content": ""}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _wrong("content is neither text nor a list of parts")
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise _wrong(f"content is {kind!r}; give text")
    return "\n".join(part["text"] for part in content)


def _wrong(reason: str) -> ApiError:
    return ApiError(400, f"input: {reason}", param="input")
