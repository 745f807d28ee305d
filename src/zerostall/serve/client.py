"""Which client sent a request; each has its share of the queue."""

from __future__ import annotations

from starlette.types import Scope

KEY = "zerostall.key"  # in a request's scope: which of the keys it came with


def client_of(scope: Scope) -> str:
    """The number of a request's key, or the address it came from where there are no keys.

    Nothing that its sender may choose, such as `user` or X-Forwarded-For: whoever sends much would
    be many.
    """
    if KEY in scope:
        return f"key {scope[KEY]}"
    host, _ = scope.get("client") or ("unknown", 0)
    return f"address {host}"
