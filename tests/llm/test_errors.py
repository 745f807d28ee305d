"""Bad input to the Python API: typed errors that say what to do."""

from __future__ import annotations

import pytest

from tests.llm.models import nano, without_vocabulary
from zerostall import (
    LLM,
    ContextLengthError,
    InvalidRequestError,
    ModelFormatError,
    ModelNotFoundError,
    OutOfBudgetError,
    SamplingParams,
)
from zerostall.text import Tokenizer


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "the prompt is empty"),
        ([], "no tokens"),
        ([1, 4096], "token 4096 at position 1 is not in the vocabulary: ids go from 0 to 4095"),
        ([-1], "token -1"),
        (["a"], "entry 0 is 'a'; give text or token ids"),
        ([1.0], "entry 0 is 1.0"),
        ([True], "entry 0 is True"),
    ],
)
def test_a_prompt_that_is_none_is_refused(llm, prompt, message):
    with pytest.raises(InvalidRequestError, match=message):
        llm.generate(prompt)


def test_a_prompt_longer_than_the_context_says_both_lengths(llm):
    with pytest.raises(ContextLengthError, match=r"has 1025 tokens, the context 1024: shorten"):
        llm.generate([1] * 1025)
    with pytest.raises(ContextLengthError):
        llm.logits([1] * 1025)


def test_errors_of_a_stream_come_before_its_first_chunk(llm):
    with pytest.raises(InvalidRequestError):
        llm.stream("")


@pytest.mark.parametrize("field", ["logit_bias", "stop_token_ids", "shown_tokens"])
def test_ids_outside_the_vocabulary_are_refused(llm, field):
    value = {5000: 1.0} if field == "logit_bias" else [5000]
    with pytest.raises(InvalidRequestError, match=f"{field} names token 5000"):
        llm.generate("x", SamplingParams(**{field: value}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ctx": 2048}, "ctx is 2048; nano.gguf was made for up to 1024"),
        ({"ctx": 0}, "ctx is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"kv_type": "q8_0"}, "kv_type is 'q8_0'; give one of auto, f16, f32, int8"),
        ({"ram": "much"}, "ram is 'much'"),
        ({"max_batch": 0}, "max_batch is 0"),
        ({"gap_factor": 0.99}, "gap_factor is 0.99"),
        ({"isa": "mmx"}, "mmx"),
    ],
)
def test_a_load_option_out_of_range_is_refused_by_name(options, message):
    with pytest.raises(InvalidRequestError, match=message):
        LLM("nano", **options)


def test_a_budget_too_small_names_one_that_works():
    with pytest.raises(OutOfBudgetError) as caught:
        LLM("nano", ram="8M")
    (smallest,) = [
        int(word) for word in str(caught.value).split() if word.isdigit() and int(word) > 1e6
    ]
    with pytest.raises(OutOfBudgetError):
        LLM("nano", ram=smallest - 1)
    with LLM("nano", ram=smallest) as llm:
        assert llm.context == 256


def test_the_memory_planned_is_what_the_engine_takes():
    from zerostall.engine.budget import footprint

    with LLM("nano", threads=1, ctx=512) as llm:
        taken = llm.loaded.scheduler.engine.memory()
        need = footprint(llm.file, llm.architecture.tape, 512, 512, "int8", threads=1)
    assert need.weights == taken["weights"]
    assert need.scratch == taken["buffers"] + taken["scratch"]
    assert taken["kv_cache"] == 8 * 512 * need.kv_per_token


def test_a_missing_model_is_not_found(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"absent\.gguf"):
        LLM(tmp_path / "absent.gguf")


def test_a_vocabulary_of_another_model_is_refused(monkeypatch):
    monkeypatch.setattr(Tokenizer, "vocab_size", property(lambda _: 4097))
    with pytest.raises(
        ModelFormatError, match=r"4097 tokens, but token_embd\.weight has 4096 rows"
    ):
        LLM("nano")


def test_a_model_without_vocabulary_takes_and_gives_token_ids(llm, tmp_path):
    path = tmp_path / "plain.gguf"
    path.write_bytes(without_vocabulary(nano()))
    greedy = SamplingParams(temperature=0, max_tokens=8)
    with LLM(path, threads=1) as plain:
        completion = plain.generate([5, 6, 7], greedy)
        assert completion.text == ""
        assert completion.token_ids == llm.generate([5, 6, 7], greedy).token_ids
        for use in (
            lambda: plain.generate("x"),
            lambda: plain.generate([1], SamplingParams(stop="x")),
            lambda: plain.detokenize([1]),
            lambda: plain.chat([{"role": "user", "content": "x"}]),
        ):
            with pytest.raises(InvalidRequestError, match="no vocabulary: give token ids"):
                use()
