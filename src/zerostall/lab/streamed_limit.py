"""How fast a model can be whose experts are streamed: its computing, or the reads it needs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zerostall.engine.drive import DriveSettings, drive_settings
from zerostall.lab.subjects import PARTS


@dataclass(frozen=True)
class DriveLimit:
    """What the model's drive gives, with those of mirrors on other drives.

    Attributes:
        settings: how the model's drive is read best.
        bytes_per_second: of all of them; 0 if they could not be measured.
    """

    settings: DriveSettings
    bytes_per_second: float


def drive_limit(
    path: Path, mirrors: Iterable[str], measured: float | None, *, fresh: bool = True
) -> DriveLimit:
    """Measure the drives at scattered offsets past the page cache.

    Args:
        path: the model's (first) file.
        mirrors: copies of it, or folders that have one.
        measured: bytes a second of the model's drive found in another way: the faster one counts.
        fresh: anew, whatever is remembered.

    Raises:
        StorageError: a file cannot be read.
    """
    best = drive_settings(path, fresh=fresh)
    rates = {device_of(path): max(best.bytes_per_second, measured or 0.0)}
    for mirror in map(Path, mirrors):
        copy = mirror / path.name if mirror.is_dir() else mirror
        device = device_of(copy)
        if device not in rates:
            rates[device] = drive_settings(copy, fresh=fresh).bytes_per_second
    return DriveLimit(best, sum(rates.values()))


def streaming_limit(runs: Sequence[dict[str, Any]], drive: DriveLimit) -> dict[str, Any]:
    """What no engine that must read these bytes can beat on this machine, and how near ours came.

    A token takes at least the longer of its computing (its time, less the time in which workers
    had nothing to do but wait for bytes) and the reading of the bytes it missed (those read, less
    those read ahead in vain) at the drives' bandwidth. Medians over the runs, of each run's own.
    """
    record: dict[str, Any] = {"drive_settings": asdict(drive.settings)}
    if drive.bytes_per_second <= 0:
        return record
    record["drive_gb_per_s"] = drive.bytes_per_second / 1e9
    for part in PARTS:
        counted = [run["streaming"][part] for run in runs if part in run.get("streaming", {})]
        if counted:
            bounds = [_bound(each, drive.bytes_per_second) for each in counted]
            record[part] = {
                key: statistics.median(each[key] for each in bounds) for key in bounds[0]
            }
    return record


def _bound(counted: dict[str, float], bytes_per_second: float) -> dict[str, float]:
    compute = counted["compute_ms_per_token"]
    reading = 1e3 * counted["missed_bytes_per_token"] / bytes_per_second
    bound = max(compute, reading)
    return {
        "compute_ms_per_token": compute,
        "missed_bytes_per_token": counted["missed_bytes_per_token"],
        "read_ms_per_token": reading,
        "ms_per_token": bound,
        "tokens_per_s": 1e3 / bound,
        "time_over_bound": counted["ms_per_token"] / bound,
    }


def device_of(path: Path) -> int:
    """The number of the device that holds a file."""
    return path.stat().st_dev
