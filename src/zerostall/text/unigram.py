"""SentencePiece's unigram model: the most probable cut, on HF tokenizers."""

from __future__ import annotations

import re

import tokenizers
from tokenizers import models

from zerostall.text.charsmap import KEY, CharacterMap
from zerostall.text.metadata import Metadata, format_error, read_flag, read_integers
from zerostall.text.token_type import TokenType
from zerostall.text.vocabulary import Vocabulary

_SPACE = "▁"
# Stands for tokens that no text may produce; a noncharacter, so that none does.
_UNREACHABLE = "\U0010ffff{}"


class UnigramEncoder:
    """Encodes text without special tokens, normalized by the file's own character map."""

    def __init__(self, file: Metadata, vocabulary: Vocabulary) -> None:
        assert vocabulary.scores is not None
        if vocabulary.unknown_id is None:
            raise format_error(file, "tokenizer.ggml.unknown_token_id is missing")
        self._squeeze = bool(read_flag(file, "tokenizer.ggml.remove_extra_whitespaces"))
        self._prefix = vocabulary.add_space_prefix
        self._map = _read_map(file)
        pieces = []
        for id, (token, score) in enumerate(zip(vocabulary.tokens, vocabulary.scores, strict=True)):
            kind = vocabulary.types[id]
            if kind in (TokenType.NORMAL, TokenType.UNUSED):
                pieces.append((token, score))
            elif kind == TokenType.USER_DEFINED:
                pieces.append((token, 0.0))
            else:
                pieces.append((_UNREACHABLE.format(id), 0.0))
        self._tokenizer = tokenizers.Tokenizer(
            models.Unigram(pieces, unk_id=vocabulary.unknown_id, byte_fallback=False)
        )

    def encode(self, text: str, first: bool) -> list[int]:
        """Return the ids of ``text``; ``first`` makes no difference here."""
        ids: list[int] = self._tokenizer.encode(self._normalize(text), add_special_tokens=False).ids
        return ids

    def _normalize(self, text: str) -> str:
        if self._map is not None:
            text = self._map.normalize(text)
        if self._squeeze:
            text = re.sub(" +", " ", text.strip(" "))
        if self._squeeze or self._prefix:
            text = re.sub("(?=[^ ])", " ", text, count=1)
        return text.replace(" ", _SPACE)


def _read_map(file: Metadata) -> CharacterMap | None:
    values = read_integers(file, KEY)
    if values is None:
        return None
    return CharacterMap(bytes(value & 0xFF for value in values))
