"""Who runs now and who waits: a bounded queue in which clients take turns.

Of those that wait the most urgent (of the lowest priority) go first; of equals one of the client
that has the fewest running; of several such clients, that which has waited longest since it began
to wait or last had its turn; of one client, who came first. So while a client waits and has none
running, no other has two turns of its priority, however much it sends and however many come.

When the queue is full, one more is let in if another client has at least two more waiting: the
last of the client that has most is refused instead. So whoever is refused, no other client has more
waiting than theirs, the refused one counted.
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import NoReturn

from zerostall.serve.faults import ApiError

RECENT = 32  # requests whose durations tell how long others will take
LONGEST_RETRY = 60  # seconds; the official clients ignore a longer one (newer ones above 120)


class Ticket:
    """A place in the queue, then among those that run.

    Attributes:
        client: whose it is.
        slot: number of the place among those that run; None while it waits.
        begun: when it got it.
    """

    def __init__(
        self,
        gate: Gate,
        client: str,
        start: Callable[[], None],
        refuse: Callable[[ApiError], None],
        priority: int,
    ) -> None:
        self._gate = gate
        self.client = client
        self.start = start
        self.refuse = refuse
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
        self._waiting = 0
        self._clock = clock
        self._free = list(range(parallel))  # a heap of slots
        self._took: deque[float] = deque(maxlen=RECENT)  # seconds, by those that ended last
        self._running: set[Ticket] = set()
        # Of each client that has any, in its own order; clients in the order of their turns.
        self._lines: dict[str, list[Ticket]] = {}

    @property
    def running(self) -> int:
        """Tickets that run."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Tickets that wait; any thread may ask."""
        return self._waiting

    def enter(
        self,
        client: str,
        start: Callable[[], None],
        refuse: Callable[[ApiError], None],
        priority: int = 0,
    ) -> Ticket:
        """Take a place for a client.

        Args:
            client: who asks.
            start: called when its turn comes, perhaps at once.
            refuse: called instead if it gives way to another client in the queue, which it has
                left then.
            priority: a lower one goes first.

        Raises:
            ApiError: 429, the queue is full, and no other client has more of it.
        """
        if self._full():
            self._make_room(client)
        ticket = Ticket(self, client, start, refuse, priority)
        insort(self._lines.setdefault(client, []), ticket, key=lambda other: other.priority)
        self._waiting += 1
        self._admit()
        return ticket

    def check(self, client: str) -> None:
        """Before work is done for a client's request: would it get a place, as things are?

        Raises:
            ApiError: 429, as from `enter`.
        """
        if self._full() and not self._gives_way(self._longest(), client):
            self._refuse()

    def _full(self) -> bool:
        return self.running >= self.parallel and self.waiting >= self._queue

    def _longest(self) -> list[Ticket]:
        return max(self._lines.values(), key=len, default=[])

    def _gives_way(self, longest: list[Ticket], client: str) -> bool:
        return len(longest) >= len(self._lines.get(client, ())) + 2

    def _refuse(self) -> NoReturn:
        told = f"{self.running} requests run and {self.waiting} wait: try again later"
        raise ApiError(429, told, code="queue_full", headers=self._retry_after())

    def _retry_after(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_s())}

    def _make_room(self, client: str) -> None:
        """Refuse the last of the client that has most waiting, or who comes if that is its own."""
        longest = self._longest()
        if not self._gives_way(longest, client):
            self._refuse()
        full = f"{self.running} requests run and {self.waiting} wait"
        told = f"{full}, {len(longest)} of them yours, and another client came: try again later"
        error = ApiError(429, told, code="queue_full", headers=self._retry_after())
        last = longest[-1]
        self._take_out(last)
        last.refuse(error)

    def retry_s(self) -> int:
        """In how many seconds a refused one would have its turn, by how long the last ones took.

        No client has more waiting than that of a refused one, so all that wait would be before it.
        """
        now = self._clock()
        # As long as none has ended, those that run have at least taken so long.
        took = self._took or [now - ticket.begun for ticket in self._running] or [0.0]
        guess = sum(took) / len(took) * (self.waiting + 1) / self.parallel
        return min(max(1, math.ceil(guess)), LONGEST_RETRY)

    def spare(self, client: str) -> Ticket | None:
        """A place that is free and that nobody waits for, taken at once, if there is one."""
        if self.waiting or self.running >= self.parallel:
            return None
        ticket = Ticket(self, client, lambda: None, lambda _: None, 0)
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
        elif ticket in self._lines.get(ticket.client, ()):
            self._take_out(ticket)

    def _take_out(self, ticket: Ticket) -> None:
        line = self._lines[ticket.client]
        line.remove(ticket)
        self._waiting -= 1
        if not line:
            del self._lines[ticket.client]

    def _admit(self) -> None:
        while self.waiting and self.running < self.parallel:
            running = Counter(ticket.client for ticket in self._running)
            heads = (line[0] for line in self._lines.values())
            # Of equals the first, whose client's turn it is.
            ticket = min(heads, key=lambda head: (head.priority, running[head.client]))
            self._take_out(ticket)
            if ticket.client in self._lines:
                self._lines[ticket.client] = self._lines.pop(ticket.client)  # behind the others
            self._run(ticket)
            ticket.start()

    def _run(self, ticket: Ticket) -> None:
        self._running.add(ticket)
        ticket.slot, ticket.begun = heappop(self._free), self._clock()
