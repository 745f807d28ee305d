"""Metadata that is wrong, contradictory or of an unknown kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text import metadata
from tests.text.test_unigram import UNIGRAM
from zerostall.errors import ModelFormatError, UnsupportedModelError
from zerostall.text import Tokenizer

COUNT = len(metadata.bpe()["tokenizer.ggml.tokens"])


def load(fields):
    """Open and use: the tables of a byte-level vocabulary are built on first use."""
    return Tokenizer.from_gguf(fields).encode("hello")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": None}, "tokens is missing or empty"),
        ({"tokens": []}, "tokens is missing or empty"),
        ({"tokens": "abc"}, "tokens is a str, expected an array of strings"),
        ({"tokens": [1, 2]}, "tokens holds values of type int, expected strings"),
        ({"tokens": ["a", "b", "a"]}, "tokens has 'a' twice, at 0 and 2"),
        ({"token_type": [1]}, f"token_type has 1 entries, but tokenizer.ggml.tokens has {COUNT}"),
        ({"token_type": [1.5] * COUNT}, "token_type holds values of type float"),
        ({"token_type": [9] * COUNT}, "token_type has the unknown value 9"),
        ({"token_type": [6] * COUNT}, "has the type byte, but reads"),
        ({"bos_token_id": COUNT}, f"bos_token_id is {COUNT}, but there are {COUNT} tokens"),
        ({"eos_token_id": -1}, "eos_token_id is -1"),
        ({"eot_token_id": 1 << 40}, "eot_token_id is 1099511627776"),
        ({"eos_token_id": "2"}, "eos_token_id is a str, expected an integer"),
        ({"eos_token_id": True}, "eos_token_id is a bool, expected an integer"),
        ({"add_bos_token": 1}, "add_bos_token is a int, expected a boolean"),
        ({"add_bos_token": True, "bos_token_id": None}, "add_bos_token is true, but bos_token_id"),
        ({"model": 3}, "model is a int, expected a string"),
        ({"model": np.array([1, 2])}, "model is a ndarray, expected a string"),
        ({"eos_token_id": np.array([2])}, "eos_token_id is a ndarray, expected an integer"),
        ({"pre": ["gpt-2"]}, "pre is a list, expected a string"),
        ({"merges": None}, "merges is missing"),
        ({"merges": 7}, "merges is a int, expected an array of strings"),
        ({"merges": ["hello"]}, "merges has 'hello', expected two tokens"),
        ({"merges": ["a "]}, "merges has 'a ', expected two tokens"),
        ({"merges": ["xx yy"]}, "xx"),
        ({"merges": ["h w"]}, "hw"),
    ],
)
def test_hostile_byte_level_metadata_is_a_format_error(changes, message):
    with pytest.raises(ModelFormatError, match=message.replace(".", r"\.")):
        load(metadata.bpe(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, "scores is missing"),
        ({"scores": [0.0]}, "scores has 1 entries"),
        ({"scores": ["a"]}, "scores holds values of type str"),
        ({"unknown_token_id": 10**6}, "unknown_token_id is 1000000"),
        ({"add_space_prefix": "no"}, "add_space_prefix is a str, expected a boolean"),
    ],
)
def test_hostile_sentencepiece_metadata_is_a_format_error(changes, message):
    with pytest.raises(ModelFormatError, match=message):
        load(metadata.spm(**changes))


def test_a_score_that_is_no_number_is_a_format_error():
    fields = metadata.spm()
    fields["tokenizer.ggml.scores"][300 - 40] = float("nan")
    with pytest.raises(ModelFormatError, match="scores has a NaN"):
        load(fields)


def test_templates_of_a_wrong_type_are_a_format_error():
    with pytest.raises(ModelFormatError, match="tokenizer.chat_template is a int"):
        load(metadata.bpe() | {"tokenizer.chat_template": 1})


def test_an_error_names_the_file():
    class File(dict):
        paths = ("model.gguf",)

    with pytest.raises(ModelFormatError, match=r"model\.gguf: tokenizer\.ggml\.merges is missing"):
        load(File(metadata.bpe(merges=None)))


@pytest.mark.parametrize("model", ["no_vocab", "none", None])
def test_a_file_without_vocabulary_asks_for_token_ids(model):
    with pytest.raises(UnsupportedModelError, match=r"--tokens 1,2,3"):
        load(metadata.bpe(model=model))


def test_an_unknown_tokenizer_names_itself_and_the_known_ones():
    with pytest.raises(UnsupportedModelError, match="'rwkv'.*llama, gpt2, gemma4, t5"):
        load(metadata.bpe(model="rwkv"))


def test_an_unknown_pre_tokenizer_names_itself_and_the_known_ones():
    with pytest.raises(UnsupportedModelError, match="'next-year'.*deepseek-llm.*qwen2"):
        load(metadata.bpe(pre="next-year"))


KEYS = [key for base in (metadata.bpe(), metadata.spm(), UNIGRAM) for key in base]
KEYS += ["tokenizer.chat_template", "tokenizer.chat_templates", "general.name"]
SCALARS = st.one_of(
    st.integers(-(2**63), 2**64), st.floats(), st.booleans(), st.text(max_size=8), st.none()
)
JUNK = st.one_of(SCALARS, st.lists(SCALARS, max_size=4), st.lists(st.text("a ▁Ġ", max_size=3)))


@given(
    st.sampled_from([metadata.bpe, metadata.spm, lambda: dict(UNIGRAM)]),
    st.dictionaries(st.sampled_from(KEYS), JUNK, min_size=1, max_size=3),
    st.sampled_from(["gpt2", "llama", "gemma4", "t5", None]),
)
def test_any_metadata_loads_and_works_or_is_a_typed_error(base, junk, model):
    fields = base() | junk
    if model is not None:
        fields["tokenizer.ggml.model"] = model
    try:
        tokenizer = Tokenizer.from_gguf(fields)
        ids = tokenizer.encode("hello <s>é\n\n", parse_special=True)
    except (ModelFormatError, UnsupportedModelError):
        return
    assert isinstance(tokenizer.decode(ids), str)
    assert isinstance(tokenizer.decode(range(tokenizer.vocab_size), skip_special=False), str)
