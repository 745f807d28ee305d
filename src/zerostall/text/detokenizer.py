"""Tokens to text one at a time, for streaming."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from zerostall.text.tokenizer import Tokenizer


class Detokenizer:
    """Turns tokens into text that is safe to show at once.

    Two things are held back: bytes that do not complete a character yet, and text that may be
    the beginning of a stop string. A push costs the length of the token and of the stop strings,
    however long the text is. Joined, the pieces equal the whole decoded text, cut before the
    stop string that is complete first (the longest of those that end at the same character).

    ``strip_space`` drops one leading space, for text that is not a continuation. ``shown`` has
    special tokens that appear although the others are skipped.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
        skip_special: bool = True,
        strip_space: bool = False,
        shown: Sequence[int] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(text for text in stop if text)
        self._show_special = not skip_special
        self._shown = frozenset(shown)
        self._strip = strip_space
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._matched: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether a stop string was completed; later pushes give nothing."""
        return self._matched is not None

    @property
    def stop_string(self) -> str | None:
        """The stop string that was completed."""
        return self._matched

    def push(self, id: int) -> str:
        """Add one token and return the text that became certain, often an empty string."""
        if self.stopped:
            return ""
        show = self._show_special or id in self._shown
        return self._release(self._decode(self._tokenizer.token_bytes(id, show)))

    def finish(self) -> str:
        """End the text and return what was held back; an incomplete character is U+FFFD."""
        if self.stopped:
            return ""
        text = self._release(self._decode(b"", final=True))
        if self.stopped:
            return text
        text, self._held = text + self._held, ""
        return text

    def _decode(self, data: bytes, final: bool = False) -> str:
        text = self._decoder.decode(data, final)
        if self._strip and text:
            self._strip = False
            text = text.removeprefix(" ")
        return text

    def _release(self, text: str) -> str:
        text = self._held + text
        matches = []
        for stop in self._stop:
            start = text.find(stop)
            if start >= 0:
                matches.append((start + len(stop), start, stop))
        if matches:
            _, start, self._matched = min(matches)
            self._held = ""
            return text[:start]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of ``text`` that begins ``stop``."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
