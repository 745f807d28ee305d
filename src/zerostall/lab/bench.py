"""Speed of a model beside a peer and the machine's limits, in one interleaved run."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from zerostall import _core, gguf
from zerostall.engine import budget
from zerostall.engine.loader import Planned, plan_load
from zerostall.engine.work import READ, Limits, Work, work_of
from zerostall.errors import InvalidRequestError, StorageError
from zerostall.lab import streamed_bench
from zerostall.lab.limits import Bounds, buffer_bytes, measure_limits
from zerostall.lab.machine import describe_machine
from zerostall.lab.memory_cgroup import MemoryCgroupError, check_permitted
from zerostall.lab.streamed_bench import Arena
from zerostall.lab.streamed_limit import drive_limit, streaming_limit
from zerostall.lab.subjects import OURS, PARTS, PEER, LlamaCpp, Ours, Rates, Test, first_token_ms

FIRST_TOKEN_RUNS = 3  # each loads the model anew
READ_SECONDS = 0.2  # of the read bandwidth beside a run

Report = Callable[[str], None]


def run_bench(
    path: Path,
    test: Test,
    repetitions: int,
    peer: str | None = None,
    *,
    peer_model: Path | None = None,
    cold: bool = False,
    report: Report = lambda line: None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Measure a model.

    The limits come first, then the time to the first token, then the runs: ours, the peer's,
    ours, the peer's, and so on, so that whatever disturbs the machine disturbs both. If experts
    are streamed, each run is a process of its own inside a memory cgroup of `test.ram`.

    Args:
        path: the model's file.
        test: what a run does.
        repetitions: runs of each, at least 1; warm-ups are not counted.
        peer: `llama.cpp` or `llama.cpp=PATH/llama-bench`; None for none.
        peer_model: the same model in a file that the peer reads; None: `path`.
        cold: drop the model from the page cache before each measure of the first token.
        report: called with a line for people when there is something to tell.
        progress: called with the fraction of the model that is loaded.

    Returns:
        What `zerostall bench --json` prints (docs/guides/bench.md lists the fields).

    Raises:
        InvalidRequestError: nothing to measure, or a number out of range.
        MemoryCgroupError: a peer was asked for, experts are streamed, and memory cannot be limited.
        PeerError: the peer failed.
        ZerostallError: as for loading a model.
    """
    check_test(test, repetitions)
    isa = test.isa or _core.selected_isa()
    other = None if peer is None else LlamaCpp.find(peer, peer_model or path, test)
    planned = plan_load(path, test.options())
    room = planned.plan.expert_bytes
    limit_bytes = None if room is None else cgroup_bytes(test, other, report)
    limits = measure_limits(isa, test.threads, path)
    record: dict[str, Any] = {OURS: {}}
    if other is not None:
        record["peer"] = {"name": PEER, "command": other.show(parts=room is not None)}
        report(f"peer: {record['peer']['command']}")
    works = least_work(planned, test)
    record["limit"] = limit_record(limits, works)
    del planned  # its mapping would keep pages of the model in the page cache
    ours = Ours(path, test)
    if room is None:
        runs, first = _in_memory(ours, other, repetitions, cold, report, progress)
    else:
        drive = drive_limit(path, test.mirrors)
        arena = Arena(test, limit_bytes, _dropped(path, other, test))
        record["streaming"] = arena.to_dict() | {"expert_bytes": room}
        report(arena.describe())
        first = streamed_bench.first_tokens(
            arena, ours, other, min(repetitions, FIRST_TOKEN_RUNS), report
        )
        runs = streamed_bench.take_turns(arena, path, other, repetitions, report, drive.measure)
        in_memory = arena.in_memory(path)
        if in_memory:
            record["in_memory"] = in_memory
        record["limit"]["streaming"] = streaming_limit(runs, drive, in_memory)
    _summarise(record, runs, first, Bounds(limits, works))
    if other is not None:
        record["peer"]["build"] = other.build
    record["machine"] = describe_machine(isa, test.threads)
    record["model"] = {"name": path.name, "bytes": _model_bytes(path)}
    chosen = asdict(test) | {"mirrors": list(test.mirrors)}
    record["test"] = chosen | {"threads": test.threads, "repetitions": repetitions}
    record["runs"] = runs
    if first:
        record["first_token_runs_ms"] = first
    record["time"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return record


def cgroup_bytes(test: Test, other: LlamaCpp | None, report: Report) -> int | None:
    """The limit of the memory cgroup of each run; None without a budget, or where there is none.

    Raises:
        MemoryCgroupError: memory cannot be limited, and there is a peer to be limited.
    """
    if test.ram is None:
        return None
    try:
        check_permitted()
    except MemoryCgroupError as error:
        if other is not None:
            raise
        report(f"not held to its budget: {error}")
        return None
    return budget.parse_bytes(test.ram)


def _in_memory(
    ours: Ours,
    other: LlamaCpp | None,
    repetitions: int,
    cold: bool,
    report: Report,
    progress: Callable[[float], None] | None,
) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    """Runs and times to the first token of a model that fits into memory."""
    first = first_tokens(ours, other, min(repetitions, FIRST_TOKEN_RUNS), cold, report)
    ours.load(progress)
    runs = interleave(ours, other, repetitions, report)
    ours.unload()
    return runs, first


def _summarise(
    record: dict[str, Any],
    runs: Sequence[dict[str, Any]],
    first: dict[str, list[float]],
    bounds: Bounds,
) -> None:
    """Add what the runs come to, for each engine and for ours against the peer's."""
    engines = [name for name in (OURS, "peer") if name in record]
    read = [run[READ] for run in runs if READ in run]
    if read:
        record["limit"][READ] = statistics.median(read)
        record["limit"][f"{READ}_range"] = [min(read), max(read)]
    for part, limit in record["limit"].items():
        if part in PARTS:
            limit["tokens_per_s"] = statistics.median(bounds.rate(run, part) for run in runs)
    for name in engines:
        record[name] |= summary(runs, name, bounds)
        if "streaming" in record:
            for part, found in streamed_bench.summary(runs, name).items():
                record[name].setdefault(part, {}).update(found)
        if first.get(name):
            record[name]["first_token_ms"] = statistics.median(first[name])
    if len(engines) == 2:
        record["ratio"] = {
            part: median_of(record, OURS, part) / median_of(record, "peer", part)
            for part in PARTS
            if all(has_rate(record, name, part) for name in engines)
        }


def _dropped(path: Path, other: LlamaCpp | None, test: Test) -> list[Path]:
    """Every file that a run may read weights from."""
    firsts = [path] if other is None else [path, other.model]
    files = [file for each in firsts for file in _model_files(each)]
    for mirror in map(Path, test.mirrors):
        names = [file.name for file in _model_files(path)]
        files += [mirror / name for name in names] if mirror.is_dir() else [mirror]
    return list(dict.fromkeys(files))


def check_test(test: Test, repetitions: int) -> None:
    """Raise InvalidRequestError unless the test can be run."""
    for name, value, least in (
        ("-p", test.prompt, 0),
        ("-n", test.tokens, 0),
        ("-d", test.depth, 0),
        ("-r", repetitions, 1),
        ("--first-token", test.first_token, 0),
        ("-w", test.warm_up, 0),
    ):
        if value < least:
            raise InvalidRequestError(f"{name} is {value}; give at least {least}")
    if test.prompt == 0 and test.tokens == 0:
        raise InvalidRequestError("-p 0 and -n 0 leave nothing to measure; give one of them")


def first_tokens(
    ours: Ours, other: LlamaCpp | None, repetitions: int, cold: bool, report: Report
) -> dict[str, list[float]]:
    """Milliseconds to the first token of each run, ours and the peer's in turns."""
    if ours.test.first_token == 0:
        return {}
    subjects: list[tuple[str, Ours | LlamaCpp]] = [(OURS, ours)]
    if other is not None:
        subjects.append(("peer", other))
    taken: dict[str, list[float]] = {name: [] for name, _ in subjects}
    files = _model_files(ours.path)
    if not cold:
        first_token_ms(ours.first_token_command())  # brings the model into the page cache
    for _ in range(repetitions):
        for name, subject in subjects:
            command = subject.first_token_command()
            taken[name].append(first_token_ms(command, files if cold else ()))
    kind = "cold" if cold else "warm"
    shown = ", ".join(f"{name} {statistics.median(ms):.0f} ms" for name, ms in taken.items())
    report(f"first token, {kind} page cache: {shown}")
    return taken


def interleave(
    ours: Ours, other: LlamaCpp | None, repetitions: int, report: Report
) -> list[dict[str, Any]]:
    """Every run in the order it was made: number from 1, engine, tokens a second by part."""
    runs = []
    threads = ours.test.threads
    # Both at once need the memory of both; where that is short, ours is loaded for each run.
    free = budget.available_bytes()
    crowded = other is not None and free is not None and free < 1.2 * _model_bytes(ours.path)
    for number in range(1, repetitions + 1):
        runs.append(_run_record(number, OURS, ours.run(), threads))
        if other is not None:
            if crowded:
                ours.unload()
            runs.append(_run_record(number, "peer", other.run(), threads))
        report(f"run {number}/{repetitions}: {'; '.join(map(_show_run, runs[-1 - bool(other) :]))}")
    ours.load()
    return runs


def _run_record(number: int, engine: str, rates: Rates, threads: int) -> dict[str, Any]:
    """A run that has just ended, with the read bandwidth that the machine has at this moment.

    Each run has its own, because on a machine that others share it changes within seconds.
    """
    record: dict[str, Any] = {"run": number, "engine": engine}
    record[READ] = _core.read_bandwidth(threads, buffer_bytes(), READ_SECONDS) / 1e9
    for part in PARTS:
        rate = getattr(rates, part)
        if rate is not None:
            record[part] = rate
    return record


def _show_run(run: dict[str, Any]) -> str:
    rates = [f"{part} {run[part]:.4g}" for part in PARTS if part in run]
    return f"{run['engine']} {', '.join(rates)} tokens/s"


def summary(
    runs: Sequence[dict[str, Any]], engine: str, bounds: Bounds
) -> dict[str, dict[str, Any]]:
    """Median, least and most of an engine's runs by part, and the median fraction of the limit."""
    parts = {}
    for part in PARTS:
        own = [run for run in runs if run["engine"] == engine and part in run]
        if own:
            rates = [run[part] for run in own]
            parts[part] = {
                "tokens_per_s": {
                    "median": statistics.median(rates),
                    "min": min(rates),
                    "max": max(rates),
                },
                "fraction_of_limit": statistics.median(
                    run[part] / bounds.rate(run, part) for run in own
                ),
            }
    return parts


def median_of(record: dict[str, Any], engine: str, part: str) -> float:
    """The median tokens a second of an engine in a bench record."""
    median: float = record[engine][part]["tokens_per_s"]["median"]
    return median


def has_rate(record: dict[str, Any], engine: str, part: str) -> bool:
    """Whether an engine was measured at a part: it was asked for, and not killed every time."""
    return "tokens_per_s" in record.get(engine, {}).get(part, {})


def ratios(record: dict[str, Any], part: str) -> list[float]:
    """Ours over the peer's, run by run; empty without a peer."""
    rates: dict[str, dict[int, float]] = {OURS: {}, "peer": {}}
    for run in record["runs"]:
        if part in run:
            rates[run["engine"]][run["run"]] = run[part]
    theirs = rates["peer"]
    return [ours / theirs[run] for run, ours in rates[OURS].items() if run in theirs]


def least_work(planned: Planned, test: Test) -> dict[str, tuple[Work, int]]:
    """The least work of each part that was asked for, and how many tokens it is for."""
    # Decoding sees `depth` cached tokens at its first token and more at each.
    asked = {
        "prefill": (test.prompt, test.prompt, test.depth),
        "decode": (test.tokens, 1, test.depth + (test.tokens - 1) / 2),
    }
    tape, tensors = planned.model.tape, planned.file.tensors()
    return {
        part: (work_of(tape, tensors, batch, depth, test.kv_type), batch)
        for part, (tokens, batch, depth) in asked.items()
        if tokens
    }


def limit_record(limits: Limits, works: Mapping[str, tuple[Work, int]]) -> dict[str, Any]:
    """The measured limits, and tokens a second of a model that reaches them."""
    record: dict[str, Any] = limits.to_dict()
    for part, (work, tokens) in works.items():
        record[part] = {
            "tokens_per_s": tokens / work.seconds(limits),
            "bytes_per_token": work.bytes / tokens,
            "operations_per_token": work.operations / tokens,
        }
    return record


def _model_files(path: Path) -> list[Path]:
    return [Path(part) for part in gguf.open_model(path).paths]


def _model_bytes(path: Path) -> int:
    return sum(part.stat().st_size for part in _model_files(path))


def checkout_results(folder: Path) -> Path | None:
    """`bench/results` of the zerostall checkout that a folder is in; None outside one."""
    for parent in (folder, *folder.parents):
        project = parent / "pyproject.toml"
        if project.is_file() and re.search(
            r'^name = "zerostall"$', project.read_text(encoding="utf-8"), re.MULTILINE
        ):
            return parent / "bench" / "results"
    return None


def without_folders(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the names alone of program and model in the peer's command."""
    if "peer" not in record:
        return record
    command = re.sub(r"[^\s']*/(?=[^/\s])", "", record["peer"]["command"])
    return record | {"peer": record["peer"] | {"command": command}}


def append_result(record: dict[str, Any], folder: Path) -> Path:
    """Append a record to the model's file of JSON lines in `folder`; that file.

    Raises:
        StorageError: the folder cannot be written.
    """
    record = without_folders(record)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(record["model"]["name"]).stem)
    file = folder / f"{stem}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror}; give a writable folder") from error
    return file
