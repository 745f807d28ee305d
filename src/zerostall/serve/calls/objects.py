"""Calls as JSON objects of a name and arguments, read while they come."""

from __future__ import annotations

import json
import re
from collections.abc import Container
from typing import Any

from zerostall.sampling import is_text
from zerostall.serve.calls.feed import Feed, Reading
from zerostall.serve.parts import Arguments, Call

_ARGUMENTS = ("arguments", "parameters")
_BEFORE = ("name", "type", "id")  # what may stand before them
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")


class Nesting:
    """Finds the end of a JSON object or array."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._quoted = False
        self._escaped = False

    def end(self, text: str) -> int | None:
        """How much of the next text belongs to it; None: all, and more.

        "<" outside of strings, which JSON does not have, ends it too: a tag comes.
        """
        for place, character in enumerate(text):
            if self._quoted:
                self._in_string(character)
            elif character == '"':
                self._quoted = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return place + 1
            elif character == "<":
                return place
        return None

    def _in_string(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._quoted = False


def object_call(
    feed: Feed, *, names: Container[str] | None = None, patient: bool = True
) -> Reading[bool]:
    """Read one object of name and arguments, the arguments as they come.

    Args:
        feed: stands before it.
        names: of tools; calls of others are none.
        patient: also read objects whose members come in another order, or whose arguments are
            no object: these are known at their end only.

    Returns:
        Whether it was a call, whose end is not told yet.
    """
    head = _head(feed.text)
    while head is None and not feed.over:
        yield
        head = _head(feed.text)
    if isinstance(head, tuple) and (names is None or head[0] in names):
        name, begin = head
        feed.take(begin)
        feed.emit(Call(name))
        yield from arguments(feed)
        if not feed.cut:
            yield from _skip_rest(feed)
        return True
    return patient and (yield from _whole(feed))


def arguments(feed: Feed) -> Reading[None]:
    """Pass an object on as it comes."""
    nesting = Nesting()
    while True:
        end = nesting.end(feed.text)
        piece = feed.take(len(feed.text) if end is None else end)
        if piece:
            feed.emit(Arguments(piece))
        feed.cut = end is None and feed.over
        if end is not None or feed.over:
            return
        yield


def parse_call(body: str) -> tuple[str, str] | None:
    """The name and the arguments that a JSON object has, if it is a call."""
    try:
        call: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    given = call.get("arguments", call.get("parameters", {}))
    if not isinstance(given, str):
        text = json.dumps(given, ensure_ascii=False)
        # An escaped lone surrogate is JSON, but no text that can be sent unescaped.
        given = text if is_text(text) else json.dumps(given)
    if not is_text(call["name"]) or not is_text(given):
        return None
    return call["name"], given


def _skip_rest(feed: Feed) -> Reading[None]:
    """Read on to the end of the object around the arguments."""
    nesting = Nesting(depth=1)
    while True:
        end = nesting.end(feed.text)
        feed.take(len(feed.text) if end is None else end)
        feed.cut = end is None and feed.over
        if end is not None or feed.over:
            return
        yield


def _whole(feed: Feed) -> Reading[bool]:
    nesting, seen = Nesting(), 0
    while (end := nesting.end(feed.text[seen:])) is None:
        seen = len(feed.text)
        if feed.over:
            return False
        yield
    call = parse_call(feed.take(seen + end))
    if call is None:
        return False
    feed.emit(Call(call[0]))
    feed.emit(Arguments(call[1]))
    return True


class _Cut(Exception):  # noqa: N818  no error: more text decides
    """The text ends before what it is is certain."""


def _head(text: str) -> tuple[str, int] | bool | None:
    """The name of a call and where its arguments begin; False if it is none, None if that needs
    more text."""
    try:
        return _read_head(text)
    except _Cut:
        return None
    except ValueError:
        return False


def _read_head(text: str) -> tuple[str, int]:
    name: str | None = None
    at = _mark(text, 0, "{")
    while True:
        key, at = _string(text, at)
        at = _mark(text, at, ":")
        if key in _ARGUMENTS:
            at = _mark(text, at, "{")
            if name is None or not is_text(name):
                raise ValueError
            return name, at - 1
        if key not in _BEFORE:
            raise ValueError
        value, at = _string(text, at)
        name = value if key == "name" else name
        at = _mark(text, at, ",")


def _mark(text: str, at: int, mark: str) -> int:
    """The place behind a mark, which may have space before it."""
    at = _visible(text, at)
    if text[at] != mark:
        raise ValueError
    return at + 1


def _string(text: str, at: int) -> tuple[str, int]:
    at = _visible(text, at)
    if text[at] != '"':
        raise ValueError
    found = _STRING.match(text, at)
    if found is None:
        raise _Cut
    value: str = json.loads(found[0])
    return value, found.end()


def _visible(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    if found.end() == len(text):
        raise _Cut
    return found.end()
