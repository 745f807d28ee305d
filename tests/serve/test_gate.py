"""The queue of one client: first come, first served, and bounded."""

from __future__ import annotations

import pytest

from zerostall.serve.faults import ApiError
from zerostall.serve.gate import Gate


def enter(gate, start=lambda: None, priority=0):
    return gate.enter("one", start, pytest.fail, priority)


def test_tickets_start_in_order_as_places_become_free():
    gate, started = Gate(parallel=2, queue=3), []
    tickets = [enter(gate, lambda i=i: started.append(i)) for i in range(5)]
    assert (started, gate.running, gate.waiting) == ([0, 1], 2, 3)
    tickets[2].leave()  # gave up while it waited
    tickets[1].leave()
    assert (started, gate.running, gate.waiting) == ([0, 1, 3], 2, 1)
    tickets[1].leave()  # twice is once
    assert started == [0, 1, 3]
    for ticket in tickets:
        ticket.leave()
    assert (started, gate.running, gate.waiting) == ([0, 1, 3, 4], 0, 0)


def test_the_most_urgent_starts_first_and_of_equals_who_came_first():
    gate, started = Gate(parallel=1, queue=9), []
    priorities = [0, 0, 5, -1, 0, -1]
    tickets = [
        enter(gate, lambda i=i: started.append(i), priority)
        for i, priority in enumerate(priorities)
    ]
    for i in (0, 3, 5, 1, 4, 2):
        tickets[i].leave()
    assert started == [0, 3, 5, 1, 4, 2]


def test_a_full_queue_is_a_429_that_says_when_to_come_back():
    gate = Gate(parallel=1, queue=1)
    enter(gate)
    enter(gate)
    with pytest.raises(ApiError, match="1 requests run and 1 wait") as caught:
        enter(gate)
    assert caught.value.status == 429
    assert caught.value.headers == {"Retry-After": "1"}
    assert gate.waiting == 1


@pytest.mark.parametrize("client", ["one", "other"])
def test_whether_a_client_would_be_refused_is_told_before_it_comes(client):
    gate = Gate(parallel=1, queue=2)
    tickets = [enter(gate), enter(gate)]
    gate.check(client)  # there is a place
    tickets.append(enter(gate))
    if client == "other":
        gate.check(client)  # one of the two that wait would give way
        assert gate.waiting == 2
        tickets[-1].leave()
        gate.enter("third", lambda: None, lambda error: None)
    with pytest.raises(ApiError, match="1 requests run and 2 wait") as caught:
        gate.check(client)
    assert caught.value.status == 429
    tickets[1].leave()
    gate.check(client)


def test_when_to_come_back_follows_from_the_queue_and_from_how_long_the_last_ones_took():
    now = 0.0
    gate = Gate(parallel=2, queue=3, clock=lambda: now)
    tickets = [enter(gate) for _ in range(5)]
    assert gate.retry_s() == 1
    now = 4.0  # none has ended: 4 s at least, and 4 turns on two places
    assert gate.retry_s() == 8
    now = 5.0
    tickets[0].leave()  # after 5 s
    now = 12.0
    tickets[1].leave()  # after 12 s: 8.5 s in the mean, 2 turns on two places
    assert gate.waiting == 1
    assert gate.retry_s() == 9
    now = 1000.0
    tickets[2].leave()
    assert gate.retry_s() == 60  # what the official clients still wait for
    assert Gate(parallel=1, queue=0).retry_s() == 1


def test_the_last_32_that_ended_tell_how_long_it_takes():
    now = 0.0
    gate = Gate(parallel=1, queue=0, clock=lambda: now)
    for took in [50.0] * 5 + [2.0] * 32:
        ticket = enter(gate)
        now += took
        ticket.leave()
    assert gate.retry_s() == 2


def test_each_that_runs_has_a_slot_of_its_own_the_lowest_that_is_free():
    gate = Gate(parallel=3, queue=2)
    first, second, third, fourth = (enter(gate) for _ in range(4))
    assert [ticket.slot for ticket in (first, second, third, fourth)] == [0, 1, 2, None]
    second.leave()
    assert fourth.slot == 1
    third.leave()
    first.leave()
    assert enter(gate).slot == 0


def test_without_a_queue_only_free_places_are_taken():
    gate = Gate(parallel=1, queue=0)
    enter(gate)
    with pytest.raises(ApiError):
        enter(gate)
