"""Server-sent events: a run's chunks as `data:` lines, as each API writes them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from zerostall.errors import ZerostallError
from zerostall.serve.faults import ApiError, to_api_error, unexpected
from zerostall.serve.run import Run

log = logging.getLogger(__name__)

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def event(data: Any) -> bytes:
    """One event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


def named_event(data: dict[str, Any]) -> bytes:
    """One event under the name of its type."""
    return b"event: " + str(data["type"]).encode() + b"\n" + event(data)


@dataclass(frozen=True)
class Wire:
    """How a stream is written.

    Attributes:
        event: an item of it.
        error: an error in its middle, which clients raise.
        end: what comes last if there was none.
        alive: a sign of life.
    """

    event: Callable[[Any], bytes] = event
    error: Callable[[ApiError], bytes] = lambda error: event(error.body())
    end: bytes = DONE
    alive: bytes = KEEP_ALIVE


class EventStream(StreamingResponse):
    """A run as a stream of events; it is cancelled when the client goes away.

    While it waits in the queue so is its status, for `most_s` at most: until then a refusal is an
    answer of its own, later an event. An item None of `events` is a sign of life.
    """

    media_type = "text/event-stream"

    def __init__(
        self, run: Run, events: AsyncIterator[Any], most_s: float, wire: Wire | None = None
    ) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_lines(events, wire or Wire()), headers=headers)
        self._run = run
        self._most_s = most_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            ApiError: 429, it gave way to another client in the queue.
            ClientDisconnect: the client went away while it waited there.
        """
        try:
            await _unless_gone(receive, self._run.turn(self._most_s))
            await super().__call__(scope, receive, send)
        finally:
            self._run.cancel()


async def _lines(events: AsyncIterator[Any], wire: Wire) -> AsyncIterator[bytes]:
    try:
        async for data in events:
            yield wire.alive if data is None else wire.event(data)
    except ApiError as error:
        yield wire.error(error)
    except ZerostallError as error:
        yield wire.error(to_api_error(error))
    except Exception:
        # The status has been sent: an event is all that can still tell.
        log.exception("a stream broke off")
        yield wire.error(unexpected())
    else:
        yield wire.end


async def unless_gone(request: Request, run: Run, answer: Coroutine[Any, Any, T]) -> T:
    """Wait for a whole answer, and cancel its run when the client goes away.

    Raises:
        ClientDisconnect: it went away.
    """
    try:
        return await _unless_gone(request.receive, answer)
    finally:
        run.cancel()


async def _unless_gone(receive: Receive, answer: Coroutine[Any, Any, T]) -> T:
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise ClientDisconnect
    finally:
        for task in (work, gone):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ApiError):
                await task


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
