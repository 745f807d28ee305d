"""What a model takes is bounded by the budget, and the smallest that works is named."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.experts.streamed import Model, logits
from zerostall import LLM, SamplingParams, _core, arch, gguf, hub
from zerostall.engine import chunk
from zerostall.engine.loader import Options, plan_load
from zerostall.engine.streaming import Streaming
from zerostall.engine.work import work_of
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
    path, options = hub.resolve("nano"), Options(threads=1, ctx=1024, kv_tokens=1024)
    least = smallest(ctx=1024)
    roomy = replace(options, ram=least + 4_000_000)
    short = plan_load(path, replace(roomy, max_batch=512)).plan.expert_bytes
    monkeypatch.setattr(chunk, "SHARE", 10**9)
    assert plan_load(path, roomy).options.max_batch == 512
    assert plan_load(path, roomy).plan.expert_bytes == short
    monkeypatch.setattr(chunk, "SHARE", 1)
    monkeypatch.setattr(chunk, "LENGTHS", (512, 544, 576))
    slow, fast = 1e6, 1e15  # bytes a second
    monkeypatch.setattr(Streaming, "bytes_per_second", lambda *_: slow)
    planned = plan_load(path, roomy)
    assert planned.options.max_batch == 576
    longer = plan_load(path, replace(roomy, max_batch=576)).plan.expert_bytes
    assert planned.plan.expert_bytes == longer < short
    # Never at the cost of what one token needs, nor where nothing is streamed.
    assert plan_load(path, replace(options, ram=least)).options.max_batch == 512
    assert plan_load(path, options).options.max_batch == 512
    # Nor where reading is hidden anyway.
    monkeypatch.setattr(Streaming, "bytes_per_second", lambda *_: fast)
    assert plan_load(path, roomy).options.max_batch == 512
    assert plan_load(path, roomy).plan.expert_bytes == short


def test_a_step_is_as_long_as_computing_needs_to_hide_reading():
    # 10 GB at 2 GB/s take 5 s, and computing is to take twice as long.
    assert chunk.enough_tokens(10**10, 0.02, 2e9) == 512  # 10.24 s
    assert chunk.enough_tokens(10**10, 0.01, 2e9) == 1024
    assert chunk.enough_tokens(10**10, 0.006, 2e9) == 2048
    assert chunk.enough_tokens(10**10, 1e-6, 2e9) == chunk.LENGTHS[-1]
    assert chunk.enough_tokens(0, 0.01, 2e9) == 512
    assert chunk.enough_tokens(10**10, 0.01, 0.0) == chunk.UNMEASURED


def test_a_prompts_token_is_guessed_from_the_processors_peak(monkeypatch):
    file = gguf.open_model(hub.resolve("nano"))
    tape = arch.load(file, 256).tape
    asked = []

    def peak(unit, kind, threads, seconds):
        asked.append((unit, kind, threads))
        return {"int8": 4e9, "float32": 1e9}[kind]

    monkeypatch.setattr(_core, "compute_peak", peak)
    work = work_of(tape, file.tensors(), 512, 0)
    found = chunk.token_seconds(tape, file.tensors(), "scalar", 3)
    assert found == pytest.approx(2 * (work.int8 / 4e9 + work.float32 / 1e9) / 512)
    assert set(asked) == {("scalar", "int8", 3), ("scalar", "float32", 3)}


def test_two_users_of_long_contexts_do_not_preempt_each_other_beside_streamed_experts():
    ram, prompts = smallest(ctx=256) + 6_000_000, [[1 + i] * 200 for i in range(2)]
    with LLM("nano", ram=ram, ctx=256, **OPTIONS) as llm:
        scheduler = llm.loaded.scheduler
        assert scheduler.stream_stats()["slots"] > 0
        assert scheduler.engine.cache_stats()["pages"] == 2 * 256 // 64
        alone = [llm.generate(prompt, GREEDY).token_ids for prompt in prompts]
        assert together(llm, prompts) == alone
        assert scheduler.preempted == 0
    with LLM("nano", ram=ram, ctx=256, kv_tokens=256, **OPTIONS) as llm:
        assert together(llm, prompts) == alone
        assert llm.loaded.scheduler.preempted > 0


def together(llm: LLM, prompts: list[list[int]]) -> list[list[int]]:
    """The tokens that each prompt gives, of which both are computed at once."""
    streams = [llm.stream(prompt, GREEDY) for prompt in prompts]
    pairs = [[chunk.token_ids[0] for chunk in pair] for pair in zip(*streams, strict=True)]
    return [list(tokens) for tokens in zip(*pairs, strict=True)]


def test_the_cache_has_the_size_that_was_asked_for_at_the_experts_cost():
    ram = smallest(ctx=256) + 6_000_000
    found = [
        plan_load(hub.resolve("nano"), Options(threads=1, ctx=256, ram=ram, kv_tokens=tokens)).plan
        for tokens in (256, 1024)
    ]
    assert [plan.kv_tokens for plan in found] == [256, 1024]
    with LLM("nano", ram=ram, ctx=256, kv_tokens=1024, **OPTIONS) as llm:
        assert llm.loaded.scheduler.engine.cache_stats()["pages"] == 1024 // 64
        a_token = llm.loaded.scheduler.engine.memory()["kv_cache"] // 1024
    assert found[0].expert_bytes - found[1].expert_bytes == 768 * a_token
    with pytest.raises(InvalidRequestError, match="kv_tokens is 100, too few for one"):
        LLM("nano", ctx=256, kv_tokens=100)
    with pytest.raises(InvalidRequestError, match="kv_tokens is 0; give at least 1"):
        LLM("nano", kv_tokens=0)
