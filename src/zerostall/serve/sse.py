"""Server-sent events: a run's chunks as `data:` lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from zerostall.serve.faults import ApiError
from zerostall.serve.run import Run

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def event(data: Any) -> bytes:
    """One event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


class EventStream(StreamingResponse):
    """A run as a stream of events; it is cancelled when the client goes away.

    An item None of `events` is a sign of life. An error in the middle is an event {"error"},
    which OpenAI's clients raise.
    """

    media_type = "text/event-stream"

    def __init__(self, run: Run, events: AsyncIterator[Any]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_lines(events), headers=headers)
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._run.cancel()


async def _lines(events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    try:
        async for data in events:
            yield KEEP_ALIVE if data is None else event(data)
    except ApiError as error:
        yield event(error.body())
    else:
        yield DONE


async def unless_gone(request: Request, run: Run, answer: Coroutine[Any, Any, T]) -> T:
    """Wait for a whole answer, and cancel its run when the client goes away.

    Raises:
        ClientDisconnect: it went away.
    """
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise ClientDisconnect
    finally:
        run.cancel()
        for task in (work, gone):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ApiError):
                await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
