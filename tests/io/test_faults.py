"""What a failing drive does to reads, and what it does not do to others."""

from __future__ import annotations

import contextlib
import errno
import time

import pytest

from tests.io.reading import BLOCK, KINDS, MIB, check, collect, read
from tests.tasks import HANG_S
from zerostall._core import ReadQueue, uring_error
from zerostall.errors import StorageError

each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_a_read_that_fails_once_or_twice_is_tried_again(files, kind):
    queue = ReadQueue(files, kind=kind, faults={"failing_reads": [0, 2]})
    pieces = [(0, 0, BLOCK), (0, BLOCK, 2 * BLOCK)]
    check(files, pieces, read(queue, pieces))
    assert queue.counters["retries"] == 2
    assert queue.counters["failed"] == 0


@each_kind
def test_a_place_that_never_reads_is_reported_with_file_and_offset(files, kind):
    bad = 700 * BLOCK + 77
    queue = ReadQueue(
        files, kind=kind, request_bytes=4 * BLOCK, faults={"failing_places": [(0, bad)]}
    )
    pieces = [(0, 699 * BLOCK, 9 * BLOCK), (0, 0, 699 * BLOCK), (1, 0, MIB)]
    results = read(queue, pieces)
    assert results[0][1:] == (
        None,
        f"{files[0]}: reading {3 * BLOCK} bytes at byte {699 * BLOCK} failed: "
        "Input/output error; check the drive",
    )
    check(files, pieces[1:], results[1:])
    assert queue.counters["failed"] == 1
    assert queue.counters["retries"] == 2
    check(files, pieces[1:], read(queue, pieces[1:]))


@each_kind
def test_a_drive_that_disappears_fails_every_read_and_loses_none(files, kind):
    queue = ReadQueue(files, kind=kind, depth=4, faults={"gone_after": 10})
    results = read(queue, [(0, number * BLOCK, BLOCK) for number in range(50)])
    check(files, [(0, number * BLOCK, BLOCK) for number in range(10)], results[:10])
    assert all("No such device" in error for _, _, error in results[10:])
    assert "No such device" in read(queue, [(1, 0, MIB)])[0][2]


@each_kind
def test_a_read_that_stalls_holds_up_no_other(files, kind):
    stall_ms = 10 * HANG_S * 1000
    queue = ReadQueue(files, kind=kind, faults={"stalled_reads": [0], "stall_ms": stall_ms})
    for tag in range(40):
        queue.read(tag, 0, tag * BLOCK, BLOCK)
    results = collect(queue, 39)
    assert sorted((tag, error) for tag, _, error in results) == [(t, None) for t in range(1, 40)]
    assert queue.collect() == []


@each_kind
def test_a_read_that_stalls_comes_back_later(files, kind):
    queue = ReadQueue(files, kind=kind, faults={"stalled_reads": [0], "stall_ms": 200})
    started = time.monotonic()
    check(files, [(0, 0, BLOCK)], read(queue, [(0, 0, BLOCK)]))
    assert time.monotonic() - started >= 0.2


@each_kind
def test_bytes_stay_right_when_reads_finish_in_any_order(files, kind):
    pieces = [(number % 2, number * 3 * BLOCK, 10 * BLOCK + number) for number in range(80)]
    orders = set()
    for seed in (1, 2):
        queue = ReadQueue(
            files, kind=kind, request_bytes=2 * BLOCK, faults={"shuffled": 50, "seed": seed}
        )
        for tag, (file, offset, size) in enumerate(pieces):
            queue.read(tag, file, offset, size)
        results = collect(queue, len(pieces))
        orders.add(tuple(tag for tag, _, _ in results))
        check(files, pieces, sorted(results, key=lambda result: result[0]))
    assert len(orders) == 2 and tuple(range(80)) not in orders


def test_memory_of_a_failed_record_is_free_only_when_nothing_is_under_way(files):
    """One request fails at once, the next comes 200 ms later: the record waits for both."""
    queue = ReadQueue(
        files,
        request_bytes=4 * BLOCK,
        faults={"failing_places": [(0, 0)], "stalled_reads": [1], "stall_ms": 200},
    )
    started = time.monotonic()
    results = read(queue, [(0, 0, 8 * BLOCK)])
    assert time.monotonic() - started >= 0.2
    assert results[0][2].startswith(f"{files[0]}: reading {4 * BLOCK} bytes at byte 0 failed")


@pytest.mark.parametrize("fault", [{"gone_after": 5}, {"stalled_reads": [0, 1], "stall_ms": 100}])
@each_kind
def test_closing_a_queue_whose_drive_fails_does_not_hang(files, kind, fault):
    queue = ReadQueue(files, kind=kind, faults=fault)
    for tag in range(20):
        queue.read(tag, 0, tag * BLOCK, BLOCK)
    del queue


# What a read call returns instead of all it was asked for.
SHORT = {
    "a block": [BLOCK],
    "blocks and more": [3 * BLOCK + 1, 2 * BLOCK, 5 * BLOCK - 1],
    "less than a block, now and then": [BLOCK, 1, 511, 2 * BLOCK],
    "interruptions": [-errno.EINTR, -errno.EAGAIN, -errno.ECANCELED, 2 * BLOCK],
}
by_calls = pytest.mark.parametrize("kind", ["uring", "pread"])


@by_calls
@pytest.mark.parametrize("direct", [True, False], ids=["direct", "buffered"])
@pytest.mark.parametrize("answers", SHORT.values(), ids=SHORT)
def test_reads_that_are_cut_short_go_on_where_they_ended(files, kind, direct, answers):
    size = files[1].stat().st_size
    pieces = [
        (0, 0, MIB),
        (0, 7 * BLOCK, 20 * BLOCK + 5),
        (1, 0, size),
        (1, size // BLOCK * BLOCK, 1),
    ]
    for every in (1, 3):
        faults = {"answers": answers, "every": every}
        queue = ReadQueue(files, kind=kind, direct=direct, request_bytes=64 << 10, faults=faults)
        check(files, pieces, read(queue, pieces))
        assert queue.counters["retries"] == 0


@by_calls
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (1, "the file ends before"),
        (0, "the file ends before"),
        (-errno.EAGAIN, "Resource temporarily unavailable"),
        (-errno.EIO, "Input/output error"),
    ],
)
def test_a_read_that_never_gets_on_ends_with_an_error(files, kind, answer, message):
    queue = ReadQueue(files, kind=kind, faults={"answers": [answer]})
    results = read(queue, [(0, 0, 2 * BLOCK), (1, 0, BLOCK)])
    for (_, _, error), path in zip(results, files, strict=True):
        assert error.startswith(f"{path}: reading ") and message in error


@pytest.mark.skipif(uring_error() != 0, reason="io_uring is forbidden here")
class TestTheRingFails:
    @pytest.mark.parametrize("first", range(12))
    def test_what_has_come_is_not_lost_and_what_waits_is_read_later(self, files, first):
        faults = {"failing_enters": [first, first + 1], "enter_error": errno.ENXIO}
        queue = ReadQueue(files, kind="uring", depth=3, request_bytes=2 * BLOCK, faults=faults)
        pieces = [(number % 2, number * BLOCK, 5 * BLOCK) for number in range(12)]
        for tag, (file, offset, size) in enumerate(pieces):
            queue.read(tag, file, offset, size)
        results, failures = [], []
        end = time.monotonic() + HANG_S
        while len(results) < len(pieces):
            assert time.monotonic() < end
            try:
                results += queue.collect(100)
            except StorageError as error:
                failures.append(str(error))
        check(files, pieces, sorted(results))
        assert len(failures) <= 2 and set(failures) <= {
            "io_uring_enter failed: No such device or address; read with pread instead"
        }
        assert queue.in_flight == 0 and queue.collect() == []

    @pytest.mark.parametrize("old_ring", [False, True])
    def test_what_arrives_shows_to_one_who_only_polls(self, files, old_ring):
        faults = {"old_ring": old_ring, "answers": [5 * BLOCK // 2, -errno.EINTR]}
        queue = ReadQueue(files, kind="uring", depth=2, request_bytes=4 * BLOCK, faults=faults)
        pieces = [(number % 2, number * BLOCK, 9 * BLOCK) for number in range(8)]
        for tag, (file, offset, size) in enumerate(pieces):
            queue.read(tag, file, offset, size)
        end = time.monotonic() + HANG_S
        while queue.counters["bytes_read"] < 8 * 9 * BLOCK:
            assert time.monotonic() < end
            queue.poll()
        check(files, pieces, sorted(queue.collect(0)))

    def test_each_call_says_so_while_it_fails(self, files):
        queue = ReadQueue(files, kind="uring", faults={"failing_enters": range(3)})
        queue.read(0, 0, 0, MIB)  # the first
        for _ in range(2):
            with pytest.raises(StorageError, match="io_uring_enter failed"):
                queue.collect(1000)
        check(files, [(0, 0, MIB)], collect(queue, 1))

    def test_requests_that_continue_each_other_have_calls_of_their_own(self, files):
        # All calls fail but the first, which starts one request of four.
        faults = {"failing_enters": range(1, 100), "enter_error": errno.ENXIO}
        queue = ReadQueue(files, kind="uring", request_bytes=MIB // 4, faults=faults)
        queue.read(0, 0, 0, MIB)
        for _ in range(10):
            with contextlib.suppress(StorageError):
                queue.collect(10)
            time.sleep(0.005)
        assert queue.counters["bytes_read"] == MIB // 4
