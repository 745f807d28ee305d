"""The limits of this machine, measured, and what they allow a model to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zerostall import _core
from zerostall.engine import budget
from zerostall.engine.work import READ, Limits, Work, compute_unit
from zerostall.errors import StorageError

CACHE = Path("/sys/devices/system/cpu/cpu0/cache")
DRIVE_DEPTH = 8
DRIVE_REQUEST = 1 << 20


def measure_limits(
    isa: str, threads: int, path: Path | None = None, seconds: float = 0.5
) -> Limits:
    """Measure them with `threads` threads and the units that `isa` may use.

    Args:
        isa: an instruction set, as `_core.isas()` names them.
        threads: threads that read and compute.
        path: a file on the drive to be measured, usually the model; None leaves it out.
        seconds: how long each limit is measured.
    """
    unit = compute_unit(isa)
    drive = None
    if path is not None and path.stat().st_size >= DRIVE_REQUEST:
        try:
            drive = _core.drive_bandwidth(str(path), DRIVE_DEPTH, DRIVE_REQUEST, seconds)
        except StorageError:
            drive = None  # tmpfs and some network file systems have no O_DIRECT
    return Limits(
        read_bandwidth=_core.read_bandwidth(threads, buffer_bytes(), seconds),
        int8=_core.compute_peak(unit, "int8", threads, seconds),
        float32=_core.compute_peak(unit, "float32", threads, seconds),
        drive=drive,
    )


def buffer_bytes() -> int:
    """Four times the last-level cache and at least 512 MiB, within a quarter of free memory."""
    cache = max((_cache_bytes(index) for index in CACHE.glob("index*/size")), default=0)
    wanted = max(512 << 20, 4 * cache)
    free = budget.available_bytes()
    return wanted if free is None else max(64 << 20, min(wanted, free // 4))


def _cache_bytes(size: Path) -> int:
    try:
        return budget.parse_bytes(size.read_text().strip())
    except (OSError, ValueError):
        return 0


@dataclass(frozen=True)
class Bounds:
    """Tokens a second of a model that reaches the machine's limits.

    Attributes:
        limits: measured before the runs.
        works: the least work of each part, and how many tokens it is for.
    """

    limits: Limits
    works: Mapping[str, tuple[Work, int]]

    def rate(self, run: dict[str, Any], part: str) -> float:
        """Of a part, with the read bandwidth measured beside a run if there is one."""
        work, tokens = self.works[part]
        read = run[READ] * 1e9 if READ in run else self.limits.read_bandwidth
        return tokens / work.seconds(replace(self.limits, read_bandwidth=read))
