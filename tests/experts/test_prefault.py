"""The memory for experts has its pages at load, unless there is none to spare."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import pytest

from tests.experts.fake_memory import FakeMemory
from tests.experts.streamed import Model, logits

STATM = Path("/proc/self/statm")
BLOCK = 2 << 20  # what is filled at once

pytestmark = pytest.mark.skipif(not STATM.is_file(), reason="Linux alone tells what is resident")


def resident() -> int:
    """Bytes of this process in memory."""
    return int(STATM.read_text().split()[1]) * mmap.PAGESIZE


def taken(model: Model, **streaming: Any) -> tuple[int, int]:
    """Bytes that an engine with room for all experts takes at load; bytes of its slots at least."""
    model.resident  # what loading needs for the first time does not count  # noqa: B018
    before = resident()
    engine = model.engine(2, bytes=model.all, io="pread", **streaming)
    used = resident() - before
    slots = engine.stream_stats()["slots"] * min(size for _, _, size in engine.expert_layers)
    ids = model.ids(4)
    assert logits(engine, ids).tobytes() == model.expected(ids).tobytes()
    return used, slots


def test_slots_have_their_pages_at_load(converted: Model) -> None:
    lazy, slots = taken(converted, prefault=False)
    assert slots > 5 * BLOCK
    assert taken(converted)[0] - lazy > slots / 2


def test_the_cache_has_its_pages_at_load(converted: Model) -> None:
    model = Model(converted.path, context=8192)
    cache = model.engine(1, bytes=model.all, io="pread").memory()["kv_cache"]
    assert cache > 40 * BLOCK
    lazy, slots = taken(model, prefault=False)
    assert taken(model)[0] - lazy > slots / 2 + 0.9 * cache


def test_memory_that_is_short_is_left_to_those_who_need_it(
    converted: Model, tmp_path: Path
) -> None:
    memory = FakeMemory(tmp_path)
    memory.leave(1 << 20)
    # What steps write has its pages in both.
    full, slots = taken(converted)
    assert full - taken(converted, memory_root=str(tmp_path))[0] > slots / 2


def test_buffers_smaller_than_a_huge_page_have_their_pages_at_load(
    converted: Model, tmp_path: Path
) -> None:
    memory = FakeMemory(tmp_path)
    memory.leave(1 << 20)  # none for slots
    parts = converted.engine(2, bytes=converted.all, io="pread").memory()
    written = parts["buffers"] + parts["scratch"] + parts["kv_cache"]
    assert written < 2 * BLOCK
    lazy, _ = taken(converted, prefault=False)
    assert taken(converted, memory_root=str(tmp_path))[0] - lazy > written / 2
