"""Generations in a thread of their own, their chunks in the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

import anyio

from zerostall.engine.completion import Chunk, PromptProgress
from zerostall.engine.generation import token_logprob
from zerostall.errors import ClosedError, ZerostallError
from zerostall.serve.faults import ApiError, to_api_error
from zerostall.serve.gate import Gate, Ticket
from zerostall.serve.job import Item, Job, PromptScores, Seat, State
from zerostall.serve.logs import request_id
from zerostall.serve.metrics import Metrics

if TYPE_CHECKING:
    from zerostall.engine.session import Session
    from zerostall.llm import LLM

log = logging.getLogger(__name__)


class Run:
    """The generations of one request, together in as many places of the gate as are free.

    Each place has a session and does one job after the other. Of several answers to a prompt one
    goes ahead until the prompt is computed, which the others then find in the cache. Those who wait
    for a place, whoever they are, get the next that becomes free, but for the last one of this
    request. Made in the event loop; whoever made it must cancel() it in the end, which is harmless
    when it is done.

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
        client: str,
    ) -> None:
        self._llm = llm
        self._gate = gate
        self._pool = pool
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # of the request, whose id the logs show
        self._begin = time.monotonic()
        self._items: deque[Item] = deque()
        self._changed = asyncio.Event()
        self._futures: set[asyncio.Future[None]] = set()
        self._seats: list[Seat] = []
        self._done = False
        self._told: list[Callable[[Run], None]] = []
        self._error: BaseException | None = None
        self._cancelled = False
        self._first = True
        self._failure: BaseException | None = None  # the first of a place
        self._request_id = request_id()
        self._scored = {job.index for job in jobs if job.score_prompt}
        # Under the lock, for the event loop and the threads:
        self._lock = threading.Lock()
        self._jobs = deque(jobs)
        self._ending = False
        self._workers = 1
        self._ahead: set[int] = set()  # prompts that one answer computes for others, by identity
        self._known: set[int] = set()  # those that it has computed
        self._sessions: list[Session] = []
        priority = min((job.priority for job in jobs), default=0)
        self._ticket = gate.enter(client, self._start, self._end, priority)

    async def turn(self, most_s: float) -> None:
        """Wait until it runs or has ended, for at most so long.

        Raises:
            ApiError: it gave way to another client in the queue, took too long, or failed.
        """
        await self._change(most_s)
        if self._left_s() <= 0 and not self._changed.is_set():
            raise self._late()
        if not self._items:
            self._raise()

    async def items(self, silence_s: float) -> AsyncIterator[Item | None]:
        """What the jobs give as it comes; None each time that `silence_s` pass without.

        Raises:
            ApiError: it took too long, gave way to another client in the queue, or a step failed.
        """
        while True:
            while self._items:
                yield self._items.popleft()
            if self._done:
                break
            self._changed.clear()
            await self._change(silence_s)
            if not self._changed.is_set():
                if self._left_s() <= 0:
                    raise self._late()
                yield None
        self._raise()

    async def _change(self, most_s: float) -> None:
        """Wait for news, at most so long and not beyond the request's time."""
        # Not asyncio.wait_for: up to Python 3.11 that goes on, when it is cancelled just as what it
        # waits for has come, as if nobody had.
        with anyio.move_on_after(min(most_s, self._left_s())):
            await self._changed.wait()

    def _late(self) -> ApiError:
        """The error of a request that takes too long, which ends with it."""
        self.cancel()
        return ApiError(504, f"the request took longer than {self._timeout_s:g} s", code="timeout")

    def _raise(self) -> None:
        """Raise what it ended with, if it did and that was an error."""
        if isinstance(self._error, ZerostallError):
            raise to_api_error(self._error) from self._error
        if self._error is not None:
            raise self._error

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self._done

    @property
    def states(self) -> list[State]:
        """How far it is in each of its places; none before its turn, and after its end."""
        return [state for seat in self._seats if (state := self._state(seat)) is not None]

    def _state(self, seat: Seat) -> State | None:
        slot = (seat.ticket or self._ticket).slot
        job, progress = seat.job, seat.progress
        if slot is None or self._done:
            return None
        cached = 0 if progress is None else progress.cached
        return State(
            slot,
            self._request_id,
            prompt=self._prompt_tokens(job),
            cached=cached,
            computed=0 if progress is None else progress.processed - cached,
            decoded=seat.decoded,
            most=None if job is None else job.params.max_tokens,
        )

    def _prompt_tokens(self, job: Job | None) -> int:
        return 0 if job is None else len(job.prompt)

    def when_done(self, tell: Callable[[Run], None]) -> None:
        """Call `tell` once nothing more will come."""
        self._told.append(tell)

    def cancel(self) -> None:
        """Leave the queue, or end within a step; the place is free when the thread is done."""
        self._cancelled = True
        self._abandon()
        if not self._futures:
            self._ticket.leave()
            self._end(ClosedError("the request was cancelled before its turn came"))

    def _abandon(self) -> None:
        """Begin nothing more, and end what is under way."""
        with self._lock:
            self._ending = True
            self._jobs.clear()
            sessions = list(self._sessions)
        for session in sessions:
            session.cancel()

    def _left_s(self) -> float:
        if self._timeout_s == 0:
            return float("inf")
        return self._begin + self._timeout_s - time.monotonic()

    def _start(self) -> None:
        """The first place is there: the gate's turn came."""
        self._changed.set()
        self._occupy(self._next(), None)
        self._widen()

    def _widen(self) -> None:
        """Take places that nobody waits for, while there are jobs for them."""
        while self._jobs:
            ticket = self._gate.spare(self._client)
            if ticket is None:
                return
            with self._lock:
                job = self._claim()
                self._workers += job is not None
            if job is None:
                ticket.leave()
                return
            self._occupy(job, ticket)

    def _occupy(self, job: Job | None, ticket: Ticket | None) -> None:
        """Work in a place; None: the first one, whose ticket may not be known yet."""
        seat = Seat(ticket, job)
        self._seats.append(seat)
        future = self._loop.run_in_executor(self._pool, self._serve, seat)
        self._futures.add(future)

        def ended(future: asyncio.Future[None]) -> None:
            self._seats.remove(seat)
            self._finish(future)
            # The last: whoever sees the place free finds the rest done.
            (ticket or self._ticket).leave()

        future.add_done_callback(ended, context=self._context)

    def _finish(self, future: asyncio.Future[None]) -> None:
        self._futures.discard(future)
        error = future.exception()
        if error is not None and self._failure is None:
            self._failure = error
            self._abandon()
        if self._futures:
            return
        self._end(self._failure)
        if self._cancelled:
            self._metrics.cancelled.inc()
            log.info("cancelled")

    def _end(self, error: BaseException | None) -> None:
        """Nothing more will come: let items() and whoever keeps this run know, once."""
        if self._done:
            return
        self._error, self._done = error, True
        self._changed.set()
        for tell in self._told:
            tell(self)

    def _serve(self, seat: Seat) -> None:
        """In a thread of the pool, one of several: the job of a place, and then others."""
        with self._llm.open_session() as session:
            with self._lock:
                self._sessions.append(session)
                ending = self._ending
            if ending:
                session.cancel()
            job = seat.job
            while job is not None:
                seat.begin(job)
                try:
                    self._do(job, seat, session)
                finally:
                    self._computed(job)
                job = self._next()

    def _do(self, job: Job, seat: Seat, session: Session) -> None:
        if job.score_prompt:
            self._put(Item(job.index, scores=score_prompt(session, self._llm, job)))
        for chunk in self._stream(job, seat, session):
            self._computed(job)
            seat.decoded += len(chunk.token_ids)
            self._put(Item(job.index, chunk))

    def _next(self) -> Job | None:
        """The next job of a worker; without one it gives up its place."""
        with self._lock:
            # The last one stays: what is left is always there for it.
            stays = self._workers == 1 or not self._gate.waiting
            job = self._claim() if stays else None
            self._workers -= job is None
            return job

    def _claim(self) -> Job | None:
        """The first job whose prompt nobody else is just computing; under the lock."""
        job = next((job for job in self._jobs if id(job.prompt) not in self._ahead), None)
        if job is not None:
            self._jobs.remove(job)
            prompt = id(job.prompt)
            if prompt not in self._known and any(id(o.prompt) == prompt for o in self._jobs):
                self._ahead.add(prompt)
        return job

    def _computed(self, job: Job) -> None:
        """The prompt of a job is in the cache, or will not be."""
        if id(job.prompt) in self._ahead:
            with self._lock:
                self._ahead.discard(id(job.prompt))
                self._known.add(id(job.prompt))

    def _stream(self, job: Job, seat: Seat, session: Session) -> Iterator[Chunk]:
        def tell(progress: PromptProgress) -> None:
            seat.progress = progress
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
        self._widen()
        if item.chunk is not None:
            if self._first:
                self._first = False
                self._metrics.first_token.observe(time.monotonic() - self._begin)
            self._metrics.count(item.chunk, scored=item.index in self._scored)
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
