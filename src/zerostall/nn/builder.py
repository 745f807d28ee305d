"""The bridge between a model file and its tape: checks every weight, and that none is left over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zerostall.errors import ModelFormatError, UnsupportedModelError
from zerostall.nn.hyperparameters import Hyperparameters
from zerostall.tape import Tape, Weight

if TYPE_CHECKING:
    from zerostall._core import GgufFile

# Rope frequencies that old converters stored per layer; no engine reads them.
_IGNORED_SUFFIXES = (".attn_rot_embd.weight",)
_MIN_FACTOR = 1e-6  # real ones are about 1 or more; what they divide must not overflow
_FLOATS = {"F32": np.float32, "F16": np.float16}


class Builder:
    """Collects the tape of one model while accounting for every tensor of its file.

    Attributes:
        tape: the operators so far.
        hyperparameters: the file's metadata under its architecture's prefix.
        context: the context length the model will run with, in tokens.
        experts: how many experts a token uses; None: as many as the model says.
    """

    def __init__(
        self, file: GgufFile, architecture: str, context: int, experts: int | None = None
    ) -> None:
        self.file = file
        self.tape = Tape()
        self.hyperparameters = Hyperparameters(file, architecture)
        self.context = context
        self.experts = experts
        self._tensors = {tensor.name: tensor for tensor in file.tensors()}
        self._used: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the file holds the tensor."""
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape, slowest dimension first; ModelFormatError where it is missing."""
        if name not in self._tensors:
            raise ModelFormatError(
                f"{self.file.paths[0]}: the tensor '{name}' is missing, which architecture "
                f"'{self.hyperparameters.architecture}' needs. Is every shard of the model there?"
            )
        return tuple(self._tensors[name].shape)

    def weight(
        self, name: str, shape: tuple[int, ...], rows: tuple[int, int] | None = None
    ) -> Weight:
        """A required tensor of exactly `shape`, or the rows [begin, end) of it."""
        found = self.shape(name)
        if found != shape:
            raise ModelFormatError(
                f"{self.file.paths[0]}: the tensor '{name}' has shape {list(found)}, expected "
                f"{list(shape)} from the metadata. Convert or download the model again."
            )
        self._used.add(name)
        return Weight(name) if rows is None else Weight(name, rows[0], rows[1])

    def optional(
        self, name: str, shape: tuple[int, ...], rows: tuple[int, int] | None = None
    ) -> Weight | None:
        """Like `weight`, but None where the file lacks the tensor."""
        return self.weight(name, shape, rows) if self.has(name) else None

    def factors(self, name: str, count: int) -> npt.NDArray[np.float64]:
        """The `count` divisors that a small tensor holds: finite, and none of them near zero."""
        self.weight(name, (count,))
        kind = self._tensors[name].type_name
        if kind not in _FLOATS:
            raise UnsupportedModelError(
                f"{self.file.paths[0]}: the tensor '{name}' is stored as {kind}, expected F32."
            )
        raw = np.asarray(self.file.tensor_bytes(name), dtype=np.uint8)
        numbers = raw.view(_FLOATS[kind]).astype(np.float64)
        if not np.isfinite(numbers).all() or (np.abs(numbers) < _MIN_FACTOR).any():
            raise ModelFormatError(
                f"{self.file.paths[0]}: the tensor '{name}' holds NaN, an infinity or a number "
                f"nearer to zero than {_MIN_FACTOR:g}."
            )
        return numbers

    def finish(self) -> Tape:
        """The tape, once every tensor of the file has found its place in it."""
        left = [
            name
            for name in self._tensors
            if name not in self._used and not name.endswith(_IGNORED_SUFFIXES)
        ]
        if left:
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            raise ModelFormatError(
                f"{self.file.paths[0]}: architecture '{self.hyperparameters.architecture}' has no "
                f"place for the tensors {', '.join(left[:5])}{more}; running without them would "
                "give wrong answers."
            )
        return self.tape
