"""The ASGI application: routes, and what stands before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zerostall.serve import chat, completions, embeddings, faults, native
from zerostall.serve.anthropic import routes as anthropic_routes
from zerostall.serve.anthropic.edge import Edge
from zerostall.serve.limits import BodyLimit, KeyCheck
from zerostall.serve.logs import HEADER, RequestLog
from zerostall.serve.responses import routes as responses_routes
from zerostall.serve.service import Service, stopped

# Threads that read prompts, compile grammars and write long answers. asyncio's own number follows
# the machine's; most of the work holds Python's lock, and each thread has an arena of memory.
READERS = 4


def build(service: Service) -> ASGIApp:
    """The application for a service; when it shuts down, what still runs is cancelled."""
    app, settings = _routed(service), service.settings
    # The last one added is the first to see a request.
    app.add_middleware(BodyLimit, most_bytes=settings.body_bytes, most_s=settings.body_s)
    if settings.api_keys:
        app.add_middleware(KeyCheck, keys=settings.api_keys)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[HEADER],
        )
    return RequestLog(_Slashless(Edge(_LastWord(app, service))), service.metrics)


class _Slashless:
    """Takes a slash off the end of a path: a redirect, as FastAPI answers, loses many a POST."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/":
            # The same dict goes on: the router notes the route in it, which the log reads.
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self._app(scope, receive, send)


class _LastWord:
    """Answers 503 when the end of the server cuts a request off, of which uvicorn makes a bare 500.

    Those are the ones that have no run to be cancelled: a body is still awaited, a prompt read.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            if scope["type"] != "http" or not self._service.stopping:
                raise
            # One that has begun is a stream that its client does not read.
            if not started:
                await stopped().response()(scope, receive, send)


def document(service: Service) -> dict[str, Any]:
    """The OpenAPI document of the routes, which the server gives at /openapi.json."""
    return _routed(service).openapi()


def _routed(service: Service) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(READERS, thread_name_prefix="request")
        asyncio.get_running_loop().set_default_executor(threads)
        yield
        await service.stop()

    # The pages of FastAPI's documentation load scripts from elsewhere; the schema is enough.
    app = FastAPI(
        title="zerostall",
        version=service.settings.version,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    faults.install(app)
    app.add_exception_handler(ClientDisconnect, _gone)
    for part in (chat, completions, embeddings, anthropic_routes, responses_routes, native):
        app.include_router(part.routes(service))
    return app


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the log does
