"""Pages for experts come from a thread that takes no time from computing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.experts.streamed import Model

TASKS = Path("/proc/self/task")


@pytest.mark.skipif(not TASKS.is_dir(), reason="Linux alone tells of threads")
def test_only_what_backs_slots_waits_for_idle_cores(nano: Model) -> None:
    before = {int(task.name) for task in TASKS.iterdir()}
    engine = nano.engine(2, bytes=nano.quarter, io="pread")
    new = {int(task.name) for task in TASKS.iterdir()} - before
    idle = [task for task in new if os.sched_getscheduler(task) == os.SCHED_IDLE]
    sizes = {size for _, _, size in engine.expert_layers}
    assert len(idle) == len(sizes)
    assert len(new) > len(idle)
