"""context_shift: answers that go on beyond the context, as their shortened text would afresh."""

from __future__ import annotations

import threading

import pytest

from zerostall import LLM, ContextLengthError, InvalidRequestError, SamplingParams
from zerostall.engine.context_shift import ContextShift

PROMPT = "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self"
GREEDY = {"temperature": 0, "ignore_eos": True, "logprobs": 3}


@pytest.fixture(scope="module")
def small():
    with LLM("nano", threads=1, ctx=96, context_shift=True, keep=8) as small:
        yield small


def afresh(llm, tokens):
    """The next token of a text of its own, with its logprobs."""
    return llm.generate(tokens, SamplingParams(max_tokens=1, **GREEDY)).logprobs[0]


def test_an_answer_has_the_bits_of_its_shortened_text_run_afresh(llm, small):
    prompt = llm.encode_prompt(PROMPT)
    given = small.generate(PROMPT, SamplingParams(max_tokens=200, **GREEDY))
    assert (given.usage.completion_tokens, given.finish_reason) == (200, "length")
    assert len(given.token_ids) == 200 > small.context
    shift, tokens, shifts = ContextShift(96, 8), list(prompt), 0
    for i, entry in enumerate(given.logprobs):
        if i < 3 or len(tokens) >= 95 or (shifts and len(tokens) < 55):
            assert entry == afresh(llm, tokens), i
        stays = shift.make_room(tokens)
        shifts += stays is not None
        tokens = [*(stays or tokens), entry.token_id]
    assert shifts == 3
    assert tokens[:8] == prompt[:8]


def test_chunks_threads_and_company_do_not_change_a_bit(small):
    params = SamplingParams(max_tokens=150, **GREEDY)
    alone = small.generate(PROMPT, params)
    with LLM("nano", threads=2, max_batch=7, ctx=96, context_shift=True, keep=8) as other:
        assert other.generate(PROMPT, params).logprobs == alone.logprobs
    found = []

    def ask():
        found.append(small.generate(PROMPT, params).logprobs)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone.logprobs] * 3


def test_an_answer_goes_on_beyond_what_the_model_was_made_for(llm):
    prompt = llm.tokenize("x = 1\n" * 400)[:1000]
    with LLM("nano", threads=1, context_shift=True) as shifting:
        assert shifting.context == shifting.architecture.context_length == 1024
        given = shifting.generate(prompt, SamplingParams(max_tokens=100, **GREEDY))
    assert (given.usage.completion_tokens, given.finish_reason) == (100, "length")
    tokens = [*prompt, *given.token_ids[:24]]
    last = [*tokens[512:], given.token_ids[24]]  # nothing is kept: the model wants no first token
    assert given.logprobs[25] == afresh(llm, last)
    without = llm.generate(prompt, SamplingParams(max_tokens=100, **GREEDY))
    assert without.token_ids == given.token_ids[:25]
    assert without.finish_reason == "length"


def test_keeping_the_prompt_keeps_all_of_it(llm):
    prompt = llm.encode_prompt(PROMPT)
    with LLM("nano", threads=1, ctx=64, context_shift=True, keep=-1) as keeping:
        with keeping.open_session() as session:
            params = SamplingParams(max_tokens=100, **GREEDY)
            assert len(list(keeping.stream(PROMPT, params, session=session))) == 100
            assert session.tokens[: len(prompt)] == prompt
            again = [chunk.logprobs for chunk in keeping.stream(PROMPT, params, session=session)]
        assert again == [[entry] for entry in keeping.generate(PROMPT, params).logprobs]


def test_stop_strings_and_the_end_of_text_end_it_as_ever(small):
    text = small.generate(PROMPT, SamplingParams(max_tokens=200, **GREEDY)).text
    stop = text[-20:]
    ended = small.generate(PROMPT, SamplingParams(max_tokens=400, stop=stop, **GREEDY))
    assert ended.finish_reason == "stop"
    assert ended.text == text[: text.index(stop)]


def test_a_prompt_must_fit_all_the_same(small):
    with pytest.raises(ContextLengthError, match="has 97 tokens, the context 96"):
        small.generate([5] * 97)
    full = small.generate([5] * 96, SamplingParams(max_tokens=4, **GREEDY))
    assert full.usage.completion_tokens == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 3}, "keep is 3 without context_shift"),
        ({"keep": -2, "context_shift": True}, "keep is -2; give 0 or more, or -1"),
        ({"keep": 61, "context_shift": True, "ctx": 64}, "keep is 61; of a context of 64 tokens"),
        ({"ctx": 2048, "context_shift": True}, "1024; with context_shift answers go on beyond it"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(options, message):
    with pytest.raises(InvalidRequestError, match=message):
        LLM("nano", **options)
