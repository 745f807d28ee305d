"""Text that comes in pieces, read by generators that yield where they need more of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from zerostall.serve.parts import Part

T = TypeVar("T")
Reading = Generator[None, None, T]


class Feed:
    """What a reader of calls works on.

    Attributes:
        text: what was not read yet.
        over: nothing more will come.
        parts: what was found.
        cut: the text ended inside a call.
        given_back: what was read since the last part or mark; content, if it is no call.
    """

    def __init__(self) -> None:
        self.text = ""
        self.over = False
        self.cut = False
        self.parts: list[Part] = []
        self.given_back = ""

    def take(self, count: int) -> str:
        """Read so many characters."""
        taken, self.text = self.text[:count], self.text[count:]
        self.given_back += taken
        return taken

    def emit(self, part: Part) -> None:
        """Add a part; what it was read from is not given back any more."""
        self.parts.append(part)
        self.mark()

    def mark(self) -> None:
        """Another call may begin here."""
        self.given_back = ""

    def space(self) -> Reading[None]:
        """Read whitespace."""
        yield from self.skip(" \t\r\n")

    def skip(self, characters: str) -> Reading[None]:
        """Read as many of these characters as there are."""
        while True:
            self.take(len(self.text) - len(self.text.lstrip(characters)))
            if self.text or self.over:
                return
            yield

    def starts(self, *texts: str) -> Reading[str | None]:
        """Which of these comes next, if one does; it is not read."""
        while True:
            for text in texts:
                if self.text.startswith(text):
                    return text
            if self.over or not any(text.startswith(self.text) for text in texts):
                return None
            yield

    def until(self, end: str) -> Reading[str | None]:
        """What stands before `end`, both read; None and nothing read if it never comes."""
        while end not in self.text:
            if self.over:
                return None
            yield
        before = self.take(self.text.index(end))
        self.take(len(end))
        return before
