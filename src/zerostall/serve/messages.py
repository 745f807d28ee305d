"""Messages of OpenAI's API as chat templates expect them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from zerostall.serve.calls.styles import Calling
from zerostall.serve.faults import ApiError
from zerostall.text.chat import Ending

Message = dict[str, Any]

_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")


def to_template(messages: Sequence[Message], calling: Calling) -> list[Message]:
    """Contents as text, arguments of tool calls as objects, and roles that the template knows.

    Templates add contents to strings, and most print a call's arguments as JSON, which of a
    string (as the API has them) would be a quoted string. A developer is a system, unless the
    template names the role itself.

    Args:
        messages: as the API has them.
        calling: of the model whose template it is.

    Raises:
        ApiError: 400, a message has no role or something that is no text.
    """
    return [_message(message, calling) for message in messages]


def ending(
    messages: Sequence[Message], opens: bool | None = None, goes_on: bool | None = None
) -> Ending:
    """How the prompt of a conversation ends.

    By itself, as at llama.cpp's server, a last message of the assistant's goes on, if it has text
    and no calls.

    Args:
        messages: as the API has them.
        opens: vLLM's add_generation_prompt.
        goes_on: vLLM's continue_final_message.

    Raises:
        ApiError: 400, the two contradict one another, or nothing can go on.
    """
    last = messages[-1]
    begun = last.get("role") == "assistant" and not last.get("tool_calls")
    begun = begun and _text(last.get("content")).strip() != ""
    where = "continue_final_message"
    if goes_on and opens:
        raise ApiError(400, f"{where}: add_generation_prompt is true too", param=where)
    if goes_on and not begun:
        told = f"{where}: the last message is no text of the assistant's"
        raise ApiError(400, told, param=where)
    if goes_on or (begun and opens is None and goes_on is None):
        return "continue"
    return "none" if opens is False else "answer"


def _message(message: Message, calling: Calling) -> Message:
    if not isinstance(message.get("role"), str):
        raise ApiError(400, "messages: each needs a role, which is a string", param="messages")
    plain = {**message, "content": _text(message.get("content"))}
    if message["role"] == "developer" and "developer" not in calling.template:
        plain["role"] = "system"
    if isinstance(message.get("tool_calls"), list):
        plain["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    return _with_short_ids(plain) if calling.style.short_ids else plain


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


def _with_short_ids(message: Message) -> Message:
    """Mistral's templates refuse ids that are not nine letters and digits, as ours and OpenAI's."""
    short = dict(message)
    if isinstance(short.get("tool_call_id"), str):
        short["tool_call_id"] = _short_id(short["tool_call_id"])
    if isinstance(short.get("tool_calls"), list):
        short["tool_calls"] = [
            {**call, "id": _short_id(call["id"])}
            if isinstance(call, dict) and isinstance(call.get("id"), str)
            else call
            for call in short["tool_calls"]
        ]
    return short


def _short_id(id: str) -> str:
    """The same for the same id, so that a call and its result still belong together."""
    if _SHORT_ID.fullmatch(id):
        return id
    return hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:9]
