"""The bytes that tokens stand for."""

from __future__ import annotations

from zerostall.text.token_type import TokenType
from zerostall.text.vocabulary import Vocabulary


def _byte_alphabet() -> dict[str, int]:
    """The printable characters with which GPT-2 writes the 256 bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(value): value for value in printable}
    others = [value for value in range(256) if value not in printable]
    return alphabet | {chr(256 + place): value for place, value in enumerate(others)}


_ALPHABET = _byte_alphabet()
_CHARACTERS = {value: character for character, value in _ALPHABET.items()}
_HIDDEN = (TokenType.CONTROL, TokenType.UNKNOWN)
_LITERAL = (*_HIDDEN, TokenType.USER_DEFINED)


def byte_text(text: str) -> str:
    """Spell the UTF-8 bytes of ``text`` in the alphabet of GPT-2, as its tokens are spelled."""
    return "".join(_CHARACTERS[value] for value in text.encode())


class Pieces:
    """Looks up the bytes of one token at a time; nothing is kept per token."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._tokens = vocabulary.tokens
        self._types = vocabulary.types
        self._bytes = {id: bytes([value]) for id, value in vocabulary.bytes_of.items()}
        self._escaped = vocabulary.pre is None or vocabulary.pre.escape

    def of(self, id: int, show_special: bool) -> bytes:
        """Return the bytes of token ``id``; those of control tokens only if ``show_special``."""
        kind = self._types[id]
        token = self._tokens[id]
        if kind in _LITERAL:
            return b"" if kind in _HIDDEN and not show_special else token.encode()
        if kind == TokenType.BYTE:
            return self._bytes[id]
        if kind != TokenType.NORMAL:
            return b""
        if self._escaped:
            return token.replace("▁", " ").encode()
        try:
            return bytes([_ALPHABET[character] for character in token])
        except KeyError:
            return token.encode()
