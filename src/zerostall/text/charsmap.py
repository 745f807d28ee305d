"""SentencePiece's precompiled character map: longest-prefix replacement by a double array.

The blob is a little-endian byte count, that many bytes of darts-clone units (32 bits each), and
then the replacements, NUL-terminated (sentencepiece, src/normalizer.cc).
"""

from __future__ import annotations

import struct

from zerostall.errors import ModelFormatError

KEY = "tokenizer.ggml.precompiled_charsmap"


class CharacterMap:
    """Replaces the longest known prefix at every position.

    Raises ``ModelFormatError`` on a bad blob: what can be seen at once when it is made, the rest
    when text leads there.
    """

    def __init__(self, blob: bytes) -> None:
        size = struct.unpack_from("<I", blob)[0] if len(blob) >= 4 else 0
        if size == 0 or size % 4 or 4 + size > len(blob):
            raise ModelFormatError(f"{KEY}: the trie takes {size} of {len(blob)} bytes")
        self._units = struct.unpack_from(f"<{size // 4}I", blob, 4)
        self._replacements = blob[4 + size :]
        self._seen: dict[str, str] = {}

    def normalize(self, text: str) -> str:
        """Return ``text`` with every longest match replaced; bytes match bytes, as there."""
        # No key of a SentencePiece map holds a space next to another character, so words are
        # normalized apart, and remembered.
        parts = []
        for word in text.split(" "):
            known = self._seen.get(word)
            if known is None:
                known = self._replace(word.encode()).decode("utf-8", "replace")
                if len(self._seen) < 1 << 16:
                    self._seen[word] = known
            parts.append(known)
        return " ".join(parts)

    def _replace(self, data: bytes) -> bytes:
        out = bytearray()
        position = 0
        while position < len(data):
            length, offset = self._longest(data, position)
            if length:
                end = self._replacements.find(b"\0", offset)
                if offset >= len(self._replacements) or end < 0:
                    raise ModelFormatError(f"{KEY}: replacement {offset} is outside the map")
                out += self._replacements[offset:end]
            else:
                length = _character_length(data[position])
                out += data[position : position + length]
            position += length
        return bytes(out)

    def _longest(self, data: bytes, start: int) -> tuple[int, int]:
        """Length in bytes of the longest match at ``start``, and where its replacement lies."""
        units = self._units
        best = (0, 0)
        node = _base(units[0])
        for position in range(start, len(data)):
            byte = data[position]
            node ^= byte
            if byte == 0 or node >= len(units) or units[node] & 0x800000FF != byte:
                break
            unit = units[node]
            node ^= _base(unit)
            if unit >> 8 & 1 and node < len(units):
                best = (position - start + 1, units[node] & 0x7FFFFFFF)
        return best


def _base(unit: int) -> int:
    return unit >> 10 << ((unit & 1 << 9) >> 6)


def _character_length(lead: int) -> int:
    return 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
