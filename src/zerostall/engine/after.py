"""Something to do after each of an object's methods that holds its lock."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate[S, P], R]


def after(last: Callable[[S], None]) -> Callable[[Method[S, P, R]], Method[S, P, R]]:
    """Call `last` when a method of the same object has ended, whatever it ended with.

    For methods that say `with self.lock` of a bare lock: a context manager of Python code that
    takes the lock and does this may be struck by a signal's exception when it has the lock and
    `with` does not know it yet; the lock is then held for as long as the exception is.
    """

    def wrap(method: Method[S, P, R]) -> Method[S, P, R]:
        @functools.wraps(method)
        def both(self: S, /, *args: P.args, **options: P.kwargs) -> R:
            try:
                return method(self, *args, **options)
            finally:
                last(self)

        return both

    return wrap
