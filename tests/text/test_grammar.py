"""Constraints: masks over the logits, and what ends them."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from tests.text import metadata
from zerostall import LLM, SamplingParams
from zerostall.errors import InvalidRequestError
from zerostall.text import Tokenizer
from zerostall.text.grammar import KEPT, Grammars
from zerostall.text.guidance import describe


@pytest.fixture(scope="module")
def tokenizer():
    with LLM("nano", threads=1) as llm:
        yield llm.tokenizer


@pytest.fixture
def grammars(tokenizer):
    return Grammars(tokenizer)


def next_texts(constraint, tokenizer, width):
    logits = np.zeros(width, np.float32)
    constraint.allowed(logits)
    assert set(np.unique(logits)) <= {0.0, -np.inf}
    return {tokenizer.token_bytes(i, show_special=True) for i in np.flatnonzero(logits == 0)}


def test_what_may_come_next_stays_and_all_else_is_minus_infinity(grammars, tokenizer):
    constraint = grammars.constraint(SamplingParams(regex="(if|in)x"))
    assert next_texts(constraint, tokenizer, tokenizer.vocab_size) == {b"i", b"if", b"in"}
    constraint.accept(tokenizer.id_of("in"))
    assert next_texts(constraint, tokenizer, tokenizer.vocab_size) == {b"x"}
    assert not constraint.finished
    constraint.accept(tokenizer.id_of("x"))
    assert constraint.finished


def test_the_end_of_text_is_allowed_where_a_sentence_may_end(grammars, tokenizer):
    constraint = grammars.constraint(SamplingParams(regex="xy?"))
    constraint.accept(tokenizer.id_of("x"))
    end = tokenizer.eos_token.encode()
    assert next_texts(constraint, tokenizer, tokenizer.vocab_size) == {b"y", end}
    assert not constraint.finished


def test_tokens_beyond_the_vocabulary_are_never_allowed(grammars, tokenizer):
    constraint = grammars.constraint(SamplingParams(regex="x"))
    logits = np.zeros(tokenizer.vocab_size + 37, np.float32)
    constraint.allowed(logits)
    assert np.flatnonzero(logits == 0).tolist() == [tokenizer.id_of("x")]


def test_constraints_of_one_grammar_do_not_share_their_place(grammars, tokenizer):
    params = SamplingParams(regex="xy")
    first, second = grammars.constraint(params), grammars.constraint(params)
    first.accept(tokenizer.id_of("x"))
    assert next_texts(first, tokenizer, tokenizer.vocab_size) == {b"y"}
    assert next_texts(second, tokenizer, tokenizer.vocab_size) == {b"xy"}  # as it is encoded


def test_only_the_last_grammars_are_kept(grammars):
    for i in range(KEPT + 5):
        grammars.constraint(SamplingParams(regex=f"x{i}"))
    assert len(grammars._compiled) == KEPT


def test_a_token_that_the_grammar_forbids_is_an_error(grammars, tokenizer):
    constraint = grammars.constraint(SamplingParams(regex="x"))
    with pytest.raises(InvalidRequestError, match="regex: "):
        constraint.accept(tokenizer.id_of("y"))


def test_without_a_form_there_is_no_constraint(grammars):
    assert grammars.constraint(SamplingParams()) is None


@pytest.mark.parametrize("fields", [metadata.bpe(), metadata.spm()], ids=["bpe", "spm"])
@pytest.mark.parametrize("form", ["hello", "( world| hello){2}", "é?(hello world)+", "\nhe"])
def test_whatever_is_chosen_among_the_allowed_spells_a_sentence(fields, form):
    """Also where encoding puts a space in front of a text, which is no part of a sentence."""
    tokenizer = Tokenizer.from_gguf(fields)
    grammars = Grammars(tokenizer)
    for seed in range(20):
        draw, spelt = random.Random(seed), b""
        constraint = grammars.constraint(SamplingParams(regex=form))
        while not constraint.finished:
            logits = np.zeros(tokenizer.vocab_size, np.float32)
            constraint.allowed(logits)
            token = draw.choice(np.flatnonzero(logits == 0).tolist())
            if token in tokenizer.eog_ids:
                break
            constraint.accept(token)
            spelt += tokenizer.token_bytes(token)
        assert re.fullmatch(form, spelt.decode())


@pytest.mark.parametrize("text", ["hello world", "\nhe", "é", " hello", ""])
def test_forced_text_is_cut_as_it_is_encoded_and_spells_the_same_bytes(text):
    for fields in (metadata.bpe(), metadata.spm()):
        tokenizer = Tokenizer.from_gguf(fields)
        ids = describe(tokenizer).tokenize_str(text)
        assert b"".join(map(tokenizer.token_bytes, ids)).decode() == text
        if not tokenizer.add_space_prefix:
            assert ids == tokenizer.encode(text, add_special=False)


def test_control_tokens_match_no_text_but_a_grammar_can_name_them():
    tokenizer = Tokenizer.from_gguf(metadata.bpe())
    grammars = Grammars(tokenizer)
    start = tokenizer.id_of("<|im_start|>")
    for grammar, allowed in (("start: <|im_start|>", [start]), ("start: /<[|]im_.*/", None)):
        constraint = grammars.constraint(SamplingParams(grammar=grammar))
        logits = np.zeros(tokenizer.vocab_size, np.float32)
        constraint.allowed(logits)
        found = np.flatnonzero(logits == 0).tolist()
        assert found == allowed if allowed else start not in found


def test_a_vocabulary_without_an_end_is_refused():
    fields = metadata.spm()
    tokenizer = Tokenizer.from_gguf(fields)
    tokenizer._vocabulary.eog_ids = frozenset()
    with pytest.raises(InvalidRequestError, match="no token that ends a text"):
        describe(tokenizer)
