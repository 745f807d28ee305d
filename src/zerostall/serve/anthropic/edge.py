"""What Anthropic's clients send and expect around a request: x-api-key, errors in their form."""

from __future__ import annotations

import json
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zerostall.serve import logs
from zerostall.serve.faults import ApiError

PATH = "/v1/messages"
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(status: int, message: str) -> dict[str, Any]:
    """An error as Anthropic's API has it."""
    kind = "invalid_request_error" if status < 500 else "api_error"
    error = {"type": _TYPES.get(status, kind), "message": message}
    return {"type": "error", "error": error, "request_id": logs.request_id()}


def error_event(error: ApiError) -> dict[str, Any]:
    """The same in the middle of a stream."""
    return error_body(error.status, str(error))


class Edge:
    """Stands before everything that may refuse a request.

    The key of x-api-key counts as if it came as Authorization. Errors below /v1/messages, whoever
    made them, leave in Anthropic's form.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = headers.get("x-api-key")
        if key is not None and "Authorization" not in headers:
            given = (b"authorization", b"Bearer " + key.encode("latin-1"))
            # The same dict goes on: the router notes the route in it, which the log reads.
            scope["headers"] = [*scope["headers"], given]
        own = scope["path"] == PATH or scope["path"].startswith(PATH + "/")
        await self._app(scope, receive, _Translated(scope, receive, send) if own else send)


class _Translated:
    """Sends an answer on; the body of an error is held back and written anew."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._refusal: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["request-id"] = logs.request_id() or ""
            if message["status"] >= 400:
                self._refusal = message
                return
        if self._refusal is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            await self._answer(self._refusal)(self._scope, self._receive, self._send)

    def _answer(self, refusal: Message) -> JSONResponse:
        status = refusal["status"]
        try:
            told = json.loads(self._body)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            told = f"status {status}"
        headers = dict(Headers(scope=refusal))
        for name in ("content-length", "content-type"):
            headers.pop(name, None)
        return JSONResponse(error_body(status, told), status, headers)
