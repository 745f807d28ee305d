"""Metadata of small vocabularies for tests; a dict serves as an open GGUF file."""

from __future__ import annotations

from typing import Any

from zerostall.text.pieces import byte_text

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def bpe(**changes: Any) -> dict[str, Any]:
    """A byte-level vocabulary: 256 bytes, some merges, and four special tokens.

    Keyword arguments replace fields (their "tokenizer.ggml." left out); None removes one.
    """
    words = ["he", "ll", "hell", "hello", "Ġw", "or", "Ġwor", "ld", "Ġworld", "ĠĠ"]
    merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "l d", "Ġwor ld", "Ġ Ġ"]
    special = ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|mark|>"]
    letters = [byte_text(chr(value)) for value in range(128)]
    letters += sorted({letter for value in range(128, 0x800) for letter in byte_text(chr(value))})
    tokens = [*dict.fromkeys(letters), *words, *special]
    types = [NORMAL] * (len(tokens) - 4) + [CONTROL, CONTROL, CONTROL, USER]
    fields = {
        "model": "gpt2",
        "pre": "llama-bpe",
        "tokens": tokens,
        "token_type": types,
        "merges": merges,
        "bos_token_id": tokens.index("<|bos|>"),
        "eos_token_id": tokens.index("<|im_end|>"),
    }
    return _with_prefix(fields | changes)


def spm(**changes: Any) -> dict[str, Any]:
    """A SentencePiece vocabulary: control tokens, 256 bytes, and pieces with scores."""
    pieces = [
        *(("▁", -9.0), ("h", -9.0), ("e", -9.0), ("l", -9.0), ("o", -9.0), ("w", -9.0)),
        *(("he", -1.0), ("ll", -2.0), ("llo", -3.0), ("hello", -4.0), ("▁hello", -5.0)),
        *(("▁w", -6.0), ("▁▁", -7.0)),
    ]
    control = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL), ("[INST]", USER)]
    octets = [f"<0x{value:02X}>" for value in range(256)]
    fields = {
        "model": "llama",
        "tokens": [*(token for token, _ in control), *octets, *(piece for piece, _ in pieces)],
        "scores": [0.0] * (len(control) + 256) + [score for _, score in pieces],
        "token_type": [kind for _, kind in control] + [BYTE] * 256 + [NORMAL] * len(pieces),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
    return _with_prefix(fields | changes)


def _with_prefix(fields: dict[str, Any]) -> dict[str, Any]:
    return {f"tokenizer.ggml.{key}": value for key, value in fields.items() if value is not None}
