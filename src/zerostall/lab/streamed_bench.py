"""Speed of a model whose experts are streamed, beside a peer inside an equal memory limit.

Each measurement is a process of its own, in a memory cgroup of its own, on a cold page cache:
pages that are cached outside a cgroup would be memory that the limit does not count.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zerostall.engine.budget import show_bytes
from zerostall.engine.loader import plan_load
from zerostall.errors import ZerostallError
from zerostall.lab import bench_child
from zerostall.lab.memory_cgroup import Finished, run_contained
from zerostall.lab.page_cache import cached_bytes, drop_cached
from zerostall.lab.subjects import OURS, PARTS, LlamaCpp, Ours, Test, output_of

Report = Callable[[str], None]
IN_MEMORY_PASSES = 3  # their medians count


class MeasurementError(ZerostallError):
    """The process that measures zerostall ended without a result."""


@dataclass(frozen=True)
class Arena:
    """What every turn has: the same files dropped from the page cache, the same limit.

    Attributes:
        test: what a turn does.
        limit_bytes: of the memory cgroup; None: no cgroup.
        files: dropped from the page cache before each turn.
    """

    test: Test
    limit_bytes: int | None
    files: Sequence[Path]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "cgroup_bytes": self.limit_bytes,
            "page_cache": "dropped before each turn",
            "warm_up_tokens": self.test.warm_up,
        }

    def describe(self) -> str:
        """For people."""
        inside = (
            "no memory cgroup"
            if self.limit_bytes is None
            else f"a memory cgroup of {show_bytes(self.limit_bytes)}, page cache included"
        )
        warm = (
            f"after decoding {self.test.warm_up} tokens uncounted"
            if self.test.warm_up
            else "cold: no token before the first that counts"
        )
        return (
            f"experts are streamed: each part is a process in {inside}, with the model dropped "
            f"from the page cache before; measured {warm}"
        )

    def run(self, command: Sequence[str], stdin: str = "") -> tuple[Finished, int | None]:
        """Run a program in a cold page cache; bytes of the files that would not leave it, too."""
        for file in self.files:
            drop_cached(file)
        left = [cached_bytes(file) for file in self.files]
        done = run_contained(command, self.limit_bytes, stdin)
        return done, None if None in left else sum(each or 0 for each in left)

    def ours(self, path: Path, part: str) -> dict[str, Any]:
        """zerostall's turn at a part: `tokens_per_s` unless killed, `streaming`, `process`."""
        asked = bench_child.request(path, self.test, part)
        done, left = self.run(bench_child.COMMAND, asked)
        turn = {"process": _process(done, left)}
        if done.killed_by_limit:
            return turn
        measured = _measured(path, done)
        turn["process"]["load_ms"] = measured.load_ms
        return turn | {
            "tokens_per_s": measured.tokens / measured.seconds,
            "streaming": _streaming(measured),
            "each_token": measured.each,
        }

    def in_memory(self, path: Path) -> dict[str, dict[str, Any]]:
        """What each part takes with all experts in memory, after one time over the same tokens.

        `ms_per_token` and, of decoded tokens, `each_ms`; nothing if the machine has too little
        memory. Not before a turn: the host of a virtual machine is busy for a while taking back
        what such a run leaves free.
        """
        test = replace(self.test, ram=None, warm_up=0, mirrors=(), miss_precision="full")
        if plan_load(path, test.options()).plan.expert_bytes is not None:
            return {}
        found = {}
        for part, asked in zip(PARTS, (test.prompt, test.tokens), strict=True):
            if asked:
                request = bench_child.request(path, test, part, passes=1 + IN_MEMORY_PASSES)
                measured = _measured(path, run_contained(bench_child.COMMAND, None, request))
                found[part] = {
                    "ms_per_token": 1e3 * measured.seconds / measured.tokens,
                    "each_ms": [ms for ms, _, _ in measured.each],
                }
        return found

    def peers(self, other: LlamaCpp, part: str) -> dict[str, Any]:
        """The peer's turn at a part: `tokens_per_s` unless killed, and `process`."""
        command = other.part_command(part)
        done, left = self.run(command)
        turn = {"process": _process(done, left)}
        if done.killed_by_limit:
            return turn
        rates = other.read(command, output_of(command, done))
        return turn | {"tokens_per_s": other.rate_of(part, rates, command)}

    def first_token_ms(self, subject: Ours | LlamaCpp) -> float | None:
        """Milliseconds from starting a command to its first token; None if it was killed."""
        command = subject.first_token_command()
        done, _ = self.run(command)
        if done.killed_by_limit:
            return None
        output_of(command, done)
        return 1e3 * done.seconds


def first_tokens(
    arena: Arena, ours: Ours, other: LlamaCpp | None, repetitions: int, report: Report
) -> dict[str, list[float]]:
    """Milliseconds to the first token of each turn that was not killed, ours and the peer's."""
    if arena.test.first_token == 0:
        return {}
    subjects: dict[str, Ours | LlamaCpp] = {OURS: ours}
    if other is not None:
        subjects["peer"] = other
    taken: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(repetitions):
        for name, subject in subjects.items():
            ms = arena.first_token_ms(subject)
            taken[name] += [] if ms is None else [ms]
    shown = [
        f"{name} {statistics.median(ms):.0f} ms" if ms else f"{name} killed by the limit"
        for name, ms in taken.items()
    ]
    report(f"first token, cold page cache: {', '.join(shown)}")
    return taken


def take_turns(
    arena: Arena,
    path: Path,
    other: LlamaCpp | None,
    repetitions: int,
    report: Report,
    drive: Callable[[], float],
) -> list[dict[str, Any]]:
    """Every run in its order: our prefill, the peer's, our decode, the peer's, and again.

    A record has `run` and `engine`, and of each part the rate under its name (unless the limit
    killed it), `process` and, if it is ours, `streaming` and `each_token`.

    Args:
        arena: what every turn has.
        path: the model.
        other: the peer.
        repetitions: runs of each.
        report: told of each run.
        drive: measures the drives' bytes a second, before and after each of our turns.
    """
    runs: list[dict[str, Any]] = []
    for number in range(1, repetitions + 1):
        records: dict[str, dict[str, Any]] = {OURS: {"run": number, "engine": OURS}}
        if other is not None:
            records["peer"] = {"run": number, "engine": "peer"}
        for part, asked in zip(PARTS, (arena.test.prompt, arena.test.tokens), strict=True):
            for name, record in records.items() if asked else ():
                if name == OURS or other is None:
                    speeds = [drive()]
                    turn = arena.ours(path, part)
                    speeds.append(drive())
                    if "streaming" in turn:
                        turn["streaming"]["drive_gb_per_s"] = statistics.mean(speeds) / 1e9
                else:
                    turn = arena.peers(other, part)
                if "tokens_per_s" in turn:
                    record[part] = turn.pop("tokens_per_s")
                for key, value in turn.items():
                    record.setdefault(key, {})[part] = value
        report(f"run {number}/{repetitions}: {'; '.join(map(_show, records.values()))}")
        runs += records.values()
    return runs


def _measured(path: Path, done: Finished) -> bench_child.Measured:
    try:
        return bench_child.answer(done.stdout)
    except ValueError as error:
        raise MeasurementError(
            f"measuring {path.name} failed with exit code {done.returncode}: "
            + " / ".join(done.stderr.strip().splitlines()[-3:])
        ) from error


def _show(record: dict[str, Any]) -> str:
    parts = [
        f"{part} {record[part]:.4g} tokens/s" if part in record else f"{part} killed by the limit"
        for part in record["process"]
    ]
    return f"{record['engine']} {', '.join(parts)}"


def _process(done: Finished, cached: int | None) -> dict[str, Any]:
    """What is known of a process; what the system does not count is left out."""
    known: dict[str, Any] = {
        "seconds": done.seconds,
        "major_faults": done.major_faults,
        "drive_bytes_read": done.bytes_read,
        "cached_before_bytes": cached,
        "peak_bytes": done.peak_bytes,
        "oom_kills": done.oom_kills,
        "killed_by_limit": done.killed_by_limit,
    }
    return {key: value for key, value in known.items() if value is not None}


def _streaming(measured: bench_child.Measured) -> dict[str, float]:
    """Counters of one measurement, and what follows from them a token."""
    counted = measured.streaming
    assert counted is not None, "the plan said that experts are streamed"
    ms = 1e3 * measured.seconds
    return counted | {
        "slots": measured.slots,
        "compute_ms": max(0.0, ms - counted["stall_ms"]),
        "shadow_hit_rate": counted["shadow_hits"] / max(1.0, counted["demanded"]),
        "bytes_read_per_token": counted["bytes_read"] / measured.tokens,
        "missed_bytes_per_token": max(0.0, counted["bytes_read"] - counted["bytes_wasted"])
        / measured.tokens,
        "ms_per_token": ms / measured.tokens,
        "stall_share": counted["stall_ms"] / ms,
        "compute_ms_per_token": max(0.0, ms - counted["stall_ms"]) / measured.tokens,
    }


def summary(runs: Sequence[dict[str, Any]], engine: str) -> dict[str, dict[str, Any]]:
    """Of an engine's parts what its processes took (`process`) and what streaming did."""
    parts: dict[str, dict[str, Any]] = {}
    own = [run for run in runs if run["engine"] == engine]
    for part in own[0]["process"]:
        parts[part] = {"process": _worst([run["process"][part] for run in own])}
        counted = [run["streaming"][part] for run in own if part in run.get("streaming", {})]
        if counted:
            parts[part]["streaming"] = {
                key: statistics.median(each[key] for each in counted) for key in counted[0]
            }
    return parts


def _worst(processes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Peaks at their highest, kills together, the rest as medians."""
    record: dict[str, Any] = {}
    for key in processes[0]:
        values = [each[key] for each in processes if key in each]
        if key in ("peak_bytes", "cached_before_bytes"):
            record[key] = max(values)
        elif key in ("oom_kills", "killed_by_limit"):
            record[key] = sum(values)
        else:
            record[key] = statistics.median(values)
    return record
