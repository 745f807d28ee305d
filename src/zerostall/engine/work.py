"""What a model must read and compute, and how fast a machine can at best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from zerostall import _core
from zerostall.tape import Op, Tape

if TYPE_CHECKING:
    from zerostall._core import TensorInfo

READ = "read_bandwidth_gb_per_s"  # in records
# Units of instruction sets that are not named alike, best first.
UNITS = {"avx_vnni": ("avx_vnni", "avx2"), "amx": ("amx", "avx512"), "bf16_dot": ("amx", "avx512")}
KV_BYTES = {"f16": 2, "f32": 4, "int8": 1}
KV_SCALE_BYTES = {"int8": 4}  # of each position, head, keys and values


@dataclass(frozen=True)
class Limits:
    """Rates that nothing on this machine exceeds: bytes and operations a second.

    A multiplication and an addition are two operations. `drive` is None where the file system
    does not read past the page cache.
    """

    read_bandwidth: float
    int8: float
    float32: float
    drive: float | None = None

    def to_dict(self) -> dict[str, float]:
        """In GB/s and TOPS, for JSON."""
        record = {
            READ: self.read_bandwidth / 1e9,
            "int8_tops": self.int8 / 1e12,
            "float32_tflops": self.float32 / 1e12,
        }
        if self.drive is not None:
            record["drive_gb_per_s"] = self.drive / 1e9
        return record


def compute_unit(isa: str) -> str:
    """The best unit that an instruction set's kernels may use on this machine."""
    available = _core.compute_units()
    for unit in UNITS.get(isa, (isa,)):
        if unit in available:
            return unit
    return available[-1]


@dataclass(frozen=True)
class Work:
    """What a token, or a whole prompt, must read and compute at least.

    Attributes:
        bytes: weights, and for decoding keys and values, read from memory.
        int8: operations on quantised weights.
        float32: operations on float weights.
    """

    bytes: float
    int8: float
    float32: float

    @property
    def operations(self) -> float:
        """All of them."""
        return self.int8 + self.float32

    def seconds(self, limits: Limits) -> float:
        """The least time it takes: memory and arithmetic overlap, the longer one counts."""
        computing = self.int8 / limits.int8 + self.float32 / limits.float32
        return max(self.bytes / limits.read_bandwidth, computing)


def work_of(
    tape: Tape, tensors: Iterable[TensorInfo], batch: int, depth: float, kv_type: str = "f16"
) -> Work:
    """The least work of computing `batch` tokens of one sequence, with logits of the last.

    Of a mixture of experts only the experts used count: `used` of each token in operations, and
    in bytes those that at least one of the batch's tokens chooses if all are equally likely.
    Left out is what is small or has no such limit: attention's own arithmetic, norms,
    activations, rows of the embedding.

    Args:
        tape: the model.
        tensors: the file's tensors.
        batch: tokens computed together.
        depth: keys and values already cached, read once for the batch.
        kv_type: precision of the cache.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    size = int8 = float32 = 0.0
    for op in tape.ops:
        if op.kind == "attention":
            size += _cache_read(op, depth, kv_type)
        if op.kind in ("embed", "foresee"):
            continue
        rows = 1 if op.kind == "logits" else batch
        # What an operator of experts has besides is biases and what guesses the next layer's.
        weights = op.weights[:5] if op.kind == "moe" else op.weights
        for position, weight in enumerate(weights):
            if weight is None:
                continue
            tensor = by_name[weight.name]
            share = 1.0
            if len(tensor.shape) > 1:
                end = tensor.shape[-2] if weight.row_end is None else weight.row_end
                share = (end - weight.row_begin) / tensor.shape[-2]
            used = _used(op) if len(tensor.shape) == 3 and position >= 2 else 1.0
            size += tensor.bytes * share * (1.0 - (1.0 - used) ** rows if used < 1.0 else 1.0)
            if len(tensor.shape) == 1:
                continue
            operations = 2.0 * prod(tensor.shape) * share * used * rows
            if _core.format_traits(tensor.type_name)["activations"] == "F32":
                float32 += operations
            else:
                int8 += operations
    return Work(size, int8, float32)


def _used(op: Op) -> float:
    used, experts = op.attrs.get("used", 1), op.attrs.get("experts", 1)
    assert isinstance(used, int)
    assert isinstance(experts, int)
    return used / experts


def _cache_read(op: Op, depth: float, kv_type: str) -> float:
    a: dict[str, Any] = op.attrs
    window = a.get("window", 0)
    seen = min(depth, window) if window else depth
    head = (a["head_dim"] + a["value_dim"]) * KV_BYTES[kv_type] + 2 * KV_SCALE_BYTES.get(kv_type, 0)
    return float(a["kv_heads"] * head * seen)
