"""logits(): the same bits however the sequence is cut."""

from __future__ import annotations

import numpy as np
import pytest

from zerostall import LLM

TEXT = "class Reader:\n    def __init__(self, path):\n        self.path = path\n" * 2


@pytest.fixture(scope="module")
def reference(llm):
    return llm.logits(llm.tokenize(TEXT))


def test_there_is_a_float32_row_for_every_token(llm, reference):
    assert reference.dtype == np.float32
    assert reference.shape == (len(llm.tokenize(TEXT)), llm.vocab_size)
    assert np.isfinite(reference).all()


@pytest.mark.parametrize("max_batch", [1, 7, 32])
def test_chunks_do_not_change_a_bit(llm, reference, max_batch):
    with LLM("nano", threads=2, max_batch=max_batch) as other:
        assert np.array_equal(other.logits(llm.tokenize(TEXT)), reference)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_change_a_bit(llm, reference, threads):
    with LLM("nano", threads=threads) as other:
        assert np.array_equal(other.logits(llm.tokenize(TEXT)), reference)


def test_blocks_from_a_start_are_the_last_rows(llm, reference):
    rows = np.concatenate(list(llm.logit_blocks(llm.tokenize(TEXT), start=11)))
    assert np.array_equal(rows, reference[11:])


def test_a_prefix_predicts_the_same(llm, reference):
    assert np.array_equal(llm.logits(llm.tokenize(TEXT)[:9]), reference[:9])
