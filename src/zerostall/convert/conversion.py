"""Writing a converted file: resumable, and under its name only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash

from zerostall import gguf
from zerostall._core import GgufFile
from zerostall.convert.layout import Layout, plan
from zerostall.convert.pieces import PIECE_BYTES, pieces
from zerostall.errors import InvalidRequestError, ModelFormatError, StorageError
from zerostall.lab.gguf_writer import sync_folder

Progress = Callable[[int, int], None]


def convert(
    model: Path,
    out: Path,
    progress: Progress = lambda done, total: None,
    miss_copy: str | None = None,
) -> int:
    """Write the converted file of a model.

    It is written beside `out` as `.NAME.*.partial` and renamed when it is on the drive. After a
    kill, or where a drive failed or was full, the same call goes on where the last one was; what
    that left is checked first.

    Args:
        model: a GGUF file, or the first file of a split one.
        out: the file to write; one that is there is replaced at the end.
        progress: called with the bytes done and the bytes in all.
        miss_copy: a format of few bits (`_core.encodable_formats()`), in which every expert gets
            a second record for `Streaming(miss_precision="low")`; None: without.

    Returns:
        The size of the file in bytes.

    Raises:
        InvalidRequestError: the model is converted already, `out` is one of its files, or its
            experts can have no second record of this format.
        StorageError: a drive is full or fails, the folder is missing, or another process converts
            to it. The message says what is kept for the next call.
        ModelFormatError, UnsupportedModelError: as when loading the model.
    """
    file = gguf.open_model(model)
    layout = plan(file, miss_copy)
    if out.exists() and any(os.path.samefile(out, path) for path in file.paths):
        raise InvalidRequestError(f"{out} is the model itself; give another path")
    partial = out.with_name(f".{out.name}.{_identity(file, layout):016x}.partial")
    try:
        with _locked(partial) as descriptor:
            _remove_others(partial, out)
            with _kept(partial, out, layout):
                _check_room(descriptor, out, layout.bytes)
                _fill(descriptor, file, layout, progress)
                os.fsync(descriptor)
                os.replace(partial, out)
        sync_folder(out.absolute().parent)
    except OSError as error:
        raise _failed(out, layout.bytes, error) from error
    return layout.bytes


@contextlib.contextmanager
def _kept(partial: Path, out: Path, layout: Layout) -> Iterator[None]:
    """On a failure of storage the partial file stays, if there is anything in it to go on from."""
    try:
        yield
    except ModelFormatError:
        partial.unlink(missing_ok=True)  # the model's fault: the next call would end so, too
        raise
    except (OSError, StorageError) as error:
        if partial.stat().st_size <= len(layout.header):
            partial.unlink()
            raise
        if isinstance(error, OSError):
            error = _failed(out, layout.bytes, error)
        raise StorageError(
            f"{error}. What was written so far stays in {partial}: the same call goes on from there"
        ) from error


def _failed(out: Path, needed: int, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _full(out, needed)
    remedy = "check the drive" if error.errno == errno.EIO else "give a path in a writable folder"
    return StorageError(f"{out}: cannot be written: {error.strerror}; {remedy}")


def _identity(file: GgufFile, layout: Layout) -> int:
    """Of the source as it is now, so that nothing is resumed from another."""
    parts = [layout.header]
    for path in file.paths:
        status = os.stat(path)
        parts.append(f"{os.path.realpath(path)} {status.st_size} {status.st_mtime_ns}".encode())
    return int(xxhash.xxh3_64_intdigest(b"\0".join(parts)))


@contextlib.contextmanager
def _locked(partial: Path) -> Iterator[int]:
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino != os.stat(partial).st_ino:
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            raise StorageError(
                f"{partial}: another process is converting this model; wait for it"
            ) from None
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_others(partial: Path, out: Path) -> None:
    """Drop what conversions of other or changed models left, unless they are under way."""
    for other in out.parent.glob(f".{out.name}.{'[0-9a-f]' * 16}.partial"):
        if other == partial:
            continue
        with contextlib.suppress(StorageError, OSError), _locked(other):
            other.unlink()


def _check_room(descriptor: int, out: Path, needed: int) -> None:
    room = os.fstatvfs(descriptor)
    free = room.f_bavail * room.f_frsize
    if free + os.fstat(descriptor).st_blocks * 512 < needed:
        raise _full(out, needed, free)


def _full(out: Path, needed: int, free: int | None = None) -> StorageError:
    has = "" if free is None else f", the drive has {free / 1e9:.2f} GB left"
    return StorageError(
        f"{out}: the file needs {needed / 1e9:.2f} GB{has}; make room, or choose another drive"
    )


def _fill(descriptor: int, file: GgufFile, layout: Layout, progress: Progress) -> None:
    done = len(layout.header)
    for index, checksum in enumerate(_begin(descriptor, layout)):
        stored, offset = layout.stored[index], layout.offsets[index]
        if checksum and _checksum(descriptor, offset, stored.bytes) == checksum:
            done += stored.bytes
            progress(done, layout.bytes)
            continue
        digest, at = xxhash.xxh3_64(), offset
        for piece in pieces(file, stored):
            digest.update(piece)
            _write(descriptor, piece, at)
            at += len(piece)
            progress(done + at - offset, layout.bytes)
        assert at - offset == stored.bytes, stored.name
        done += stored.bytes
        # Only now, so that a checksum says that the data before it was written.
        _write(
            descriptor,
            memoryview(struct.pack("<Q", digest.intdigest())),
            layout.checksums_at + 8 * index,
        )
    os.ftruncate(descriptor, layout.bytes)
    progress(layout.bytes, layout.bytes)


def _begin(descriptor: int, layout: Layout) -> list[int]:
    """Checksums of the tensors that an earlier run wrote, 0 for the others."""
    count = len(layout.stored)
    begin, end = layout.checksums_at, layout.checksums_at + 8 * count
    # Only what has reached the drive counts: after a failed write the page cache may have more.
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    found = os.pread(descriptor, len(layout.header), 0)
    if found[:begin] == layout.header[:begin] and found[end:] == layout.header[end:]:
        return list(struct.unpack(f"<{count}Q", found[begin:end]))
    os.ftruncate(descriptor, 0)
    _write(descriptor, memoryview(layout.header), 0)
    return [0] * count


def _write(descriptor: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written


def _checksum(descriptor: int, at: int, size: int) -> int:
    digest = xxhash.xxh3_64()
    while size > 0:
        piece = os.pread(descriptor, min(size, PIECE_BYTES), at)
        if not piece:
            return 0
        digest.update(piece)
        size, at = size - len(piece), at + len(piece)
    return int(digest.intdigest())
