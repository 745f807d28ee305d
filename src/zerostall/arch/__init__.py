"""Architectures: one file each, named by `general.architecture`, listed by nothing else."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zerostall.errors import ModelFormatError, UnsupportedModelError
from zerostall.nn import Builder, Decoder
from zerostall.tape import Tape

if TYPE_CHECKING:
    from zerostall._core import GgufFile


@dataclass(frozen=True)
class Architecture:
    """A model file understood: its tape and the sizes that the outside needs.

    Attributes:
        name: `general.architecture`.
        tape: the operators of one step.
        context_length: the longest context the model was made for, in tokens.
        vocab_size: the rows of the embedding matrix, hence the width of the logits.
        layers: the number of blocks.
        width: the residual stream's width.
    """

    name: str
    tape: Tape
    context_length: int
    vocab_size: int
    layers: int
    width: int


def names() -> list[str]:
    """Every architecture there is a file for, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(file: GgufFile, context: int, experts: int | None = None) -> Architecture:
    """Describe the model in an open file, for a run with `context` tokens of context.

    Args:
        file: the model.
        context: tokens of context.
        experts: how many experts each token uses in every layer that has them, which makes
            another, lossy model; None: as many as the model says.

    Raises:
        InvalidRequestError: `experts` is more than the model uses, or it has none.
        UnsupportedModelError: no file here has the architecture's name.
        ModelFormatError: a key or tensor is missing, left over, or of the wrong type or shape.
    """
    if "general.architecture" not in file:
        raise ModelFormatError(
            f"{file.paths[0]}: the metadata key 'general.architecture' is missing."
        )
    name = file.get("general.architecture")
    if not isinstance(name, str):
        raise ModelFormatError(
            f"{file.paths[0]}: the metadata key 'general.architecture' is no string. "
            "Convert or download the model again."
        )
    if name not in names():
        raise UnsupportedModelError(
            f"{file.paths[0]}: the architecture is {name!r}; supported are {', '.join(names())}."
        )
    module = importlib.import_module(f"{__name__}.{name}")
    model: Decoder = module.Model(Builder(file, name, context, experts))
    tape = model.build()
    return Architecture(
        name, tape, model.context_length, model.vocab_size, model.layers, model.width
    )
