"""A trained speculator: corrections of the guesses which experts a layer will want, in a file.

The file is a GGUF of F32 tensors, three for each guess: `experts.N.early.a` [rank, width],
`.b` [experts, rank] and `.bias` [experts], and the same for `late`; N counts the layers that have
experts. They add b (a x) + bias to the guess's router logits; x is the state that the guess is
made of. `zerostall train-speculator` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xxhash

from zerostall import gguf
from zerostall.engine.model_key import model_key
from zerostall.errors import InvalidRequestError, ModelFormatError

if TYPE_CHECKING:
    from zerostall._core import GgufFile

VERSION = 2
PREFIX = "zerostall.speculator"
_NAME = re.compile(r"experts\.([0-9]{1,5})\.(early|late)\.a")
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TrainedGuess:
    """The correction b (a x) + bias of one guess.

    Attributes:
        layer: whose experts are guessed; layers with experts count, from 0.
        late: made before the layer's own attention, not before the experts of the layer before.
        a: float32 [rank, width].
        b: float32 [experts, rank].
        bias: float32 [experts].
    """

    layer: int
    late: bool
    a: Floats
    b: Floats
    bias: Floats

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return int(self.a.nbytes + self.b.nbytes + self.bias.nbytes)

    @property
    def stage(self) -> str:
        """`early` or `late`."""
        return "late" if self.late else "early"

    def tensors(self) -> dict[str, Floats]:
        """Its arrays by their names in the file."""
        name = f"experts.{self.layer}.{self.stage}"
        return {f"{name}.a": self.a, f"{name}.b": self.b, f"{name}.bias": self.bias}

    def to_core(self) -> dict[str, Any]:
        """As `_core.Engine` takes it."""
        return vars(self).copy()


def metadata_of(model: GgufFile, guesses: Sequence[TrainedGuess]) -> dict[str, int | str]:
    """The keys of the file for guesses that were trained on `model`."""
    return {
        "general.type": "speculator",
        f"{PREFIX}.version": VERSION,
        f"{PREFIX}.model": model_key(model),
        f"{PREFIX}.checksum": _checksum(guesses),
    }


def read_speculator(path: Path, model: GgufFile, key: str | None = None) -> list[TrainedGuess]:
    """What training found for `model`; `key` is its model_key(), None if that is not known yet.

    Raises:
        ModelNotFoundError, StorageError: the file is missing or cannot be read.
        ModelFormatError: it is damaged.
        InvalidRequestError: it is no speculator, of another version, or of another model.
    """
    file = gguf.open_model(path)
    if file.get("general.type") != "speculator" or f"{PREFIX}.version" not in file:
        raise InvalidRequestError(
            f"{path}: is no speculator; `zerostall train-speculator` makes one"
        )
    version = file.get(f"{PREFIX}.version")
    if version != VERSION:
        raise InvalidRequestError(
            f"{path}: is a speculator of version {version}, expected {VERSION}: train it again"
        )
    if file.get(f"{PREFIX}.model") != (key or model_key(model)):
        raise InvalidRequestError(
            f"{path}: was trained for another model than {model.paths[0]}: train one for this "
            "file (a converted copy counts as another model)"
        )
    names = [_NAME.fullmatch(tensor.name) for tensor in file.tensors()]
    guesses = [_read(path, file, name) for name in names if name is not None]
    if file.get(f"{PREFIX}.checksum") != _checksum(guesses):
        raise ModelFormatError(f"{path}: its checksum is wrong, so it is damaged: train it again")
    return guesses


def _read(path: Path, file: GgufFile, name: re.Match[str]) -> TrainedGuess:
    stem = name[0].removesuffix(".a")
    arrays = [_floats(path, file, f"{stem}.{part}") for part in ("a", "b", "bias")]
    a, b, bias = arrays
    if (a.ndim, b.ndim) != (2, 2) or b.shape != (bias.size, len(a)):
        raise ModelFormatError(
            f"{path}: {stem} has shapes {a.shape}, {b.shape} and {bias.shape}, expected "
            "[rank, width], [experts, rank] and [experts]: train it again"
        )
    return TrainedGuess(int(name[1]), name[2] == "late", a, b, bias)


def _floats(path: Path, file: GgufFile, name: str) -> Floats:
    for tensor in file.tensors():
        if tensor.name == name and tensor.type_name == "F32":
            values = np.frombuffer(file.tensor_bytes(name), np.float32)
            return values.reshape(tuple(tensor.shape))
    raise ModelFormatError(f"{path}: the F32 tensor '{name}' is missing: train it again")


def _checksum(guesses: Sequence[TrainedGuess]) -> str:
    digest = xxhash.xxh3_64()
    for guess in guesses:
        for name, values in guess.tensors().items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
