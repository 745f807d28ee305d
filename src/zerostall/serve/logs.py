"""One JSON object a line on stderr, each with the id of the request it belongs to."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zerostall.serve.metrics import Metrics

HEADER = "X-Request-Id"
_FIT = re.compile(r"[A-Za-z0-9_.:-]{1,128}")  # of a client's id: nothing that confuses a log
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

log = logging.getLogger(__name__)


def request_id() -> str | None:
    """The id of the request that is being answered."""
    return _request_id.get()


class JsonFormatter(logging.Formatter):
    """A record as a line of JSON; a record's `fields` become members."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if request_id() is not None:
            line["request_id"] = request_id()
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure() -> None:
    """Send the logs of the server to stderr in this form."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("zerostall").setLevel(logging.INFO)


class RequestLog:
    """Gives each request an id, its own or a new one, and logs and counts its answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        chosen = given if _FIT.fullmatch(given) else uuid.uuid4().hex
        _request_id.set(chosen)
        clock = time.perf_counter()
        status = 499  # as nginx counts clients that went away before an answer

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = chosen
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            # Routes, not paths: whoever asks for paths at random must not fill the memory.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(status)).inc()
            fields = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "ms": round(1e3 * (time.perf_counter() - clock), 1),
            }
            log.info("answered", extra={"fields": fields})
