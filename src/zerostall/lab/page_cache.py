"""What the page cache holds of a file: a model that is in it is read from memory, not a drive."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CACHESTAT = 451  # its number on every architecture, since Linux 6.5


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Pages(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted")
    )


def drop_cached(path: Path) -> None:
    """Take a file's clean pages out of the page cache, unless somebody has them mapped."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached_bytes(path: Path) -> int | None:
    """Bytes of a file that are in the page cache; None if the kernel does not say."""
    pages = _Pages()
    whole = _Range(0, 0)  # a length of 0 reaches to the end
    with path.open("rb") as file:
        failed = ctypes.CDLL(None, use_errno=True).syscall(
            CACHESTAT, file.fileno(), ctypes.byref(whole), ctypes.byref(pages), 0
        )
    return None if failed else int(pages.cached) * os.sysconf("SC_PAGE_SIZE")
