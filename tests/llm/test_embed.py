"""embed() and hidden_states(): what the built-in model gives, however it is run."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.llm.models import nano, with_number, without_vocabulary
from zerostall import (
    LLM,
    ClosedError,
    ContextLengthError,
    InvalidRequestError,
    ModelFormatError,
    SamplingParams,
)

TEXT = "class Reader:\n    def __init__(self, path):\n        self.path = path\n" * 4
TEXTS = ["import os\n", TEXT, "def f(x):\n    return x", TEXT[:200], "x"]


@pytest.fixture(scope="module")
def states(llm):
    return llm.hidden_states(llm.tokenize(TEXT))


@pytest.fixture(scope="module")
def vectors(llm):
    return {pooling: llm.embed(TEXTS, pooling=pooling) for pooling in ("mean", "last", "cls")}


def test_there_is_a_state_for_every_token_whatever_follows_it(llm, states):
    ids = llm.tokenize(TEXT)
    assert (states.dtype, states.shape) == (np.float32, (len(ids), llm.architecture.width))
    assert np.array_equal(llm.hidden_states(ids[:20]), states[:20])


def test_a_vector_is_the_pooled_states(llm, states):
    pooled = {"mean": states.astype(np.float64).mean(0), "last": states[-1], "cls": states[0]}
    for pooling, expected in pooled.items():
        (plain,) = llm.embed(TEXT, pooling=pooling, normalize=False)
        assert plain.dtype == np.float32
        assert plain == pytest.approx(expected, abs=1e-6)
        (unit,) = llm.embed(TEXT, pooling=pooling)
        assert unit == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_texts_in_company_get_the_bits_they_get_alone(llm, vectors):
    for pooling, together in vectors.items():
        assert together.shape == (len(TEXTS), llm.architecture.width)
        alone = [llm.embed(text, pooling=pooling)[0] for text in TEXTS]
        assert np.array_equal(np.stack(alone), together)


def test_texts_beside_answers_get_the_same_bits(llm, vectors):
    stop = threading.Event()

    def answer():
        while not stop.is_set():
            llm.generate("import", SamplingParams(max_tokens=50, ignore_eos=True))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        for pooling, expected in vectors.items():
            assert np.array_equal(llm.embed(TEXTS, pooling=pooling), expected)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("options", [{"threads": 2, "max_batch": 7}, {"threads": 3}])
def test_threads_and_chunks_do_not_change_a_bit(vectors, options):
    with LLM("nano", **options) as other:
        for pooling, expected in vectors.items():
            assert np.array_equal(other.embed(TEXTS, pooling=pooling), expected)


def test_a_prefix_in_the_cache_does_not_change_a_bit(vectors):
    with LLM("nano", threads=1) as other:
        other.generate(TEXT, SamplingParams(max_tokens=2))
        for pooling, expected in vectors.items():
            assert np.array_equal(other.embed(TEXTS, pooling=pooling), expected)


def test_ids_are_taken_as_they_are(llm, vectors):
    ids = [llm.encode_prompt(text) for text in TEXTS]
    assert np.array_equal(llm.embed(ids, pooling="mean"), vectors["mean"])
    assert np.array_equal(llm.embed(ids[0], pooling="mean"), vectors["mean"][:1])
    assert llm.embed([]).shape == (0, llm.architecture.width)


@pytest.mark.parametrize(
    ("number", "pooling"), [(None, "last"), (0, "last"), (1, "mean"), (2, "cls"), (3, "last")]
)
def test_the_models_own_pooling_is_the_default(tmp_path, vectors, number, pooling):
    data = nano() if number is None else with_number(nano(), "qwen3moe.pooling_type", number)
    (tmp_path / "model.gguf").write_bytes(data)
    with LLM(tmp_path / "model.gguf", threads=1) as other:
        assert np.array_equal(other.embed(TEXTS), vectors[pooling])


def test_a_model_that_ranks_texts_has_no_pooling_of_its_own(tmp_path, vectors):
    (tmp_path / "ranks.gguf").write_bytes(with_number(nano(), "qwen3moe.pooling_type", 4))
    with LLM(tmp_path / "ranks.gguf", threads=1) as other:
        with pytest.raises(InvalidRequestError, match="made to rank texts.*give pooling: mean"):
            other.embed("x")
        assert np.array_equal(other.embed(TEXTS, pooling="last"), vectors["last"])


def test_a_pooling_that_no_file_may_name_is_the_files_fault(tmp_path):
    (tmp_path / "odd.gguf").write_bytes(with_number(nano(), "qwen3moe.pooling_type", 5))
    message = "pooling_type' is 5, expected an integer from"
    with (
        LLM(tmp_path / "odd.gguf", threads=1) as other,
        pytest.raises(ModelFormatError, match=message),
    ):
        other.embed("x")


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        ("", {}, InvalidRequestError, "the prompt is empty"),
        (["a", ""], {}, InvalidRequestError, "text 1: the prompt is empty"),
        ([[]], {}, InvalidRequestError, "text 0: the prompt has no tokens"),
        ([5000], {}, InvalidRequestError, "token 5000 at position 0 is not in the vocabulary"),
        ([["a"]], {}, InvalidRequestError, "text 0: the prompt's entry 0 is 'a'"),
        ([1] * 1025, {}, ContextLengthError, "has 1025 tokens, the context 1024"),
        ("x", {"pooling": "max"}, InvalidRequestError, "pooling is 'max'; give one of mean, last"),
        ("x", {"pooling": "rank"}, InvalidRequestError, "pooling is 'rank'"),
    ],
)
def test_what_cannot_be_embedded_is_refused(llm, texts, options, error, message):
    with pytest.raises(error, match=message):
        llm.embed(texts, **options)


def test_a_text_may_fill_the_context(llm):
    assert llm.embed([5] * 1024).shape == (1, llm.architecture.width)


def test_a_model_without_vocabulary_takes_token_ids(tmp_path, llm):
    (tmp_path / "plain.gguf").write_bytes(without_vocabulary(nano()))
    with LLM(tmp_path / "plain.gguf", threads=1) as plain:
        assert np.array_equal(plain.embed([5, 6, 7]), llm.embed([5, 6, 7]))
        with pytest.raises(InvalidRequestError, match="no vocabulary: give token ids"):
            plain.embed("x")


def test_a_closed_model_embeds_nothing():
    with LLM("nano", threads=1) as closed:
        vectors = closed.embedder().run([[1] * 900] * 40)
        next(vectors)
    with pytest.raises(ClosedError):
        list(vectors)
    with pytest.raises(ClosedError):
        closed.embed("x")
