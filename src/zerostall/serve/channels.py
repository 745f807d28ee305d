"""The messages on channels that gpt-oss writes (Harmony), as parts of an answer."""

from __future__ import annotations

import json

from zerostall.serve.parts import Arguments, Call, CallEnd, Kind, Part, Text
from zerostall.text.harmony import HarmonyReader, Said

_FUNCTIONS = "functions."  # where Harmony has the tools of a conversation


class Channels:
    """The parts of messages on channels; several of one kind are paragraphs.

    Args:
        tools: calls of functions are calls of tools, else content.
    """

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
        """Take in text, return the parts that are certain now."""
        parts: list[Part] = []
        for said in self._reader.push(text):
            self._take(said, parts)
        return parts

    def finish(self) -> list[Part]:
        """The text has ended: the parts that were held back."""
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
            kind: Kind = "reasoning_content" if said.channel == "analysis" else "content"
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
        if is_object:
            parts += [Call(name), Arguments(arguments), CallEnd()]
        else:
            parts.append(Text("content", arguments))
