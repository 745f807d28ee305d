"""Is a converted file what it should be, to the last byte?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash

from zerostall import gguf
from zerostall._core import GgufFile, TensorInfo
from zerostall.convert.layout import CHECKSUMS, HEADER_CHECKSUM, plan, sum_header
from zerostall.convert.pieces import PIECE_BYTES, pieces
from zerostall.convert.record import checksum_holds
from zerostall.convert.source import Source
from zerostall.errors import InvalidRequestError, ModelFormatError

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    pass


def verify(path: Path, model: Path | None = None, progress: Progress = _silent) -> None:
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
        StorageError: a drive fails, or a file is cut short meanwhile.
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
    with Source(file, stored) as source:
        _check_header(file, path, source)
        if model is not None:
            compare(file, path, source, gguf.open_model(model), progress)
            progress = _silent  # it has told of the whole file
        _check_tensors(file, path, source, progress)


def _check_header(file: GgufFile, path: Path, source: Source) -> None:
    """Compare the header with its checksum, if the file is new enough to have one."""
    keys = file.metadata_keys()
    behind = keys[keys.index(CHECKSUMS) + 1 :]
    if not behind:
        return
    # It is the last key, so a damaged name is not taken for a file without one.
    if behind != [HEADER_CHECKSUM]:
        raise _differs(path, f"metadata key '{behind[0]}'", f"'{HEADER_CHECKSUM}'")
    stored = file.stored_tensors()
    header = source.read_file(0, 0, min(tensor.offset for tensor in stored))
    expected = file.get(HEADER_CHECKSUM)
    if not isinstance(expected, int) or sum_header(header.tobytes(), len(stored)) != expected:
        raise _differs(path, "header (metadata and tensor directory)", "its checksum")


def _check_tensors(file: GgufFile, path: Path, source: Source, progress: Progress) -> None:
    """Compare every tensor, and every record of an expert, with its checksum."""
    stored, checksums = file.stored_tensors(), file.get(CHECKSUMS)
    total, done = sum(tensor.bytes for tensor in stored), 0
    listed = [*file.packed(), *file.low_packed()]
    records = {packed["stored"] for packed in listed if packed["offset"]}
    for index, tensor in enumerate(stored):
        step = tensor.shape[1] if index in records else PIECE_BYTES
        digest = xxhash.xxh3_64()
        for number, piece in enumerate(_read(source, tensor, step)):
            digest.update(piece)
            if index in records and not checksum_holds(piece):
                raise _differs(path, f"tensor '{tensor.name}', record {number}", "its checksum")
            done += len(piece)
            progress(done, total)
        if digest.intdigest() != int(checksums[index]):
            raise _differs(path, f"tensor '{tensor.name}'", "its checksum")


def compare(
    file: GgufFile, path: Path, source: Source, model: GgufFile, progress: Progress
) -> None:
    """Compare a converted file, open in `source`, with a fresh conversion of its model."""
    layout = plan(model, low_format(file), header_checksum=HEADER_CHECKSUM in file)
    begin, end = layout.checksums_at, layout.checksums_at + 8 * len(layout.stored)
    header = source.read_file(0, 0, min(len(layout.header), path.stat().st_size)).tobytes()
    if header[:begin] + bytes(end - begin) + header[end:] != layout.header:
        raise _differs(path, "header", "that of a conversion of the model")
    done = len(header)
    for stored, tensor in zip(layout.stored, file.stored_tensors(), strict=True):
        at = 0
        for piece in pieces(model, stored):
            if source.read(tensor.name, at, len(piece)).data != piece:
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


def _read(source: Source, tensor: TensorInfo, step: int) -> Iterator[memoryview]:
    for at in range(0, tensor.bytes, step):
        yield source.read(tensor.name, at, min(step, tensor.bytes - at)).data


def _differs(path: Path, what: str, expected: str) -> ModelFormatError:
    return ModelFormatError(
        f"{path}: {what}: differs from {expected}; the file is damaged or of another model: "
        "convert the model again"
    )
