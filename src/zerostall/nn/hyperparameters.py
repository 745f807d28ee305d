"""Typed, range-checked access to the `<architecture>.*` metadata of a model file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from zerostall.errors import ModelFormatError

if TYPE_CHECKING:
    from zerostall._core import GgufFile

_REQUIRED: Any = object()
# No real model comes near; keeps a hostile one from allocating or overflowing.
_MAX_SIZE = 1 << 24
_MAX_REAL = 1e12


class Hyperparameters:
    """The metadata of one architecture; every getter checks type and range.

    Keys are given without the architecture's prefix. A missing key without a default, a value
    of another type or one out of range raises ModelFormatError naming file and key.
    """

    def __init__(self, file: GgufFile, architecture: str) -> None:
        self.file = file
        self.architecture = architecture

    def __contains__(self, key: str) -> bool:
        return self._full(key) in self.file

    def integer(
        self, key: str, default: int = _REQUIRED, low: int = 1, high: int = _MAX_SIZE
    ) -> int:
        """The integer at `key`, within [low, high]."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._error(key, value, "an integer")
        if not low <= value <= high:
            raise self._error(key, value, f"an integer from {low} to {high}")
        return value

    def real(
        self, key: str, default: float = _REQUIRED, low: float = 0.0, high: float = _MAX_REAL
    ) -> float:
        """The finite number at `key`, within [low, high]."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(key, value, "a number")
        if not math.isfinite(value) or not low <= value <= high:
            raise self._error(key, value, f"a finite number from {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str, default: bool = _REQUIRED) -> bool:
        """The boolean at `key`."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self._error(key, value, "true or false")
        return value

    def text(self, key: str, default: str = _REQUIRED) -> str:
        """The string at `key`."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self._error(key, value, "a string")
        return value

    def flags(self, key: str, layers: int) -> list[bool] | None:
        """One boolean per layer, or None where the key is absent or holds no list."""
        value = self._value(key, None)
        if not isinstance(value, list | np.ndarray):
            return None
        if isinstance(value, list) or len(value) < layers or not np.isin(value, (0, 1)).all():
            raise self._error(key, value, f"{layers} booleans, one per layer")
        return [bool(item) for item in value[:layers]]

    def _full(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def _value(self, key: str, default: object) -> Any:
        full = self._full(key)
        if full in self.file:
            return self.file.get(full)
        if default is _REQUIRED:
            raise ModelFormatError(
                f"{self.file.paths[0]}: the metadata key '{full}' is missing; an architecture "
                f"'{self.architecture}' model needs it. Convert or download the model again."
            )
        return default

    def _error(self, key: str, value: object, expected: str) -> ModelFormatError:
        found = repr(value)
        if len(found) > 60:
            found = found[:57] + "..."
        return ModelFormatError(
            f"{self.file.paths[0]}: the metadata key '{self._full(key)}' is {found}, "
            f"expected {expected}. Convert or download the model again."
        )
