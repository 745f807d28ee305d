"""Perplexity by llama-perplexity's rules: which tokens are scored, and with what formula."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from zerostall import LLM, InvalidRequestError, StorageError
from zerostall.lab.eval import negative_log_likelihood, perplexity, read_text

HELDOUT = Path(__file__).parents[1] / "data" / "nano_heldout.txt"
VOCAB = 50


class CountingModel:
    """Predicts token t + 1 after token t with log-odds of 3 over each other token."""

    context = 16

    def __init__(self, bos_id: int | None = None) -> None:
        self.bos_id = bos_id
        self.seen: list[tuple[list[int], int]] = []

    def tokenize(self, text: str, add_special: bool) -> list[int]:
        assert add_special
        return [int(word) for word in text.split()]

    def logit_blocks(self, ids, start):
        self.seen.append((list(ids), start))
        rows = np.zeros((len(ids) - start, VOCAB), np.float32)
        rows[np.arange(len(rows)), [(t + 1) % VOCAB for t in ids[start:]]] = 3.0
        yield rows[:2]
        yield rows[2:]


def text(*tokens: int) -> str:
    return " ".join(map(str, tokens))


RIGHT = -3 + math.log(math.exp(3) + VOCAB - 1)  # the loss of a token that was predicted
WRONG = RIGHT + 3


def test_the_second_half_of_each_chunk_is_scored_and_the_rest_of_the_text_is_dropped():
    model = CountingModel()
    result = perplexity(model, text(*range(1, 28)), ctx=8)
    assert model.seen == [
        ([1, 2, 3, 4, 5, 6, 7], 4),
        ([9, 10, 11, 12, 13, 14, 15], 4),
        ([17, 18, 19, 20, 21, 22, 23], 4),
    ]
    assert (result.tokens, result.chunks, result.ctx) == (9, 3, 8)
    assert result.perplexity == pytest.approx(math.exp(RIGHT), rel=1e-7)
    assert result.error == pytest.approx(0, abs=1e-5)


def test_the_value_and_its_error_follow_from_the_mean_loss_and_its_variance():
    # Scored are tokens 5 to 7 of each chunk: two of the six break the count.
    tokens = [0, 1, 2, 3, 4, 9, 10, 11, 20, 21, 22, 23, 24, 25, 7, 8]
    result = perplexity(CountingModel(), text(*tokens), ctx=8)
    losses = [WRONG, RIGHT, RIGHT, RIGHT, WRONG, RIGHT]
    mean = sum(losses) / 6
    variance = sum(x * x for x in losses) / 6 - mean * mean
    assert result.perplexity == pytest.approx(math.exp(mean), rel=1e-7)
    assert result.error == pytest.approx(math.exp(mean) * math.sqrt(variance / 5), rel=1e-6)


def test_the_beginning_of_text_token_takes_the_place_of_each_chunks_first():
    model = CountingModel(bos_id=49)
    perplexity(model, text(49, *range(1, 16)), ctx=8)
    assert [seen[0] for seen, _ in model.seen] == [49, 49]


def test_chunks_limits_the_work_and_progress_is_the_value_so_far():
    heard = []
    model = CountingModel()
    result = perplexity(model, text(*range(40)), 8, 2, lambda *a: heard.append(a))
    assert len(model.seen) == result.chunks == 2
    assert [chunk for chunk, _ in heard] == [1, 2]
    assert heard[-1][1] == result.perplexity


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (15, {"ctx": 8}, "the text has 15 tokens; 16 are needed with ctx=8"),
        (40, {"ctx": 17}, "ctx is 17; give 4 to 16"),
        (40, {"ctx": 3}, "ctx is 3"),
        (40, {"ctx": 8, "chunks": 0}, "chunks is 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(words, options, message):
    with pytest.raises(InvalidRequestError, match=message):
        perplexity(CountingModel(), text(*range(words)), **options)


def test_losses_are_minus_log_softmax():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=8, size=(5, 300)).astype(np.float32)
    targets = np.array([0, 299, 7, 7, 100])
    exact = logits.astype(np.float64)
    expected = np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(5), targets]
    assert negative_log_likelihood(logits, targets) == pytest.approx(expected, rel=1e-6)


def test_perplexity_of_the_built_in_model_is_that_of_its_logits():
    sample = read_text(HELDOUT)[:4000]
    with LLM("nano", threads=1, ctx=128) as llm:
        result = perplexity(llm, sample, ctx=128, chunks=2)
        tokens = llm.tokenize(sample)
        losses = []
        for chunk in (tokens[:128], tokens[128:256]):
            rows = llm.logits(chunk).astype(np.float64)
            for i in range(64, 127):
                losses.append(np.log(np.exp(rows[i]).sum()) - rows[i, chunk[i + 1]])
    assert result.tokens == len(losses) == 126
    assert result.perplexity == pytest.approx(math.exp(np.mean(losses)), rel=1e-6)


def test_a_file_is_read_without_its_last_newline_and_with_its_line_ends(tmp_path):
    file = tmp_path / "t.txt"
    file.write_bytes("é\r\nb\n\n".encode())
    assert read_text(file) == "é\r\nb\n"


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: None, InvalidRequestError),
        (lambda path: path.mkdir(), StorageError),
        (lambda path: path.write_bytes(b"\xff\xfe"), InvalidRequestError),
    ],
)
def test_a_file_that_is_no_text_is_a_typed_error(tmp_path, make, kind):
    path = tmp_path / "t.txt"
    make(path)
    with pytest.raises(kind, match=r"t\.txt"):
        read_text(path)
