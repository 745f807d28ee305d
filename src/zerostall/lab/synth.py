"""Models with random weights in the shape of real ones, to try speed and memory before a download.

Weights have zero mean and deviation 1 / sqrt(inputs), embeddings deviation 1, and what is added
to the residual stream is divided by sqrt(2 * layers), so activations stay near 1 at any depth.

Routers see normalised activations x of about unit variance, so router rows with deviation
s / sqrt(width) give logits of deviation s: experts are chosen evenly. For a skew the logits need
an offset of each expert's own, and a plain router has no bias. So a part of the residual stream is
made constant: the first channels of every embedding hold the same vector u, and no layer writes
there (those rows of the projections that do are zero). Row e of the router gets
b_e * u / |u|^2 in these channels, which adds b_e / rms to its logit for every token. With
b_e = -skew * beta * ln(rank of e) and logits like Gumbel variables of scale beta the first choice
falls on an expert with a probability proportional to rank^-skew, a Zipf law (Plackett-Luce,
arXiv:1901.10517); beta = s * sqrt(6) / pi gives a Gumbel variable the deviation s. Ranks are
drawn anew for each layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zerostall import _core, arch
from zerostall.errors import InvalidRequestError
from zerostall.lab.gguf_writer import TensorSpec, write_gguf
from zerostall.lab.random_weights import Pool
from zerostall.lab.shape_tensors import Tensor, metadata, tensors
from zerostall.lab.shapes import SHAPES, Shape

FLOAT = "F32"
CONSTANT = 256  # channels that a skew makes constant: a whole block of every format
LOGIT_DEVIATION = 1.5  # s above
GUMBEL = LOGIT_DEVIATION * math.sqrt(6) / math.pi  # beta above
MAX_SKEW = 4.0
PIECE_ROWS = 1024


@dataclass(frozen=True)
class Mixture:
    """Formats by what a tensor is for; `experts` None: as `matrix` and `rich` say."""

    matrix: str
    rich: str
    output: str
    experts: str | None = None


MIXTURES = {
    "Q4_K_M": Mixture("Q4_K", "Q6_K", "Q6_K"),
    "Q2_K": Mixture("Q2_K", "Q3_K", "Q6_K"),
    "Q3_K_M": Mixture("Q3_K", "Q5_K", "Q6_K"),
    "Q4_0": Mixture("Q4_0", "Q4_0", "Q6_K"),
    "Q5_K_M": Mixture("Q5_K", "Q6_K", "Q6_K"),
    "Q6_K": Mixture("Q6_K", "Q6_K", "Q6_K"),
    "Q8_0": Mixture("Q8_0", "Q8_0", "Q8_0"),
    "F16": Mixture("F16", "F16", "F16"),
    "BF16": Mixture("BF16", "BF16", "BF16"),
    "MXFP4": Mixture("Q8_0", "Q8_0", "Q8_0", "MXFP4"),  # as OpenAI's own files have it
}
# For columns that are not a multiple of 256, as llama-quantize chooses.
NARROW = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q8_0", "Q6_K": "Q8_0"}


def runs_today(shape: Shape) -> bool:
    """Whether this version of zerostall runs the shape's architecture."""
    return shape.architecture in arch.names()


def find_shape(name: str, layers: int | None = None, vocab: int | None = None) -> Shape:
    """A shape by name, perhaps cut to its first layers or to a smaller vocabulary.

    Raises:
        InvalidRequestError: no such shape, or a number out of range.
    """
    shape = SHAPES.get(name.lower())
    if shape is None:
        raise InvalidRequestError(f"there is no shape {name!r}; give one of {', '.join(SHAPES)}")
    for what, value, most in (
        ("layers", layers, shape.layers),
        ("vocab", vocab, shape.vocab),
    ):
        if value is not None and not 1 <= value <= most:
            raise InvalidRequestError(f"{what} is {value}; {name} allows 1 to {most}")
    return replace(shape, layers=layers or shape.layers, vocab=vocab or shape.vocab)


def plan_tensors(shape: Shape, mixture: str | None = None) -> list[tuple[Tensor, TensorSpec]]:
    """Every tensor with its format, in file order.

    Raises:
        InvalidRequestError: no such mixture.
    """
    name = mixture or shape.mixture
    if name not in MIXTURES:
        raise InvalidRequestError(f"format is {name!r}; give one of {', '.join(MIXTURES)}")
    return [
        (tensor, TensorSpec(tensor.name, tensor.shape, _format(tensor, shape, MIXTURES[name])))
        for tensor in tensors(shape)
    ]


def _format(tensor: Tensor, shape: Shape, mixture: Mixture) -> str:
    if tensor.role in ("ones", "zeros", "router"):
        return FLOAT
    if tensor.role == "output" or (tensor.role == "embedding" and shape.tied):
        chosen = mixture.output
    elif tensor.expert and mixture.experts:
        chosen = mixture.experts
    else:
        chosen = mixture.rich if tensor.rich else mixture.matrix
    if tensor.shape[-1] % _core.format_traits(chosen)["block_values"]:
        chosen = NARROW.get(chosen, "F16")
    return "F16" if tensor.shape[-1] % _core.format_traits(chosen)["block_values"] else chosen


class Weights:
    """The bytes of a shape's tensors.

    Args:
        shape: the model.
        skew: exponent of the Zipf law of the routers' choices; 0 for even routing.
        seed: of the routers.
    """

    def __init__(self, shape: Shape, skew: float, seed: int) -> None:
        self.shape = shape
        self.skew = skew
        self.rng = np.random.default_rng(seed)
        self.pools: dict[tuple[str, float], Pool] = {}
        self.constant: npt.NDArray[np.float32] | None = None

    def bytes_of(self, tensor: Tensor, spec: TensorSpec) -> Iterator[bytes | memoryview]:
        """A tensor's data in pieces; the embedding must come before any router."""
        if tensor.role in ("ones", "zeros"):
            fill = np.ones if tensor.role == "ones" else np.zeros
            yield fill(tensor.shape, np.float32).tobytes()
        elif tensor.role == "router":
            yield self._router(tensor).tobytes()
        elif tensor.role == "embedding":
            yield from self._embedding(tensor, spec)
        else:
            yield from self._matrices(tensor, spec)

    def _pool(self, format: str, deviation: float) -> Pool:
        key = (format, deviation)
        if key not in self.pools:
            self.pools[key] = Pool(format, deviation)
        return self.pools[key]

    def _matrices(self, tensor: Tensor, spec: TensorSpec) -> Iterator[bytes | memoryview]:
        *stack, rows, columns = tensor.shape
        deviation = 1.0 / math.sqrt(columns)
        if tensor.residual:
            deviation /= math.sqrt(2 * self.shape.layers)
        pool = self._pool(spec.format, deviation)
        kept = CONSTANT if tensor.residual and self.skew else 0
        unwritten = bytes(kept * columns // pool.block_values * pool.block_bytes)
        for _ in range(math.prod(stack)):
            if kept:
                yield unwritten  # a block of zero bytes is a block of zeros in every format
            yield from pool.take((rows - kept) * columns)

    def _embedding(self, tensor: Tensor, spec: TensorSpec) -> Iterator[bytes | memoryview]:
        rows, columns = tensor.shape
        pool = self._pool(spec.format, 1.0)
        if not self.skew:
            yield from pool.take(rows * columns)
            return
        size = CONSTANT // pool.block_values * pool.block_bytes
        head = np.frombuffer(pool.flat[:size], np.uint8)
        self.constant = _core.decode(spec.format, head, CONSTANT)
        for begin in range(0, rows, PIECE_ROWS):
            count = min(PIECE_ROWS, rows - begin)
            piece = np.frombuffer(b"".join(pool.take(count * columns)), np.uint8)
            block = piece.reshape(count, -1).copy()
            block[:, :size] = head
            yield block.tobytes()

    def _router(self, tensor: Tensor) -> npt.NDArray[np.float32]:
        experts, width = tensor.shape
        rows = self.rng.standard_normal((experts, width), np.float32)
        rows *= np.float32(LOGIT_DEVIATION / math.sqrt(width))
        if self.skew:
            assert self.constant is not None
            rows *= np.float32(math.sqrt(width / (width - CONSTANT)))
            ranks = 1 + self.rng.permutation(experts)
            offsets = -self.skew * GUMBEL * np.log(ranks)
            direction = self.constant / np.square(self.constant).sum()
            rows[:, :CONSTANT] = np.outer(offsets, direction)
        return rows


def write_model(
    path: Path,
    name: str,
    shape: Shape,
    *,
    mixture: str | None = None,
    skew: float = 0.0,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write a random model of a shape; the size of the file.

    Raises:
        InvalidRequestError: an option out of range.
        StorageError: the file cannot be written, or the drive is full.
    """
    if not 0.0 <= skew <= MAX_SKEW:
        raise InvalidRequestError(f"--router-skew is {skew}; give 0 to {MAX_SKEW:g}")
    if skew and not shape.experts:
        raise InvalidRequestError(f"--router-skew: {name} has no experts")
    if skew and shape.width < 2 * CONSTANT:
        raise InvalidRequestError(
            f"--router-skew needs a width of at least {2 * CONSTANT}; {name} has {shape.width}"
        )
    plan = plan_tensors(shape, mixture)
    weights = Weights(shape, skew, seed)

    def data(index: int) -> Iterator[bytes | memoryview]:
        return weights.bytes_of(*plan[index])

    write_gguf(path, metadata(shape, name), [spec for _, spec in plan], data, progress)
    return path.stat().st_size


def shape_table() -> Sequence[Sequence[str]]:
    """One row a shape: name, architecture, parameters, size, whether it runs today."""
    table = [["shape", "architecture", "parameters", "active", "size", "runs today"]]
    for name, shape in SHAPES.items():
        plan = plan_tensors(shape)
        total = sum(math.prod(tensor.shape) for tensor, _ in plan)
        idle = sum(math.prod(tensor.shape) for tensor, _ in plan if tensor.expert)
        active = total - idle * (1 - shape.used / shape.experts) if shape.experts else total
        size = sum(spec.bytes for _, spec in plan)
        runs = "yes" if runs_today(shape) else "not yet"
        counts = [f"{count / 1e9:.1f}B" for count in (total, active)]
        table.append([name, shape.architecture, *counts, f"{size / 1e9:.1f} GB", runs])
    return table
