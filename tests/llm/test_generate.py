"""generate() and stream(): what is chosen, when it stops, what is reported."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.llm.models import CONTROL, nano, with_token_type
from zerostall import LLM, SamplingParams

PROMPT = "def read_lines(path, encoding='utf-8'):\n"
GREEDY = SamplingParams(temperature=0, max_tokens=24)


def greedy(**changes):
    return SamplingParams(**{"temperature": 0, "max_tokens": 24, **changes})


@pytest.fixture(scope="module")
def reference(llm):
    return llm.generate(PROMPT, GREEDY)


def test_greedy_takes_the_likeliest_token_at_every_step(llm, reference):
    prompt = llm.tokenize(PROMPT)
    rows = llm.logits(prompt + reference.token_ids[:-1])
    assert rows.argmax(axis=1)[len(prompt) - 1 :].tolist() == reference.token_ids


def test_the_text_is_that_of_the_tokens(llm, reference):
    assert reference.finish_reason == "length"
    assert llm.detokenize(reference.token_ids) == reference.text
    assert len(reference.text) > 24


def test_a_prompt_of_ids_is_the_same_as_its_text(llm, reference):
    assert llm.generate(llm.tokenize(PROMPT), GREEDY).token_ids == reference.token_ids
    assert llm.generate(np.array(llm.tokenize(PROMPT)), GREEDY).text == reference.text


def test_a_stream_gives_the_same_one_token_a_chunk(llm, reference):
    chunks = list(llm.stream(PROMPT, GREEDY))
    assert [chunk.token_ids for chunk in chunks] == [[t] for t in reference.token_ids]
    assert "".join(chunk.text for chunk in chunks) == reference.text
    assert [chunk.finish_reason for chunk in chunks] == [None] * 23 + ["length"]
    assert chunks[-1].usage == reference.usage
    assert all(chunk.timings is None for chunk in chunks[:-1])


def test_a_seed_repeats_a_draw_and_the_completion_tells_its_seed(llm):
    hot = SamplingParams(temperature=1.5, top_p=1, top_k=0, min_p=0, max_tokens=24)
    drawn = [llm.generate(PROMPT, hot) for _ in range(3)]
    assert len({tuple(c.token_ids) for c in drawn}) == 3
    again = SamplingParams(
        temperature=1.5, top_p=1, top_k=0, min_p=0, max_tokens=24, seed=drawn[1].seed
    )
    assert llm.generate(PROMPT, again).token_ids == drawn[1].token_ids


def test_a_stop_string_ends_the_text_before_it_even_across_tokens(llm, reference):
    pieces = [llm.detokenize([token]) for token in reference.token_ids]
    stop = reference.text[len(pieces[0]) - 1 :][:4]  # begins inside the first token
    cut = reference.text.index(stop)
    completion = llm.generate(PROMPT, greedy(stop=[stop, "never"]))
    assert (completion.text, completion.finish_reason) == (reference.text[:cut], "stop")
    assert completion.token_ids == reference.token_ids[: len(completion.token_ids)]


def test_a_stop_token_ends_the_generation_and_gives_no_text(llm, reference):
    token = reference.token_ids[6]
    first = reference.token_ids.index(token)
    completion = llm.generate(PROMPT, greedy(stop_token_ids=[token]))
    assert completion.finish_reason == "stop"
    assert completion.token_ids == reference.token_ids[: first + 1]
    assert completion.text == llm.detokenize(reference.token_ids[:first])


def test_the_end_of_text_token_ends_it_unless_ignored(llm):
    (end,) = llm.tokenizer.eog_ids
    ended = llm.generate(PROMPT, greedy(logit_bias={end: 1e4}))
    assert (ended.text, ended.token_ids, ended.finish_reason) == ("", [end], "stop")
    ignored = llm.generate(PROMPT, greedy(logit_bias={end: 1e4}, ignore_eos=True))
    assert ignored.finish_reason == "length"
    assert end not in ignored.token_ids


def test_what_ends_the_text_is_banned_until_there_are_min_tokens(llm, reference):
    (end,) = llm.tokenizer.eog_ids
    ended = llm.generate(PROMPT, greedy(logit_bias={end: 1e4}, min_tokens=3))
    assert ended.token_ids == [*reference.token_ids[:3], end]
    assert ended.finish_reason == "stop"
    stop = reference.token_ids[0]
    ended = llm.generate(PROMPT, greedy(stop_token_ids=[stop], min_tokens=1))
    assert ended.token_ids[0] != stop
    # Where a form lets nothing else follow, the text ends.
    ended = llm.generate(PROMPT, greedy(regex="ab", min_tokens=9))
    assert (ended.text, ended.finish_reason) == ("ab", "stop")


def test_a_control_token_gives_text_only_if_it_is_shown(llm, tmp_path):
    (token,) = llm.tokenize("def", add_special=False)
    path = tmp_path / "control.gguf"
    path.write_bytes(with_token_type(nano(), token, CONTROL))
    fields = {"logit_bias": {token: 1e4}, "max_tokens": 2}
    with LLM(path, threads=1) as changed:
        assert changed.generate(PROMPT, greedy(**fields)).text == ""
        assert changed.generate(PROMPT, greedy(**fields, shown_tokens=[token])).text == "defdef"


def test_a_banned_token_gives_way_to_the_next_likeliest(llm, reference):
    prompt = llm.tokenize(PROMPT)
    second = int(np.argsort(-llm.logits(prompt)[-1], kind="stable")[1])
    banned = greedy(max_tokens=1, logit_bias={reference.token_ids[0]: -math.inf})
    assert llm.generate(PROMPT, banned).token_ids == [second]


def test_no_tokens_wanted_is_a_prompt_computed(llm):
    completion = llm.generate(PROMPT, greedy(max_tokens=0))
    assert (completion.text, completion.token_ids) == ("", [])
    assert completion.finish_reason == "length"
    assert completion.timings.prompt_tokens == len(llm.tokenize(PROMPT))


def test_a_completion_is_128_tokens_when_nothing_is_said(llm):
    params = SamplingParams(temperature=0, ignore_eos=True)
    assert llm.generate(PROMPT, params).usage.completion_tokens == 128


def test_usage_and_timings_agree_with_the_tokens(llm, reference):
    prompt = len(llm.tokenize(PROMPT))
    usage, timings = reference.usage, reference.timings
    assert (usage.prompt_tokens, usage.completion_tokens) == (prompt, 24)
    assert usage.total_tokens == prompt + 24
    assert (timings.prompt_tokens, timings.predicted_tokens) == (prompt, 24)
    assert timings.load_ms == llm.load_ms > 0
    assert timings.predicted_per_second == pytest.approx(24e3 / timings.predicted_ms)
    assert timings.prompt_per_second == pytest.approx(prompt * 1e3 / timings.prompt_ms)


def test_logprobs_are_those_of_the_raw_logits(llm):
    completion = llm.generate(PROMPT, greedy(max_tokens=3, logprobs=4, presence_penalty=1.5))
    prompt = llm.tokenize(PROMPT)
    rows = llm.logits(prompt + completion.token_ids[:-1])[len(prompt) - 1 :].astype(np.float64)
    expected = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    assert completion.logprobs is not None
    for entry, row, token in zip(completion.logprobs, expected, completion.token_ids, strict=True):
        assert entry.token_id == token
        assert entry.logprob == pytest.approx(row[token], abs=1e-9)
        best = np.argsort(-row, kind="stable")[:4]
        assert [t for t, _ in entry.top] == best.tolist()
        assert [p for _, p in entry.top] == pytest.approx(row[best].tolist(), abs=1e-9)


def test_the_context_is_filled_to_its_last_place(llm, reference):
    prompt = llm.tokenize(PROMPT)
    with LLM("nano", threads=1, ctx=len(prompt) + 4) as small:
        completion = small.generate(PROMPT, GREEDY)
    assert completion.finish_reason == "length"
    assert completion.token_ids == reference.token_ids[:5]  # the fifth needs no place


def test_penalties_count_the_prompt(llm, reference):
    first = reference.token_ids[0]
    assert first != llm.generate([first] * 3 + llm.tokenize(PROMPT), greedy(
        max_tokens=1, presence_penalty=1e4, penalty_last_n=-1
    )).token_ids[0]  # fmt: skip
