"""Continuous batching: the steps of all tasks are one, on a thread of the engine's own.

The thread lives only while there is something to compute; so nothing holds up the end of the
program, and an idle engine costs nothing. Which tasks share a step changes no bit of what each
gives (docs/adr/0001).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zerostall.engine.after import after
from zerostall.engine.batching import GAP_FACTOR, Ids, Pace, Part, arrays, compose
from zerostall.engine.meter import Ledger
from zerostall.engine.places import Places, common_tokens
from zerostall.engine.profile import Profile
from zerostall.engine.streaming import Demand, tell
from zerostall.engine.task import Place, Rows, Task
from zerostall.errors import CancelledError, ClosedError, OutOfBudgetError

if TYPE_CHECKING:
    from zerostall._core import Engine

log = logging.getLogger(__name__)

PAGE = 64  # positions of a page of the cache


class Scheduler:
    """Runs tasks in one engine.

    When the cache is full, sequences that nobody computes in lose theirs first, then the task
    that came last: it is computed again later. None fails for that unless it is alone.

    Args:
        engine: the core's, nobody else's from now on while tasks run.
        trace: called after each step with what it demanded, if the engine was told to trace. What
            it raises ends the tracing and nothing else.
        gap_factor: as for Pace.

    Attributes:
        trace_error: what tracing ended with; None while all is well.
    """

    def __init__(
        self,
        engine: Engine,
        trace: Callable[[list[Demand]], None] | None = None,
        gap_factor: float = GAP_FACTOR,
    ) -> None:
        self._engine: Engine | None = engine
        self._trace = trace
        self.trace_error: Exception | None = None
        self._lock = threading.Lock()
        self._turned = threading.Condition(self._lock)  # the thread dropped what had ended
        self._new: deque[Task] = deque()
        self._released: deque[Place] = deque()
        self._running = False  # whether the thread is there; under the lock
        self._ended = threading.Event()
        self._closed = False
        self._count = 0
        # For whoever has the lock, or is the thread:
        self._tasks: list[Task] = []  # in order of arrival
        self._places = Places()
        self._batch: list[Part] = []  # of the step under way
        self._pace = Pace(gap_factor)
        self._ledger = Ledger(engine.stream_stats())
        self._clock = 0
        self.preempted = 0  # tasks that lost their memory and were computed again
        self.vocab_size = engine.vocab_size
        self.context = engine.context
        self.max_batch = engine.max_batch
        self.max_logits = engine.max_logits

    # --- any thread ---------------------------------------------------------------------------
    def _sweep(self) -> None:
        """Free released places unless a step does; whoever has the lock will look again."""
        # Not acquire(blocking=False): a signal may strike between that and a `try`.
        while self._released and not self._lock.locked():
            with self._lock:
                if self._running:
                    return
                self._drop_stopped()
                self._free_released()

    @property
    def engine(self) -> Engine:
        """The engine, unless closed."""
        if self._engine is None:
            raise ClosedError("this LLM was closed; make a new one")
        return self._engine

    @property
    def active(self) -> int:
        """Tasks that are not done."""
        return len(self._tasks) + len(self._new)

    @after(_sweep)
    def submit(self, task: Task) -> None:
        """Run a task as soon as its turn comes.

        Raises:
            ClosedError: the engine was closed.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("this LLM was closed; make a new one")
            self._new.append(task)
        self.wake()

    @after(_sweep)
    def wake(self) -> None:
        """Look again at what can run: a task came, or a consumer is no longer behind."""
        with self._lock:
            start = not self._running and not self._closed
        if start:
            threading.Thread(target=self._loop, name="zs-engine").start()

    @after(_sweep)
    def stop(self, task: Task) -> None:
        """Let no further step begin for a task; a step under way for it alone ends at once."""
        task.stop()
        with self._lock:
            batch = self._batch
            if batch and self._engine is not None and all(part.task.stopped for part in batch):
                self._engine.interrupt()

    def release(self, place: Place) -> None:
        """Free a place: now if the engine is idle, else before its next step.

        A garbage collection may call it anywhere, also where this thread has the lock.
        """
        place.released = True
        self._released.append(place)
        self._sweep()

    @after(_sweep)
    def save(self, place: Place, path: Path) -> None:
        """Write what a place holds to a file.

        Raises:
            InvalidRequestError: it holds nothing, also because its memory was taken.
            StorageError: the file cannot be written; there is none then.
        """
        with self._lock:
            self._places.save(self.engine, place, path)

    @after(_sweep)
    def restore(self, path: Path) -> Place:
        """A place with what save() wrote; places that nobody computes in make room for it.

        Raises:
            StateFileError: the file is damaged, or of another model, version or kv_type.
            ContextLengthError, OutOfBudgetError, StorageError: it does not fit or cannot be read.
        """
        with self._lock:
            while True:
                if not self._running:
                    self._drop_stopped()
                try:
                    return self._places.restore(self.engine, path, self._busy())
                except OutOfBudgetError:
                    # Places of tasks that have just ended rest once the thread has seen that.
                    if not any(task.stopped or task.finished for task in self._tasks):
                        raise
                    self._turned.wait()

    def stream_stats(self) -> dict[str, int]:
        """Counters of streamed experts since the load; empty if none are streamed.

        Those of the core (core/experts/options.h), and compute_ns, what steps took beside stalls.
        """
        return self._ledger.whole(self.engine.stream_stats())

    def cache_stats(self) -> dict[str, int]:
        """Pages of the cache, counters of what was found there, and tasks `preempted`."""
        return {**self.engine.cache_stats(), "preempted": self.preempted}

    @after(_sweep)
    def close(self) -> Profile:
        """Drop the engine once the step under way has ended; later calls raise ClosedError.

        Returns:
            How much each streamed expert was wanted; nothing if none were streamed.
        """
        with self._lock:
            self._closed = True
            running = self._running
            if running and self._engine is not None:
                self._engine.interrupt()
        if running:
            self._ended.wait()
        with self._lock:
            for task in [*self._tasks, *self._new]:
                task.fail(ClosedError("this LLM was closed; make a new one"))
            self._tasks.clear()
            self._new.clear()
            self._places.clear()
            profile = Profile()
            if self._engine is not None:
                profile = Profile(self._engine.expert_scores(), self._engine.expert_habits())
            engine, self._engine = self._engine, None
        del engine  # it may wait for the drive, the others not for it
        return profile

    # --- the thread ---------------------------------------------------------------------------
    @after(_sweep)
    def _loop(self) -> None:
        with self._lock:
            if self._running:
                return  # another was started at the same moment, and sees all there is
            self._running = True
            self._ended.clear()
        try:
            while self._next():
                self._step()
        except BaseException as error:
            # Nobody may wait for ever.
            with self._lock:
                for task in [*self._tasks, *self._new]:
                    task.fail(error)
                self._tasks.clear()
                self._new.clear()
                self._batch = []
                self._running = False
                self._turned.notify_all()
            self._ended.set()
            raise

    @after(_sweep)
    def _next(self) -> bool:
        """Choose the next step; without one the thread ends."""
        with self._lock:
            while self._new:
                task = self._new.popleft()
                self._count += 1
                task.number = self._count
                self._tasks.append(task)
            self._drop_stopped()
            self._turned.notify_all()
            self._free_released()
            self._batch = [] if self._closed else self._choose()
            if not self._batch:
                self._running = False
                self._ended.set()
            return bool(self._batch)

    def _choose(self) -> list[Part]:
        ready = [task for task in self._tasks if task.may_run()]
        ready.sort(key=lambda task: (task.priority, task.number))
        ready = [task for task in ready if task.alone][:1] or ready
        placed: list[Task] = []
        room = self.engine.free_tokens
        for task in ready:
            if not task.placed:
                if placed and task.remaining + PAGE > room:
                    continue  # it would only take the memory of those that run
                self._place(task)
            room -= task.remaining
            placed.append(task)
        return compose(placed, self._pace, self.max_batch, self.max_logits)

    def _place(self, task: Task) -> None:
        """Let the place hold as much of the task's tokens as the cache has, and nothing else."""
        place = task.place
        self._places.open(self.engine, place)
        assert place.sequence is not None
        # The first wanted row has to be computed.
        kept = min(common_tokens(place.tokens, task.tokens), task.next_row)
        if kept < PAGE <= task.next_row:
            kept = 0  # less than the page that the cache may have
        self._places.truncate(self.engine, place, kept)
        if not place.tokens:
            wanted = np.asarray(task.tokens[: task.next_row + 1], np.int32)
            place.tokens = task.tokens[: self.engine.adopt_prefix(place.sequence, wanted)]
        if task.kept is None:
            task.kept = len(place.tokens)
            task.begin()
        task.placed = True
        self._advance(task)

    def _advance(self, task: Task) -> None:
        if task.watched:
            answers = any(other.remaining == 1 for other in self._tasks if other is not task)
            task.advance(self._pace.prompt_ms(task.remaining, answers))

    def _step(self) -> None:
        """Run the step chosen and hand out what it gave."""
        batch = self._batch
        begun = time.perf_counter()
        try:
            given = self._compute(*arrays(batch))
        except CancelledError:
            return  # nobody wants it any more; or else it is chosen again
        except OutOfBudgetError as error:
            self._make_room(batch, error)
            return
        except Exception as error:  # noqa: BLE001  the tasks' consumers get it
            self._suspect(batch, error)
            return
        self._batch = []  # too late to interrupt it
        answers = sum(part.tokens == part.logits == 1 for part in batch)
        prompts = sum(part.tokens for part in batch) - answers
        seconds = time.perf_counter() - begun
        self._pace.note(answers, prompts, seconds)
        self._ledger.charge(batch, self.engine.stream_stats(), int(1e9 * seconds))
        tell(self.engine.take_warnings())
        self._clock += 1
        for part in batch:
            place = part.task.place
            place.tokens += part.ids
            place.used = self._clock
            part.task.alone = False
        self._record()
        done = [0, 0]
        for part in batch:
            self._advance(part.task)
            kind = part.task.wants_hidden
            first, done[kind] = done[kind], done[kind] + part.rows
            self._hand_out(part.task, given[kind][first : done[kind]])

    def _compute(self, tokens: Ids, sequences: Ids, rows: Ids, hidden: Ids) -> tuple[Rows, Rows]:
        """Logits after `rows` of the batch, hidden states of `hidden`."""
        if len(hidden):
            return self.engine.step_hidden(tokens, sequences, rows, hidden)
        return self.engine.step(tokens, sequences, rows), np.empty((0, 0), np.float32)

    def _record(self) -> None:
        """Trace the step, which is done whatever comes of that."""
        if self._trace is None:
            return
        demands = self.engine.take_trace()  # also where they go nowhere: until then they are kept
        if self.trace_error is not None:
            return
        try:
            self._trace(demands)
        except Exception as error:  # noqa: BLE001  whoever closes the model gets it
            self.trace_error = error
            log.error("nothing more is traced: %s", error)

    def _hand_out(self, task: Task, rows: Rows) -> None:
        if len(rows) == 0 or task.stopped:
            return
        task.next_row += len(rows)
        try:
            more = task.receive(rows)  # which may restart it with other tokens
            task.tokens += more
        except Exception as error:  # noqa: BLE001  its consumer gets it
            task.fail(error)
        task.finished = task.next_row == len(task.tokens)

    def _suspect(self, batch: list[Part], error: Exception) -> None:
        """A failed step changed nothing. With several tasks in it, each is tried alone."""
        if len(batch) == 1:
            batch[0].task.fail(error)
        for part in batch:
            part.task.alone = True

    @after(_sweep)
    def _make_room(self, batch: list[Part], error: OutOfBudgetError) -> None:
        """Take the memory of one sequence: one that rests, or that of the least urgent task."""
        with self._lock:  # nobody is to save what is just taken away
            if not self._places.evict_resting(self.engine, self._busy()):
                self._preempt(batch, error)

    def _busy(self) -> list[Place]:
        """Places that may be in the step under way, or lose what is computed already."""
        return [task.place for task in self._tasks]

    def _preempt(self, batch: list[Part], error: OutOfBudgetError) -> None:
        first = min((part.task for part in batch), key=lambda task: (task.priority, task.number))
        others = [task for task in self._tasks if task.place.tokens and task is not first]
        if others:
            last = max(others, key=lambda task: (task.paused, task.priority, task.number))
            self._places.evict(self.engine, last.place)
            last.placed = False
            self.preempted += 1
        elif len(batch) > 1:
            first.alone = True
        else:
            first.fail(error)

    def _drop_stopped(self) -> None:
        self._tasks = [t for t in self._tasks if not (t.stopped or t.finished or t.place.released)]

    def _free_released(self) -> None:
        while self._released:
            place = self._released.popleft()
            if self._engine is not None:
                self._places.close(self._engine, place)
