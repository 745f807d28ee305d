"""The threads and files this process holds, as the kernel lists them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

TASKS = Path("/proc/self/task")
HANG_S = 300  # whatever takes as long hangs, however busy the machine is


def threads() -> dict[int, str]:
    """Id and name of each thread, without the kernel's (io_uring's, which end seconds later).

    A thread may end between its listing and its reading; it is then left out.
    """
    found = {}
    for task in TASKS.iterdir():
        try:
            name = (task / "comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if not name.startswith("iou-"):
            found[int(task.name)] = name
    return found


def masks() -> dict[int, set[int]]:
    """The affinity mask of each thread."""
    found = {}
    for task in threads():
        try:
            found[task] = os.sched_getaffinity(task)
        except ProcessLookupError:
            continue
    return found


def held() -> tuple[int, int]:
    """How many file descriptors and threads there are."""
    return len(os.listdir("/proc/self/fd")), len(threads())


def no_more_held(before: tuple[int, int]) -> bool:
    """Whether files and threads end until there are no more than before.

    There may be fewer: what an earlier test used ends when it likes.
    """
    return eventually(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


def eventually(true: Callable[[], bool]) -> bool:
    """Whether something that another thread brings about becomes true."""
    end = time.monotonic() + HANG_S
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
