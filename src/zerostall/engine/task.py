"""What the scheduler runs: a sequence that grows, and who waits for its logits."""

from __future__ import annotations

import queue
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]  # a row a position
Logits = Rows


class Place:
    """What the engine holds of one sequence; only the scheduler changes it.

    Attributes:
        sequence: the engine's number of it, once there is one.
        tokens: the tokens whose keys and values are in the cache.
        used: when it was last computed in, for the choice whose memory to take.
        evicted: how many tokens it held when its memory was taken; 0 once it is computed in again.
        released: nobody will use it again.
    """

    __slots__ = ("__weakref__", "evicted", "released", "sequence", "tokens", "used")

    def __init__(self) -> None:
        self.sequence: int | None = None
        self.tokens: list[int] = []
        self.used = 0
        self.evicted = 0
        self.released = False


class Task(ABC):
    """Tokens to compute in a place, and a consumer in another thread.

    What it gives is not computed faster than the consumer takes it, but for `ahead` events.

    Attributes:
        wants_hidden: rows are hidden states (what the head makes logits of), not logits.

    Args:
        place: where; one task at a time.
        tokens: what the sequence is to hold, at least one.
        first_row: rows of this position and of all later ones are wanted.
        priority: a lower number goes first.
        ahead: how many events may wait for the consumer.
    """

    wants_hidden = False

    def __init__(
        self, place: Place, tokens: Sequence[int], first_row: int, priority: int, ahead: int
    ) -> None:
        self.place = place
        self.tokens = list(tokens)
        self.next_row = first_row
        self.priority = priority
        self.number = 0  # in order of arrival, given by the scheduler
        self.kept: int | None = None  # tokens found in the cache; None until it first runs
        self.placed = False  # `place` holds a beginning of `tokens`, and nothing else
        self.alone = False  # a step with others failed: the next one shows whose fault it was
        self.paused = False
        self.finished = False
        self.watched = False  # advance() is wanted
        self.streamed: Mapping[str, int] = {}  # its share of what streaming experts took
        self._ahead = ahead
        self._clock = 0.0
        self._stopped = False  # no Event: a signal that strikes in its set() keeps its lock
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()

    # --- the scheduler's thread ---------------------------------------------------------------
    @abstractmethod
    def receive(self, rows: Rows) -> Sequence[int]:
        """Take logits [rows, vocab] or hidden states [rows, width] of the next positions wanted.

        Returns:
            Tokens to go on with; none after the last wanted row ends the task, unless it was
            restarted.
        """

    def begin(self) -> None:
        """Time counts from here: its first step comes, or the first after a pause."""
        self._clock = time.perf_counter()

    def tick(self) -> float:
        """Milliseconds that counted since the last call."""
        now = time.perf_counter()
        passed, self._clock = now - self._clock, now
        return 1e3 * passed

    def advance(self, guess_ms: float | None) -> None:
        """Of a watched task: its place is ready, or holds more of its tokens than before.

        Args:
            guess_ms: what the rest will take by what steps have cost; None: nothing is known yet.
        """
        raise AssertionError(f"{type(self).__name__} cannot be watched")

    @property
    def remaining(self) -> int:
        """Tokens still to be computed."""
        return len(self.tokens) - len(self.place.tokens)

    def may_run(self) -> bool:
        """Whether the consumer wants more; notes when it does not, so that it calls again."""
        was_paused, self.paused = self.paused, True  # before looking: the consumer does the reverse
        if self._events.qsize() < self._ahead:
            self.paused = False
            if was_paused:
                self.begin()
        return not self.paused

    def restart(self, tokens: Sequence[int]) -> None:
        """Go on with another text, of whose last token a row is wanted; for receive()."""
        self.tokens = list(tokens)
        self.next_row = len(self.tokens) - 1
        self.placed = False

    def put(self, event: Any) -> None:
        """Hand an event to the consumer; None is the last."""
        self._events.put(event)

    # --- any thread ---------------------------------------------------------------------------
    @property
    def stopped(self) -> bool:
        """Whether nobody wants it any more."""
        return self._stopped

    def stop(self) -> None:
        """Let no further step begin for it."""
        self._stopped = True

    def fail(self, error: BaseException) -> None:
        """End it with an error, which the consumer meets after the events before."""
        self._stopped = True
        self._events.put(_Failure(error))

    # --- the consumer -------------------------------------------------------------------------
    def take(self) -> Any:
        """The next event, when it comes; None after the last.

        Raises:
            Whatever the task failed with.
        """
        event = self._events.get()
        if isinstance(event, _Failure):
            raise event.error
        return event


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Scoring(Task):
    """Gives the rows of all positions from `start` on in blocks, logits or hidden states."""

    def __init__(
        self,
        place: Place,
        tokens: Sequence[int],
        start: int,
        priority: int = 0,
        *,
        hidden: bool = False,
    ) -> None:
        super().__init__(place, tokens, start, priority, ahead=1)
        self.wants_hidden = hidden

    def receive(self, rows: Rows) -> Sequence[int]:
        """Hand the block on."""
        self.put(rows)
        if self.next_row == len(self.tokens):
            self.put(None)
        return ()
