"""Writing a GGUF file, streamed: header first, then each tensor's bytes as they are made.

Layout: github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

from zerostall import _core
from zerostall.errors import StorageError

ALIGNMENT = 32
Value = int | float | bool | str


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's entry in the directory; `shape` has the slowest dimension first."""

    name: str
    shape: tuple[int, ...]
    format: str

    @property
    def bytes(self) -> int:
        """The size of its data."""
        traits = _core.format_traits(self.format)
        size: int = prod(self.shape) // traits["block_values"] * traits["block_bytes"]
        return size


def write_gguf(
    path: Path,
    metadata: Mapping[str, Value],
    specs: Sequence[TensorSpec],
    data: Callable[[int], Iterable[bytes | memoryview]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a model; the file appears under its name only when it is whole and on the drive.

    Args:
        path: the file; one that is there is replaced.
        metadata: keys with integers (stored as uint32), floats, booleans or strings.
        specs: the tensors in file order.
        data: called with each tensor's index in turn; yields its bytes in pieces.
        progress: called with the bytes written and the bytes in all.

    Raises:
        StorageError: the drive is full, or the folder is missing or not writable.
    """
    header = header_bytes(metadata, specs)
    total = len(header) + sum(_padded(spec.bytes) for spec in specs)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        free = shutil.disk_usage(path.absolute().parent).free
        if free < total:
            raise _full(path, total, free)
        with partial.open("xb") as file:
            file.write(header)
            done = len(header)
            for index, spec in enumerate(specs):
                done = _write_tensor(file, spec, data(index), done, total, progress)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.absolute().parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(path, total, None) from error
        raise StorageError(
            f"{path}: cannot be written: {error.strerror}; give a path in a writable folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _write_tensor(
    file: BinaryIO,
    spec: TensorSpec,
    pieces: Iterable[bytes | memoryview],
    done: int,
    total: int,
    progress: Callable[[int, int], None],
) -> int:
    written = 0
    for piece in pieces:
        file.write(piece)
        written += len(piece)
        progress(done + written, total)
    assert written == spec.bytes, f"{spec.name}: {written} bytes, expected {spec.bytes}"
    file.write(bytes(_padded(written) - written))
    return done + _padded(written)


def header_bytes(metadata: Mapping[str, Value], specs: Sequence[TensorSpec]) -> bytes:
    """Everything before the first tensor's data, padded."""
    entries = [(key, _value(value)) for key, value in metadata.items()]
    tensors = [
        (spec.name, spec.shape[::-1], _core.format_traits(spec.format)["gguf_id"], spec.bytes)
        for spec in specs
    ]
    return encode_header(entries, tensors, ALIGNMENT)


def encode_header(
    metadata: Sequence[tuple[str, bytes]],
    tensors: Sequence[tuple[str, tuple[int, ...], int, int]],
    alignment: int,
) -> bytes:
    """Everything before the first tensor's data, padded.

    Args:
        metadata: keys, and their values as GGUF encodes them, the type first.
        tensors: name, dimensions (the fastest first), type id and bytes of each.
        alignment: of the tensors' data.
    """
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata:
        parts += [encode_string(key), value]
    offset = 0
    for name, dimensions, kind, size in tensors:
        layout = f"<I{len(dimensions)}QIQ"
        parts += [
            encode_string(name),
            struct.pack(layout, len(dimensions), *dimensions, kind, offset),
        ]
        offset += -(-size // alignment) * alignment
    whole = b"".join(parts)
    return whole + bytes(-len(whole) % alignment)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def encode_string(text: str) -> bytes:
    """A string as GGUF has it: its length, then UTF-8."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    return struct.pack("<I", 8) + encode_string(value)


def _full(path: Path, needed: int, free: int | None) -> StorageError:
    has = "" if free is None else f", the drive has {free / 1e9:.2f} GB left"
    return StorageError(
        f"{path}: the file needs {needed / 1e9:.2f} GB{has}; make room, choose another drive, "
        "or write fewer --layers"
    )


def sync_folder(folder: Path) -> None:
    """Let a rename in the folder reach the drive; not every file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
