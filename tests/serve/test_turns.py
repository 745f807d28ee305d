"""The queue of several clients: they take turns, and none has more of it than it can do with."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zerostall.serve.faults import ApiError
from zerostall.serve.gate import Gate


class Clients:
    """Who send to a gate; each request is named by its client and its number there.

    After every call the gate's bounds hold, and no place is free while somebody waits.
    """

    def __init__(self, parallel: int, queue: int, **options: object) -> None:
        self.gate = Gate(parallel, queue, **options)
        self.parallel, self.queue = parallel, queue
        self.sent: Counter[str] = Counter()
        self.tickets: dict[str, object] = {}  # of those that run or wait
        self.waits: dict[str, int] = {}  # their priorities, as they came
        self.runs: list[str] = []
        self.started: list[str] = []
        self.refused: list[str] = []
        self.errors: list[ApiError] = []
        self.turns: dict[str, Counter[str]] = {}  # see _start
        self.urgency: dict[str, int] = {}  # of those that run

    def send(self, client: str, priority: int = 0) -> str:
        self.sent[client] += 1
        name = f"{client}{self.sent[client]}"
        self._wait(name, priority)
        try:
            ticket = self.gate.enter(
                client, lambda: self._start(name), lambda error: self._refuse(name, error), priority
            )
        except ApiError as error:
            self._refuse(name, error)
        else:
            self.tickets[name] = ticket
        self.check()
        return name

    def end(self, name: str) -> None:
        """One that runs or waits leaves."""
        self.waits.pop(name, None)
        if name in self.runs:
            self.runs.remove(name)
            if not self._count(self.runs)[name[0]]:
                self.turns[name[0]] = Counter()
        self.tickets.pop(name).leave()
        self.check()

    def check(self) -> None:
        assert (self.gate.running, self.gate.waiting) == (len(self.runs), len(self.waits))
        assert len(self.runs) <= self.parallel
        assert len(self.waits) <= self.queue
        assert len(self.runs) == self.parallel or not self.waits

    def _count(self, names) -> Counter[str]:
        return Counter(name[0] for name in names)

    def _wait(self, name: str, priority: int) -> None:
        if name[0] not in self._count(self.waits):
            self.turns[name[0]] = Counter()
        self.waits[name] = priority

    def _start(self, name: str) -> None:
        priority = self.waits[name]
        # Nobody more urgent waits, and nobody of the same client who is as urgent and came before.
        assert priority == min(self.waits.values())
        before = [other for other in self.waits if other[0] == name[0]]
        assert name == next(other for other in before if self.waits[other] == priority)
        del self.waits[name]
        self.runs.append(name)
        self.started.append(name)
        running = self._count(self.runs)
        for client in {other[0] for other, p in self.waits.items() if p == priority} - {name[0]}:
            assert running[name[0]] - 1 <= running[client]
            if not running[client]:
                self.turns[client][name[0], priority] += 1
                assert self.turns[client][name[0], priority] == 1, "twice before it has one"

    def _refuse(self, name: str, error: ApiError) -> None:
        count = self._count(self.waits)
        assert count[name[0]] == max(count.values())
        own = [other for other in self.waits if other[0] == name[0]]
        if name in self.tickets:  # not the one that has just come
            assert name == max(own, key=lambda other: (self.waits[other], own.index(other)))
            assert self.tickets.pop(name).slot is None
        del self.waits[name]
        self.refused.append(name)
        self.errors.append(error)
        assert (error.status, error.code) == (429, "queue_full")


def test_clients_take_turns_and_each_has_its_own_order():
    clients = Clients(parallel=1, queue=9)
    for client in "aaaabbc":
        clients.send(client)
    for name in ("a1", "a2", "b1", "c1"):
        clients.end(name)
    clients.send("c")  # who comes again is behind all that waited meanwhile
    for name in ("a3", "b2", "a4", "c2"):
        clients.end(name)
    assert clients.started == ["a1", "a2", "b1", "c1", "a3", "b2", "a4", "c2"]


def test_whose_client_has_the_fewest_running_goes_first():
    clients = Clients(parallel=3, queue=9)
    for client in "aaaaab":
        clients.send(client)
    clients.end("a1")
    assert clients.runs == ["a2", "a3", "b1"]
    for client in "bc":
        clients.send(client)
    clients.end("a2")
    assert clients.runs == ["a3", "b1", "c1"]
    clients.end("c1")  # both have one running: it is the turn of a, which waits longer
    assert clients.runs == ["a3", "b1", "a4"]
    clients.end("a3")
    assert clients.runs == ["b1", "a4", "b2"]


def test_places_that_are_spare_count_as_running():
    clients = Clients(parallel=2, queue=9)
    clients.send("a")
    spare = clients.gate.spare("a")
    clients.runs.append("a0")
    clients.send("a")
    clients.send("b")
    clients.runs.remove("a0")
    spare.leave()
    assert clients.started == ["a1", "b1"]


def test_urgency_goes_before_turns_and_turns_go_on_among_the_equally_urgent():
    clients = Clients(parallel=1, queue=9)
    for client, priority in [("a", 0), ("a", 0), ("b", 1), ("a", -1), ("b", 0), ("a", 0)]:
        clients.send(client, priority)
    for name in ("a1", "a3", "b2", "a2", "a4", "b1"):
        clients.end(name)
    assert clients.started == ["a1", "a3", "b2", "a2", "a4", "b1"]


def test_a_client_that_fills_the_queue_gives_way_to_others_from_its_end():
    clients = Clients(parallel=1, queue=4)
    for client in "aaaaa" + "b":
        clients.send(client)
    assert (clients.refused, list(clients.waits)) == (["a5"], ["a2", "a3", "a4", "b1"])
    clients.send("a")  # has most itself
    clients.send("b")  # two each
    assert clients.refused == ["a5", "a6", "a4"]
    clients.send("a")  # would be three of them
    clients.send("b")
    assert clients.refused == ["a5", "a6", "a4", "a7", "b3"]
    clients.send("c")
    assert sorted(client for client, _ in clients.waits) in (list("aabc"), list("abbc"))
    clients.send("d")
    assert sorted(client for client, _ in clients.waits) == list("abcd")
    clients.send("e")  # each has one
    assert clients.refused[-1] == "e1"


def test_of_the_greediest_client_the_least_urgent_is_refused():
    clients = Clients(parallel=1, queue=3)
    for priority in (0, 5, 1, 5):
        clients.send("a", priority)
    clients.send("b", 9)
    assert clients.refused == ["a4"]


def test_who_gives_way_is_told_when_to_come_back_and_why():
    now = 0.0
    clients = Clients(parallel=1, queue=3, clock=lambda: now)
    for client in "aaaa":
        clients.send(client)
    now = 4.0
    clients.send("b")
    # Behind three that wait and the one that runs, 4 s each.
    assert clients.errors[0].headers == {"Retry-After": "16"}
    assert str(clients.errors[0]) == (
        "1 requests run and 3 wait, 3 of them yours, and another client came: try again later"
    )


CLIENTS = st.sampled_from("abcd")
SENDS = st.tuples(st.just("send"), CLIENTS, st.integers(-1, 1))
ENDS = st.tuples(st.sampled_from(["end", "give up"]), st.integers(0, 99), st.just(0))


@settings(max_examples=300, deadline=None)
@given(
    parallel=st.integers(1, 3),
    queue=st.integers(0, 6),
    steps=st.lists(SENDS | ENDS, max_size=80),
    flat=st.booleans(),
)
def test_whatever_comes_bounds_and_orders_hold_and_everyone_is_started_or_refused(
    parallel, queue, steps, flat
):
    clients = Clients(parallel, queue)
    gave_up = 0
    for what, which, priority in steps:
        among = clients.runs if what == "end" else list(clients.waits)
        if what == "send":
            clients.send(which, 0 if flat else priority)
        elif among:
            clients.end(among[which % len(among)])
            gave_up += what == "give up"
    while clients.runs:
        clients.end(clients.runs[0])
    assert not clients.waits
    assert not clients.tickets
    ended = len(clients.started) + len(clients.refused) + gave_up
    assert ended == sum(clients.sent.values())


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_a_client_that_waits_has_its_turn_while_others_never_stop_and_new_ones_keep_coming(
    parallel,
):
    clients = Clients(parallel, queue=8)
    for client in "aaaaaa" + "b":
        clients.send(client)
    for new in "cde":
        clients.end(clients.runs[0])
        clients.send("a")
        clients.send(new)
    assert "b1" in clients.started[: parallel + 2]
