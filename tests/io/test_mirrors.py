"""Copies of the model on other drives: reads are spread by speed, and a failing copy is left."""

from __future__ import annotations

import pytest

from tests.io.reading import BLOCK, KINDS, MIB, check, collect, read
from zerostall._core import ReadQueue
from zerostall.errors import InvalidRequestError, StorageError

PIECES = [(number % 2, number % 8 * 16 * BLOCK, 64 * BLOCK) for number in range(200)]


@pytest.fixture(scope="session")
def mirror(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirror")
    copies = [folder / path.name for path in files]
    for path, copy in zip(files, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    return copies


def drives(*speeds: float) -> dict[str, object]:
    """A simulated drive for each copy, of that many MiB a second."""
    models = [{"bytes_per_second": speed * MIB, "latency_us": 50} for speed in speeds]
    return {"drives": models, "files_per_drive": 2, "simulated": True}


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_the_same_from_several_copies(files, mirror, kind):
    queue = ReadQueue(files, kind=kind, mirrors=[mirror, mirror], request_bytes=8 * BLOCK)
    check(files, PIECES, read(queue, PIECES))
    assert sum(queue.bytes_by_copy) == sum(size for _, _, size in PIECES)
    assert all(count > 0 for count in queue.bytes_by_copy)


def test_each_copy_reads_as_much_as_its_speed_allows(files, mirror):
    queue = ReadQueue(files, mirrors=[mirror], depth=8, throttle=drives(900, 300))
    for _ in range(3):  # speeds become known
        read(queue, PIECES)
    before, started = queue.bytes_by_copy, queue.now_us
    check(files, PIECES, read(queue, PIECES))
    first, second = (now - then for now, then in zip(queue.bytes_by_copy, before, strict=True))
    assert 0.6 < first / (first + second) < 0.85
    # Alone, the faster one would take 50 MiB / 900 MiB/s.
    assert (queue.now_us - started) / 1e6 < 0.9 * 50 / 900


def test_a_copy_on_an_equal_drive_nearly_doubles_the_speed(files, mirror):
    took = []
    for mirrors in ([], [mirror]):
        queue = ReadQueue(files, mirrors=mirrors, depth=8, throttle=drives(500, 500))
        started = queue.now_us
        check(files, PIECES, read(queue, PIECES))
        took.append(queue.now_us - started)
    assert took[0] / took[1] > 1.8


@pytest.mark.parametrize("kind", KINDS)
def test_a_mirror_that_fails_is_left_and_told_of_once(files, mirror, kind):
    queue = ReadQueue(files, kind=kind, mirrors=[mirror], faults={"failing_files": [2, 3]})
    check(files, PIECES, read(queue, PIECES))
    assert queue.take_warnings() == [
        f"{mirror[0]}: the mirror failed (Input/output error); reading goes on without it"
    ]
    assert queue.take_warnings() == []
    retries = queue.counters["retries"]
    check(files, PIECES, read(queue, PIECES))
    assert queue.counters["retries"] == retries
    assert queue.take_warnings() == []
    assert queue.bytes_by_copy[1] == 0


def test_a_mirror_reads_what_the_model_itself_cannot(files, mirror):
    queue = ReadQueue(files, mirrors=[mirror], faults={"failing_places": [(0, 5)]})
    pieces = [(0, 0, BLOCK)] * 4
    check(files, pieces, read(queue, pieces))
    assert queue.take_warnings() == []


def test_a_file_that_is_no_copy_is_refused(files, mirror, tmp_path):
    other = tmp_path / "other.bin"
    content = bytearray(files[0].read_bytes())
    middle = len(content) // 2 + 12345
    flipped = bytearray(content)
    flipped[middle] ^= 1
    for wrong in (content[:-1], b"x" + content[1:], content[:-1] + b"x", flipped):
        other.write_bytes(wrong)
        with pytest.raises(StorageError, match=r"other\.bin: is no copy of .*first\.bin"):
            ReadQueue(files, mirrors=[[other, mirror[1]]])
    with pytest.raises(StorageError, match=r"absent: cannot open"):
        ReadQueue(files, mirrors=[[tmp_path / "absent", mirror[1]]])
    with pytest.raises(InvalidRequestError, match="a mirror has 1 files, the model 2"):
        ReadQueue(files, mirrors=[mirror[:1]])


def test_speculation_uses_mirrors_too(files, mirror):
    queue = ReadQueue(files, mirrors=[mirror], depth=4, throttle=drives(500, 500))
    for tag in range(40):
        queue.read(tag, 0, 0, 64 * BLOCK, speculative=True)
    assert all(error is None for _, _, error in collect(queue, 40))
    assert all(count > 0 for count in queue.bytes_by_copy)


@pytest.fixture
def large(tmp_path):
    """A file too large to be compared as a whole, with nothing in it, and its copy."""
    paths = [tmp_path / "large.bin", tmp_path / "copy.bin"]
    for path in paths:
        with path.open("wb") as file:
            file.truncate(64 * MIB + 5)
    return paths


def write(path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"x")


@pytest.mark.parametrize("at", [0, 3_000_000, 6_000_000])
def test_what_lies_before_the_first_tensor_is_compared_byte_by_byte(large, at):
    path, copy = large
    write(copy, at)
    with pytest.raises(StorageError, match=r"copy\.bin: is no copy of .*large\.bin"):
        ReadQueue([path], mirrors=[[copy]], heads=[6_000_001])


def test_the_rest_is_compared_in_samples_from_begin_to_end(large):
    path, copy = large
    every = 64 * MIB // 128
    for at in (0, 40 * every + 100, 64 * MIB + 4):
        write(copy, at)
        with pytest.raises(StorageError, match="is no copy of"):
            ReadQueue([path], mirrors=[[copy]])
        write(path, at)
        ReadQueue([path], mirrors=[[copy]])
    write(copy, 40 * every + every // 2)  # between two
    ReadQueue([path], mirrors=[[copy]])
