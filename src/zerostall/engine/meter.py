"""Counting what streaming experts takes: of the whole model, and of each task's share in it."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from zerostall.engine.completion import GAUGES, StreamTimings

if TYPE_CHECKING:
    from zerostall.engine.batching import Part
    from zerostall.engine.scheduler import Scheduler

Counts = Mapping[str, int]

_KINDS = ("hits", "shadow_hits", "misses")  # of demands
_OTHERS = (
    "low_used",
    "speculated",
    "wasted",
    "predicted",
    "foreseen",
    "evictions",
    "upgrades",
    "bytes_read",
    "low_bytes",
    "bytes_wasted",
    "prefetched_bytes",
    "released_bytes",
)
_COMPUTE = "compute_ns"  # of the ledger, not of the core
_TIMES = ("stall_ns", _COMPUTE, "read_ns")
_FAULTS = "major_faults"  # of the process, not of the core
_ADDED = (*_KINDS, *_OTHERS, *_TIMES, _FAULTS)


class StreamMeter:
    """What streaming does between two moments, and what the cache holds, for all tasks together.

    Each reading waits for the step under way.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._before = _read(scheduler.stream_stats())

    def read(self) -> StreamTimings | None:
        """Since this object was made; None if no experts are streamed."""
        if not self._before:
            return None
        return timings(_since(self._before, _read(self._scheduler.stream_stats())))

    def room(self) -> tuple[int, int]:
        """How many experts fit into memory now, and how many of these places are taken."""
        stats = self._scheduler.stream_stats()
        return stats.get("slots", 0), stats.get("resident", 0)

    def cache(self) -> dict[str, int]:
        """Pages of the KV cache now, and counters of it since the load (Engine.cache_stats)."""
        return self._scheduler.cache_stats()


class Ledger:
    """Divides what streaming takes among the tasks that share the steps.

    What was counted from the end of one step to the end of the next is divided by the tokens that
    each task had in it. Nothing is lost or counted twice: the shares are whole numbers, and
    their sum is what was counted.

    Args:
        stats: counters of the core before the first step; empty if no experts are streamed.
    """

    def __init__(self, stats: Counts) -> None:
        self._compute_ns = 0
        self._before = _read(self.whole(stats))
        self._steps = 0

    def whole(self, stats: Counts) -> dict[str, int]:
        """The core's counters with the time that steps took beside stalls; empty if those are."""
        return {**stats, _COMPUTE: self._compute_ns} if stats else {}

    def charge(self, batch: Sequence[Part], stats: Counts, step_ns: int) -> None:
        """Add to the tasks of a step that is done, in so long, what was counted since the last."""
        if not self._before:
            return
        self._compute_ns += max(0, step_ns - (stats["stall_ns"] - self._before["stall_ns"]))
        now = _read(self.whole(stats))
        taken, self._before = _since(self._before, now), now
        # What does not divide falls to the last, which is another one in each step.
        self._steps += 1
        turn = self._steps % len(batch)
        total, done = sum(part.tokens for part in batch), 0
        for part in [*batch[turn:], *batch[:turn]]:
            begin, done = done, done + part.tokens
            had = part.task.streamed
            part.task.streamed = {
                key: had.get(key, 0) + value * done // total - value * begin // total
                for key, value in taken.items()
                if key not in GAUGES
            } | {key: taken[key] for key in GAUGES}


def timings(counts: Counts) -> StreamTimings:
    """Counters by the names that callers know."""
    return StreamTimings(
        demanded=sum(counts[key] for key in _KINDS),
        **{key: counts[key] for key in (*_KINDS, *_OTHERS, _FAULTS, *GAUGES)},
        stall_ms=counts["stall_ns"] / 1e6,
        compute_ms=counts[_COMPUTE] / 1e6,
        read_ms=counts["read_ns"] / 1e6,
    )


def _read(stats: Counts) -> dict[str, int]:
    if not stats:
        return {}
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    return {key: faults if key == _FAULTS else stats[key] for key in (*_ADDED, *GAUGES)}


def _since(before: Counts, now: Counts) -> dict[str, int]:
    return {key: now[key] - before[key] for key in _ADDED} | {key: now[key] for key in GAUGES}
