"""SentencePiece's unigram model and its character map, small enough to check by hand."""

from __future__ import annotations

import struct

import pytest

from tests.text.metadata import CONTROL, NORMAL, UNKNOWN, USER
from zerostall.errors import ModelFormatError
from zerostall.text import Tokenizer
from zerostall.text.charsmap import CharacterMap

PIECES = [
    *(("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)),
    *(("▁", -3.0, NORMAL), ("a", -2.0, NORMAL), ("b", -2.0, NORMAL), ("ab", -3.0, NORMAL)),
    *(("ba", -1.5, NORMAL), ("▁a", -2.5, NORMAL), ("[x]", -9.0, USER)),
]


UNIGRAM = {
    "tokenizer.ggml.model": "t5",
    "tokenizer.ggml.tokens": [token for token, _, _ in PIECES],
    "tokenizer.ggml.scores": [score for _, score, _ in PIECES],
    "tokenizer.ggml.token_type": [kind for _, _, kind in PIECES],
    "tokenizer.ggml.unknown_token_id": 2,
    "tokenizer.ggml.add_space_prefix": True,
}


def unigram(**changes):
    fields = UNIGRAM | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    return Tokenizer.from_gguf({key: value for key, value in fields.items() if value is not None})


def names(text, **changes):
    tokenizer = unigram(**changes)
    return [tokenizer.token(id) for id in tokenizer.encode(text, add_special=False)]


def test_the_most_probable_cut_wins():
    # "▁ ab a" -8, "▁a b a" -6.5, "▁a ba" -4.
    assert names("aba") == ["▁a", "ba"]


def test_eos_is_added_by_default():
    assert unigram().encode("a")[-1] == 1


def test_unknown_characters_are_one_unknown_token():
    assert names("aéüb") == ["▁a", "<unk>", "b"]


def test_extra_spaces_go_only_where_the_file_says_so():
    assert names("  a  ba ", remove_extra_whitespaces=True) == ["▁a", "▁", "ba"]
    assert names("a  ba ") == ["▁a", "▁", "▁", "ba", "▁"]
    assert names("a", add_space_prefix=False) == ["a"]


def test_control_tokens_cannot_be_spelled():
    assert names("</s>") == ["▁", "<unk>"]
    assert names("a[x]a") == ["▁a", "[x]", "▁a"]


def character_map(replacements):
    """A double array for single-byte keys: the root's children lie at 256 ^ byte, leaves after."""
    units = [0] * 1024
    texts = b""
    units[0] = 256 << 10
    for place, (key, text) in enumerate(replacements.items()):
        leaf = 512 + 2 * place
        child = 256 ^ ord(key)
        units[child] = (child ^ leaf) << 10 | 1 << 8 | ord(key)
        units[leaf] = 1 << 31 | len(texts)
        texts += text.encode() + b"\0"
    return struct.pack("<1025I", 4096, *units) + texts


def test_a_character_map_replaces_what_it_knows():
    blob = character_map({"A": "a", "B": "ba"})
    assert CharacterMap(blob).normalize("xAB éA") == "xaba éa"
    signed = [value - 256 if value > 127 else value for value in blob]
    for values in (list(blob), signed):
        assert names("ABA", precompiled_charsmap=values) == ["▁a", "ba", "a"]


@pytest.mark.parametrize(
    "blob", [b"", b"\0\0\0\0", struct.pack("<I", 400) + bytes(100), struct.pack("<I", 3) + bytes(9)]
)
def test_a_character_map_that_does_not_fit_is_a_format_error(blob):
    with pytest.raises(ModelFormatError, match="precompiled_charsmap"):
        unigram(precompiled_charsmap=list(blob))


def test_a_replacement_outside_the_map_is_a_format_error():
    blob = character_map({"A": "a"})[:-2]
    with pytest.raises(ModelFormatError, match="replacement 0 is outside"):
        CharacterMap(blob).normalize("A")


def test_an_unknown_token_is_needed():
    with pytest.raises(ModelFormatError, match="unknown_token_id is missing"):
        unigram(unknown_token_id=None, token_type=[NORMAL] * len(PIECES))
