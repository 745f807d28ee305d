"""Byte-pair encoding by ranked merges, on HF tokenizers."""

from __future__ import annotations

import threading
from typing import cast

import tokenizers
from tokenizers import Regex, models, pre_tokenizers

from zerostall.text.metadata import Metadata, format_error, read_texts
from zerostall.text.pretokenizers import PreTokenizer

_MERGES = "tokenizer.ggml.merges"


class BytePairEncoder:
    """Encodes text without special tokens.

    The tables are built on the first call, so that a model that is only inspected opens at once:
    0.3 s for 150,000 tokens, 0.8 s for the 515,000 merges of gemma4 (CPU time on an AMD EPYC).
    Raises ``ModelFormatError`` then if a merge names a token that does not exist.
    """

    def __init__(self, file: Metadata, ids: dict[str, int], pre: PreTokenizer) -> None:
        if _MERGES not in file:
            raise format_error(file, f"{_MERGES} is missing")
        self._file = file
        self._ids = ids
        self._pre = pre
        self._lock = threading.Lock()
        self._tokenizer: tokenizers.Tokenizer | None = None

    def encode(self, text: str, first: bool) -> list[int]:
        """Return the ids of ``text``; ``first`` makes no difference here."""
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = self._build()
        if self._pre.escape:
            text = text.replace(" ", "▁")
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _build(self) -> tokenizers.Tokenizer:
        merges = _read_merges(self._file)
        try:
            model = models.BPE(
                self._ids,
                merges,
                ignore_merges=self._pre.ignore_merges,
                byte_fallback=self._pre.escape,
            )
        except Exception as error:  # tokenizers raises Exception itself
            raise format_error(self._file, f"{_MERGES}: {error}") from error
        tokenizer = tokenizers.Tokenizer(model)
        steps = [split_steps(self._pre)]
        if not self._pre.escape:
            steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        return tokenizer


def split_steps(pre: PreTokenizer) -> pre_tokenizers.PreTokenizer:
    """Return what cuts text into words."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(expression), "isolated") for expression in pre.splits]
    )


def _read_merges(file: Metadata) -> list[tuple[str, str]]:
    """Return the merges, most important first. A token may begin with the space that separates."""
    lines = read_texts(file, _MERGES) or []
    merges = [tuple(line.split(" ")) for line in lines]
    if set(map(len, merges)) <= {2} and not any("" in pair for pair in merges):
        return cast("list[tuple[str, str]]", merges)
    return [_read_merge(file, line) for line in lines]


def _read_merge(file: Metadata, line: str) -> tuple[str, str]:
    space = line.find(" ", 1)
    if space < 0 or space + 1 == len(line):
        raise format_error(file, f"{_MERGES} has {line!r}, expected two tokens")
    return line[:space], line[space + 1 :]
