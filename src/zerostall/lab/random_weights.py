"""Random weights of any format as fast as a drive can write: pools of blocks, used again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zerostall import _core

Bytes = npt.NDArray[np.uint8]

SEED = 0
# Blocks in a pool, by the size of a block: primes (the first two Mersenne's), so that no two rows
# of a matrix begin at the same block until all have been used.
POOL_BLOCKS = ((64, 131071), (8, 524287), (0, 4194301))


@dataclass(frozen=True)
class Scales:
    """Where a block format keeps its f16 scales, and their values for weights of deviation 1.

    With uniform random bits elsewhere the deviation of a weight is that of a product of
    independent uniform integers; `minimum` is what makes the mean zero. Formats whose values have
    a mean of their own get scales of either sign instead.
    """

    scale_at: int
    scale: float
    minimum_at: int | None = None
    minimum: float = 0.0
    signed: bool = False


SCALES = {
    "Q4_0": Scales(0, 1 / 4.637, signed=True),  # E (q - 8)^2 = 21.5
    "Q5_0": Scales(0, 1 / 9.247, signed=True),  # 85.5
    "Q8_0": Scales(0, 1 / 73.90, signed=True),  # 5461.5
    "Q2_K": Scales(80, 1 / 13.87, 82, 1.5 / 13.87),
    "Q3_K": Scales(108, 1 / 43.34, signed=True),
    "Q4_K": Scales(0, 1 / 258.3, 2, 7.5 / 258.3),
    "Q5_K": Scales(0, 1 / 526.9, 2, 15.5 / 526.9),
    "Q6_K": Scales(208, 1 / 1365.7, signed=True),
}
MXFP4_DEVIATION = 2.926  # of its 16 values; E8M0 scales are powers of two, 127 being 1


class Pool:
    """An endless supply of random weights of one format.

    Args:
        format: the format's name.
        deviation: the weights' standard deviation; their mean is near zero.
    """

    def __init__(self, format: str, deviation: float) -> None:
        traits = _core.format_traits(format)
        self.format = format
        self.block_bytes: int = traits["block_bytes"]
        self.block_values: int = traits["block_values"]
        self.rng = np.random.default_rng(SEED)
        count = next(blocks for size, blocks in POOL_BLOCKS if self.block_bytes >= size)
        self.blocks = self._fill(count, deviation)
        self.flat = self.blocks.reshape(-1).data
        self._at = 0

    def _fill(self, count: int, deviation: float) -> Bytes:
        rng = self.rng
        if self.format in ("F32", "F16", "BF16"):
            values = rng.standard_normal(count, np.float32) * np.float32(deviation)
            if self.format == "F16":
                return _halves(values)
            parts: Bytes = values.view(np.uint8).reshape(count, 4)
            # BF16 is the upper half of a float32, rounded towards zero here.
            return np.ascontiguousarray(parts[:, 2:]) if self.format == "BF16" else parts
        blocks = rng.integers(0, 256, (count, self.block_bytes), dtype=np.uint8)
        if self.format == "MXFP4":
            blocks[:, 0] = np.clip(127 + round(np.log2(deviation / MXFP4_DEVIATION)), 0, 254)
            return blocks
        known = SCALES[self.format]
        signs = rng.choice([-1.0, 1.0], count) if known.signed else 1.0
        blocks[:, known.scale_at : known.scale_at + 2] = _halves(
            np.broadcast_to(signs * known.scale * deviation, count)
        )
        if known.minimum_at is not None:
            blocks[:, known.minimum_at : known.minimum_at + 2] = _halves(
                np.full(count, known.minimum * deviation)
            )
        return blocks

    def take(self, values: int) -> Iterator[memoryview]:
        """The bytes of the next `values` weights, in pieces."""
        left = values // self.block_values * self.block_bytes
        while left:
            piece = self.flat[self._at : self._at + left]
            yield piece
            left -= len(piece)
            self._at = (self._at + len(piece)) % len(self.flat)


def _halves(values: npt.NDArray[np.floating]) -> Bytes:
    halves: Bytes = values.astype(np.float16).view(np.uint8).reshape(-1, 2)
    return halves
