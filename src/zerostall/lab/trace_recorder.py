"""Recording a trace while a model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zerostall.errors import InvalidRequestError

if TYPE_CHECKING:
    from zerostall.engine.scheduler import Scheduler
    from zerostall.engine.streaming import Demand
    from zerostall.lab.trace import TraceWriter
    from zerostall.llm import LLM


class Recorder:
    """A `Streaming.trace` that is made before the model is loaded, and writes once it is.

    Args:
        mirrors: copies of the model that are read, too.
        read_ahead: whether the model will read ahead.
    """

    def __init__(self, mirrors: Sequence[Path] = (), read_ahead: bool = True) -> None:
        self._read_ahead = read_ahead
        self._mirrors = list(map(str, mirrors))
        self._writer: TraceWriter | None = None
        self._clock: _Clock | None = None

    def __call__(self, demands: list[Demand]) -> None:
        """Add a step's demands; before to(), nothing."""
        if self._writer is not None and self._clock is not None:
            self._clock.note(demands)
            self._writer.add(demands)

    @contextlib.contextmanager
    def to(self, path: Path | None, llm: LLM) -> Iterator[None]:
        """Write what the model demands to `path`, and at the end how fast drive and steps were.

        With None, nothing.

        Raises:
            InvalidRequestError: the model's experts are all in memory.
            StorageError: the file cannot be written, now or at the end.
        """
        if path is None:
            yield
            return
        from zerostall.lab.streamed_limit import drive_limit
        from zerostall.lab.trace import TracedLayer, TraceHeader, TraceWriter

        scheduler = llm.loaded.scheduler
        layers = tuple(TracedLayer(*layer) for layer in scheduler.engine.expert_layers)
        if not layers:
            raise InvalidRequestError(
                "there is nothing to trace: no experts are streamed; set ram below the model's size"
            )
        memory = scheduler.engine.memory()
        other = sum(memory[part] for part in ("weights", "buffers", "scratch", "kv_cache"))
        # What a load with io="auto" has measured, or else measures now.
        drive = drive_limit(Path(llm.file.paths[0]), self._mirrors, fresh=False)
        rate = drive.bytes_per_second or None
        self._clock = _Clock(scheduler, [layer.used for layer in layers])
        header = TraceHeader(llm.path.name, layers, other, rate, read_ahead=self._read_ahead)
        with TraceWriter(path, header) as self._writer:
            meter = llm.meter()
            try:
                yield
            finally:
                writer, self._writer = self._writer, None
                taken = meter.read()
                if scheduler.trace_error is None:
                    # A file too short for a measurement: what reads of it gave.
                    writer.finish(
                        rate or (taken.read_bandwidth if taken else 0) or None, self._clock.token_ms
                    )


class _Clock:
    """Milliseconds that a decoded token takes besides waiting for experts."""

    def __init__(self, scheduler: Scheduler, used: Sequence[int]) -> None:
        self._scheduler = scheduler
        self._used = used
        self._before = scheduler.stream_stats()["compute_ns"]
        self._tokens = 0
        self._ns = 0

    def note(self, demands: Sequence[Demand]) -> None:
        """The demands of the step that was computed since the last call."""
        from zerostall.lab.eviction import DECODE_TOKENS

        before, self._before = self._before, self._scheduler.stream_stats()["compute_ns"]
        # A step that failed leaves its demands to the next one.
        if len({step for step, *_ in demands}) != 1:
            return
        _, layer, _, counts, _ = demands[0]
        tokens = max(1, sum(counts) // self._used[layer])
        if tokens <= DECODE_TOKENS:
            self._tokens += tokens
            self._ns += self._before - before

    @property
    def token_ms(self) -> float | None:
        """None before a token was decoded."""
        return self._ns / self._tokens / 1e6 if self._tokens and self._ns else None
