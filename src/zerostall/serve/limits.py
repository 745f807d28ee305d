"""What a request must pass before anything looks at it: its key and its size."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zerostall.serve.client import KEY
from zerostall.serve.faults import ApiError

OPEN = frozenset({"/health", "/v1/health"})


class KeyCheck:
    """Answers 401 unless a request has one of the keys; OPEN paths need none."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with the number of its key, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            number = self._number(scope)
            if number is None:
                error = ApiError(
                    401,
                    "wrong or missing API key: send Authorization: Bearer KEY",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await error.response()(scope, receive, send)
                return
            scope[KEY] = number
        await self._app(scope, receive, send)

    def _number(self, scope: Scope) -> int | None:
        scheme, _, key = Headers(scope=scope).get("Authorization", "").partition(" ")
        given = _digest(key.strip().encode("utf-8", "surrogateescape"))
        # Every key is compared, in constant time; digests, because that time is of their length.
        matches = [hmac.compare_digest(given, known) for known in self._keys]
        if scheme.lower() != "bearer" or not any(matches):
            return None
        return matches.index(True)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class BodyLimit:
    """Reads the body ahead, and answers 413 if it is too large, 408 if it takes too long."""

    def __init__(self, app: ASGIApp, most_bytes: int, most_s: float) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._most_s = most_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            message = await asyncio.wait_for(self._read(scope, receive), self._most_s)
        except asyncio.TimeoutError:
            error = ApiError(408, f"the body did not arrive within {self._most_s:g} s")
            await error.response()(scope, receive, send)
            return
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        pending = [message]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> Message:
        """The whole body as one message, or the news that the client went away."""
        declared = Headers(scope=scope).get("Content-Length", "0")
        if declared.isdecimal() and int(declared) > self._most_bytes:
            raise self._too_large()
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            body += message.get("body", b"")
            if len(body) > self._most_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return {"type": "http.request", "body": bytes(body), "more_body": False}

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the body is larger than {self._most_bytes} bytes",
            code="request_too_large",
            headers={"Connection": "close"},
        )
