"""What a request must pass before anything looks at it: its key and its size."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zerostall.serve.client import KEY, client_of
from zerostall.serve.faults import ApiError

OPEN = frozenset({"/health", "/v1/health"})
BUFFERED_BYTES = 64 * 2**20  # of all bodies at once; connections times the largest body is 8 GB


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


class Buffered:
    """Bytes of bodies in memory, bounded for all requests together.

    A client has at most half of them, so that alone it does not shut others out.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._total = 0
        self._of: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Bytes that are held."""
        return self._total

    @contextmanager
    def holding(self, client: str) -> Iterator[Callable[[int], None]]:
        """Takes so many more bytes for a request of a client; all are given back in the end.

        Raises:
            ApiError: 503, there are too many.
        """
        held = 0

        def take(count: int) -> None:
            nonlocal held
            if self._total + count > self._most or self._of[client] + count > self._most // 2:
                raise ApiError(
                    503,
                    f"the bodies of requests take {self._total} bytes, {self._of[client]} of them "
                    "yours: try again later",
                    headers={"Retry-After": "1", "Connection": "close"},
                )
            held += count
            self._total += count
            self._of[client] += count

        try:
            yield take
        finally:
            self._total -= held
            self._of[client] -= held
            if not self._of[client]:
                del self._of[client]


class BodyLimit:
    """Reads the body ahead.

    Answers 413 if it is too large, 408 if it takes too long, 503 if there is no room for it beside
    those of others. It counts until its request is answered: the request keeps it.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, most_s: float) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._most_s = most_s
        self._buffered = Buffered(max(BUFFERED_BYTES, 2 * most_bytes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._buffered.holding(client_of(scope)) as take:
            try:
                with anyio.fail_after(self._most_s):
                    message = await self._read(scope, receive, take)
            except TimeoutError:
                await self._too_late().response()(scope, receive, send)
                return
            except ApiError as error:
                await error.response()(scope, receive, send)
                return
            pending = [message]

            async def replay() -> Message:
                return pending.pop() if pending else await receive()

            await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive, take: Callable[[int], None]) -> Message:
        """The whole body as one message, or the news that the client went away."""
        declared = Headers(scope=scope).get("Content-Length", "0")
        if declared.isdecimal() and int(declared) > self._most_bytes:
            raise self._too_large()
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            piece = message.get("body", b"")
            if len(body) + len(piece) > self._most_bytes:
                raise self._too_large()
            take(len(piece))
            body += piece
            if not message.get("more_body", False):
                return {"type": "http.request", "body": bytes(body), "more_body": False}

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the body is larger than {self._most_bytes} bytes",
            code="request_too_large",
            headers={"Connection": "close"},
        )

    def _too_late(self) -> ApiError:
        return ApiError(
            408,
            f"the body did not arrive within {self._most_s:g} s",
            headers={"Connection": "close"},
        )
