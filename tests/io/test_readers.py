"""Every back end reads the same bytes, whatever the sizes, depths and order."""

from __future__ import annotations

import ctypes
import os
import random
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.io.reading import BLOCK, KINDS, MIB, check, collect, read
from tests.tasks import eventually, held, masks, no_more_held, threads
from zerostall._core import ReadQueue, uring_error
from zerostall.errors import InvalidRequestError, StorageError

each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=[True, False], ids=["direct", "buffered"])
def direct(request):
    return request.param


@pytest.mark.skipif(uring_error() != 0, reason="io_uring is forbidden here")
def test_io_uring_is_among_what_is_tested():
    assert "uring" in KINDS


@each_kind
def test_bytes_are_those_of_the_file(files, kind, direct):
    pieces = [(0, 0, 3 * MIB), (1, 0, BLOCK), (0, 40 * BLOCK, 5 * BLOCK + 17), (1, 8 * BLOCK, 1)]
    queue = ReadQueue(files, kind=kind, direct=direct, request_bytes=256 << 10)
    assert queue.name == kind and queue.why == ""
    check(files, pieces, read(queue, pieces))


@each_kind
def test_the_tail_of_a_file_needs_no_multiple_of_a_block(files, kind, direct):
    sizes = [path.stat().st_size for path in files]
    pieces = []
    for file, size in enumerate(sizes):
        for blocks in (1, 2, 65):
            offset = (size // BLOCK + 1 - blocks) * BLOCK
            pieces.append((file, offset, size - offset))
    queue = ReadQueue(files, kind=kind, direct=direct, request_bytes=64 << 10)
    check(files, pieces, read(queue, pieces))


@each_kind
@pytest.mark.parametrize("depth", [1, 3, 64])
def test_many_more_reads_than_the_depth_all_come_back(files, kind, depth):
    chance = random.Random(3)
    blocks = files[0].stat().st_size // BLOCK
    pieces = []
    for _ in range(500):
        size = chance.randrange(1, 12)
        pieces.append((0, chance.randrange(blocks - size) * BLOCK, size * BLOCK))
    queue = ReadQueue(files, kind=kind, depth=depth, request_bytes=2 * BLOCK)
    check(files, pieces, read(queue, pieces))
    assert queue.counters["records"] == 500
    assert queue.counters["bytes_read"] == sum(size for _, _, size in pieces)
    assert queue.counters["retries"] == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mmap"])  # touches pages
def test_a_system_that_gives_less_than_asked_is_asked_for_the_rest(files, kind, direct):
    pieces = [(0, BLOCK, MIB + 5), (1, 0, files[1].stat().st_size)]
    queue = ReadQueue(files, kind=kind, direct=direct, call_bytes=3 * BLOCK)
    check(files, pieces, read(queue, pieces))


@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 255), st.integers(1, 40 * BLOCK)), max_size=30
    ),
    request=st.integers(1, 20),
    depth=st.integers(1, 9),
    kind=st.sampled_from(KINDS),
)
@settings(max_examples=60)
def test_any_pieces_in_any_requests_are_read_whole(files, pieces, request, depth, kind):
    sizes = [path.stat().st_size for path in files]
    pieces = [(f, b * BLOCK, min(n, sizes[f] - b * BLOCK)) for f, b, n in pieces]
    queue = ReadQueue(files, kind=kind, depth=depth, request_bytes=request * BLOCK)
    check(files, pieces, read(queue, pieces))


@each_kind
def test_reading_past_the_end_is_an_error_that_says_so(files, kind, direct):
    size = files[0].stat().st_size
    offset = size // BLOCK * BLOCK
    queue = ReadQueue(files, kind=kind, direct=direct)
    results = read(queue, [(0, offset, size - offset + 1), (0, offset + BLOCK, 1), (0, 0, BLOCK)])
    assert results[0][2] == (
        f"{files[0]}: reading {size - offset + 1} bytes at byte {offset} failed: the file ends "
        "before; it was cut short: fetch or convert it again"
    )
    assert "the file ends before" in results[1][2]
    assert results[2][2] is None


@each_kind
def test_a_file_that_shrinks_while_open_fails_the_read_and_nothing_else(tmp_path, kind, direct):
    path = tmp_path / "shrinks.bin"
    path.write_bytes(bytes(range(256)) * 4096)
    queue = ReadQueue([path], kind=kind, direct=direct)
    assert read(queue, [(0, 0, MIB)])[0][2] is None
    os.truncate(path, 10 * BLOCK)
    lost, kept = read(queue, [(0, 64 * BLOCK, BLOCK), (0, 0, BLOCK)])
    assert "failed" in lost[2] and str(path) in lost[2]
    assert kept[1] == bytes(range(256)) * 16


@each_kind
def test_nothing_that_was_read_stays_in_the_page_cache(tmp_path, kind, direct):
    path = tmp_path / "cold.bin"
    path.write_bytes(bytes(8 * MIB))
    drop(path)
    if resident(path) != 0:
        pytest.skip("this file system keeps its pages")
    queue = ReadQueue([path], kind=kind, direct=direct)
    read(queue, [(0, number * MIB, MIB) for number in range(8)])
    assert resident(path) <= 64
    counters = queue.counters
    assert counters["prefetched_bytes"] == (8 * MIB if kind == "mmap" else 0)
    assert counters["released_bytes"] == (0 if queue.direct else 8 * MIB)


def drop(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(path: Path) -> int:
    """Pages of a file that are in the page cache."""
    memory = np.memmap(path, np.uint8, "r")
    pages = (ctypes.c_ubyte * (-(-memory.size // BLOCK)))()
    address, size = ctypes.c_void_p(memory.ctypes.data), ctypes.c_size_t(memory.size)
    assert ctypes.CDLL(None).mincore(address, size, pages) == 0
    return sum(page & 1 for page in pages)


def test_files_without_direct_reading_are_read_through_the_page_cache(files):
    if not os.path.isdir("/dev/shm"):
        pytest.skip("no tmpfs")
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(b"tmpfs" * 10_000)
        file.flush()
        for kind in KINDS:
            queue = ReadQueue([file.name, files[0]], kind=kind)
            check(
                [Path(file.name), files[0]],
                [(0, 0, 50_000), (1, 0, MIB)],
                read(queue, [(0, 0, 50_000), (1, 0, MIB)]),
            )


@each_kind
def test_closing_while_reads_are_under_way_leaves_no_descriptor_and_no_thread(files, kind):
    before = held()
    for _ in range(5):
        queue = ReadQueue(files, kind=kind, depth=8, request_bytes=64 << 10)
        for tag in range(40):
            queue.read(tag, 0, tag * BLOCK, MIB, speculative=tag % 2 == 0)
        queue.collect(1)
        del queue
    assert no_more_held(before), (held(), before)


@each_kind
def test_a_missing_file_is_an_error_that_names_it(tmp_path, kind):
    with pytest.raises(StorageError, match=r"absent\.bin: cannot open: No such file"):
        ReadQueue([tmp_path / "absent.bin"], kind=kind)
    with pytest.raises(StorageError, match="not a regular file"):
        ReadQueue([tmp_path], kind=kind)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "magic"}, "there are auto, uring, pread and mmap"),
        ({"depth": 0}, "depth is 0; give 1 to 256"),
        ({"request_bytes": 5000}, "request_bytes is 5000; give a multiple of 4096"),
        ({"call_bytes": 0}, "call_bytes is no multiple of 4096"),
        ({"throttle": {"latency": 5}}, 'throttle has no option "latency"'),
        ({"faults": {"eio": 5}}, 'faults has no option "eio"'),
    ],
)
def test_options_out_of_range_are_refused(files, options, message):
    with pytest.raises(InvalidRequestError, match=message):
        ReadQueue(files, **options)


def test_what_cannot_be_read_is_refused(files):
    queue = ReadQueue(files)
    with pytest.raises(InvalidRequestError, match="file is 2; there are 2"):
        queue.read(0, 2, 0, BLOCK)
    with pytest.raises(InvalidRequestError, match="no multiple of 4096"):
        queue.read(0, 0, 100, BLOCK)
    queue.read(0, 0, 0, BLOCK)
    with pytest.raises(InvalidRequestError, match="tag 0 is in use"):
        queue.read(0, 0, 0, BLOCK)
    assert collect(queue, 1)[0][2] is None


def test_threads_that_read_run_where_they_are_told(files):
    cpu = max(os.sched_getaffinity(0))
    before = threads()
    queue = ReadQueue(files, kind="pread", depth=3, cpus=[cpu])
    read(queue, [(0, 0, MIB)])
    where = {"zs-read-0": {cpu}, "zs-read-1": {cpu}, "zs-read-2": {cpu}}

    def added():
        known = {task: name for task, name in threads().items() if task not in before}
        return {name: masks().get(task) for task, name in known.items()}

    assert eventually(lambda: added() == where), added()


@each_kind
def test_reads_outlive_the_thread_that_started_them(files, kind):
    pieces = [(0, number * BLOCK, MIB) for number in range(60)]
    queue = ReadQueue(files, kind=kind, request_bytes=64 << 10)

    def start():
        for tag, (file, offset, size) in enumerate(pieces):
            queue.read(tag, file, offset, size)

    for _ in range(5):
        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        check(files, pieces, sorted(collect(queue, len(pieces))))
