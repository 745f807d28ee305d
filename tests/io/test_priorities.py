"""Demand comes before speculation; timed by a simulated clock, so that nothing hangs on luck."""

from __future__ import annotations

import pytest

from tests.io.reading import BLOCK, KINDS, MIB, check, collect, read
from tests.tasks import eventually
from zerostall._core import ReadQueue

# 1 MiB takes 1,000 us and comes 100 us after that.
SLOW = {"latency_us": 100, "bytes_per_second": MIB * 1000, "simulated": True}


def slow(files, **options):
    return ReadQueue(files, depth=2, throttle=SLOW, **options)


def tags(results):
    return [tag for tag, _, _ in results]


def test_the_throttled_drive_takes_as_long_as_it_is_told(files):
    queue = slow(files)
    started = queue.now_us
    check(files, [(0, 0, MIB)] * 3, read(queue, [(0, 0, MIB)] * 3))
    assert queue.now_us - started == pytest.approx(3100)
    assert queue.counters["busy_us"] == pytest.approx(3100, abs=2)


def test_a_timeout_ends_the_wait_at_its_time(files):
    queue = slow(files)
    started = queue.now_us
    queue.read(0, 0, 0, MIB)
    assert queue.collect(1.0) == []
    assert queue.now_us - started == pytest.approx(1000)
    assert tags(queue.collect(1.0)) == [0]
    assert queue.now_us - started == pytest.approx(1100)


def test_results_come_in_the_order_of_the_drive_every_time(files):
    order = []
    for _ in range(3):
        queue = slow(files, request_bytes=64 << 10)
        for tag, blocks in enumerate([30, 1, 7, 100, 2]):
            queue.read(tag, 0, 0, blocks * BLOCK)
        order.append(tags(collect(queue, 5)))
    assert order == [[0, 1, 2, 3, 4]] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_demand_overtakes_speculation_that_has_not_begun(files, kind):
    queue = slow(files, kind=kind)
    for tag in range(6):
        queue.read(tag, 0, 0, MIB, speculative=True)
    assert queue.speculation_waiting == 4
    queue.read(10, 0, MIB, MIB)
    queue.read(11, 0, MIB, MIB)
    assert tags(collect(queue, 8)) == [0, 1, 10, 11, 2, 3, 4, 5]


def test_speculation_leaves_the_drive_as_idle_as_it_is_told(files):
    queue = slow(files, speculative_depth=1)
    for tag in range(3):
        queue.read(tag, 0, 0, MIB, speculative=True)
    assert queue.speculation_waiting == 2
    queue.read(10, 0, 0, MIB)
    assert tags(collect(queue, 4)) == [0, 10, 1, 2]


def test_a_speculation_that_was_cancelled_is_neither_read_nor_collected(files):
    queue = slow(files)
    for tag in range(5):
        queue.read(tag, 0, 0, MIB, speculative=True)
    assert [queue.cancel(tag) for tag in (3, 0, 9, 3)] == [True, False, False, False]
    assert queue.in_flight == 4
    assert tags(collect(queue, 4)) == [0, 1, 2, 4]
    assert queue.counters["cancelled"] == 1
    assert queue.bytes_by_copy == [4 * MIB]


def test_what_is_demanded_cannot_be_cancelled(files):
    queue = slow(files)
    for tag in range(5):
        queue.read(tag, 0, 0, MIB)
    assert not any(queue.cancel(tag) for tag in range(5))
    assert tags(collect(queue, 5)) == [0, 1, 2, 3, 4]


def test_a_speculation_that_comes_true_is_read_before_the_others(files):
    queue = slow(files)
    for tag in range(6):
        queue.read(tag, 0, 0, MIB, speculative=True)
    assert queue.promote(5)
    assert not queue.promote(5)
    assert not queue.promote(0)
    assert tags(collect(queue, 6)) == [0, 1, 5, 2, 3, 4]


def test_a_record_in_many_requests_is_speculative_as_a_whole(files):
    queue = slow(files, request_bytes=256 << 10)
    queue.read(0, 0, 0, 2 * MIB, speculative=True)
    queue.read(1, 0, 0, MIB)
    results = collect(queue, 2)
    assert tags(results) == [1, 0]
    check(files, [(0, 0, MIB), (0, 0, 2 * MIB)], results)


def test_what_of_a_speculation_has_not_begun_can_be_given_up(files):
    queue = slow(files, request_bytes=256 << 10)
    queue.read(0, 0, 0, 2 * MIB, speculative=True)
    assert queue.speculation_waiting == 1
    assert not queue.cancel(0), "some of it has begun"
    assert queue.speculation_waiting == 0
    queue.read(1, 0, 0, MIB)
    (tag, data, error), second = collect(queue, 2)
    assert (tag, data) == (0, None) and "canceled" in error
    check(files, [(0, 0, MIB)], [second])
    assert queue.bytes_by_copy == [MIB + 2 * (256 << 10)]
    assert (queue.counters["cancelled"], queue.counters["failed"]) == (1, 0)
    assert queue.in_flight == 0


def test_a_speculation_put_off_goes_on_when_nothing_else_is_under_way(files):
    queue = slow(files, request_bytes=256 << 10)
    queue.read(0, 0, 0, 2 * MIB, speculative=True)
    assert queue.defer(0) == 2 * MIB - 2 * (256 << 10), "two requests have begun"
    assert queue.defer(0) == 0 and queue.defer(7) == 0
    assert queue.speculation_waiting == 1
    queue.read(1, 0, 0, MIB, speculative=True)
    queue.read(2, 0, MIB, MIB, speculative=True)
    results = collect(queue, 3)
    assert tags(results) == [1, 2, 0]
    check(files, [(0, 0, MIB), (0, MIB, MIB), (0, 0, 2 * MIB)], results)


def test_what_is_put_off_keeps_one_request_under_way(files):
    queue = slow(files, request_bytes=256 << 10)
    queue.read(0, 0, 0, 2 * MIB, speculative=True)
    queue.defer(0)
    assert queue.collect(0.9) == []  # the two requests that had begun have ended
    started = queue.now_us
    queue.read(1, 0, 0, 256 << 10)
    assert tags(collect(queue, 1)) == [1]
    # One request is in front of what is demanded, not two.
    assert queue.now_us - started < 2 * 250 + 100 + 1


@pytest.mark.parametrize("then", ["later=False", "promote", "cancel"])
def test_what_is_put_off_can_be_wanted_or_given_up_after_all(files, then):
    queue = slow(files, request_bytes=256 << 10)
    queue.read(0, 0, 0, 2 * MIB, speculative=True)
    queue.read(1, 0, 0, MIB, speculative=True)
    left = queue.defer(0)
    if then == "cancel":
        assert not queue.cancel(0), "some of it has begun"
        results = collect(queue, 2)
        assert [data is None for tag, data, _ in results if tag == 0] == [True]
        assert queue.bytes_by_copy == [MIB + 2 * MIB - left]
        return
    if then == "promote":
        assert queue.promote(0)
        expected = [0, 1]
    else:
        assert queue.defer(0, False) == left
        assert queue.speculation_waiting == 2
        expected = [1, 0]  # behind the other, which has waited
    results = collect(queue, 2)
    assert tags(results) == expected
    check(files, [(0, 0, 2 * MIB) if tag == 0 else (0, 0, MIB) for tag in expected], results)


def test_speculation_waits_while_more_is_under_way_than_it_is_told(files):
    queue = ReadQueue(files, depth=16, throttle=SLOW, request_bytes=256 << 10)
    queue.limit_speculation(512 << 10)
    queue.read(0, 0, 0, MIB, speculative=True)
    queue.read(1, 0, 0, MIB, speculative=True)
    assert queue.speculation_waiting == 2
    queue.limit_speculation(0)
    assert [queue.cancel(tag) for tag in (0, 1)] == [False, True]
    assert tags(collect(queue, 1)) == [0]
    assert queue.bytes_by_copy == [512 << 10]


@pytest.mark.parametrize(
    ("kind", "faults"), [*((kind, None) for kind in KINDS), ("auto", {"old_ring": True})]
)
def test_speculation_goes_on_while_nobody_collects(files, kind, faults):
    queue = ReadQueue(files, kind=kind, depth=1, request_bytes=256 << 10, faults=faults)
    queue.read(0, 0, 0, MIB, speculative=True)
    queue.read(1, 1, 0, MIB, speculative=True)
    assert queue.speculation_waiting == 2

    def begun():
        queue.poll()
        return queue.speculation_waiting == 0

    assert eventually(begun)
    check(files, [(0, 0, MIB), (1, 0, MIB)], sorted(collect(queue, 2)))


def test_a_speculation_that_fails_is_reported_and_its_rest_is_not_read(files):
    queue = slow(files, request_bytes=256 << 10, faults={"failing_places": [(0, 300_000)]})
    queue.read(0, 0, 0, 4 * MIB, speculative=True)
    queue.read(1, 1, 0, MIB, speculative=True)
    first, second = collect(queue, 2)
    assert first[0] == 0 and "Input/output error" in first[2]
    assert second[0] == 1 and second[2] is None
    assert queue.counters["bytes_read"] < 3 * MIB
