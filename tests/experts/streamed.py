"""Models whose experts are streamed, and the same all in memory to compare with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from zerostall import _core, arch, convert, hub
from zerostall.errors import StorageError

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
CONTEXT = 128
BACK_ENDS = ("uring", "pread", "mmap")


class Model:
    """A file, its tape, and how much memory its experts may get."""

    def __init__(self, path: Path, context: int = CONTEXT) -> None:
        self.path = path
        self.file = _core.GgufFile(path)
        self.context = context
        self.tape = arch.load(self.file, context).tape
        self.vocab = int(self.engine().vocab_size)
        memory = _core.plan_memory(self.file, self.tape, context=context, streaming=True)
        self.least, self.all = memory["least_experts"], memory["experts"]

    @property
    def quarter(self) -> int:
        """Room for about a quarter of the experts."""
        return max(self.least, self.all // 4)

    def budgets(self) -> list[int]:
        """The least that works, a quarter, and all."""
        return [self.least, self.quarter, self.all]

    def ids(self, count: int, seed: int = 1) -> Ids:
        """Random tokens."""
        return np.random.default_rng(seed).integers(0, self.vocab, count).astype(np.int32)

    def engine(self, threads: int = 1, **streaming: Any) -> _core.Engine:
        """An engine; without options of streaming all experts are in memory.

        Reads go through the page cache unless told otherwise, so that a busy drive does not make
        tests slow.
        """
        if streaming:
            streaming = {"direct": False} | streaming
        io = streaming.get("io")
        if io == "uring" and _core.uring_error() != 0:
            pytest.skip("io_uring is forbidden here")
        engine = _core.Engine(
            self.file,
            self.tape,
            threads=threads,
            context=self.context,
            max_batch=64,
            kv_tokens=4 * self.context,
            streaming=streaming or None,
        )
        if io is not None:
            assert engine.stream_reader["name"] == io
        return engine

    @cached_property
    def resident(self) -> _core.Engine:
        """An engine with all experts in memory."""
        return self.engine()

    def expected(self, ids: Ids) -> Logits:
        """Logits [len(ids), vocab] with all experts in memory."""
        return logits(self.resident, ids)


def step(engine: _core.Engine, sequence: int, ids: Ids) -> Logits:
    """Append tokens to a sequence; logits of each."""
    rows = np.arange(len(ids), dtype=np.int32)
    return engine.step(np.ascontiguousarray(ids), np.full(len(ids), sequence, np.int32), rows)


def logits(engine: _core.Engine, ids: Ids, chunk: int = 64) -> Logits:
    """Logits [len(ids), vocab], fed in chunks."""
    sequence = engine.open_sequence()
    try:
        parts = [step(engine, sequence, ids[at : at + chunk]) for at in range(0, len(ids), chunk)]
    finally:
        engine.close_sequence(sequence)
    return np.concatenate(parts)


def convert_nano(folder: Path, miss_copy: str) -> Model:
    """The built-in model, converted, with low copies of its experts."""
    path = folder / f"{miss_copy}.gguf"
    convert.convert(hub.resolve("nano"), path, miss_copy=miss_copy)
    return Model(path)


def low_memory(model: Model) -> dict[str, int]:
    """What Engine.memory() says of an engine that uses low copies."""
    return _core.plan_memory(
        model.file, model.tape, context=model.context, streaming=True, low_copies=True
    )


def low_engine(model: Model, threads: int = 1, **streaming: Any) -> _core.Engine:
    """An engine that uses low copies; with the least memory, unless told otherwise."""
    options = {"bytes": low_memory(model)["least_experts"], "io": "pread", "low_copies": True}
    return model.engine(threads, **options | streaming)


def check_counters(engine: _core.Engine) -> dict[str, int]:
    """What holds of the counters between any two steps; returns them."""
    stats = engine.stream_stats()
    assert stats["demanded"] == stats["hits"] + stats["shadow_hits"] + stats["misses"]
    assert stats["low_used"] <= stats["misses"]
    assert stats["low_bytes"] <= stats["bytes_read"]
    assert stats["resident"] <= stats["slots"]
    assert stats["wasted"] <= stats["speculated"]
    assert stats["foreseen"] <= min(stats["predicted"], stats["demanded"])
    assert stats["bytes_wasted"] <= stats["bytes_read"]
    assert all(value < 1 << 62 for value in stats.values()), "a counter fell below 0"
    return stats


def came_from_the_drive(engine: _core.Engine) -> int:
    """How many demands were not of experts that stay in memory.

    Of a small model the speculator may have foreseen them all, so it need not be misses.
    """
    stats = check_counters(engine)
    return stats["shadow_hits"] + stats["misses"]


def until_it_works(
    engine: _core.Engine, run: Callable[[], Any], most: int = 60
) -> tuple[Any, list[str]]:
    """Calls again after each StorageError; the result and the errors before it."""
    errors: list[str] = []
    while True:
        try:
            return run(), errors
        except StorageError as error:
            errors.append(str(error))
            assert len(errors) <= most
            check_counters(engine)


def reads_at_load(model: Model, **streaming: Any) -> int:
    """How many reads loading takes, by trying how many a drive must last."""
    below, enough = -1, 4096
    while enough - below > 1:
        middle = (below + enough) // 2
        try:
            model.engine(**streaming, faults={"gone_after": middle})
            enough = middle
        except StorageError:
            below = middle
    return enough
