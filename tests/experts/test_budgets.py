"""What a model takes is bounded by the budget, and the smallest that works is named."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.experts.streamed import Model, logits
from zerostall import LLM, SamplingParams, hub
from zerostall.engine import loader
from zerostall.engine.loader import Options, plan_load
from zerostall.engine.streaming import Streaming
from zerostall.errors import InvalidRequestError, OutOfBudgetError

GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
OPTIONS = {"threads": 1, "streaming": Streaming(io="pread")}


def smallest(**options: object) -> int:
    """The budget that the error for a hopeless one names."""
    with pytest.raises(OutOfBudgetError) as caught:
        LLM("nano", ram=1, **OPTIONS, **options)
    found = re.search(r"the smallest ram that works is (\d+) bytes", str(caught.value))
    assert found
    return int(found[1])


@pytest.fixture(scope="module")
def resident():
    with LLM("nano", threads=1) as llm:
        assert llm.loaded.scheduler.stream_stats() == {}
        yield llm.generate("def parse(text):", GREEDY)


def test_the_budget_that_the_error_names_works_and_a_byte_less_does_not(resident):
    least = smallest(ctx=256)
    with pytest.raises(OutOfBudgetError, match=f"smallest ram that works is {least} bytes"):
        LLM("nano", ram=least - 1, ctx=256, **OPTIONS)
    with LLM("nano", ram=least, ctx=256, **OPTIONS) as llm:
        answer = llm.generate("def parse(text):", GREEDY)
        memory = llm.loaded.scheduler.engine.memory()
    assert answer.token_ids == resident.token_ids
    assert memory["least_experts"] <= memory["experts"]


@pytest.mark.parametrize("part", [0.0, 0.3, 0.8])
def test_below_the_full_size_experts_are_streamed_with_the_same_tokens(resident, part):
    least = smallest(ctx=256)
    with pytest.raises(OutOfBudgetError):
        LLM("nano-draft", ram=1)
    ram = int(least + part * 8_000_000)
    with LLM("nano", ram=ram, ctx=256, **OPTIONS) as llm:
        answer = llm.generate("def parse(text):", GREEDY)
        stats = llm.loaded.scheduler.stream_stats()
    assert answer.token_ids == resident.token_ids
    streaming = answer.timings.streaming
    assert streaming is not None
    assert streaming.demanded == stats["demanded"] > 0
    assert streaming.hits + streaming.shadow_hits + streaming.misses == streaming.demanded
    assert streaming.bytes_read > 0


def test_more_memory_reads_less():
    least = smallest(ctx=256)
    read = []
    # What is read ahead hangs on how long things take.
    options = OPTIONS | {"streaming": Streaming(io="pread", speculate=False)}
    for ram in (least, least + 3_000_000, least + 6_000_000):
        with LLM("nano", ram=ram, ctx=256, **options) as llm:
            llm.generate("def parse(text):", GREEDY)
            read.append(llm.loaded.scheduler.stream_stats()["bytes_read"])
    assert read[0] > read[1] > read[2]


def test_a_byte_less_than_the_least_room_for_experts_is_refused(either: Model, many: Model):
    for model in (either, many):
        ids = model.ids(20)
        engine = model.engine(bytes=model.least, io="pread")
        assert np.array_equal(logits(engine, ids), model.expected(ids))
        with pytest.raises(OutOfBudgetError, match=f"one token needs {model.least}"):
            model.engine(bytes=model.least - 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bytes": 0}, "above 0"),
        ({"policy": "fifo"}, "lrfu, lru or lfu"),
        ({"half_life": 0.0}, "half_life is not above 0"),
        ({"io": "carrier pigeon"}, "there are auto, uring, pread and mmap"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"request_bytes": 1000}, "multiple of 4096"),
        ({"faults": {"unheard_of": 1}}, "unheard_of"),
    ],
)
def test_options_out_of_range_are_named(nano: Model, options: dict, message: str):
    with pytest.raises(InvalidRequestError, match=message):
        nano.engine(**({"bytes": nano.least} | options))


def test_a_longer_step_is_taken_where_its_scratch_is_small_beside_the_experts(monkeypatch):
    path, options = hub.resolve("nano"), Options(threads=1, ctx=1024)
    least = smallest(ctx=1024)
    roomy = replace(options, ram=least + 4_000_000)
    short = plan_load(path, replace(roomy, max_batch=512)).plan.expert_bytes
    monkeypatch.setattr(loader, "STREAMED_SHARE", 10**9)
    assert plan_load(path, roomy).options.max_batch == 512
    assert plan_load(path, roomy).plan.expert_bytes == short
    monkeypatch.setattr(loader, "STREAMED_SHARE", 1)
    monkeypatch.setattr(loader, "STREAMED_BATCH", 576)
    planned = plan_load(path, roomy)
    assert planned.options.max_batch == 576
    longer = plan_load(path, replace(roomy, max_batch=576)).plan.expert_bytes
    assert planned.plan.expert_bytes == longer < short
    # Never at the cost of what one token needs, nor where nothing is streamed.
    assert plan_load(path, replace(options, ram=least)).options.max_batch == 512
    assert plan_load(path, options).options.max_batch == 512
