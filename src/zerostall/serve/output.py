"""What a chat model writes, told apart as it comes: reasoning, content, calls of tools."""

from __future__ import annotations

from typing import Literal

from zerostall.serve.calls.feed import Feed
from zerostall.serve.calls.styles import Calling
from zerostall.serve.channels import Channels
from zerostall.serve.parts import CallEnd, Kind, Part, Text
from zerostall.text.harmony import OPENINGS, is_harmony

THINK, THOUGHT = "<think>", "</think>"


class OutputParser:
    """Splits a text that comes in pieces; how it is cut into pieces changes nothing.

    Reasoning is what stands between <think> and </think> at the beginning. Calls are what the
    model's style says; one that is not what it should be stays content. Whitespace around
    reasoning and before calls is dropped. An answer in messages on channels (gpt-oss) is told apart
    by those.

    Args:
        thinking: the prompt has opened <think> already.
        calling: how calls are written; None: there are none.
        several: there may be more than one call; else nothing counts after the first.
    """

    def __init__(self, *, thinking: bool, calling: Calling | None, several: bool = True) -> None:
        self._calling = calling
        self._state: Literal["start", "thinking", "begin", "content", "call"] = "start"
        self._held = ""
        self._gap = ""  # whitespace before a call, content again if it is none
        self._strip = True  # whitespace at the beginning of a part
        self._over = False
        self._several = several
        self._called = False  # a call is complete
        self._went_on = False
        self._channels: Channels | None = None
        if thinking:
            self._state = "thinking"

    @property
    def thinking(self) -> bool:
        """Whether the text is inside the reasoning."""
        return self._channels.thinking if self._channels else self._state == "thinking"

    @property
    def went_on(self) -> bool:
        """Whether something came after the only call that there may be."""
        return self._went_on

    def push(self, text: str) -> list[Part]:
        """Take in text, return the parts that are certain now."""
        return self._kept(self._pushed(text))

    def finish(self) -> list[Part]:
        """The text has ended: the parts that were held back."""
        return self._kept(self._finished())

    def _kept(self, parts: list[Part]) -> list[Part]:
        """Those up to the end of the only call that there may be."""
        if self._several:
            return parts
        kept: list[Part] = []
        for part in parts:
            if self._called:
                self._went_on = True
                break
            kept.append(part)
            self._called = isinstance(part, CallEnd)
        return kept

    def _pushed(self, text: str) -> list[Part]:
        if self._channels:
            return self._channels.push(text)
        self._held += text
        parts: list[Part] = []
        while self._step(parts):
            pass
        return parts

    def _finished(self) -> list[Part]:
        if self._channels:
            return self._channels.finish()
        self._over = True
        parts = self._pushed("")
        if self._state == "thinking":
            self._emit(parts, "reasoning_content", self._held.rstrip())
        else:
            self._emit(parts, "content", self._held)
        self._held = ""
        return parts

    def _step(self, parts: list[Part]) -> bool:
        """Get one part further; False when that needs more text."""
        if self._state == "start":
            return self._start(parts)
        if self._state == "thinking":
            return self._thinking(parts)
        if self._state == "begin":
            return self._begin()
        if self._state == "call":
            return self._call(parts)
        return self._content(parts)

    def _start(self, parts: list[Part]) -> bool:
        text = self._held.lstrip()
        if is_harmony(text):
            self._channels = Channels(tools=self._calling is not None)
            parts += self._channels.push(text)
            self._held = ""
            return False
        if text.startswith(THINK):
            self._held = text[len(THINK) :]
            self._state = "thinking"
            return True
        if any(tag.startswith(text) for tag in (THINK, *OPENINGS)) and not self._over:
            return False
        self._state = "begin"
        self._strip = False
        return True

    def _thinking(self, parts: list[Part]) -> bool:
        before, found, rest = self._held.partition(THOUGHT)
        if not found:
            self._release(parts, "reasoning_content", (THOUGHT,))
            return False
        self._emit(parts, "reasoning_content", before.rstrip())
        self._held, self._state, self._strip = rest, "begin", True
        return True

    def _begin(self) -> bool:
        """Where the content begins a call may need no opening."""
        text = self._held.lstrip()
        bare = self._calling is not None and self._calling.style.bare
        if bare and not text and not self._over:
            return False
        if bare and text.startswith("{"):
            self._open(self._held[: len(self._held) - len(text)], text)
        else:
            self._state = "content"
        return True

    def _content(self, parts: list[Part]) -> bool:
        if self._calling is None:
            self._emit(parts, "content", self._held)
            self._held = ""
            return False
        openings = self._calling.style.openings
        places = [self._held.find(opening) for opening in openings]
        begins = [place for place in places if place >= 0]
        if not begins:
            self._release(parts, "content", openings)
            return False
        before = self._held[: min(begins)]
        text = before.rstrip()
        self._emit(parts, "content", text)
        self._open(before[len(text) :], self._held[len(before) :])
        return True

    def _open(self, gap: str, rest: str) -> None:
        """A call may begin."""
        assert self._calling is not None
        self._gap, self._held, self._state = gap, rest, "call"
        self._feed = Feed()
        self._reading = self._calling.style.read(self._feed, self._calling.schemas)

    def _call(self, parts: list[Part]) -> bool:
        feed = self._feed
        feed.text, feed.over, self._held = feed.text + self._held, self._over, ""
        try:
            next(self._reading)
            made = None
        except StopIteration as ended:
            made = bool(ended.value)
        if feed.parts:
            parts += feed.parts
            feed.parts = []
            self._gap = ""
            self._strip = True
        if made is None:
            return False
        self._state, self._held = "content", feed.text
        if not made:
            self._emit(parts, "content", self._gap + feed.given_back)
        return True

    def _release(self, parts: list[Part], kind: Kind, tags: tuple[str, ...]) -> None:
        """Give text out, holding back what may be a tag or space before it."""
        text = self._held
        keep = len(text) - max(_overlap(text, tag) for tag in tags)
        keep = len(text[:keep].rstrip())
        self._emit(parts, kind, text[:keep])
        self._held = text[keep:]

    def _emit(self, parts: list[Part], kind: Kind, text: str) -> None:
        if self._strip:
            text = text.lstrip()
        if text:
            self._strip = False
            parts.append(Text(kind, text))


def _overlap(text: str, tag: str) -> int:
    """The length of the longest end of `text` that begins `tag`."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if text.endswith(tag[:length]):
            return length
    return 0
