"""Messages of OpenAI's API as chat templates expect them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from zerostall.serve.faults import ApiError

Message = dict[str, Any]


def to_template(messages: Sequence[Message]) -> list[Message]:
    """Contents as text, and arguments of tool calls as objects.

    Templates add contents to strings, and most print a call's arguments as JSON, which of a
    string (as the API has them) would be a quoted string.

    Raises:
        ApiError: 400, a message has no role or something that is no text.
    """
    return [_message(message) for message in messages]


def _message(message: Message) -> Message:
    if not isinstance(message.get("role"), str):
        raise ApiError(400, "messages: each needs a role, which is a string", param="messages")
    plain = {**message, "content": _text(message.get("content"))}
    if isinstance(message.get("tool_calls"), list):
        plain["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    return plain


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise ApiError(400, f"messages: content is {kind!r}; give text", param="messages")
    return "\n".join(part["text"] for part in parts)


def _call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": arguments}}
