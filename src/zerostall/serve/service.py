"""What every route works with: the model, the queue, the threads, the counters."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, TypeVar

from zerostall.errors import ZerostallError
from zerostall.serve.faults import ApiError
from zerostall.serve.gate import Gate
from zerostall.serve.job import Job
from zerostall.serve.metrics import Metrics
from zerostall.serve.run import Run
from zerostall.serve.settings import Settings

if TYPE_CHECKING:
    from zerostall.llm import LLM

R = TypeVar("R", bound=Run)

log = logging.getLogger(__name__)


class Service:
    """One model and who uses it.

    Args:
        name: the model's id in answers.
        settings: limits.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.created = int(time.time())
        self.gate = Gate(settings.parallel, settings.queue)
        self._runs: set[Run] = set()
        self.metrics = Metrics(self.gate, lambda: len(self._runs))
        self.error: ZerostallError | None = None
        self._stopping = False
        self._pool = ThreadPoolExecutor(settings.parallel, thread_name_prefix="generation")
        self._llm: LLM | None = None
        self._opened = ExitStack()

    @property
    def llm(self) -> LLM:
        """The model.

        Raises:
            ApiError: 503, it is still loading.
        """
        if self._llm is None:
            raise ApiError(
                503,
                "the model is loading; try again later",
                code="model_loading",
                headers={"Retry-After": "1"},
            )
        return self._llm

    @property
    def loaded(self) -> bool:
        """Whether the model is there."""
        return self._llm is not None

    def load(self, opening: AbstractContextManager[LLM], failed: Callable[[], None]) -> None:
        """Load the model, in a thread of its own; without success call `failed`.

        An error that says what to do is kept in `error`.
        """
        try:
            llm = self._opened.enter_context(opening)
            if self.settings.chat_template is not None:
                llm.tokenizer.chat_templates.pop("tool_use", None)
                llm.tokenizer.chat_templates["default"] = self.settings.chat_template
            self.metrics.watch(llm.meter())
            self._llm = llm
        except ZerostallError as error:
            self.error = error
        finally:
            if self._llm is None:
                failed()

    def admit(self, client: str) -> None:
        """Before a client's prompt is read, which may take long: that it would not be refused now.

        Raises:
            ApiError: 429, the queue is full; 503, the server stops.
        """
        if self._stopping:
            raise stopped()
        self.gate.check(client)

    def start(self, jobs: Sequence[Job], client: str) -> Run:
        """Begin the generations of a client's request, or queue them.

        Raises:
            ApiError: 429, the queue is full; 503, the server stops.
        """
        return self.track(Run(self.llm, jobs, *self.running(client)))

    def running(self, client: str) -> tuple[Gate, Executor, Metrics, float, str]:
        """What every run of a client needs of this service: its last arguments.

        Raises:
            ApiError: 503, the server stops: a prompt was still being read when runs were cancelled.
        """
        if self._stopping:
            raise stopped()
        return self.gate, self._pool, self.metrics, self.settings.timeout_s, client

    def track(self, run: R) -> R:
        """Keep a run until it is done, to cancel it when the service stops."""
        self._runs.add(run)
        run.when_done(self._runs.discard)
        return run

    @property
    def runs(self) -> frozenset[Run]:
        """Those that run or wait."""
        return frozenset(self._runs)

    @property
    def stopping(self) -> bool:
        """Whether what runs was cancelled, and nothing more is begun."""
        return self._stopping

    def cancel(self) -> None:
        """Cancel whatever still runs or waits, which answers 503, and begin nothing more."""
        self._stopping = True
        if self._runs:
            log.warning("the server stops: %d requests are cancelled", len(self._runs))
        for run in self.runs:
            run.cancel()

    async def stop(self) -> None:
        """Cancel whatever still runs or waits, and wait for its threads."""
        self.cancel()
        await asyncio.to_thread(self._pool.shutdown)
        self.metrics.close()

    def close(self) -> None:
        """Free the model."""
        self._llm = None
        self._opened.close()


def stopped() -> ApiError:
    """What a request is told that the end of the server cuts off: another may answer it."""
    return ApiError(503, "the server stops; try again later", headers={"Retry-After": "1"})
