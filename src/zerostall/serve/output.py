"""What a chat model writes, told apart as it comes: reasoning, content, calls of tools."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from zerostall.sampling import is_text
from zerostall.text.harmony import OPENINGS, HarmonyReader, Said, is_harmony

THINK, THOUGHT = "<think>", "</think>"
CALL, CALLED = "<tool_call>", "</tool_call>"
_FUNCTIONS = "functions."  # where Harmony has the tools of a conversation


@dataclass(frozen=True)
class Text:
    """A piece of the answer, or of the reasoning before it."""

    kind: Literal["reasoning_content", "content"]
    text: str


@dataclass(frozen=True)
class ToolCall:
    """A call that the model asks for; `arguments` is JSON."""

    name: str
    arguments: str


Part = Text | ToolCall


class OutputParser:
    """Splits a text that comes in pieces; how it is cut into pieces changes nothing.

    Reasoning is what stands between <think> and </think> at the beginning. Calls are JSON
    objects between <tool_call> and </tool_call>, as Hermes and Qwen write them; one that is not
    what it should be stays content. Whitespace around reasoning and before calls is dropped.
    An answer in messages on channels (gpt-oss) is told apart by those.

    Args:
        thinking: the prompt has opened <think> already.
        tools: look for calls.
    """

    def __init__(self, *, thinking: bool, tools: bool) -> None:
        self._tools = tools
        self._state: Literal["start", "thinking", "content", "call"] = "start"
        self._held = ""
        self._gap = ""  # whitespace before a call, content again if it is none
        self._strip = True  # whitespace at the beginning of a part
        self._harmony: _Harmony | None = None
        if thinking:
            self._state = "thinking"

    @property
    def thinking(self) -> bool:
        """Whether the text is inside the reasoning."""
        return self._harmony.thinking if self._harmony else self._state == "thinking"

    def push(self, text: str) -> list[Part]:
        """Take in text, return the parts that are certain now."""
        if self._harmony:
            return self._harmony.push(text)
        self._held += text
        parts: list[Part] = []
        while self._step(parts):
            pass
        return parts

    def finish(self) -> list[Part]:
        """The text has ended: the parts that were held back."""
        if self._harmony:
            return self._harmony.finish()
        parts: list[Part] = []
        if self._state == "call":
            self._emit(parts, "content", self._gap + CALL + self._held)
        elif self._state == "thinking":
            self._emit(parts, "reasoning_content", self._held.rstrip())
        else:
            self._strip &= self._state != "start"
            self._emit(parts, "content", self._held)
        self._held = ""
        return parts

    def _step(self, parts: list[Part]) -> bool:
        """Get one part further; False when that needs more text."""
        if self._state == "start":
            return self._start(parts)
        if self._state == "thinking":
            return self._until(parts, "reasoning_content", THOUGHT, "content")
        if self._state == "call":
            return self._call(parts)
        if self._tools:
            return self._until(parts, "content", CALL, "call")
        self._emit(parts, "content", self._held)
        self._held = ""
        return False

    def _start(self, parts: list[Part]) -> bool:
        text = self._held.lstrip()
        if is_harmony(text):
            self._harmony = _Harmony(tools=self._tools)
            parts += self._harmony.push(text)
            self._held = ""
            return False
        if text.startswith(THINK):
            self._held = text[len(THINK) :]
            self._state = "thinking"
            return True
        if any(tag.startswith(text) for tag in (THINK, *OPENINGS)):
            return False
        self._state = "content"
        self._strip = False
        return True

    def _until(
        self,
        parts: list[Part],
        kind: Literal["reasoning_content", "content"],
        tag: str,
        after: Literal["content", "call"],
    ) -> bool:
        """Give text out until the tag, holding back what may be the tag or space before it."""
        before, found, rest = self._held.partition(tag)
        if found:
            text = before.rstrip()
            self._emit(parts, kind, text)
            self._held, self._state, self._gap = rest, after, before[len(text) :]
            self._strip |= after == "content"
            return True
        keep = len(before) - _overlap(before, tag)
        keep = len(before[:keep].rstrip())
        self._emit(parts, kind, before[:keep])
        self._held = before[keep:]
        return False

    def _call(self, parts: list[Part]) -> bool:
        body, found, rest = self._held.partition(CALLED)
        if not found:
            return False
        call = parse_call(body)
        self._state = "content"
        self._held = rest
        if call is None:
            self._emit(parts, "content", self._gap + CALL + body + CALLED)
        else:
            self._strip = True
            parts.append(call)
        return True

    def _emit(
        self, parts: list[Part], kind: Literal["reasoning_content", "content"], text: str
    ) -> None:
        if self._strip:
            text = text.lstrip()
        if text:
            self._strip = False
            parts.append(Text(kind, text))


class _Harmony:
    """The parts of messages on channels; several of one kind are paragraphs."""

    def __init__(self, *, tools: bool) -> None:
        self._tools = tools
        self._reader = HarmonyReader()
        self._message = -1
        self._fresh = True  # nothing of the message was given out
        self._shown: set[str] = set()  # kinds of text that were
        self._called: str | None = None  # the tool that the message calls
        self._arguments = ""

    @property
    def thinking(self) -> bool:
        """Inside the reasoning or a header, which no caller sees."""
        return self._reader.channel in ("", "analysis")

    def push(self, text: str) -> list[Part]:
        parts: list[Part] = []
        for said in self._reader.push(text):
            self._take(said, parts)
        return parts

    def finish(self) -> list[Part]:
        parts: list[Part] = []
        for said in self._reader.finish():
            self._take(said, parts)
        self._end_call(parts)
        return parts

    def _take(self, said: Said, parts: list[Part]) -> None:
        if said.message != self._message:
            self._end_call(parts)
            self._message, self._fresh = said.message, True
            if self._tools and said.recipient.startswith(_FUNCTIONS):
                self._called = said.recipient.removeprefix(_FUNCTIONS)
        if self._called is not None:
            self._arguments += said.text
        elif said.text:
            kind: Literal["reasoning_content", "content"] = (
                "reasoning_content" if said.channel == "analysis" else "content"
            )
            gap = "\n\n" if self._fresh and kind in self._shown else ""
            self._fresh = False
            self._shown.add(kind)
            parts.append(Text(kind, gap + said.text))

    def _end_call(self, parts: list[Part]) -> None:
        if self._called is None:
            return
        arguments = self._arguments.strip() or "{}"
        name, self._called, self._arguments = self._called, None, ""
        try:
            is_object = isinstance(json.loads(arguments), dict)
        except (ValueError, RecursionError):
            is_object = False
        parts.append(ToolCall(name, arguments) if is_object else Text("content", arguments))


def parse_call(body: str) -> ToolCall | None:
    """The call that a JSON object of name and arguments makes, if it is one."""
    try:
        call: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", call.get("parameters", {}))
    if not isinstance(arguments, str):
        text = json.dumps(arguments, ensure_ascii=False)
        # An escaped lone surrogate is JSON, but no text that can be sent unescaped.
        arguments = text if is_text(text) else json.dumps(arguments)
    if not is_text(call["name"]) or not is_text(arguments):
        return None
    return ToolCall(call["name"], arguments)


def _overlap(text: str, tag: str) -> int:
    """The length of the longest end of `text` that begins `tag`."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if text.endswith(tag[:length]):
            return length
    return 0
