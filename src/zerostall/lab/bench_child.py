"""One measurement in a process of its own: `python -m zerostall.lab.bench_child`.

So that a memory cgroup holds the engine and nothing else. Standard input has one JSON object:
`path`, `part` ("prefill" or "decode"), `passes` and `test`, the fields of `Test`. Standard output
gets a JSON line `loaded` once the model is, and then one `measured`, or one `error`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zerostall import errors
from zerostall.engine.loader import load
from zerostall.engine.meter import StreamMeter
from zerostall.lab.subjects import PARTS, Test, decode, prefill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zerostall._core import Engine

COMMAND = [sys.executable, "-m", "zerostall.lab.bench_child"]


@dataclass(frozen=True)
class Measured:
    """One part of a test, done once.

    Attributes:
        tokens: prefilled or decoded.
        seconds: they took.
        load_ms: the load before took.
        slots: experts that fit into memory, after the measurement.
        streaming: what StreamTimings.to_dict() says of the same time; None if all are in memory.
        each: of each decoded token its ms, ms of stalls and bytes missed.
    """

    tokens: int
    seconds: float
    load_ms: float
    slots: int
    streaming: dict[str, float] | None
    each: list[tuple[float, float, float]]


def request(path: Path, test: Test, part: str, passes: int = 1) -> str:
    """What the process reads."""
    asked = {"path": str(path), "test": asdict(test), "part": part, "passes": passes}
    return json.dumps(asked)


def answer(printed: str) -> Measured:
    """What the process found.

    Raises:
        ZerostallError: as it did.
        ValueError: it printed nothing of this.
    """
    for line in printed.splitlines():
        said = json.loads(line)
        if "error" in said:
            kind = getattr(errors, said["error"]["type"], errors.ZerostallError)
            raise kind(said["error"]["message"])
        if "measured" in said:
            return Measured(**said["measured"])
    raise ValueError("no measurement")


def measure(path: Path, test: Test, part: str, passes: int = 1) -> Measured:
    """Load a model, decode `warm_up` tokens uncounted, then measure passes over one part.

    All passes are over the same tokens, each in a new sequence. If there are more than one, the
    first, which may bring experts into memory, does not count; of the others times are medians (of
    each decoded token its own) and `streaming` is the last one's.

    Raises:
        ZerostallError: as of loading.
    """
    assert part in PARTS
    loaded = load(path, test.options())
    engine = loaded.scheduler.engine
    engine.settle()
    _say({"loaded": {"load_ms": loaded.load_ms}})
    # Other tokens than those measured, whose experts would else be the ones just read.
    rng = np.random.default_rng(0)
    ids = rng.integers(0, engine.vocab_size, test.context, dtype=np.int32)
    others = rng.integers(0, engine.vocab_size, test.warm_up, dtype=np.int32)
    if test.warm_up:
        sequence = engine.open_sequence()
        decode(engine, sequence, others)
        engine.close_sequence(sequence)
    tokens = getattr(test, "prompt" if part == "prefill" else "tokens")
    asked = ids[test.depth : test.depth + tokens]
    taken: list[float] = []
    tokenwise: list[list[tuple[float, float, float]]] = []
    for _ in range(passes):
        sequence = engine.open_sequence()
        prefill(engine, sequence, ids[: test.depth])
        meter = StreamMeter(loaded.scheduler)
        each: list[tuple[float, float, float]] = []
        started = time.perf_counter()
        if part == "prefill":
            prefill(engine, sequence, asked)
        else:
            each = [_decode_one(engine, sequence, asked[i : i + 1]) for i in range(tokens)]
        taken.append(time.perf_counter() - started)
        tokenwise.append(each)
        streaming = meter.read()
        engine.close_sequence(sequence)
    counted = slice(1 if passes > 1 else 0, None)
    measured = Measured(
        tokens,
        statistics.median(taken[counted]),
        loaded.load_ms,
        loaded.scheduler.stream_stats().get("slots", 0),
        None if streaming is None else streaming.to_dict(),
        [_medians(same) for same in zip(*tokenwise[counted], strict=True)],
    )
    loaded.scheduler.close()
    return measured


def _medians(figures: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    ms, stalls, missed = map(statistics.median, zip(*figures, strict=True))
    return ms, stalls, missed


def _decode_one(engine: Engine, sequence: int, id: Any) -> tuple[float, float, float]:
    """Decode a token: its ms, ms of stalls, and bytes read less those found to be in vain."""
    before, started = engine.stream_stats(), time.perf_counter()
    decode(engine, sequence, id)
    ms = 1e3 * (time.perf_counter() - started)
    after = engine.stream_stats()
    stall, read, wasted = (
        after.get(key, 0) - before.get(key, 0) for key in ("stall_ns", "bytes_read", "bytes_wasted")
    )
    return ms, stall / 1e6, read - wasted


def main() -> None:
    """Answer the request on standard input."""
    asked = json.load(sys.stdin)
    asked["test"]["mirrors"] = tuple(asked["test"]["mirrors"])
    try:
        test = Test(**asked["test"])
        measured = measure(Path(asked["path"]), test, asked["part"], asked["passes"])
    except errors.ZerostallError as error:
        _say({"error": {"type": type(error).__name__, "message": str(error)}})
    else:
        _say({"measured": asdict(measured)})


def _say(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
