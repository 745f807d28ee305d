"""Where everything of a model goes in its converted file."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from zerostall import _core, arch
from zerostall._core import GgufFile
from zerostall.convert.record import HEADER_BYTES, PANEL_ALIGNMENT, check_fits
from zerostall.engine.budget import DEFAULT_CONTEXT
from zerostall.errors import InvalidRequestError, UnsupportedModelError
from zerostall.lab.gguf_writer import encode_header, encode_string

VERSION = 1
ALIGNMENT = 4096  # a page, and the unit of direct reads
CHECKSUMS = "zerostall.checksums"
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
    """

    source: str
    format: str
    dims: tuple[int, ...]
    rows: tuple[int, int]
    offset: int = 0

    @property
    def row_bytes(self) -> int:
        """Of one row, packed or not."""
        traits = _core.format_traits(self.format)
        size: int = self.dims[0] // traits["block_values"] * traits["block_bytes"]
        return size

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
    """

    name: str
    dims: tuple[int, ...]
    type_id: int
    bytes: int
    parts: tuple[Part, ...] = ()
    layer: int = 0

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


def plan(file: GgufFile) -> Layout:
    """The layout of a model's converted file; reads no weights.

    Raises:
        InvalidRequestError: the file is a converted one.
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
    stored += [_records(file, [whole[name] for name in names]) for names in networks.values()]
    return _lay_out(file, stored)


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
    placed, end = [], HEADER_BYTES
    for part in parts:
        begin = _up(end, PANEL_ALIGNMENT)
        placed.append(Part(part.source, part.format, part.dims, part.rows, begin))
        end = begin + part.bytes
    check_fits(gate.source, end)
    dims = (_up(end, ALIGNMENT), gate.dims[2])
    name = f"blk.{block[1]}.ffn_experts.packed"
    return Stored(name, dims, BYTES_TYPE, prod(dims), tuple(placed), int(block[1]))


def _lay_out(file: GgufFile, stored: Sequence[Stored]) -> Layout:
    metadata = [
        (key, file.metadata_bytes(key))
        for key in file.metadata_keys()
        if not key.startswith(_DROPPED)
    ]
    parts = [(tensor.name, part) for tensor in stored for part in tensor.parts]
    metadata += [
        ("general.alignment", struct.pack("<II", _U32, ALIGNMENT)),
        ("zerostall.container.version", struct.pack("<II", _U32, VERSION)),
        ("zerostall.packed.tensor", _strings([name for name, _ in parts])),
        ("zerostall.packed.source", _strings([part.source for _, part in parts])),
        ("zerostall.packed.format", _numbers(_U32, [_type_id(part) for _, part in parts])),
        ("zerostall.packed.dims", _numbers(_U64, [d for _, part in parts for d in _padded(part)])),
        ("zerostall.packed.rows", _numbers(_U64, [row for _, part in parts for row in part.rows])),
        ("zerostall.packed.offset", _numbers(_U64, [part.offset for _, part in parts])),
        (CHECKSUMS, _numbers(_U64, [0] * len(stored))),
    ]
    tensors = [(tensor.name, tensor.dims, tensor.type_id, tensor.bytes) for tensor in stored]
    header = encode_header(metadata, tensors, ALIGNMENT)
    # Behind the last key come its type, its elements' type and their number.
    key = encode_string(CHECKSUMS)
    checksums_at = header.rindex(key) + len(key) + 16
    offsets, end = [], len(header)
    for tensor in stored:
        offsets.append(end)
        end = _up(end + tensor.bytes, ALIGNMENT)
    return Layout(header, checksums_at, tuple(stored), tuple(offsets), end)


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
