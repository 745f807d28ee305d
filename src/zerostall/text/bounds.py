"""What one operation of a chat template may make: jinja2's sandbox does not limit it.

Loops are counted elsewhere (sandbox.py); here are the single operators, methods and filters that
could fill the memory or take forever.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from jinja2.exceptions import SecurityError

# Of one string or list; a prompt of a million tokens has about four million characters.
MAX_LENGTH = 1 << 24
# Of a width, an indent, a precision or a number of columns.
MAX_COUNT = 100_000
# Of values in one another. serde_json, which reads schemas later, takes 128 levels; walking each
# takes two of Python's 1000 frames.
MAX_DEPTH = 100

# A width that format strings should not have.
_WIDE = re.compile(r"\d{6}|\*")
# Filters with a count among their arguments.
_COUNTING = ("batch", "center", "indent", "round", "slice", "wordwrap")


class RunawayError(SecurityError):
    """The template would take too much time or memory."""


def check_length(length: int) -> None:
    """Refuse a string or list of ``length``."""
    if length > MAX_LENGTH:
        raise RunawayError(f"it makes a text or list longer than {MAX_LENGTH}")


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Refuse ``+``, ``*``, ``**`` and ``%`` where the result would be too long."""
    if operator == "+":
        check_length(_length(left) + _length(right))
    elif operator == "*":
        for value, times in ((left, right), (right, left)):
            if isinstance(times, int):
                check_length(_length(value) * times)
                check_length(times.bit_length())
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        check_length(left.bit_length() * right)
    elif operator == "%" and isinstance(left, str):
        _check_format(left)


def check_method(method: Any, arguments: Sequence[Any]) -> None:
    """Refuse a call of a string's method where the result would be too long."""
    subject, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
    if not isinstance(subject, str):
        return
    if name == "replace" and len(arguments) >= 2:
        _check_replace(subject, *arguments[:2])
    elif name == "join" and arguments:
        _check_join(subject, arguments[0])
    elif name in ("format", "format_map"):
        _check_format(subject)
    else:
        _check_counts(arguments)


def bounded_filters(filters: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return those of jinja2's filters that need a bound, with it."""
    bounded = {name: _bounded(filters[name], _check_counts) for name in _COUNTING}
    bounded["format"] = _bounded(filters["format"], lambda values: _check_format(values[0]))
    # These two get jinja2's evaluation context first.
    bounded["replace"] = _bounded(filters["replace"], lambda values: _check_replace(*values[1:4]))
    bounded["join"] = _listed(filters["join"])
    return bounded


def _bounded(
    filter: Callable[..., Any], check: Callable[[Sequence[Any]], None]
) -> Callable[..., Any]:
    @functools.wraps(filter)
    def checked(*values: Any, **named: Any) -> Any:
        check([*values, *named.values()])
        return filter(*values, **named)

    return checked


def _listed(join: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(join)
    def checked(context: Any, values: Any, separator: str = "", **named: Any) -> Any:
        values = list(values)
        _check_join(separator, values)
        return join(context, values, separator, **named)

    return checked


def _check_counts(values: Sequence[Any]) -> None:
    # The first is what the filter works on, or a method's first argument, often a width.
    for value in values:
        if isinstance(value, int) and value > MAX_COUNT:
            raise RunawayError(f"{value} is more than it may pad, indent or divide by")


def _check_format(text: Any) -> None:
    if isinstance(text, str) and _WIDE.search(text):
        raise RunawayError(f"the format {text[:40]!r} is too wide")


def _check_replace(text: Any, old: Any = "", new: Any = "") -> None:
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        check_length(len(text) + text.count(old) * len(new))


def _check_join(separator: Any, values: Any) -> None:
    if isinstance(values, (list, tuple)):
        check_length(_length(separator) * len(values) + sum(map(_length, values)))


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple)) else 0
