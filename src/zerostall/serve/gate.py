"""Who runs now and who waits: a bounded queue, the most urgent first, then who came first."""

from __future__ import annotations

import math
import time
from bisect import insort
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

from zerostall.serve.faults import ApiError

RECENT = 32  # requests whose durations tell how long others will take
LONGEST_RETRY = 60  # seconds; the official clients ignore a longer one (newer ones above 120)


class Ticket:
    """A place in the queue, then among those that run.

    Attributes:
        slot: number of the place among those that run; None while it waits.
        begun: when it got it.
    """

    def __init__(self, gate: Gate, start: Callable[[], None], priority: int) -> None:
        self._gate = gate
        self.start = start
        self.priority = priority
        self.slot: int | None = None
        self.begun = 0.0

    def leave(self) -> None:
        """Make room for the next; safe to call twice."""
        self._gate.leave(self)


class Gate:
    """At most `parallel` tickets run, at most `queue` wait. For the event loop's thread only.

    Args:
        parallel: places.
        queue: places to wait.
        clock: seconds, of any beginning.
    """

    def __init__(
        self, parallel: int, queue: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.parallel = parallel
        self._queue = queue
        self._clock = clock
        self._free = list(range(parallel))  # a heap of slots
        self._took: deque[float] = deque(maxlen=RECENT)  # seconds, by those that ended last
        self._running: set[Ticket] = set()
        self._waiting: list[Ticket] = []  # in the order of their turns

    @property
    def running(self) -> int:
        """Tickets that run."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Tickets that wait."""
        return len(self._waiting)

    def enter(self, start: Callable[[], None], priority: int = 0) -> Ticket:
        """Take a place; `start` is called when its turn comes, perhaps at once.

        Those of a lower priority go before those of a higher one.

        Raises:
            ApiError: 429, the queue is full.
        """
        if self.running >= self.parallel and self.waiting >= self._queue:
            raise ApiError(
                429,
                f"{self.running} requests run and {self.waiting} wait: try again later",
                code="queue_full",
                headers={"Retry-After": str(self.retry_s())},
            )
        ticket = Ticket(self, start, priority)
        insort(self._waiting, ticket, key=lambda waiting: waiting.priority)
        self._admit()
        return ticket

    def retry_s(self) -> int:
        """In how many seconds one more would have its turn, by how long the last ones took."""
        now = self._clock()
        # As long as none has ended, those that run have at least taken so long.
        took = self._took or [now - ticket.begun for ticket in self._running] or [0.0]
        guess = sum(took) / len(took) * (self.waiting + 1) / self.parallel
        return min(max(1, math.ceil(guess)), LONGEST_RETRY)

    def spare(self) -> Ticket | None:
        """A place that is free and that nobody waits for, taken at once, if there is one."""
        if self._waiting or self.running >= self.parallel:
            return None
        ticket = Ticket(self, lambda: None, 0)
        self._run(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Take a ticket out, wherever it is."""
        if ticket in self._running:
            assert ticket.slot is not None
            self._running.remove(ticket)
            heappush(self._free, ticket.slot)
            self._took.append(self._clock() - ticket.begun)
            self._admit()
        elif ticket in self._waiting:
            self._waiting.remove(ticket)

    def _admit(self) -> None:
        while self._waiting and self.running < self.parallel:
            ticket = self._waiting.pop(0)
            self._run(ticket)
            ticket.start()

    def _run(self, ticket: Ticket) -> None:
        self._running.add(ticket)
        ticket.slot, ticket.begun = heappop(self._free), self._clock()
