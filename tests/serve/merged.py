"""The parts of a text as they read when all have come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zerostall.serve.output import OutputParser
from zerostall.serve.parts import Arguments, Call, CallEnd, Part, Text


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: str
    ended: bool = True


def merge(parser: OutputParser, pieces: Iterable[str]) -> list[Text | ToolCall]:
    """Parse a text and join what belongs together."""
    parts = [part for piece in pieces for part in parser.push(piece)] + parser.finish()
    merged: list[Text | ToolCall] = []
    for part in parts:
        last = merged.pop() if merged else None
        merged += [each for each in _joined(last, part) if each is not None]
    return merged


def _joined(last: Text | ToolCall | None, part: Part) -> tuple[Text | ToolCall | None, ...]:
    if isinstance(part, Call):
        return last, ToolCall(part.name, "", ended=False)
    if isinstance(part, Text):
        if isinstance(last, Text) and last.kind == part.kind:
            return (Text(part.kind, last.text + part.text),)
        return last, part
    assert isinstance(last, ToolCall)
    assert not last.ended
    if isinstance(part, CallEnd):
        return (ToolCall(last.name, last.arguments),)
    assert isinstance(part, Arguments)
    return (ToolCall(last.name, last.arguments + part.text, ended=False),)


def content(text: str) -> Text:
    return Text("content", text)


def reasoning(text: str) -> Text:
    return Text("reasoning_content", text)
