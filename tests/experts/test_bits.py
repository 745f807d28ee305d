"""However experts come into memory, logits have the bits of a model that is all in RAM."""

from __future__ import annotations

import numpy as np
import pytest

from tests.experts.streamed import BACK_ENDS, Model, came_from_the_drive, check_counters, logits
from zerostall import _core

CHUNKS = (1, 3, 48)


@pytest.mark.parametrize("io", BACK_ENDS)
@pytest.mark.parametrize("budget", range(3), ids=["least", "quarter", "all"])
def test_budgets_back_ends_and_chunks_change_no_bit(either: Model, io: str, budget: int) -> None:
    ids = either.ids(48)
    expected = either.expected(ids)
    engine = either.engine(bytes=either.budgets()[budget], io=io, direct=budget == 1)
    for chunk in CHUNKS:
        assert np.array_equal(logits(engine, ids, chunk), expected)
    assert came_from_the_drive(engine) > 0


@pytest.mark.parametrize("policy", ["lrfu", "lru", "lfu"])
@pytest.mark.parametrize("speculate", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_policies_speculation_and_threads_change_no_bit(
    either: Model, policy: str, speculate: bool, threads: int
) -> None:
    ids = either.ids(48, seed=2)
    engine = either.engine(
        threads, bytes=either.quarter, io="pread", policy=policy, speculate=speculate
    )
    for chunk in CHUNKS:
        assert np.array_equal(logits(engine, ids, chunk), either.expected(ids))
    stats = check_counters(engine)
    assert speculate or stats["speculated"] == stats["shadow_hits"] == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_sequences_that_share_a_batch_change_no_bit(either: Model, threads: int) -> None:
    engine = either.engine(threads, bytes=either.least, io="pread")
    prompts = [either.ids(30, seed) for seed in (3, 4, 5)]
    sequences = [engine.open_sequence() for _ in prompts]
    got: list[list[np.ndarray]] = [[] for _ in prompts]
    for at, end in ((0, 14), (14, 15), (15, 16), (16, 30)):
        tokens = np.concatenate([prompt[at:end] for prompt in prompts])
        owners = np.repeat(sequences, end - at).astype(np.int32)
        rows = engine.step(tokens, owners, np.arange(len(tokens), dtype=np.int32))
        for own, part in zip(got, np.split(rows, len(prompts)), strict=True):
            own.append(part)
    for prompt, parts in zip(prompts, got, strict=True):
        assert np.array_equal(np.concatenate(parts), either.expected(prompt))


@pytest.mark.parametrize("options", [{"depth": 1}, {"depth": 64, "request_bytes": 4096}])
def test_the_size_and_number_of_reads_change_no_bit(either: Model, options: dict) -> None:
    ids = either.ids(24, seed=6)
    for direct in (True, False):
        engine = either.engine(bytes=either.quarter, io="uring", direct=direct, **options)
        assert np.array_equal(logits(engine, ids, 5), either.expected(ids))


@pytest.mark.parametrize("budget", range(3), ids=["least", "quarter", "all"])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_128_experts_of_two_sizes_change_no_bit(many: Model, budget: int, chunk: int) -> None:
    engine = many.engine(2, bytes=many.budgets()[budget], io="pread")
    assert len({size for _, _, size in engine.expert_layers}) == 2
    ids = many.ids(48)
    assert np.array_equal(logits(engine, ids, chunk), many.expected(ids))
    check_counters(engine)


POLICIES = ("lrfu", "lru", "lfu")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("io", BACK_ENDS)
def test_every_back_end_policy_budget_and_speculation_together_change_no_bit(
    wide: Model, io: str, policy: str
) -> None:
    """A small one of the shape of Qwen3-30B-A3B: 32 experts of width 256, of which 8 are used."""
    ids = wide.ids(20, seed=POLICIES.index(policy))
    expected = wide.expected(ids)
    for budget in wide.budgets():
        for speculate in (True, False):
            engine = wide.engine(bytes=budget, io=io, policy=policy, speculate=speculate)
            for chunk in (1, 20):
                assert np.array_equal(logits(engine, ids, chunk), expected)
            assert came_from_the_drive(engine) > 0
            stats = engine.stream_stats()
            assert (stats["evictions"] > 0) == (budget < wide.all)
            assert speculate or stats["speculated"] == 0


@pytest.mark.parametrize("io", BACK_ENDS)
def test_the_page_cache_is_told_of_what_goes_through_it(converted: Model, io: str) -> None:
    engine = converted.engine(bytes=converted.least, io=io, direct=True, speculate=False)
    logits(engine, converted.ids(12), 3)
    stats = check_counters(engine)
    if io == "mmap":
        # All that is read, the weights at load too. Experts stay there as long as they have a slot.
        assert stats["prefetched_bytes"] > stats["bytes_read"] > 0
        sizes = [size for _, _, size in engine.expert_layers]
        kept = stats["prefetched_bytes"] - stats["released_bytes"]
        assert min(sizes) <= kept / stats["resident"] <= max(sizes)
    elif engine.stream_reader["direct"]:
        assert stats["prefetched_bytes"] == stats["released_bytes"] == 0
    through = converted.engine(bytes=converted.least, io="pread", direct=False)
    logits(through, converted.ids(12), 3)
    stats = check_counters(through)
    assert stats["prefetched_bytes"] == 0 and stats["released_bytes"] > stats["bytes_read"]


def test_a_mirror_changes_no_bit(converted: Model, tmp_path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(converted.path.read_bytes())
    engine = converted.engine(bytes=converted.quarter, mirrors=[[str(copy)]])
    ids = converted.ids(24, seed=7)
    assert np.array_equal(logits(engine, ids, 4), converted.expected(ids))


def test_instruction_sets_give_streamed_experts_the_same_bits(either: Model) -> None:
    ids = either.ids(12, seed=8)
    for isa in _core.isas():
        engine = _core.Engine(
            either.file,
            either.tape,
            context=either.context,
            isa=isa,
            streaming={"bytes": either.least},
        )
        assert np.array_equal(logits(engine, ids, 3), either.expected(ids))
