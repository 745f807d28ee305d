"""Closing, dropping, threads."""

from __future__ import annotations

import itertools
import threading

import pytest

from zerostall import LLM, ClosedError, SamplingParams

PROMPTS = ["import os\n", "class A(B):\n", "def f(x):\n    return", "# A comment about", "try:\n"]
GREEDY = SamplingParams(temperature=0, max_tokens=20)


def test_threads_get_what_they_would_get_alone(llm):
    alone = [llm.generate(prompt, GREEDY).token_ids for prompt in PROMPTS]
    found = {}

    def work(i):
        found[i] = llm.generate(PROMPTS[i], GREEDY).token_ids

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(PROMPTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(len(PROMPTS))] == alone


def test_streams_interleave_in_one_thread(llm):
    alone = [llm.generate(prompt, GREEDY).token_ids for prompt in PROMPTS[:2]]
    streams = [llm.stream(prompt, GREEDY) for prompt in PROMPTS[:2]]
    pairs = list(itertools.zip_longest(*streams))
    assert [[pair[i].token_ids[0] for pair in pairs] for i in range(2)] == alone


def test_streams_that_are_dropped_early_free_their_sequences(llm):
    long = SamplingParams(temperature=0, max_tokens=900, ignore_eos=True)
    for _ in range(40):  # 40 whole prompts would not fit: there is room for eight contexts
        stream = llm.stream("x = 1\n" * 120, long)
        next(stream)
        stream.close()
    assert len(llm.generate("x", GREEDY).token_ids) == 20


def test_leaving_the_context_manager_closes():
    with LLM("nano", threads=1) as llm:
        pass
    for use in (
        lambda: llm.generate("x"),
        lambda: llm.stream("x"),
        lambda: llm.tokenize("x"),
        lambda: llm.logits([1]),
        lambda: llm.context,
    ):
        with pytest.raises(ClosedError, match="make a new one"):
            use()
    llm.close()


def test_closing_ends_a_stream_in_progress_with_a_typed_error():
    llm = LLM("nano", threads=1)
    stream = llm.stream("x", GREEDY)
    next(stream)
    llm.close()
    with pytest.raises(ClosedError):
        list(stream)
