"""Recording a trace while a model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from zerostall.errors import InvalidRequestError

if TYPE_CHECKING:
    from zerostall.engine.streaming import Demand
    from zerostall.lab.trace import TraceWriter
    from zerostall.llm import LLM


class Recorder:
    """A `Streaming.trace` that is made before the model is loaded, and writes once it is."""

    def __init__(self) -> None:
        self._writer: TraceWriter | None = None

    def __call__(self, demands: list[Demand]) -> None:
        """Add a step's demands; before to(), nothing."""
        if self._writer is not None:
            self._writer.add(demands)

    @contextlib.contextmanager
    def to(self, path: Path | None, llm: LLM) -> Iterator[None]:
        """Write what the model demands to `path`; with None, nothing.

        Raises:
            InvalidRequestError: the model's experts are all in memory.
            StorageError: the file cannot be written.
        """
        if path is None:
            yield
            return
        from zerostall.lab.trace import TracedLayer, TraceHeader, TraceWriter

        engine = llm.loaded.scheduler.engine
        layers = tuple(TracedLayer(*layer) for layer in engine.expert_layers)
        if not layers:
            raise InvalidRequestError(
                "there is nothing to trace: no experts are streamed; set ram below the model's size"
            )
        memory = engine.memory()
        other = sum(memory[part] for part in ("weights", "buffers", "scratch", "kv_cache"))
        with TraceWriter(path, TraceHeader(llm.path.name, layers, other)) as self._writer:
            try:
                yield
            finally:
                self._writer = None
