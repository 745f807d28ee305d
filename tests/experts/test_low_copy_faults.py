"""Low copies that cannot be read or are damaged, and steps that fail among others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experts.streamed import (
    BACK_ENDS,
    Model,
    check_counters,
    logits,
    low_engine,
    low_memory,
    step,
    until_it_works,
)
from zerostall.errors import ModelFormatError, StorageError


@pytest.fixture
def copy(low: Model, tmp_path: Path) -> Model:
    """A model that a test may damage."""
    path = tmp_path / "copy.gguf"
    path.write_bytes(low.path.read_bytes())
    return Model(path)


def test_low_copies_that_cannot_be_read_end_the_step_and_harm_nothing_after(low: Model) -> None:
    """A place that never reads: tokens that need another expert there go on."""
    records = next(t for t in low.file.stored_tensors() if t.name == "blk.3.ffn_experts.low.packed")
    streamed = low_engine(low, speculate=False, faults={"failing_places": [(0, records.offset)]})
    worked, errors = 0, []
    for token in range(64):
        ids = np.array([token], np.int32)
        try:
            logits(streamed, ids)
            worked += 1
        except StorageError as error:
            errors.append(str(error))
        check_counters(streamed)
    assert worked > 0 and errors
    for error in errors:
        assert error.startswith(f"{low.path}: reading ")
        assert f"at byte {records.offset}" in error
    ids = low.ids(40)
    assert np.array_equal(logits(streamed, ids, 20), low.expected(ids))  # full records


def test_reads_that_fail_now_and_then_leave_sequences_as_they_were(low: Model) -> None:
    faults = {"failing_reads": [200 + i for i in (*range(30), *range(90, 120))]}
    streamed = low_engine(low, speculate=False, faults=faults)
    sequence = streamed.open_sequence()
    failures = 0
    for at, one in enumerate(low.ids(80)):
        _, errors = until_it_works(
            streamed, lambda one=one: step(streamed, sequence, np.array([one], np.int32))
        )
        failures += len(errors)
        assert streamed.length(sequence) == at + 1
        check_counters(streamed)
    assert failures > 0


@pytest.mark.parametrize("io", BACK_ENDS)
@pytest.mark.parametrize(("at", "field"), [(0, "magic"), (8, "dtype_id"), (16, "expert")])
def test_a_damaged_header_of_a_low_copy_is_named(copy: Model, io: str, at: int, field: str) -> None:
    records = next(
        t for t in copy.file.stored_tensors() if t.name == "blk.2.ffn_experts.low.packed"
    )
    streamed = low_engine(copy, io=io, speculate=False)
    starts = [records.offset + i * records.shape[1] for i in range(records.shape[0])]
    with copy.path.open("r+b") as stream:
        for start in starts:
            stream.seek(start + at)
            stream.write(b"\x77" * 4)
    with pytest.raises(ModelFormatError) as caught:
        logits(streamed, copy.ids(1))
    message = str(caught.value)
    assert message.startswith(f"{copy.path}: low copy of expert ")
    number = int(message.split("expert ")[1].split()[0])
    assert f"at byte {starts[number]}, {field}: found" in message
    ids = copy.ids(20)
    assert np.array_equal(logits(streamed, ids, 20), copy.expected(ids))


def test_a_damaged_payload_is_found_by_its_checksum(copy: Model) -> None:
    records = next(
        t for t in copy.file.stored_tensors() if t.name == "blk.2.ffn_experts.low.packed"
    )
    with copy.path.open("r+b") as stream:
        for expert in range(records.shape[0]):
            stream.seek(records.offset + expert * records.shape[1] + 600)
            stream.write(b"\x55\xaa")
    logits(low_engine(copy, speculate=False), copy.ids(1))
    with pytest.raises(ModelFormatError, match="low copy of expert .* checksum: that of other"):
        logits(low_engine(copy, speculate=False, check_records=True), copy.ids(1))


def test_random_steps_with_failures_leave_nothing_wrong_behind(low: Model) -> None:
    """Single tokens, small batches and prompts in any order; then a prompt has the right bits."""
    rng = np.random.default_rng(9)
    for round_ in range(12):
        fail = int(rng.integers(150, 400))
        streamed = low_engine(
            low,
            int(rng.integers(1, 3)),
            bytes=int(rng.choice([low_memory(low)["least_experts"], low.quarter, low.all])),
            policy=str(rng.choice(["lrfu", "lru", "lfu"])),
            speculate=bool(rng.integers(2)),
            depth=int(rng.choice([1, 4, 16])),
            faults={
                "failing_reads": [fail + i for i in (*range(9), *range(40, 60))],
                "stalled_reads": range(3, 4096, 40),
                "stall_ms": 1,
                "shuffled": int(rng.choice([0, 4])),
                "seed": round_,
            },
        )
        sequences = [streamed.open_sequence() for _ in range(3)]
        for _ in range(25):
            size = int(rng.choice([1, 1, 1, 2, 9]))
            owners = sequences[: int(rng.integers(1, 4))]
            tokens = low.ids(size * len(owners), int(rng.integers(1000)))
            lengths = [streamed.length(each) for each in owners]
            rows = np.arange(len(tokens), dtype=np.int32)
            try:
                got = streamed.step(tokens, np.repeat(np.array(owners, np.int32), size), rows)
                assert np.isfinite(got).all()
                lengths = [length + size for length in lengths]
            except StorageError:
                pass
            assert [streamed.length(each) for each in owners] == lengths
            check_counters(streamed)
            if max(lengths) > low.context - 16:
                for each in owners:
                    streamed.truncate(each, 0)
        for each in sequences:
            streamed.close_sequence(each)
        ids = low.ids(48, seed=round_)
        got, _ = until_it_works(streamed, lambda: logits(streamed, ids, 16))  # noqa: B023
        assert np.array_equal(got, low.expected(ids))
