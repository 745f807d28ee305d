"""Where everything of a model goes in its converted file."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import xxhash

from zerostall import _core, arch
from zerostall._core import GgufFile
from zerostall.convert.record import HEADER_BYTES, PANEL_ALIGNMENT, check_fits
from zerostall.engine.budget import DEFAULT_CONTEXT
from zerostall.errors import InvalidRequestError, UnsupportedModelError
from zerostall.lab.gguf_writer import encode_header, encode_string

VERSION = 1
LOW_COPY_VERSION = 2  # of files whose experts have low copies
ALIGNMENT = 4096  # a page, and the unit of direct reads
CHECKSUMS = "zerostall.checksums"
HEADER_CHECKSUM = "zerostall.header_checksum"  # the last key
PANEL_ROWS = 16
BYTES_TYPE = 24  # I8, which every reader of GGUF lists
_U32, _STRING, _ARRAY, _U64 = 4, 8, 9, 10
_DIMS = 4  # of a tensor, at most
_DROPPED = ("general.alignment", "split.", "zerostall.")


@dataclass(frozen=True)
class Part:
    """Rows of a source tensor, packed into panels, in a stored tensor or in each record of one.

    Attributes:
        source: the tensor's name.
        format: its format's name.
        dims: its dimensions, the fastest first.
        rows: the first row and the end of the rows.
        offset: of the panels in the stored tensor or in each record.
        made_from: the format that the source has, where it is another.
    """

    source: str
    format: str
    dims: tuple[int, ...]
    rows: tuple[int, int]
    offset: int = 0
    made_from: str | None = None

    @property
    def row_bytes(self) -> int:
        """Of one row, packed or not."""
        return _row_bytes(self.format, self.dims[0])

    @property
    def source_row_bytes(self) -> int:
        """Of one row of the source."""
        return _row_bytes(self.made_from or self.format, self.dims[0])

    @property
    def bytes(self) -> int:
        """Of its panels; those of one expert."""
        count = self.rows[1] - self.rows[0]
        return -(-count // PANEL_ROWS) * PANEL_ROWS * self.row_bytes


@dataclass(frozen=True)
class Stored:
    """A tensor of the converted file.

    Attributes:
        parts: what it holds packed: one part, or gate, up and down of a layer's experts; none
            for a tensor kept as it is.
        layer: the block whose experts it holds.
        low: whether it holds their low copies.
    """

    name: str
    dims: tuple[int, ...]
    type_id: int
    bytes: int
    parts: tuple[Part, ...] = ()
    layer: int = 0
    low: bool = False

    @property
    def experts(self) -> int:
        """How many records it holds; 0 if it holds none."""
        return self.dims[1] if len(self.parts) == 3 else 0


@dataclass(frozen=True)
class Layout:
    """Header and tensors of a converted file.

    Attributes:
        header: everything before the first tensor's data, with checksums of zero.
        checksums_at: the position in the header of the checksums, 8 bytes for each tensor.
        stored: the tensors in file order.
        offsets: where the data of each begins in the file.
        bytes: size of the file.
    """

    header: bytes
    checksums_at: int
    stored: tuple[Stored, ...]
    offsets: tuple[int, ...]
    bytes: int


def plan(file: GgufFile, miss_copy: str | None = None, *, header_checksum: bool = True) -> Layout:
    """The layout of a model's converted file; reads no weights.

    Args:
        file: the model.
        miss_copy: the format of second records of its experts, its low copies; None: without.
        header_checksum: with the checksum of the header; older files have none.

    Raises:
        InvalidRequestError: the file is a converted one, or its experts can have no low copies of
            this format.
        ModelFormatError, UnsupportedModelError: as when loading it.
    """
    if file.container_version:
        raise InvalidRequestError(
            f"{file.paths[0]} is a converted file already; give the model it was made from"
        )
    tape = arch.load(file, DEFAULT_CONTEXT).tape
    packed, raw = _core.plan_weights(file, tape)
    tensors = {tensor.name: tensor for tensor in file.tensors()}
    networks = {
        refs[0].name: tuple(ref.name for ref in refs if ref is not None)
        for op in tape.ops
        if op.kind == "moe" and (refs := op.weights[2:5])[0] is not None
    }
    of_experts = {name for names in networks.values() for name in names}

    def part(name: str, begin: int, end: int) -> Part:
        tensor = tensors[name]
        return Part(name, tensor.type_name, tensor.shape[::-1], (begin, end))

    kept = raw | (tensors.keys() - {name for name, *_ in packed})
    stored = [
        Stored(tensor.name, tensor.shape[::-1], tensor.type_id, tensor.bytes)
        for tensor in tensors.values()
        if tensor.name in kept
    ]
    matrices = [part(n, begin, end) for n, begin, end, _ in packed if n not in of_experts]
    stored += [_matrix(matrix) for matrix in matrices]
    whole = {name: part(name, begin, end) for name, begin, end, _ in packed}
    records = [_records(file, [whole[name] for name in names]) for names in networks.values()]
    if miss_copy is not None:
        check_format(miss_copy)
        if not records:
            raise InvalidRequestError(
                f"{file.paths[0]} has no experts, so none is missed: convert it without a miss copy"
            )
        copies = [low_copy(record, miss_copy) for record in records]
        records = [each for pair in zip(records, copies, strict=True) for each in pair]
    return _lay_out(file, stored + records, header_checksum)


def _matrix(part: Part) -> Stored:
    slice_of = "" if part.rows == (0, part.dims[1]) else f".rows.{part.rows[0]}-{part.rows[1]}"
    return Stored(f"{part.source}{slice_of}.packed", (part.bytes,), BYTES_TYPE, part.bytes, (part,))


def _records(file: GgufFile, parts: Sequence[Part]) -> Stored:
    gate, up, _ = parts
    if gate.format != up.format:
        raise UnsupportedModelError(
            f"{file.paths[0]}: {gate.source} is {gate.format} and {up.source} is {up.format}; "
            "a record has one format for both: run the model unconverted"
        )
    block = re.match(r"blk\.(\d+)\.", gate.source)
    if block is None:
        raise UnsupportedModelError(
            f"{file.paths[0]}: the name {gate.source} has no block number, which a record "
            "states: run the model unconverted"
        )
    return _place(f"blk.{block[1]}.ffn_experts.packed", parts, int(block[1]))


def _place(name: str, parts: Sequence[Part], layer: int, low: bool = False) -> Stored:
    """Records of gate, up and down, which lie behind one another in each."""
    placed, end = [], HEADER_BYTES
    for part in parts:
        begin = _up(end, PANEL_ALIGNMENT)
        placed.append(replace(part, offset=begin))
        end = begin + part.bytes
    check_fits(parts[0].source, end)
    dims = (_up(end, ALIGNMENT), parts[0].dims[2])
    return Stored(name, dims, BYTES_TYPE, prod(dims), tuple(placed), layer, low)


def check_format(miss_copy: str) -> None:
    """Raise InvalidRequestError for a format that low copies cannot have."""
    if miss_copy not in _core.encodable_formats():
        raise InvalidRequestError(
            f"the format of miss copies is {miss_copy!r}; "
            f"give one of {', '.join(_core.encodable_formats())}"
        )


def low_copy(records: Stored, format: str) -> Stored:
    """Second records of the same experts in a format of fewer bits.

    Raises:
        InvalidRequestError: rows are no whole blocks of it, or it saves nothing.
    """
    block = _core.format_traits(format)["block_values"]
    for part in records.parts:
        if part.dims[0] % block:
            raise InvalidRequestError(
                f"{part.source} has rows of {part.dims[0]} values, which are no whole blocks of "
                f"{block}, as {format} has them: give another format of miss copies, such as Q4_0"
            )
    parts = [replace(part, format=format, made_from=part.format) for part in records.parts]
    low = _place(f"blk.{records.layer}.ffn_experts.low.packed", parts, records.layer, low=True)
    if low.dims[0] >= records.dims[0]:
        raise InvalidRequestError(
            f"a miss copy in {format} takes {low.dims[0]} bytes and the expert itself "
            f"{records.dims[0]} (block {records.layer}): give a format of fewer bits, or none"
        )
    return low


def _lay_out(file: GgufFile, stored: Sequence[Stored], header_checksum: bool) -> Layout:
    metadata = [
        (key, file.metadata_bytes(key))
        for key in file.metadata_keys()
        if not key.startswith(_DROPPED)
    ]
    low = [tensor for tensor in stored if tensor.low]
    version = LOW_COPY_VERSION if low else VERSION
    metadata += [
        ("general.alignment", struct.pack("<II", _U32, ALIGNMENT)),
        ("zerostall.container.version", struct.pack("<II", _U32, version)),
        *_index("packed", [tensor for tensor in stored if not tensor.low]),
        *(_index("low", low) if low else ()),
        (CHECKSUMS, _numbers(_U64, [0] * len(stored))),
    ]
    if header_checksum:
        metadata.append((HEADER_CHECKSUM, struct.pack("<IQ", _U64, 0)))
    tensors = [(tensor.name, tensor.dims, tensor.type_id, tensor.bytes) for tensor in stored]
    header = encode_header(metadata, tensors, ALIGNMENT)
    if header_checksum:
        at = _header_checksum_at(header)
        header = header[:at] + struct.pack("<Q", sum_header(header, len(stored))) + header[at + 8 :]
    offsets, end = [], len(header)
    for tensor in stored:
        offsets.append(end)
        end = _up(end + tensor.bytes, ALIGNMENT)
    return Layout(header, _checksums_at(header), tuple(stored), tuple(offsets), end)


def sum_header(header: bytes, tensors: int) -> int:
    """xxh3-64 of a header with zeros for its own checksum and for those of the tensors.

    So it is known before any tensor is written, and a conversion that is resumed has it, too.

    Args:
        header: everything before the first tensor's data, HEADER_CHECKSUM among it.
        tensors: how many there are.
    """
    plain = bytearray(header)
    for at, size in ((_checksums_at(header), 8 * tensors), (_header_checksum_at(header), 8)):
        plain[at : at + size] = bytes(size)
    return int(xxhash.xxh3_64_intdigest(plain))


def _checksums_at(header: bytes) -> int:
    # Behind the key come its type, its elements' type and their number.
    key = encode_string(CHECKSUMS)
    return header.rindex(key) + len(key) + 16


def _header_checksum_at(header: bytes) -> int:
    key = encode_string(HEADER_CHECKSUM)
    return header.rindex(key) + len(key) + 4  # its type


def _index(name: str, stored: Sequence[Stored]) -> list[tuple[str, bytes]]:
    parts = [(tensor.name, part) for tensor in stored for part in tensor.parts]
    values = {
        "tensor": _strings([name for name, _ in parts]),
        "source": _strings([part.source for _, part in parts]),
        "format": _numbers(_U32, [_type_id(part) for _, part in parts]),
        "dims": _numbers(_U64, [d for _, part in parts for d in _padded(part)]),
        "rows": _numbers(_U64, [row for _, part in parts for row in part.rows]),
        "offset": _numbers(_U64, [part.offset for _, part in parts]),
    }
    return [(f"zerostall.{name}.{key}", value) for key, value in values.items()]


def _row_bytes(format: str, columns: int) -> int:
    traits = _core.format_traits(format)
    size: int = columns // traits["block_values"] * traits["block_bytes"]
    return size


def _type_id(part: Part) -> int:
    number: int = _core.format_traits(part.format)["gguf_id"]
    return number


def _padded(part: Part) -> tuple[int, ...]:
    return part.dims + (0,) * (_DIMS - len(part.dims))


def _strings(texts: Sequence[str]) -> bytes:
    head = struct.pack("<IIQ", _ARRAY, _STRING, len(texts))
    return head + b"".join(encode_string(text) for text in texts)


def _numbers(kind: int, numbers: Sequence[int]) -> bytes:
    letter = "I" if kind == _U32 else "Q"
    return struct.pack(f"<IIQ{len(numbers)}{letter}", _ARRAY, kind, len(numbers), *numbers)


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
