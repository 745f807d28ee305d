"""Messages of Anthropic's API as those of OpenAI's, which templates know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zerostall.serve.faults import ApiError
from zerostall.serve.messages import Message


def to_openai(system: Any, messages: Sequence[Message]) -> list[Message]:
    """A system prompt and turns made of blocks.

    Results of tools become messages of their own, calls and thoughts fields of the assistant's.
    Thoughts that were redacted cannot be read and are left out.

    Raises:
        ApiError: 400, a role or a block is unknown, or is no text.
    """
    turns: list[Message] = []
    if system:
        turns.append({"role": "system", "content": _text(system, "system")})
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "user":
            turns += _user(content)
        elif role == "assistant":
            turns.append(_assistant(content))
        elif role == "system":
            turns.append({"role": "system", "content": _text(content, "messages")})
        else:
            raise _wrong(f"role is {role!r}; give user or assistant")
    last = turns[-1]
    if last["role"] == "assistant" and (last.get("tool_calls") or not last["content"].strip()):
        raise _wrong("the last is the assistant's and no text, which alone can go on")
    return turns


def _user(content: Any) -> list[Message]:
    turns: list[Message] = []
    texts: list[str] = []
    for block in _blocks(content):
        kind = block.get("type")
        if kind == "tool_result":
            # A question follows the results that it is about, in the order of the blocks.
            _flush(turns, texts)
            turns.append(_result(block))
        else:
            texts.append(_block_text(block, "messages"))
    _flush(turns, texts)
    return turns


def _flush(turns: list[Message], texts: list[str]) -> None:
    if texts:
        turns.append({"role": "user", "content": "\n".join(texts)})
        texts.clear()


def _result(block: Message) -> Message:
    text = _text(block.get("content") or "", "messages")
    if block.get("is_error"):
        text = f"Error: {text}"
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text}


def _assistant(content: Any) -> Message:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Message] = []
    for block in _blocks(content):
        kind = block.get("type")
        if kind == "tool_use":
            if not isinstance(block.get("name"), str) or not isinstance(block.get("input"), dict):
                raise _wrong("tool_use needs a name and an input, which is an object")
            function = {"name": block["name"], "arguments": block["input"]}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "thinking" and isinstance(block.get("thinking"), str):
            thoughts.append(block["thinking"])
        elif kind != "redacted_thinking":
            texts.append(_block_text(block, "messages"))
    turn: Message = {"role": "assistant", "content": "\n".join(texts)}
    if thoughts:
        turn["reasoning_content"] = "\n".join(thoughts)
    if calls:
        turn["tool_calls"] = calls
    return turn


def _blocks(content: Any) -> list[Message]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise _wrong("content is neither text nor a list of blocks")
    if not content:
        raise _wrong("content is empty")
    return content


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise _wrong("give text or a list of blocks of text", where)
    return "\n".join(_block_text(block, where) for block in content)


def _block_text(block: Message, where: str) -> str:
    if block.get("type") != "text" or not isinstance(block.get("text"), str):
        raise _wrong(f"a block is {block.get('type')!r}, which this model cannot read", where)
    text: str = block["text"]
    return text


def _wrong(reason: str, where: str = "messages") -> ApiError:
    return ApiError(400, f"{where}: {reason}", param=where)
