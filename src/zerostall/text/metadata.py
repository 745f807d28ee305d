"""Checked reading of GGUF metadata: the text fields are untrusted input."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, cast

from zerostall.errors import ModelFormatError

T = TypeVar("T")


class Metadata(Protocol):
    """What the tokenizer needs of an open GGUF file: its metadata by key."""

    def get(self, key: str, /) -> Any:
        """Return the value under ``key``; arrays come as lists or numpy arrays."""

    def __contains__(self, key: str, /) -> bool:
        """Tell whether the file has ``key``."""


def format_error(file: Metadata, message: str) -> ModelFormatError:
    """Build a ModelFormatError that names the file if it knows its path."""
    paths = getattr(file, "paths", None)
    return ModelFormatError(f"{paths[0]}: {message}" if paths else message)


def read_integer(file: Metadata, key: str) -> int | None:
    """Return an integer field, or None if the file lacks it."""
    return _scalar(file, key, int, "an integer")


def read_flag(file: Metadata, key: str) -> bool | None:
    """Return a boolean field, or None if the file lacks it."""
    return _scalar(file, key, bool, "a boolean")


def read_text(file: Metadata, key: str) -> str | None:
    """Return a string field, or None if the file lacks it."""
    return _scalar(file, key, str, "a string")


def read_texts(file: Metadata, key: str) -> list[str] | None:
    """Return an array of strings, or None if the file lacks it."""
    return cast("list[str] | None", _array(file, key, {str}, "strings"))


def read_integers(file: Metadata, key: str) -> list[int] | None:
    """Return an array of integers, or None if the file lacks it."""
    return cast("list[int] | None", _array(file, key, {int}, "integers"))


def read_numbers(file: Metadata, key: str) -> list[float] | None:
    """Return an array of numbers, or None if the file lacks it."""
    return cast("list[float] | None", _array(file, key, {int, float}, "numbers"))


def _scalar(file: Metadata, key: str, kind: type[T], expected: str) -> T | None:
    if key not in file:
        return None
    value = file.get(key)
    if getattr(value, "ndim", None) == 0:  # a numpy scalar
        value = value.item()
    if type(value) is not kind:
        raise format_error(file, f"{key} is a {type(value).__name__}, expected {expected}")
    return value


def _array(file: Metadata, key: str, kinds: set[type], expected: str) -> list[Any] | None:
    if key not in file:
        return None
    value = file.get(key)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list):
        raise format_error(
            file, f"{key} is a {type(value).__name__}, expected an array of {expected}"
        )
    found = set(map(type, value))
    if not found <= kinds:
        names = ", ".join(sorted(kind.__name__ for kind in found - kinds))
        raise format_error(file, f"{key} holds values of type {names}, expected {expected}")
    return value
