"""Recorded demands for experts: what a trace holds, and how it is written while a model runs.

The first line describes the model, each other line what one layer of one step demanded:

    {"zerostall_trace":1,"model":"nano","layers":[{"experts":32,"used":4,"bytes":200704}],
     "other_bytes":9000000,"drive_bytes_per_s":3.1e9,"compute_ms":null,"read_ahead":true}
    {"s":1,"t":1,"l":0,"e":[3,17,8,30],"o":"hmsh"}

The last line of a run that ended has what was measured meanwhile:

    {"end":1,"drive_bytes_per_s":3.1e9,"compute_ms":0.35}

docs/guides/trace.md has the fields; trace_reader.py reads it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from zerostall.errors import StorageError, ZerostallError

VERSION = 1
OUTCOMES = "hsm"  # hit, shadow, miss

# (step, layer, experts, tokens routed to each, a letter of OUTCOMES for each)
Demand = tuple[int, int, list[int], list[int], str]


class TraceError(ZerostallError):
    """The file is no trace, or is damaged; the message names file and line."""


@dataclass(frozen=True)
class TracedLayer:
    """Experts of one layer: how many, how many a token uses, and bytes of one in memory."""

    experts: int
    used: int
    bytes: int


@dataclass(frozen=True)
class TraceHeader:
    """What a trace says of the model and the machine.

    Attributes:
        model: its name, for people.
        layers: those with experts, in the order of the model.
        other_bytes: what memory holds besides experts: other weights, KV cache, scratch.
        drive_bytes_per_s: measured, or None.
        compute_ms: of one decoded token with all its experts in memory, or None.
        read_ahead: the run remembers what tokens chose, which takes some of the experts' memory.
    """

    model: str
    layers: tuple[TracedLayer, ...]
    other_bytes: int
    drive_bytes_per_s: float | None = None
    compute_ms: float | None = None
    read_ahead: bool = False


@dataclass(frozen=True)
class Trace:
    """All demands of a run. An event is one layer of one step; its demands follow each other.

    Attributes:
        header: the model and the machine.
        steps: number of the step of each event, int64 [events], ascending.
        tokens: tokens in that step, int64 [events].
        layers: index into header.layers, int64 [events], ascending within a step.
        first: where each event's demands begin, int64 [events + 1].
        experts: number of the expert within its layer, int64 [demands].
        counts: tokens routed to it, int64 [demands].
        outcomes: index into OUTCOMES, uint8 [demands].
        cut: the end of the file was cut off (the recording was killed) and is left out.
    """

    header: TraceHeader
    steps: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    layers: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    experts: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    outcomes: npt.NDArray[np.uint8]
    cut: bool = False


class TraceWriter:
    """Writes a trace line by line; every finished step is in the file even after a kill.

    A context manager. Replaces an existing file; a name that ends in .gz is compressed.

    Raises:
        StorageError: the file cannot be written, here and in every method.
    """

    def __init__(self, file: Path, header: TraceHeader) -> None:
        self._file = file
        self._used = [layer.used for layer in header.layers]
        self._step = -1
        try:
            self._out: IO[bytes] = (
                gzip.GzipFile(file, "wb", compresslevel=5)  # type: ignore[assignment]
                if file.suffix == ".gz"
                else open(file, "wb")  # noqa: SIM115 (close() closes it)
            )
        except OSError as error:
            raise _refused(file, error) from error
        self._line({"zerostall_trace": VERSION, **asdict(header)})

    def write(
        self,
        step: int,
        tokens: int,
        layer: int,
        experts: Sequence[int],
        counts: Sequence[int] | None,
        outcomes: str,
    ) -> None:
        """Add what one layer of one step demanded.

        Args:
            step: number of the step; the same or higher from call to call.
            tokens: in the step.
            layer: index into the header's layers, ascending within a step.
            experts: each expert once.
            counts: tokens routed to each; None: one each.
            outcomes: a letter of OUTCOMES for each.
        """
        assert len(experts) == len(outcomes)
        line: dict[str, Any] = {"s": step, "t": tokens, "l": layer, "e": list(map(int, experts))}
        if counts is not None and any(count != 1 for count in counts):
            assert len(counts) == len(experts)
            line["n"] = list(map(int, counts))
        line["o"] = outcomes
        if step != self._step:
            self._step = step
            self._guarded(self._out.flush)
        self._line(line)

    def add(self, demands: Iterable[Demand]) -> None:
        """Add demands as the engine reports them, all of a step or of several at once.

        The tokens of a step are worked out: each is routed to as many experts as the header says
        that a token uses.
        """
        for step, layer, experts, counts, outcomes in demands:
            tokens = max(1, sum(counts) // self._used[layer])
            self.write(step, tokens, layer, experts, counts, outcomes)

    def finish(self, drive_bytes_per_s: float | None, compute_ms: float | None) -> None:
        """Add what is known at the end only; it replaces the header's. Nothing follows it."""
        self._line(
            {"end": self._step, "drive_bytes_per_s": drive_bytes_per_s, "compute_ms": compute_ms}
        )

    def close(self) -> None:
        """Write what is left and close the file. May be called again."""
        self._guarded(self._out.close)

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _line(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, separators=(",", ":"), ensure_ascii=False) + "\n"
        self._guarded(self._out.write, text.encode())

    def _guarded(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except OSError as error:
            raise _refused(self._file, error) from error


def _refused(file: Path, error: OSError) -> StorageError:
    return StorageError(f"{file}: {error.strerror or error}; give a writable path with free space")
