"""Who runs now and who waits: a bounded queue, the most urgent first, then who came first."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

from zerostall.serve.faults import ApiError


class Ticket:
    """A place in the queue, then among those that run."""

    def __init__(self, gate: Gate, start: Callable[[], None], priority: int) -> None:
        self._gate = gate
        self.start = start
        self.priority = priority

    def leave(self) -> None:
        """Make room for the next; safe to call twice."""
        self._gate.leave(self)


class Gate:
    """At most `parallel` tickets run, at most `queue` wait. For the event loop's thread only."""

    def __init__(self, parallel: int, queue: int) -> None:
        self.parallel = parallel
        self._queue = queue
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
                headers={"Retry-After": "1"},
            )
        ticket = Ticket(self, start, priority)
        insort(self._waiting, ticket, key=lambda waiting: waiting.priority)
        self._admit()
        return ticket

    def spare(self) -> Ticket | None:
        """A place that is free and that nobody waits for, taken at once, if there is one."""
        if self._waiting or self.running >= self.parallel:
            return None
        ticket = Ticket(self, lambda: None, 0)
        self._running.add(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Take a ticket out, wherever it is."""
        if ticket in self._running:
            self._running.remove(ticket)
            self._admit()
        elif ticket in self._waiting:
            self._waiting.remove(ticket)

    def _admit(self) -> None:
        while self._waiting and self.running < self.parallel:
            ticket = self._waiting.pop(0)
            self._running.add(ticket)
            ticket.start()
