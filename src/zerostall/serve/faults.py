"""Errors as OpenAI's API words them: a status and {"error": {message, type, param, code}}."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from zerostall.errors import (
    ClosedError,
    ContextLengthError,
    InvalidRequestError,
    OutOfBudgetError,
    ZerostallError,
)

log = logging.getLogger(__name__)

_TYPES = {
    401: "authentication_error",
    429: "rate_limit_error",
    503: "unavailable_error",
    504: "timeout_error",
}
_CODES = {404: "not_found", 405: "method_not_allowed"}


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {
                "message": str(self),
                "type": _TYPES.get(self.status, kind),
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body(), self.status, self.headers)


def to_api_error(error: ZerostallError, param: str | None = None) -> ApiError:
    """What a caller is told of an error of the engine.

    Args:
        error: its message says what to do.
        param: the field at fault, where it is the caller's.
    """
    if isinstance(error, ContextLengthError):
        return ApiError(400, str(error), param=param, code="context_length_exceeded")
    if isinstance(error, InvalidRequestError):
        return ApiError(400, str(error), param=param)
    if isinstance(error, (ClosedError, OutOfBudgetError)):
        return ApiError(503, str(error), headers={"Retry-After": "1"})
    # Files and paths are the operator's business: the log has them.
    log.error("%s: %s", type(error).__name__, error)
    return ApiError(500, "the server could not read its model; its log says why")


def unexpected() -> ApiError:
    """What a caller is told of a fault inside, which the log has."""
    return ApiError(500, "internal error; the server's log says more")


def install(app: FastAPI) -> None:
    """Let every error of the app leave in this form."""
    app.add_exception_handler(ApiError, _api)
    app.add_exception_handler(ZerostallError, _engine)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _api(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error.response()


async def _engine(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ZerostallError)
    return to_api_error(error).response()


async def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return ApiError(400, "the body is not valid JSON").response()
    where = [str(part) for part in first["loc"] if part != "body"]
    if not where:
        message = "the body is not a JSON object sent as Content-Type: application/json"
        return ApiError(400, message).response()
    return ApiError(400, f"{'.'.join(where)}: {first['msg']}", param=where[0]).response()


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code)
    return ApiError(error.status_code, error.detail, code=code, headers=error.headers).response()


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    # Starlette raises it again once this is sent, and uvicorn logs it with its traceback.
    return unexpected().response()
