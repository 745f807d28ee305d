"""GGUF files byte by byte, right or wrong, with the place of every field on record.

Layout after https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_PACK = {
    U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f",
    BOOL: "<B", U64: "<Q", I64: "<q", F64: "<d",
}  # fmt: skip


@dataclass
class Tensor:
    """One directory entry; `offset` None places it behind the one before."""

    name: bytes
    dims: tuple[int, ...]
    type_id: int
    data: bytes
    offset: int | None = None
    n_dims: int | None = None


@dataclass
class Builder:
    """Collects metadata and tensors; `build` gives the bytes and fills `fields`.

    Attributes:
        fields: (name, position, size) of each number and text, for tests that damage them.
        n_tensors, n_entries: what the header claims, if not the truth.
    """

    version: int = 3
    alignment: int = 32
    n_tensors: int | None = None
    n_entries: int | None = None
    entries: list[tuple[bytes, int, Any]] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    fields: list[tuple[str, int, int]] = field(default_factory=list)

    def add(self, key: str | bytes, kind: int, value: Any) -> Builder:
        """A metadata entry; the value of an ARRAY is (element kind, [values])."""
        self.entries.append((key.encode() if isinstance(key, str) else key, kind, value))
        return self

    def tensor(
        self,
        name: str,
        dims: tuple[int, ...],
        type_id: int = 0,
        data: bytes = b"",
        offset: int | None = None,
        n_dims: int | None = None,
    ) -> Builder:
        """A tensor with its dimensions as stored, the contiguous one first."""
        self.tensors.append(Tensor(name.encode(), dims, type_id, data, offset, n_dims))
        return self

    def build(self) -> bytes:
        """The whole file."""
        self.fields = []
        out = bytearray()
        self._put(out, "magic", b"GGUF")
        self._number(out, "version", U32, self.version)
        count = len(self.tensors) if self.n_tensors is None else self.n_tensors
        self._number(out, "tensor count", U64, count)
        count = len(self.entries) if self.n_entries is None else self.n_entries
        self._number(out, "metadata count", U64, count)
        for key, kind, value in self.entries:
            self._text(out, "key", key)
            self._number(out, "value type", U32, kind)
            self._value(out, kind, value)
        self._directory(out)
        return bytes(out)

    def _directory(self, out: bytearray) -> None:
        end = 0
        for tensor in self.tensors:
            offset = end if tensor.offset is None else tensor.offset
            self._text(out, "tensor name", tensor.name)
            n_dims = len(tensor.dims) if tensor.n_dims is None else tensor.n_dims
            self._number(out, "n_dims", U32, n_dims)
            for dim in tensor.dims:
                self._number(out, "dim", U64, dim)
            self._number(out, "tensor type", U32, tensor.type_id)
            self._number(out, "offset", U64, offset)
            end = -(-(offset + len(tensor.data)) // self.alignment) * self.alignment
        for tensor in self.tensors:
            out += b"\0" * (-len(out) % self.alignment)
            self._put(out, "data", tensor.data)

    def _value(self, out: bytearray, kind: int, value: Any) -> None:
        if kind == STRING:
            self._text(out, "string", value.encode() if isinstance(value, str) else value)
        elif kind == ARRAY:
            element, values = value
            self._number(out, "element type", U32, element)
            self._number(out, "array length", U64, len(values))
            for item in values:
                self._value(out, element, item)
        else:
            self._number(out, "value", kind if kind in _PACK else U8, value)

    def _number(self, out: bytearray, name: str, kind: int, value: Any) -> None:
        self._put(out, name, struct.pack(_PACK[kind], value))

    def _text(self, out: bytearray, name: str, text: bytes) -> None:
        self._number(out, name + " length", U64, len(text))
        self._put(out, name, text)

    def _put(self, out: bytearray, name: str, data: bytes) -> None:
        self.fields.append((name, len(out), len(data)))
        out += data
