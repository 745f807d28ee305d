"""The queue: first come, first served, and bounded."""

from __future__ import annotations

import pytest

from zerostall.serve.faults import ApiError
from zerostall.serve.gate import Gate


def test_tickets_start_in_order_as_places_become_free():
    gate, started = Gate(parallel=2, queue=3), []
    tickets = [gate.enter(lambda i=i: started.append(i)) for i in range(5)]
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
        gate.enter(lambda i=i: started.append(i), priority) for i, priority in enumerate(priorities)
    ]
    for i in (0, 3, 5, 1, 4, 2):
        tickets[i].leave()
    assert started == [0, 3, 5, 1, 4, 2]


def test_a_full_queue_is_a_429_that_says_when_to_come_back():
    gate = Gate(parallel=1, queue=1)
    gate.enter(lambda: None)
    gate.enter(lambda: None)
    with pytest.raises(ApiError, match="1 requests run and 1 wait") as caught:
        gate.enter(lambda: None)
    assert caught.value.status == 429
    assert caught.value.headers == {"Retry-After": "1"}
    assert gate.waiting == 1


def test_without_a_queue_only_free_places_are_taken():
    gate = Gate(parallel=1, queue=0)
    gate.enter(lambda: None)
    with pytest.raises(ApiError):
        gate.enter(lambda: None)
