"""Reading through a queue and comparing with what the files hold."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from tests.tasks import HANG_S
from zerostall._core import ReadQueue, uring_error

# Containers often forbid io_uring; test_readers.py says so then.
KINDS = ("pread", "mmap") if uring_error() else ("uring", "pread", "mmap")
BLOCK = 4096
MIB = 1 << 20
Piece = tuple[int, int, int]  # file, offset, bytes
Result = tuple[int, bytes | None, str | None]  # tag, bytes or error


def collect(queue: ReadQueue, count: int, seconds: float = HANG_S) -> list[Result]:
    """That many results, in the order they came."""
    results: list[Result] = []
    end = time.monotonic() + seconds
    while len(results) < count:
        assert time.monotonic() < end, f"{len(results)} of {count} reads came back"
        results += queue.collect(100)
    assert len(results) == count
    return results


def read(queue: ReadQueue, pieces: Iterable[Piece]) -> list[Result]:
    """Reads pieces, tagged 0, 1, ...; results in order of their tags."""
    count = 0
    for tag, (file, offset, size) in enumerate(pieces):
        queue.read(tag, file, offset, size)
        count = tag + 1
    results = sorted(collect(queue, count), key=lambda result: result[0])
    assert [tag for tag, _, _ in results] == list(range(count))
    assert queue.in_flight == 0 and queue.collect() == []
    return results


def check(paths: list[Path], pieces: list[Piece], results: list[Result]) -> None:
    """Every piece came back as it is in the files."""
    content = [path.read_bytes() for path in paths]
    for (file, offset, size), (_, data, error) in zip(pieces, results, strict=True):
        assert error is None
        assert data == content[file][offset : offset + size]
