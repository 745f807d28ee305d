"""How far a prompt is, as stream() tells it."""

from __future__ import annotations

import pytest

from tests.llm.models import nano, with_template
from zerostall import LLM, SamplingParams

PARAMS = SamplingParams(max_tokens=3, temperature=0, ignore_eos=True)
IDS = [5 + i % 90 for i in range(150)]


@pytest.fixture
def small():
    with LLM("nano", threads=1, max_batch=64) as llm:
        yield llm


def watched(llm, ids):
    told = []
    chunks = list(llm.stream(ids, PARAMS, progress=told.append))
    return told, chunks


def test_each_piece_of_the_prompt_is_told_and_the_first_before_it(small):
    told, chunks = watched(small, IDS)
    assert [(p.total, p.cached, p.processed) for p in told] == [
        (150, 0, done) for done in (0, 64, 128, 150)
    ]
    times = [p.time_ms for p in told]
    assert times == sorted(times)
    assert times[-1] <= chunks[-1].timings.prompt_ms
    assert [chunk.token_ids for chunk in chunks] == [
        chunk.token_ids for chunk in small.stream(IDS, PARAMS)
    ]


def test_the_estimate_is_the_rest_at_the_speed_so_far(small):
    told, _ = watched(small, IDS)
    assert told[0].remaining_ms is None
    for progress in told[1:]:
        left = progress.total - progress.processed
        expected = progress.time_ms * left / progress.processed
        assert progress.remaining_ms == pytest.approx(expected)
    assert told[-1].remaining_ms == 0
    again, _ = watched(small, [7, *IDS])
    assert again[0].remaining_ms > 0  # by what the steps before have cost


def test_what_was_in_the_cache_counts_as_done_from_the_start(small):
    watched(small, IDS)
    told, _ = watched(small, [*IDS[:128], 9, 9, 9])
    assert [(p.total, p.cached, p.processed) for p in told] == [(131, 128, 128), (131, 128, 131)]


def test_a_chat_tells_it_too(tmp_path):
    path = tmp_path / "chat.gguf"
    path.write_bytes(with_template(nano()))
    told = []
    with LLM(path, threads=1) as llm:
        messages = [{"role": "user", "content": "import sys"}]
        (*_, last) = llm.chat_stream(messages, PARAMS, progress=told.append)
    total = last.usage.prompt_tokens
    assert [(p.total, p.processed) for p in told] == [(total, 0), (total, total)]
