"""A model file that exists only as metadata and shapes, for testing how tapes are built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zerostall.nn import Builder


@dataclass(frozen=True)
class FakeTensor:
    name: str
    shape: tuple[int, ...]
    type_name: str = "F32"


class FakeFile:
    """What Builder needs of `_core.GgufFile`."""

    def __init__(
        self,
        metadata: dict[str, Any],
        shapes: dict[str, tuple[int, ...]],
        values: dict[str, npt.NDArray[np.float32]] | None = None,
    ) -> None:
        self.paths = ["model.gguf"]
        self.metadata = metadata
        self.shapes = shapes
        self.values = values or {}

    def __contains__(self, key: str) -> bool:
        return key in self.metadata

    def get(self, key: str) -> Any:
        return self.metadata[key]

    def tensors(self) -> list[FakeTensor]:
        return [FakeTensor(name, shape) for name, shape in self.shapes.items()]

    def tensor_bytes(self, name: str) -> npt.NDArray[np.uint8]:
        return self.values[name].view(np.uint8)


def builder(file: FakeFile, architecture: str = "llama", context: int = 128) -> Builder:
    return Builder(file, architecture, context)  # type: ignore[arg-type]


def tiny_llama(layers: int = 1, architecture: str = "llama") -> FakeFile:
    """Width 8, 2 query heads of 4 over 1 key head, ffn of 12, vocabulary of 10."""
    key = architecture + "."
    metadata: dict[str, Any] = {
        "general.architecture": architecture,
        key + "context_length": 64,
        key + "block_count": layers,
        key + "embedding_length": 8,
        key + "attention.head_count": 2,
        key + "attention.head_count_kv": 1,
        key + "attention.layer_norm_rms_epsilon": 1e-5,
    }
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (10, 8), "output_norm.weight": (8,)}
    for i in range(layers):
        blk = f"blk.{i}."
        shapes[blk + "attn_norm.weight"] = (8,)
        shapes[blk + "attn_q.weight"] = (8, 8)
        shapes[blk + "attn_k.weight"] = (4, 8)
        shapes[blk + "attn_v.weight"] = (4, 8)
        shapes[blk + "attn_output.weight"] = (8, 8)
        shapes[blk + "ffn_norm.weight"] = (8,)
        shapes[blk + "ffn_gate.weight"] = (12, 8)
        shapes[blk + "ffn_up.weight"] = (12, 8)
        shapes[blk + "ffn_down.weight"] = (8, 12)
    return FakeFile(metadata, shapes)
