"""The vocabulary of a GGUF file: tokens, their types, and the ids with a meaning."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass

from zerostall.errors import UnsupportedModelError
from zerostall.text.metadata import (
    Metadata,
    format_error,
    read_flag,
    read_integer,
    read_integers,
    read_numbers,
    read_text,
    read_texts,
)
from zerostall.text.named import FILL_IN, end_of_generation, name_by_text
from zerostall.text.pretokenizers import PRETOKENIZERS, PreTokenizer
from zerostall.text.token_type import TokenType

log = logging.getLogger(__name__)

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass
class Vocabulary:
    """Everything the file says about its tokens, checked.

    ``ids`` maps the text of a token, as stored, to its id; ``bytes_of`` maps the ids of type BYTE
    to their value; ``pre`` is set for ``gpt2`` and ``gemma4``, ``scores`` for ``llama`` and ``t5``.
    """

    model: str
    tokens: list[str]
    ids: dict[str, int]
    types: list[int]
    bytes_of: dict[int, int]
    scores: list[float] | None
    pre: PreTokenizer | None
    bos_id: int | None
    eos_id: int | None
    unknown_id: int | None
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool
    eog_ids: frozenset[int]
    named: dict[str, int]


@dataclass(frozen=True)
class _Defaults:
    """What a tokenizer model implies where the file is silent (llama.cpp's rules)."""

    bos: int | None
    eos: int | None
    unknown: int | None
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool


_DEFAULTS = {
    "llama": _Defaults(1, 2, 0, True, False, True),
    "gpt2": _Defaults(11, 11, None, False, False, False),
    "gemma4": _Defaults(None, None, None, True, False, False),
    "t5": _Defaults(None, 1, 2, False, True, False),
}


def read_vocabulary(file: Metadata) -> Vocabulary:
    """Read and check the vocabulary of an open GGUF file.

    Raises ``UnsupportedModelError`` for a tokenizer or pre-tokenizer that does not exist here and
    for a file without vocabulary, ``ModelFormatError`` for fields that contradict one another.
    """
    model = _model_name(file)
    tokens, ids = _read_tokens(file)
    types = _read_types(file, len(tokens))
    scores = _read_scores(file, len(tokens)) if model in ("llama", "t5") else None
    pre = _pretokenizer(file, model) if model in ("gpt2", "gemma4") else None
    named = {
        name: _read_id(file, f"tokenizer.ggml.{name}_token_id", len(tokens))
        for name in ("bos", "eos", "eot", "eom", "unknown", *FILL_IN)
    }
    given = {name: id for name, id in named.items() if id is not None}
    name_by_text(ids, types, given)
    defaults = _DEFAULTS[model]
    for name in ("bos", "eos", "unknown"):
        default = getattr(defaults, name)
        if name not in given and _plausible(default, model, types):
            given[name] = default
    if pre is not None and not pre.bos and named["bos"] is None:
        given.pop("bos", None)
    add_bos, add_eos = _additions(file, model, pre, given)
    prefix = read_flag(file, "tokenizer.ggml.add_space_prefix")
    return Vocabulary(
        model=model,
        tokens=tokens,
        ids=ids,
        types=types,
        bytes_of=_byte_values(file, tokens, types),
        scores=scores,
        pre=pre,
        bos_id=given.get("bos"),
        eos_id=given.get("eos"),
        unknown_id=given.get("unknown"),
        add_bos=add_bos,
        add_eos=add_eos,
        add_space_prefix=defaults.add_space_prefix if prefix is None else prefix,
        eog_ids=end_of_generation(ids, types, given),
        named=given,
    )


def _model_name(file: Metadata) -> str:
    model = read_text(file, "tokenizer.ggml.model")
    if model is None or model in ("no_vocab", "none"):
        raise UnsupportedModelError(
            "the model file has no vocabulary (tokenizer.ggml.model is "
            f"{model or 'missing'}): pass token ids instead of text (--tokens 1,2,3)"
        )
    if model not in _DEFAULTS:
        raise UnsupportedModelError(
            f"tokenizer.ggml.model is '{model}', but only {', '.join(_DEFAULTS)} exist here; "
            "pass token ids instead of text (--tokens 1,2,3)"
        )
    return model


def _read_tokens(file: Metadata) -> tuple[list[str], dict[str, int]]:
    key = "tokenizer.ggml.tokens"
    tokens = read_texts(file, key)
    if not tokens:
        raise format_error(file, f"{key} is missing or empty")
    if "" in tokens:
        tokens = [token or f"[EMPTY_{id}]" for id, token in enumerate(tokens)]
    ids = {token: id for id, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        second = next(id for id, token in enumerate(tokens) if ids[token] != id)
        raise format_error(
            file, f"{key} has {tokens[second]!r} twice, at {second} and {ids[tokens[second]]}"
        )
    return tokens, ids


def _same_length(file: Metadata, key: str, found: int, expected: int) -> None:
    if found != expected:
        raise format_error(
            file, f"{key} has {found} entries, but tokenizer.ggml.tokens has {expected}"
        )


def _read_types(file: Metadata, count: int) -> list[int]:
    key = "tokenizer.ggml.token_type"
    types = read_integers(file, key)
    if types is None:
        return [int(TokenType.NORMAL)] * count
    _same_length(file, key, len(types), count)
    bad = set(types) - set(TokenType)
    if bad:
        raise format_error(file, f"{key} has the unknown value {min(bad)}, expected 0 to 6")
    return list(types)


def _read_scores(file: Metadata, count: int) -> list[float]:
    key = "tokenizer.ggml.scores"
    scores = read_numbers(file, key)
    if scores is None:
        raise format_error(file, f"{key} is missing: this tokenizer merges by score")
    _same_length(file, key, len(scores), count)
    if any(map(math.isnan, scores)):
        raise format_error(file, f"{key} has a NaN")
    return scores


def _pretokenizer(file: Metadata, model: str) -> PreTokenizer:
    if model == "gemma4":
        return PRETOKENIZERS["gemma4"]
    name = read_text(file, "tokenizer.ggml.pre")
    if name is None:
        log.warning("the file names no pre-tokenizer (tokenizer.ggml.pre): using 'default'")
        name = "default"
    if name not in PRETOKENIZERS:
        raise UnsupportedModelError(
            f"tokenizer.ggml.pre is '{name}', which does not exist here; "
            f"known: {', '.join(sorted(PRETOKENIZERS))}"
        )
    return PRETOKENIZERS[name]


def _read_id(file: Metadata, key: str, count: int) -> int | None:
    value = read_integer(file, key)
    if value is not None and not 0 <= value < count:
        raise format_error(file, f"{key} is {value}, but there are {count} tokens")
    return value


def _plausible(default: int | None, model: str, types: list[int]) -> bool:
    """Whether a token has the meaning that a silent file leaves it.

    The default 11 of gpt2 files is right for falcon; elsewhere it is an ordinary token.
    """
    if default is None or default >= len(types):
        return False
    return model == "llama" or types[default] in (TokenType.CONTROL, TokenType.UNKNOWN)


def _additions(
    file: Metadata, model: str, pre: PreTokenizer | None, given: dict[str, int]
) -> tuple[bool, bool]:
    """Whether BOS and EOS are added: the file decides, then the family, then the model."""
    defaults = _DEFAULTS[model]
    # llama.cpp adds BOS for gemma4 whatever the file says: early conversions said no.
    said_bos = None if model == "gemma4" else read_flag(file, "tokenizer.ggml.add_bos_token")
    said_eos = read_flag(file, "tokenizer.ggml.add_eos_token")
    for name, said in (("bos", said_bos), ("eos", said_eos)):
        if said and name not in given:
            raise format_error(
                file,
                f"tokenizer.ggml.add_{name}_token is true, but {name}_token_id is missing",
            )
    add_bos = defaults.add_bos or (pre is not None and pre.add_bos)
    return (
        "bos" in given and (add_bos if said_bos is None else said_bos),
        "eos" in given and (defaults.add_eos if said_eos is None else said_eos),
    )


def _byte_values(file: Metadata, tokens: list[str], types: list[int]) -> dict[int, int]:
    values = {}
    byte = int(TokenType.BYTE)
    for id, kind in enumerate(types if byte in types else ()):
        if kind == byte:
            match = _BYTE.fullmatch(tokens[id])
            if match is None:
                raise format_error(
                    file, f"token {id} has the type byte, but reads {tokens[id]!r}, not <0xHH>"
                )
            values[id] = int(match[1], 16)
    return values
