"""Generations in a thread of their own, their chunks in the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zerostall.engine.completion import Chunk, PromptProgress, TokenLogprob
from zerostall.engine.generation import token_logprob
from zerostall.errors import ClosedError, ZerostallError
from zerostall.serve.faults import ApiError, to_api_error
from zerostall.serve.gate import Gate
from zerostall.serve.logs import request_id
from zerostall.serve.metrics import Metrics

if TYPE_CHECKING:
    from zerostall.engine.session import Session
    from zerostall.llm import LLM
    from zerostall.sampling import SamplingParams

log = logging.getLogger(__name__)

PromptScores = list[TokenLogprob | None]


@dataclass(frozen=True)
class Job:
    """One generation of a run.

    With `score_prompt` the logprobs of the prompt's tokens come before the first chunk. If it is
    `watched`, so does news of how far the prompt is.
    """

    index: int
    prompt: list[int]
    params: SamplingParams
    score_prompt: bool = False
    watched: bool = False
    priority: int = 0  # a lower one goes first


@dataclass(frozen=True)
class Item:
    """What a job gave: one of the three.

    Attributes:
        index: of the job.
        chunk: a piece of the answer.
        scores: those of the prompt's tokens; of the first there is none.
        progress: how far the prompt is.
    """

    index: int
    chunk: Chunk | None = None
    scores: PromptScores | None = None
    progress: PromptProgress | None = None


@dataclass(frozen=True)
class State:
    """How far a run is with the generation under way.

    Attributes:
        slot: its place among those that run.
        request_id: as the logs have it.
        prompt: tokens of the prompt.
        cached: of them, found in the cache.
        computed: of them, computed so far.
        decoded: tokens generated so far.
        most: tokens that will be at most; None if nothing is generated.
    """

    slot: int
    request_id: str | None
    prompt: int
    cached: int
    computed: int
    decoded: int
    most: int | None


class Run:
    """The generations of one request, one after the other in one session.

    So the second answer to a prompt computes only its last token again. Made in the event loop;
    whoever made it must cancel() it in the end, which is harmless when it is done.

    Raises:
        ApiError: 429, the queue is full.
    """

    def __init__(
        self,
        llm: LLM,
        jobs: Sequence[Job],
        gate: Gate,
        pool: Executor,
        metrics: Metrics,
        timeout_s: float,
    ) -> None:
        self._llm = llm
        self._jobs = jobs
        self._pool = pool
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # of the request, whose id the logs show
        self._begin = time.monotonic()
        self._items: deque[Item] = deque()
        self._changed = asyncio.Event()
        self._future: asyncio.Future[None] | None = None
        self._done = False
        self._told: list[Callable[[Run], None]] = []
        self._error: BaseException | None = None
        self._session: Session | None = None
        self._cancelled = False
        self._first = True
        self._request_id = request_id()
        self._job = next(iter(jobs), None)  # under way
        self._progress: PromptProgress | None = None
        self._decoded = 0
        self._ticket = gate.enter(self._start, min((job.priority for job in jobs), default=0))

    async def items(self, silence_s: float) -> AsyncIterator[Item | None]:
        """What the jobs give as it comes; None each time that `silence_s` pass without.

        Raises:
            ApiError: it took too long, or a step failed.
        """
        while True:
            while self._items:
                yield self._items.popleft()
            if self._done:
                break
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), min(silence_s, self._left_s()))
            except asyncio.TimeoutError:
                if self._left_s() <= 0:
                    self.cancel()
                    raise ApiError(
                        504, f"the request took longer than {self._timeout_s:g} s", code="timeout"
                    ) from None
                yield None
        if isinstance(self._error, ZerostallError):
            raise to_api_error(self._error) from self._error
        if self._error is not None:
            raise self._error

    @property
    def state(self) -> State | None:
        """How far it is; None before its turn, and after its end."""
        slot = self._ticket.slot
        if slot is None or self._done:
            return None
        job, progress = self._job, self._progress
        cached = 0 if progress is None else progress.cached
        return State(
            slot,
            self._request_id,
            prompt=self._prompt_tokens(),
            cached=cached,
            computed=0 if progress is None else progress.processed - cached,
            decoded=self._decoded,
            most=None if job is None else job.params.max_tokens,
        )

    def _prompt_tokens(self) -> int:
        return 0 if self._job is None else len(self._job.prompt)

    def when_done(self, tell: Callable[[Run], None]) -> None:
        """Call `tell` once nothing more will come."""
        self._told.append(tell)

    def cancel(self) -> None:
        """Leave the queue, or end within a step; the place is free when the thread is done."""
        self._cancelled = True
        if self._future is None:
            self._ticket.leave()
            self._end(ClosedError("the request was cancelled before its turn came"))
        elif self._session is not None:
            self._session.cancel()

    def _left_s(self) -> float:
        if self._timeout_s == 0:
            return float("inf")
        return self._begin + self._timeout_s - time.monotonic()

    def _start(self) -> None:
        self._future = self._loop.run_in_executor(self._pool, self._work)
        self._future.add_done_callback(self._finish, context=self._context)

    def _finish(self, future: asyncio.Future[None]) -> None:
        self._end(future.exception())
        if self._cancelled:
            self._metrics.cancelled.inc()
            log.info("cancelled")
        self._ticket.leave()  # the last: whoever sees the place free finds the rest done

    def _end(self, error: BaseException | None) -> None:
        """Nothing more will come: let items() and whoever keeps this run know, once."""
        if self._done:
            return
        self._error, self._done = error, True
        self._changed.set()
        for tell in self._told:
            tell(self)

    def _work(self) -> None:
        """In a thread of the pool."""
        with self._llm.open_session() as session:
            # This order and that of cancel(): one of the two sees the other.
            self._session = session
            if self._cancelled:
                session.cancel()
            for job in self._jobs:
                self._job, self._progress, self._decoded = job, None, 0
                if job.score_prompt:
                    self._put(Item(job.index, scores=score_prompt(session, self._llm, job)))
                for chunk in self._stream(job, session):
                    self._decoded += len(chunk.token_ids)
                    self._put(Item(job.index, chunk))

    def _stream(self, job: Job, session: Session) -> Iterator[Chunk]:
        def tell(progress: PromptProgress) -> None:
            self._progress = progress
            if job.watched:
                self._put(Item(job.index, progress=progress))

        return self._llm.stream(
            job.prompt, job.params, session=session, priority=job.priority, progress=tell
        )

    def _put(self, item: Item) -> None:
        self._loop.call_soon_threadsafe(self._take, item, context=self._context)

    def _take(self, item: Item) -> None:
        self._items.append(item)
        self._changed.set()
        if item.chunk is not None:
            if self._first:
                self._first = False
                self._metrics.first_token.observe(time.monotonic() - self._begin)
            self._metrics.count(item.chunk, scored=self._jobs[item.index].score_prompt)
            _log_end(item.chunk)


def score_prompt(session: Session, llm: LLM, job: Job) -> PromptScores:
    """The log-probability of each token of a prompt but the first."""
    from zerostall._core import Sampler

    sampler = Sampler(llm.vocab_size)
    scores: PromptScores = [None]
    for block in session.score(job.prompt, priority=job.priority):
        for row in block[: len(job.prompt) - len(scores)]:
            token = job.prompt[len(scores)]
            scores.append(token_logprob(sampler, row, token, job.params.logprobs or 0))
    return scores


def _log_end(chunk: Chunk) -> None:
    if chunk.usage is None or chunk.timings is None:
        return
    fields = {
        "prompt_tokens": chunk.usage.prompt_tokens,
        "completion_tokens": chunk.usage.completion_tokens,
        "finish_reason": chunk.finish_reason,
        "prompt_ms": round(chunk.timings.prompt_ms, 1),
        "predicted_ms": round(chunk.timings.predicted_ms, 1),
    }
    log.info("generated", extra={"fields": fields})
