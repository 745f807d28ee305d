"""How fast a model can be whose experts are streamed: its computing, or the reads it needs."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zerostall import _core
from zerostall.engine.drive import DriveSettings, drive_settings
from zerostall.errors import StorageError
from zerostall.lab.subjects import PARTS

SECONDS = 0.5  # of one measurement of a drive
MEMORY = 256 << 20  # it reads into: more than last-level caches hold


@dataclass(frozen=True)
class DriveLimit:
    """What the model's drive gives, with those of mirrors on other drives.

    Attributes:
        drives: a file on each, the model's first, and how it is read best.
    """

    drives: tuple[tuple[Path, DriveSettings], ...]

    @property
    def settings(self) -> DriveSettings:
        """Of the model's drive."""
        return self.drives[0][1]

    @property
    def bytes_per_second(self) -> float:
        """Of all of them as they were probed; 0 if they could not be."""
        return sum(settings.bytes_per_second for _, settings in self.drives)

    def measure(self) -> float:
        """Bytes a second that they give now, into memory as experts are read; 0 if not known.

        Other places of the files each time, for what was read lately may be in a drive's cache.
        """
        return sum(_rate(file, settings) for file, settings in self.drives)


def _rate(file: Path, settings: DriveSettings) -> float:
    try:
        return _core.drive_bandwidth(
            str(file),
            settings.depth,
            settings.request_bytes,
            SECONDS,
            settings.kind,
            MEMORY,
            random.randrange(1 << 32),
        )
    except StorageError:
        return settings.bytes_per_second  # without O_DIRECT, or too short


def drive_limit(path: Path, mirrors: Iterable[str], *, fresh: bool = True) -> DriveLimit:
    """Find out how the drives are read best.

    Args:
        path: the model's (first) file.
        mirrors: copies of it, or folders that have one.
        fresh: anew, whatever is remembered.

    Raises:
        StorageError: a file cannot be read.
    """
    files = {device_of(path): path}
    for mirror in map(Path, mirrors):
        copy = mirror / path.name if mirror.is_dir() else mirror
        files.setdefault(device_of(copy), copy)
    return DriveLimit(tuple((file, drive_settings(file, fresh=fresh)) for file in files.values()))


def streaming_limit(
    runs: Sequence[dict[str, Any]],
    drive: DriveLimit,
    in_memory: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """What no engine that must read these bytes can beat on this machine, and how near ours came.

    A token takes at least the longer of its computing (with all experts in memory; where that was
    not measured or is more, its time less that in which workers had nothing to do but wait for
    bytes) and the reading of the bytes it missed (those read, less those read ahead in vain) at the
    drives' bandwidth around the run. Medians over the runs, of each run's own; of the times of
    tokens and of their bounds one by one medians over the runs, which are then added.

    Args:
        runs: as take_turns() gives them.
        drive: gave the speeds around the runs.
        in_memory: of each part what Arena.in_memory() found.
    """
    record: dict[str, Any] = {"drive_settings": asdict(drive.settings)}
    for part in PARTS:
        counted = [
            run for run in runs if run.get("streaming", {}).get(part, {}).get("drive_gb_per_s")
        ]
        if not counted:
            continue
        each = [run.get("each_token", {}).get(part, ()) for run in counted]
        found = [
            _bound(run["streaming"][part], tokens, in_memory.get(part))
            for run, tokens in zip(counted, each, strict=True)
        ]
        record[part] = {
            key: statistics.median(bounds[key] for bounds, _ in found) for key in found[0][0]
        }
        if each[0]:
            taken = _median_each([[ms for ms, _, _ in tokens] for tokens in each])
            longer = _median_each([tokens for _, tokens in found])
            record[part]["time_over_token_bounds"] = sum(taken) / sum(longer)
    return record


def _median_each(runs: Sequence[Sequence[float]]) -> list[float]:
    """Of each place its median over the runs: what disturbs some of them moves it little."""
    return [statistics.median(same) for same in zip(*runs, strict=True)]


def _bound(
    counted: dict[str, float],
    each: Sequence[Sequence[float]],
    in_memory: dict[str, Any] | None,
) -> tuple[dict[str, float], list[float]]:
    """The bounds of a run, and those in ms of its tokens (of each ms, ms of stalls, bytes missed).

    If the drive gave the run more than it gave the measurements around it, as one does whose host
    kept what was read before, that is its speed: a bound that can be beaten is none.
    """
    speed = max(1e9 * counted["drive_gb_per_s"], counted["read_bandwidth"] or 0.0)
    compute = counted["compute_ms_per_token"]
    computing = [ms - stall for ms, stall, _ in each]
    if in_memory is not None and in_memory["ms_per_token"] < compute:
        compute, computing = in_memory["ms_per_token"], in_memory["each_ms"]
    reading = 1e3 * counted["missed_bytes_per_token"] / speed
    bound = max(compute, reading)
    found = {
        "drive_gb_per_s": speed / 1e9,
        "derived_compute_ms_per_token": counted["compute_ms_per_token"],
        "compute_ms_per_token": compute,
        "missed_bytes_per_token": counted["missed_bytes_per_token"],
        "read_ms_per_token": reading,
        "ms_per_token": bound,
        "tokens_per_s": 1e3 / bound,
        "time_over_bound": counted["ms_per_token"] / bound,
    }
    reads = [1e3 * missed / speed for _, _, missed in each]
    return found, list(map(max, computing, reads))


def device_of(path: Path) -> int:
    """The number of the device that holds a file."""
    return path.stat().st_dev
