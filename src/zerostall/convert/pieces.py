"""The bytes of a converted file's tensors, packed from the source piece by piece."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np

from zerostall import _core
from zerostall._core import GgufFile
from zerostall.convert.layout import PANEL_ROWS, Part, Stored
from zerostall.convert.record import HEADER_BYTES, seal
from zerostall.convert.source import Bytes, Source
from zerostall.errors import InvalidRequestError, ModelFormatError

PIECE_BYTES = 8 << 20  # of source; what is in memory at once is a few of these, or of records
AHEAD = 2  # pieces packed while one is written


def pieces(file: GgufFile, stored: Stored) -> Iterator[memoryview]:
    """The data of a stored tensor in order, packed a little ahead in threads.

    Raises:
        StorageError: the model cannot be read.
    """
    waiting: deque[Future[Bytes]] = deque()
    with Source(file, file.tensors()) as source, ThreadPoolExecutor(AHEAD) as threads:
        try:
            for job in _jobs(source, stored):
                waiting.append(threads.submit(job))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result().data
            while waiting:
                yield waiting.popleft().result().data
        finally:
            for future in waiting:
                future.cancel()


def _jobs(source: Source, stored: Stored) -> Iterator[Callable[[], Bytes]]:
    if stored.experts:
        for expert in range(stored.experts):
            yield partial(_record, source, stored, expert)
        return
    if not stored.parts:
        for begin in range(0, stored.bytes, PIECE_BYTES):
            count = min(PIECE_BYTES, stored.bytes - begin)
            yield partial(source.read, stored.name, begin, count)
        return
    (part,) = stored.parts
    step = max(1, PIECE_BYTES // part.row_bytes // PANEL_ROWS) * PANEL_ROWS
    for begin in range(*part.rows, step):
        yield partial(_pack, source, part, 0, begin, min(begin + step, part.rows[1]))


def _pack(source: Source, part: Part, expert: int, begin: int, end: int) -> Bytes:
    first = expert * part.dims[1]
    each = part.source_row_bytes
    rows = source.read(part.source, (first + begin) * each, (end - begin) * each)
    if part.made_from is not None:
        rows = _requantised(part, rows, (end - begin) * part.dims[0])
    return _core.pack(part.format, rows, end - begin, part.dims[0])


def _requantised(part: Part, rows: Bytes, values: int) -> Bytes:
    assert part.made_from is not None
    decoded = _core.decode(part.made_from, rows, values)
    try:
        return _core.encode(part.format, decoded)
    except InvalidRequestError as error:
        raise ModelFormatError(
            f"tensor '{part.source}' can have no low copy: {error} Convert it without one"
        ) from error


def _record(source: Source, stored: Stored, expert: int) -> Bytes:
    record = bytearray(stored.dims[0])
    for part in stored.parts:
        record[part.offset : part.offset + part.bytes] = _pack(
            source, part, expert, *part.rows
        ).data
    gate, up, down = stored.parts
    ids = [_core.format_traits(part.format)["gguf_id"] for part in (gate, down)]
    seal(
        record,
        down.offset + down.bytes - HEADER_BYTES,
        formats=(ids[0], ids[1]),
        layer=stored.layer,
        expert=expert,
        shape=(gate.dims[0], gate.dims[1], PANEL_ROWS),
        offsets=(up.offset, down.offset),
    )
    return np.frombuffer(record, np.uint8)
