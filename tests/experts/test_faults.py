"""What a failing drive does to a step, and what it does not do to those after it."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experts.streamed import (
    Model,
    check_counters,
    logits,
    reads_at_load,
    step,
    until_it_works,
)
from tests.tasks import held, no_more_held
from zerostall.errors import StorageError

MANY_READS = 1 << 12


@pytest.mark.parametrize("speculate", [True, False])
@pytest.mark.parametrize("io", ["uring", "pread", "mmap"])
def test_reads_that_fail_end_the_step_and_harm_nothing_after(
    either: Model, io: str, speculate: bool
) -> None:
    options = {"bytes": either.least, "io": io, "speculate": speculate}
    loaded = reads_at_load(either, **options)
    failing = range(loaded + 20, loaded + 60)
    engine = either.engine(**options, faults={"failing_reads": failing})
    ids = either.ids(30)
    sequence = engine.open_sequence()
    parts, errors = [], []
    for at in range(0, len(ids), 5):
        part, failed = until_it_works(
            engine, lambda at=at: step(engine, sequence, ids[at : at + 5])
        )
        parts.append(part)
        errors += failed
        assert engine.length(sequence) == at + 5
    assert np.array_equal(np.concatenate(parts), either.expected(ids))
    assert errors or speculate  # when those that fail are read ahead, what is demanded may not be
    for error in errors:
        assert error.startswith(f"{either.path}: reading ")
        assert "bytes at byte" in error and "Input/output error" in error


def test_after_a_failure_a_sequence_is_as_it_was_before_the_step(either: Model) -> None:
    options: dict[str, Any] = {"bytes": either.least, "io": "pread"}
    loaded = reads_at_load(either, **options)
    faults = {"failing_reads": range(loaded + 30, loaded + 90)}
    engine = either.engine(**options, faults=faults)
    ids = either.ids(12, seed=2)
    sequence, failures = engine.open_sequence(), 0
    done = 0
    while done < len(ids):
        try:
            step(engine, sequence, ids[done : done + 1])
            done += 1
        except StorageError:
            failures += 1
        assert engine.length(sequence) == done
    assert failures > 0


def test_reads_that_fail_once_are_repeated_unnoticed(either: Model) -> None:
    options: dict[str, Any] = {"bytes": either.least, "io": "pread"}
    loaded = reads_at_load(either, **options)
    engine = either.engine(**options, faults={"failing_reads": range(loaded, loaded + 400, 7)})
    ids = either.ids(20, seed=3)
    assert np.array_equal(logits(engine, ids, 2), either.expected(ids))


@pytest.mark.parametrize("io", ["uring", "pread"])
@pytest.mark.parametrize("direct", [True, False])
def test_reads_that_are_cut_short_or_interrupted_change_no_bit(
    either: Model, io: str, direct: bool
) -> None:
    short = [4096, 1, 12288, 4095, -errno.EINTR, -errno.EAGAIN, 8193, -errno.ECANCELED]
    for every in (1, 2):
        faults = {"answers": short, "every": every}
        engine = either.engine(bytes=either.least, io=io, direct=direct, faults=faults)
        ids = either.ids(20, seed=9)
        assert np.array_equal(logits(engine, ids, 4), either.expected(ids))
        check_counters(engine)


def test_a_place_that_never_reads_fails_only_what_needs_it(either: Model) -> None:
    """Nano's layers want every expert sooner or later, but no token wants all of them."""
    at = next(t for t in either.file.tensors() if t.name == "blk.3.ffn_down_exps.weight").offset
    engine = either.engine(bytes=either.least, io="pread", faults={"failing_places": [(0, at)]})
    # One token has one position and no past, so each either needs the expert or does not.
    worked = failed = 0
    for token in range(64):
        ids = np.array([token], np.int32)
        try:
            assert np.array_equal(logits(engine, ids), either.expected(ids))
            worked += 1
        except StorageError:
            failed += 1
    assert worked > 0 and failed > 0
    check_counters(engine)


@pytest.mark.parametrize("speculate", [True, False])
def test_bytes_that_come_late_and_in_any_order_are_put_where_they_belong(
    either: Model, speculate: bool
) -> None:
    ids = either.ids(32, seed=4)
    for seed in (1, 2):
        faults = {
            "stalled_reads": range(5, MANY_READS, 13),
            "stall_ms": 3,
            "shuffled": 6,
            "seed": seed,
        }
        engine = either.engine(
            2, bytes=either.least, io="pread", speculate=speculate, faults=faults
        )
        for chunk in (1, 16):
            assert np.array_equal(logits(engine, ids, chunk), either.expected(ids))
        check_counters(engine)


def test_a_read_that_stalls_for_half_a_second_only_takes_time(either: Model) -> None:
    loaded = reads_at_load(either, bytes=either.least, io="pread")
    faults = {"stalled_reads": [loaded + 7], "stall_ms": 500}
    # Without predictions every read is waited for.
    engine = either.engine(bytes=either.least, io="pread", speculate=False, faults=faults)
    ids = either.ids(8, seed=5)
    expected = either.expected(ids)
    started = time.monotonic()
    assert np.array_equal(logits(engine, ids, 1), expected)
    assert time.monotonic() - started >= 0.5


@pytest.mark.parametrize("io", ["uring", "pread", "mmap"])
def test_a_drive_that_disappears_fails_each_step_from_then_on(either: Model, io: str) -> None:
    loaded = reads_at_load(either, bytes=either.least, io=io)
    engine = either.engine(bytes=either.least, io=io, faults={"gone_after": loaded + 25})
    sequence = engine.open_sequence()
    ids = either.ids(60, seed=6)
    failed, failures = 0, set()
    for token in ids:
        try:
            step(engine, sequence, np.array([token], np.int32))
        except StorageError as error:
            failures.add(str(error).split("failed: ")[1])
            failed += 1
        check_counters(engine)
    assert failed > 10
    assert failures == {"No such device; check the drive"}
    assert engine.length(sequence) == len(ids) - failed


def test_engines_whose_drive_failed_leave_no_file_and_no_thread_behind(either: Model) -> None:
    def fail(io: str) -> None:
        loaded = reads_at_load(either, bytes=either.least, io=io)
        faults = {"gone_after": loaded + 5, "stalled_reads": [loaded + 1], "stall_ms": 20}
        engine = either.engine(2, bytes=either.least, io=io, faults=faults)
        with pytest.raises(StorageError):
            logits(engine, either.ids(40))

    if not Path("/proc/self/fd").exists():
        pytest.skip("counts files and threads in /proc")
    assert either.resident is not None
    before = held()
    for io in ("uring", "pread", "mmap") * 2:
        fail(io)
    assert no_more_held(before), (held(), before)


def test_an_expert_that_failed_before_it_was_demanded_is_read_again(nano: Model) -> None:
    """Of a prediction a part has failed, others are on their way, when the layer demands it."""
    gate = next(t for t in nano.file.tensors() if t.name == "blk.3.ffn_gate_exps.weight")
    each = gate.bytes // gate.shape[0]
    places = [(0, gate.offset + expert * each) for expert in range(gate.shape[0])]
    for every in (3, 7):
        faults = {
            "failing_places": places,
            "stalled_reads": range(0, MANY_READS, every),
            "stall_ms": 3,
        }
        engine = nano.engine(bytes=nano.quarter, io="pread", depth=4, faults=faults)
        for token in range(40):
            with pytest.raises(StorageError, match="Input/output error"):
                logits(engine, np.array([token], np.int32))
        assert check_counters(engine)["speculated"] > 0


def test_an_expert_whose_prediction_was_dropped_half_read_is_read_again(nano: Model) -> None:
    """With one read at a time, parts of a prediction wait; they are cancelled when it fails."""
    ids = nano.ids(128, seed=8)
    for budget, every in ((nano.least, 100), (nano.quarter, 40), (nano.least, 40)):
        faults = {"stalled_reads": range(0, MANY_READS, every), "stall_ms": 5}
        engine = nano.engine(bytes=budget, io="pread", depth=1, faults=faults)
        assert np.array_equal(logits(engine, ids, 1), nano.expected(ids))
        assert check_counters(engine)["speculated"] > 0
