"""Finding special tokens in text."""

from __future__ import annotations

import re
from collections.abc import Iterable


class SpecialTokens:
    """Cuts text at tokens that are looked up whole, before any other tokenization.

    Longer tokens (in UTF-8 bytes) take their places first, then equal ones from left to right;
    the order of llama.cpp. ``rstrip`` holds the ids that swallow the whitespace after them.
    """

    def __init__(self, tokens: Iterable[tuple[str, int]], rstrip: frozenset[int]) -> None:
        self._ids = dict(tokens)
        self._rstrip = rstrip
        self._lengths: dict[str, list[int]] = {}
        for text in self._ids:
            lengths = self._lengths.setdefault(text[0], [])
            if len(text) not in lengths:
                lengths.append(len(text))
        first = "".join(map(re.escape, self._lengths))
        self._first = re.compile(f"[{first}]" if first else "(?!)")

    def split(self, text: str) -> list[str | int]:
        """Return the pieces of ``text`` in order: ids of tokens, and the strings between them."""
        found = []
        for match in self._first.finditer(text):
            start = match.start()
            for length in self._lengths[match[0]]:
                token = text[start : start + length]
                if token in self._ids:
                    found.append((-len(token.encode()), self._ids[token], start, start + length))
        if not found:
            return [text] if text else []
        return self._cut(text, sorted(found))

    def _cut(self, text: str, found: list[tuple[int, int, int, int]]) -> list[str | int]:
        taken = bytearray(len(text))
        chosen = []
        for _, id, start, end in found:
            if taken.find(1, start, end) < 0:
                if id in self._rstrip:
                    while end < len(text) and not taken[end] and text[end] in " \t\n\v\f\r":
                        end += 1
                taken[start:end] = b"\1" * (end - start)
                chosen.append((start, end, id))
        pieces: list[str | int] = []
        position = 0
        for start, end, id in sorted(chosen):
            if start > position:
                pieces.append(text[position:start])
            pieces.append(id)
            position = end
        if position < len(text):
            pieces.append(text[position:])
        return pieces
