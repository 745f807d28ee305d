"""The record of an expert: the 64-byte Unified Tensor Header, then gate, up and down packed."""

from __future__ import annotations

import struct

import xxhash

from zerostall.errors import UnsupportedModelError

HEADER_BYTES = 64
PANEL_ALIGNMENT = 64
_VERSION = 1
_INTERLEAVED_ROWS = 1  # flag
_LAYOUT = "<4s4H9I2Q"  # core/experts/record.h has the same fields
_MOST_BYTES = 2**32 - 1  # offsets are 32 bits wide
_CHECKSUM_AT = 56
assert struct.calcsize(_LAYOUT) == HEADER_BYTES


def seal(
    record: bytearray,
    payload_bytes: int,
    *,
    formats: tuple[int, int],
    layer: int,
    expert: int,
    shape: tuple[int, int, int],
    offsets: tuple[int, int],
) -> None:
    """Write the header of a record whose payload is in place.

    Args:
        record: the whole record.
        payload_bytes: behind the header, without the padding at the end.
        formats: GGUF type ids of gate and up, and of down.
        layer: the block.
        expert: its number in the block.
        shape: d_model, d_ff and rows of a panel.
        offsets: of up and of down, from the record's start.
    """
    payload = memoryview(record)[HEADER_BYTES : HEADER_BYTES + payload_bytes]
    struct.pack_into(
        _LAYOUT,
        record,
        0,
        b"UTH1",
        _VERSION,
        _INTERLEAVED_ROWS,
        *formats,
        layer,
        expert,
        *shape,
        *offsets,
        0,  # group scales lie in the panels
        0,  # no hint for tiles
        payload_bytes,
        xxhash.xxh3_64_intdigest(payload),
    )


def checksum_holds(record: memoryview) -> bool:
    """Whether a record's payload is what its header's checksum was made of."""
    payload_bytes, checksum = struct.unpack_from("<2Q", record, _CHECKSUM_AT - 8)
    if payload_bytes > len(record) - HEADER_BYTES:
        return False
    payload = record[HEADER_BYTES : HEADER_BYTES + payload_bytes]
    return bool(xxhash.xxh3_64_intdigest(payload) == checksum)


def check_fits(name: str, size: int) -> None:
    """Raise UnsupportedModelError for an expert larger than a header can describe."""
    if size > _MOST_BYTES:
        raise UnsupportedModelError(
            f"{name}: an expert takes {size} bytes, more than the {_MOST_BYTES} that a record "
            "can hold: run the model unconverted"
        )
