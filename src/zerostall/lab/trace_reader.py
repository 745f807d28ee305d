"""Reads a trace, checks every number in it, and says which line is at fault."""

from __future__ import annotations

import gzip
import json
import math
import reprlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from zerostall.errors import InvalidRequestError, StorageError
from zerostall.lab.trace import OUTCOMES, VERSION, Trace, TracedLayer, TraceError, TraceHeader

MOST = (1 << 53) - 1  # the largest whole number that every reader of JSON keeps
MOST_EXPERTS = 1 << 24  # in all layers; the largest models have some 10^5


def read_trace(file: Path) -> Trace:
    """Read a trace. A last line that was cut off is left out (Trace.cut).

    Raises:
        InvalidRequestError: there is no such file.
        StorageError: it cannot be read.
        TraceError: it is no trace, or is damaged.
    """
    events: _Events | None = None
    for number, line in _lines(file):
        try:
            if events is None:
                events = _Events(_header(_parse(line)))
            elif line.endswith(b"\n") or _is_whole(line):
                events.add(_parse(line))
            else:
                events.cut = True
        except ValueError as error:
            raise TraceError(f"{file}, line {number}: {error}; record the trace again") from error
    assert events is not None, "an empty file has an empty line"
    return events.trace()


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line; the end of a compressed file that was cut is an empty one."""
    number = 0
    try:
        with gzip.open(file) if file.suffix == ".gz" else open(file, "rb") as stream:
            for number, line in enumerate(stream, 1):
                yield number, line
        if number == 0:
            yield 1, b""
    except EOFError:
        yield number + 1, b""
    except (gzip.BadGzipFile, zlib.error) as error:
        raise TraceError(
            f"{file}, line {number + 1}: damaged gzip data ({error}); record the trace again"
        ) from error
    except FileNotFoundError as error:
        raise InvalidRequestError(f"{file}: no such file") from error
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror}; give a trace that can be read") from error


def _is_whole(line: bytes) -> bool:
    try:
        _parse(line)
    except ValueError:
        return False
    return True


def _parse(line: bytes) -> dict[str, Any]:
    if not line:
        raise ValueError("there is nothing")
    try:
        record = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply for a trace") from None
    except ValueError as error:
        raise ValueError(f"no JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f"{reprlib.repr(record)} is no object")
    return record


def _whole(value: object, what: str, least: int, most: int) -> int:
    # Not isinstance: true is no number.
    if type(value) is not int or not least <= value <= most:
        shown = reprlib.repr(value)
        raise ValueError(f"{what} is {shown}; expected a whole number from {least} to {most}")
    return value


def _positive(value: object, what: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{what} is {reprlib.repr(value)}; expected a positive number or null")
    return float(value)  # type: ignore[arg-type]


def _truth(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{what} is {reprlib.repr(value)}; expected true or false")
    return value


def _header(record: dict[str, Any]) -> TraceHeader:
    version = record.get("zerostall_trace")
    if version is None:
        raise ValueError('no "zerostall_trace": this is no trace')
    if version != VERSION:
        raise ValueError(
            f"version {reprlib.repr(version)} of the format; this zerostall reads {VERSION}"
        )
    layers, model = record.get("layers"), record.get("model")
    if not isinstance(model, str):
        raise ValueError(f"model is {reprlib.repr(model)}; expected a name")
    if not isinstance(layers, list) or not layers:
        raise ValueError(f"layers is {reprlib.repr(layers)}; expected a list of layers")
    header = TraceHeader(
        model=model,
        layers=tuple(_layer(layer, i) for i, layer in enumerate(layers)),
        other_bytes=_whole(record.get("other_bytes"), "other_bytes", 0, MOST),
        drive_bytes_per_s=_positive(record.get("drive_bytes_per_s"), "drive_bytes_per_s"),
        compute_ms=_positive(record.get("compute_ms"), "compute_ms"),
        read_ahead=_truth(record.get("read_ahead", False), "read_ahead"),
    )
    _whole(sum(layer.experts for layer in header.layers), "experts of all layers", 1, MOST_EXPERTS)
    return header


def _layer(layer: object, index: int) -> TracedLayer:
    if not isinstance(layer, dict):
        raise ValueError(f"layer {index} is {reprlib.repr(layer)}; expected an object")
    experts = _whole(layer.get("experts"), f"layer {index}: experts", 1, MOST_EXPERTS)
    return TracedLayer(
        experts=experts,
        used=_whole(layer.get("used"), f"layer {index}: used", 1, experts),
        bytes=_whole(layer.get("bytes"), f"layer {index}: bytes", 1, MOST),
    )


@dataclass
class _Events:
    """Columns of the trace, as far as it has been read."""

    header: TraceHeader
    steps: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=lambda: [0])
    experts: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    outcomes: list[int] = field(default_factory=list)
    cut: bool = False
    ended: bool = False

    def add(self, record: dict[str, Any]) -> None:
        """One line; ValueError says what is wrong with it."""
        if self.ended:
            raise ValueError("there is something behind the last line")
        if "end" in record:
            self._end(record)
            return
        step = _whole(record.get("s"), "s", self.steps[-1] if self.steps else 0, MOST)
        same_step = bool(self.steps) and step == self.steps[-1]
        tokens = _whole(record.get("t"), "t", 1, MOST)
        if same_step and tokens != self.tokens[-1]:
            raise ValueError(f"t is {tokens}, but the step has {self.tokens[-1]} tokens")
        least = self.layers[-1] + 1 if same_step else 0
        layer = _whole(record.get("l"), "l", least, len(self.header.layers) - 1)
        experts, outcomes = record.get("e"), record.get("o")
        if not isinstance(experts, list) or not experts:
            raise ValueError(f"e is {reprlib.repr(experts)}; expected a list of experts")
        count = self.header.layers[layer].experts
        for expert in experts:
            _whole(expert, "an expert of e", 0, count - 1)
        if len(set(experts)) < len(experts):
            raise ValueError("e names an expert twice")
        counts = record.get("n")
        if counts is None:
            counts = [1] * len(experts)
        elif not isinstance(counts, list) or len(counts) != len(experts):
            raise ValueError(f"n is {reprlib.repr(counts)}; expected {len(experts)} numbers")
        else:
            for routed in counts:
                _whole(routed, "a number of n", 1, tokens)
        if not isinstance(outcomes, str) or len(outcomes) != len(experts):
            raise ValueError(f"o is {reprlib.repr(outcomes)}; expected {len(experts)} letters")
        if not set(outcomes) <= set(OUTCOMES):
            raise ValueError(
                f"o is {reprlib.repr(outcomes)}; its letters are {', '.join(OUTCOMES)}"
            )
        self.steps.append(step)
        self.tokens.append(tokens)
        self.layers.append(layer)
        self.experts += experts
        self.counts += counts
        self.outcomes += map(OUTCOMES.index, outcomes)
        self.first.append(len(self.experts))

    def _end(self, record: dict[str, Any]) -> None:
        """The last line: what was measured in the run."""
        last = self.steps[-1] if self.steps else -1
        _whole(record["end"], "end", last, last)
        self.ended = True
        self.header = replace(
            self.header,
            drive_bytes_per_s=_positive(record.get("drive_bytes_per_s"), "drive_bytes_per_s"),
            compute_ms=_positive(record.get("compute_ms"), "compute_ms"),
        )

    def trace(self) -> Trace:
        """The columns as arrays."""
        return Trace(
            header=self.header,
            steps=np.array(self.steps, np.int64),
            tokens=np.array(self.tokens, np.int64),
            layers=np.array(self.layers, np.int64),
            first=np.array(self.first, np.int64),
            experts=np.array(self.experts, np.int64),
            counts=np.array(self.counts, np.int64),
            outcomes=np.array(self.outcomes, np.uint8),
            cut=self.cut,
        )
