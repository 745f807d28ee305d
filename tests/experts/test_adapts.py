"""Slots go when the system's memory gets short, and come back; no bit changes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.experts.fake_memory import GROUPS, PLENTY, FakeMemory
from tests.experts.streamed import Model, check_counters, logits
from tests.tasks import eventually
from zerostall import _core

LEAST = 4 << 20  # as much is always left free, more beside a larger budget


@pytest.fixture(params=list(GROUPS))
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> FakeMemory:
    return FakeMemory(tmp_path, request.param)


def start(model: Model, memory: FakeMemory, budget: int, **options: object) -> _core.Engine:
    """An engine that looks at memory only when it is told to, or in a step."""
    options = {"io": "pread", "idle_look_ms": 0, "speculate": False} | options
    return model.engine(bytes=budget, memory_root=str(memory.root), **options)


def look(engine: _core.Engine, memory: FakeMemory, room: int) -> dict[str, int]:
    """One look at so much room. Steps do not learn of it, because here it would never change."""
    memory.leave(room)
    engine.adapt_memory()
    memory.leave(None)
    return check_counters(engine)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


# Of 128 experts, 8 used, two sizes: each has room for all and for 8 reads under way, and keeps
# twice as many slots as those.
SLOTS, FLOOR = 128 + 8, 2 * 8


def slot_bytes(engine: _core.Engine) -> int:
    """Of one slot of each size."""
    return sum({size for _, _, size in engine.expert_layers})


def test_what_is_over_a_lowered_limit_goes_at_the_first_look(many: Model, memory) -> None:
    engine = start(many, memory, many.all)
    ids = many.ids(64)
    assert np.array_equal(logits(engine, ids), many.expected(ids))
    slots = check_counters(engine)["slots"]
    over = many.all // 4
    stats = look(engine, memory, -over)
    assert stats["given"] >= over + 2 * LEAST
    assert stats["given"] < many.all * 3 // 4
    assert FLOOR * 2 < stats["slots"] < slots * 3 // 4
    assert stats["resident"] < stats["slots"]
    assert np.array_equal(logits(engine, ids, 3), many.expected(ids))
    check_counters(engine)


@pytest.mark.parametrize("speculate", [True, False])
def test_every_size_shrinks_to_its_floor_and_all_slots_come_back(
    many: Model, memory, speculate: bool
) -> None:
    engine = start(many, memory, many.all, speculate=speculate)
    ids = many.ids(48)
    assert np.array_equal(logits(engine, ids), many.expected(ids))
    before = check_counters(engine)
    assert (before["slots"], before["given"]) == (2 * SLOTS, 0)
    stats = look(engine, memory, -PLENTY)
    assert stats["slots"] == 2 * FLOOR
    assert stats["given"] == (SLOTS - FLOOR) * slot_bytes(engine)
    assert stats["resident"] <= 2 * FLOOR
    for chunk in (1, 48):
        assert np.array_equal(logits(engine, ids, chunk), many.expected(ids))
    assert look(engine, memory, -PLENTY)["slots"] == 2 * FLOOR
    stats = look(engine, memory, PLENTY)
    assert (stats["slots"], stats["given"]) == (2 * SLOTS, 0)
    for chunk in (1, 48):
        assert np.array_equal(logits(engine, ids, chunk), many.expected(ids))
    assert check_counters(engine)["resident"] > 128


def test_slots_come_back_as_far_as_there_is_room(many: Model, memory) -> None:
    engine = start(many, memory, many.all)
    given = look(engine, memory, -PLENTY)["given"]
    ids = many.ids(48)
    logits(engine, ids)  # now all that is left has memory
    room = 5 * LEAST
    now = look(engine, memory, room)["given"]
    assert room - 2 * LEAST - slot_bytes(engine) < given - now <= room - 2 * LEAST
    # What came back has no memory yet, so that there is no room for more.
    assert look(engine, memory, room)["given"] == now
    assert np.array_equal(logits(engine, ids), many.expected(ids))
    # Now it has, and as much room as before was left beside it.
    assert look(engine, memory, room)["given"] < now


def test_slots_that_have_no_memory_yet_go_before_they_take_what_is_not_there(
    many: Model, memory
) -> None:
    engine = start(many, memory, many.all, prefault=False)
    total = SLOTS * slot_bytes(engine)
    given = look(engine, memory, total // 5)["given"]
    assert total // 2 < given < total * 9 // 10
    ids = many.ids(48)
    assert np.array_equal(logits(engine, ids), many.expected(ids))


def test_the_memory_of_slots_that_go_is_the_systems_at_once(many: Model, memory) -> None:
    engine = start(many, memory, many.all)
    for seed in (1, 2):
        logits(engine, many.ids(64, seed))
    assert engine.stream_stats()["resident"] > 240  # of 256
    before = resident_bytes()
    given = look(engine, memory, -PLENTY)["given"]
    assert given == (SLOTS - FLOOR) * slot_bytes(engine)
    assert before - resident_bytes() > given * 4 // 5


def test_slots_that_are_gone_get_no_memory_ahead_of_their_use(many: Model, memory) -> None:
    before = resident_bytes()
    engine = start(many, memory, many.all)
    look(engine, memory, -PLENTY)
    for seed in range(4):
        logits(engine, many.ids(64, seed))
    took = engine.memory()
    others = sum(took[part] for part in ("weights", "buffers", "scratch", "kv_cache"))
    # The rest: threads, and blocks of pages that slots begin or end in.
    assert resident_bytes() - before < FLOOR * slot_bytes(engine) + others + (6 << 20)


def test_slots_go_while_everybody_waits_for_memory_and_no_longer(many: Model, memory) -> None:
    engine = start(many, memory, many.all)
    logits(engine, many.ids(64))
    memory.wait(7_000_000)  # before the first look: nobody knows when

    def given(waited: int) -> int:
        memory.wait(waited)
        # Room to keep what there is, too little to take back what went.
        return look(engine, memory, 2 * LEAST)["given"]

    assert [given(0), given(1)] == [0, 0]  # more than 5 us pass between two looks
    first, second = given(60_000_000), given(60_000_000)  # and less than 5 minutes
    assert LEAST <= first < LEAST + slot_bytes(engine)
    assert first < second < 2 * LEAST + 2 * slot_bytes(engine)
    assert [given(0), given(1), given(0)] == [second] * 3


def test_an_idle_engine_gives_memory_back_too(either: Model, memory) -> None:
    engine = start(either, memory, either.all, idle_look_ms=5)
    ids = either.ids(32)
    logits(engine, ids)
    memory.leave(-either.all // 4)
    assert eventually(lambda: engine.stream_stats()["given"] > 0)
    memory.leave(PLENTY)
    assert eventually(lambda: engine.stream_stats()["given"] == 0)
    assert np.array_equal(logits(engine, ids), either.expected(ids))


def test_steps_look_at_memory_by_themselves(either: Model, memory) -> None:
    engine = start(either, memory, either.all)
    memory.leave(-either.all // 4)
    ids = either.ids(16)
    expected = either.expected(ids)

    def given() -> bool:
        assert np.array_equal(logits(engine, ids, 1), expected)
        return engine.stream_stats()["given"] > 0

    assert eventually(given)
