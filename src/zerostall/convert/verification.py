"""Is a converted file what it should be, to the last byte?"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash

from zerostall import gguf
from zerostall._core import GgufFile, TensorInfo
from zerostall.convert.layout import CHECKSUMS, plan
from zerostall.convert.pieces import PIECE_BYTES, pieces
from zerostall.convert.record import checksum_holds
from zerostall.errors import InvalidRequestError, ModelFormatError, StorageError

Progress = Callable[[int, int], None]


def verify(
    path: Path, model: Path | None = None, progress: Progress = lambda done, total: None
) -> None:
    """Check a converted file.

    Every checksum is computed again; given the model that it was made from, the header and every
    byte of data are compared with what converting it now would write.

    Args:
        path: the converted file.
        model: the model it was made from, or None.
        progress: called with the bytes done and the bytes in all.

    Raises:
        ModelFormatError: something differs; the message names it.
        InvalidRequestError: `path` is no converted file.
        StorageError: the drive fails.
    """
    file = gguf.open_model(path)
    if not file.container_version:
        raise InvalidRequestError(
            f"{path} is not a converted file; make one with `zerostall convert MODEL OUT.gguf`"
        )
    stored = file.stored_tensors()
    checksums = file.get(CHECKSUMS)
    if getattr(checksums, "shape", None) != (len(stored),):
        raise _differs(path, f"metadata key '{CHECKSUMS}'", f"one for each of {len(stored)}")
    if model is not None:
        compare(file, path, gguf.open_model(model), progress)
    total, done = sum(tensor.bytes for tensor in stored), 0
    listed = [*file.packed(), *file.low_packed()]
    records = {packed["stored"] for packed in listed if packed["offset"]}
    for index, tensor in enumerate(stored):
        step = tensor.shape[1] if index in records else PIECE_BYTES
        digest = xxhash.xxh3_64()
        for number, piece in enumerate(_read(file, tensor, step)):
            digest.update(piece)
            if index in records and not checksum_holds(memoryview(piece)):
                raise _differs(path, f"tensor '{tensor.name}', record {number}", "its checksum")
            done += len(piece)
            if model is None:
                progress(done, total)
        if digest.intdigest() != int(checksums[index]):
            raise _differs(path, f"tensor '{tensor.name}'", "its checksum")


def compare(file: GgufFile, path: Path, model: GgufFile, progress: Progress) -> None:
    """Compare a converted file with a fresh conversion of its model."""
    layout = plan(model, low_format(file))
    begin, end = layout.checksums_at, layout.checksums_at + 8 * len(layout.stored)
    with path.open("rb") as stream:
        header = stream.read(len(layout.header))
    if header[:begin] + bytes(end - begin) + header[end:] != layout.header:
        raise _differs(path, "header", "that of a conversion of the model")
    done = len(header)
    for stored, tensor in zip(layout.stored, file.stored_tensors(), strict=True):
        at = 0
        for piece in pieces(model, stored):
            if b"".join(_read(file, tensor, len(piece), at, len(piece))) != piece:
                raise _differs(path, f"tensor '{tensor.name}', near byte {at}", "a fresh packing")
            at += len(piece)
            progress(done + at, layout.bytes)
        done += at
    progress(layout.bytes, layout.bytes)


def low_format(file: GgufFile) -> str | None:
    """The format of the low copies of experts in a converted file; None if there are none."""
    for packed in file.low_packed():
        return str(packed["format"])
    return None


def _read(
    file: GgufFile, tensor: TensorInfo, step: int, begin: int = 0, count: int | None = None
) -> Iterator[bytes]:
    # Not through the mapping: there a failing drive would end the process.
    path = file.paths[tensor.shard]
    at, left = tensor.offset + begin, tensor.bytes if count is None else count
    try:
        with Path(path).open("rb", buffering=0) as stream:
            while left > 0:
                piece = os.pread(stream.fileno(), min(step, left), at)
                if len(piece) < min(step, left):
                    raise OSError(errno.EIO, "the file ends early")
                yield piece
                at, left = at + len(piece), left - len(piece)
    except OSError as error:
        raise StorageError(
            f"{path}: reading at byte {at} failed: {error.strerror}; check the drive"
        ) from error


def _differs(path: Path, what: str, expected: str) -> ModelFormatError:
    return ModelFormatError(
        f"{path}: {what}: differs from {expected}; the file is damaged or of another model: "
        "convert the model again"
    )
