"""Random bytes of every weight format, with the scales kept finite."""

from __future__ import annotations

import gguf
import numpy as np
import numpy.typing as npt

from zerostall import _core

Bytes = npt.NDArray[np.uint8]
FORMATS: list[str] = _core.format_names()

# Where the float16 fields of a block begin.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
    "MXFP4": [],
    "F16": [0],
}
EXTREME_HALVES = np.array([0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF], np.uint16)
EXTREME_FLOATS = np.array([0.0, -0.0, 1e-45, -1e-38, 1.1754944e-38, 3.4028235e38], np.float32)


def block_sizes(name: str) -> tuple[int, int]:
    """Values and bytes of a block."""
    values, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    return int(values), int(size)


def random_rows(name: str, rows: int, columns: int, seed: int, extreme: bool = False) -> Bytes:
    """uint8 [rows, bytes per row]. Scales are about 1, or with `extreme` any finite value."""
    rng = np.random.default_rng(seed)
    values, size = block_sizes(name)
    blocks = rows * columns // values
    data = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    if name in ("F32", "BF16"):
        floats = rng.standard_normal(blocks).astype(np.float32)
        if extreme:
            floats[: len(EXTREME_FLOATS)] = EXTREME_FLOATS[:blocks]
        data = np.ascontiguousarray(floats.view(np.uint8).reshape(blocks, 4)[:, 4 - size :])
    for at in HALVES.get(name, []):
        halves = rng.uniform(-2, 2, blocks).astype(np.float16).view(np.uint16)
        if extreme:
            bits = rng.integers(0, 0x10000, blocks).astype(np.uint16)
            halves = np.where(bits & 0x7C00 == 0x7C00, bits & 0x83FF, bits).astype(np.uint16)
            halves[: len(EXTREME_HALVES)] = EXTREME_HALVES[:blocks]
        data[:, at : at + 2] = halves.view(np.uint8).reshape(blocks, 2)
    if name == "MXFP4":
        every = np.arange(blocks) % 255
        data[:, 0] = every if extreme else 120 + every % 10
    return data.reshape(rows, -1)


def decoded(name: str, data: Bytes) -> npt.NDArray[np.float32]:
    """What the gguf package makes of the bytes."""
    with np.errstate(over="ignore", invalid="ignore"):
        result = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name])
    return np.ascontiguousarray(result, dtype=np.float32)
