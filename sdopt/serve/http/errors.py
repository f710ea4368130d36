"""Errors as the clients of each API expect them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sdopt.errors import RequestError, SdoptError, UnknownNameError

_log = logging.getLogger(__name__)
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


def openai_error(error: SdoptError) -> dict[str, object]:
    """Return an error as the OpenAI API writes it."""
    return _body(str(error), status_of(error), getattr(error, "name", None))


def status_of(error: SdoptError) -> int:
    """Return the HTTP status of an error; a model that is not there is not found."""
    if isinstance(error, UnknownNameError) and error.kind == "model":
        return 404
    return error.http_status


def answer(path: str, message: str, status: int, param: str | None = None) -> JSONResponse:
    """Return an error in the form of the API that a path belongs to."""
    headers = {} if status in (408, 409, 429, 502, 503) else {"x-should-retry": "false"}
    if path.startswith("/sdapi/"):
        content: dict[str, Any] = {"error": _type(status), "detail": message, "errors": message}
    else:
        content = {"error": _body(message, status, param)}
    return JSONResponse(content, status, headers)


def install(app: FastAPI) -> None:
    """Teach an application to answer with these errors."""

    @app.exception_handler(SdoptError)
    async def refused(request: Request, error: SdoptError) -> JSONResponse:
        status = status_of(error)
        if status >= 500 and not isinstance(error, RequestError):
            _log.warning("%s", error)
        response = answer(request.url.path, str(error), status, getattr(error, "name", None))
        if (seconds := getattr(error, "retry_after_s", None)) is not None:
            response.headers["Retry-After"] = str(math.ceil(seconds))
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        field, message = _first_problem(error.errors())
        return answer(request.url.path, message, 400, field)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        told = str(error.detail)
        message = told if told.endswith(".") else f"{request.method} {request.url.path}: {told}."
        response = answer(request.url.path, message, error.status_code)
        response.headers.update(error.headers or {})
        return response


def _first_problem(problems: Sequence[Any]) -> tuple[str | None, str]:
    problem = problems[0]
    field = ".".join(map(str, problem["loc"][1:])) or None
    if problem["type"] == "json_invalid":
        return None, f"The body is not JSON: {problem['ctx']['error']}."
    if problem["type"] == "missing":
        return field, f"{field or 'The body'} is missing, and is required."
    return field, f"{field or 'The body'}: {problem['msg']}."


def _body(message: str, status: int, param: str | None) -> dict[str, object]:
    return {"message": message, "type": _type(status), "param": param, "code": None}


def _type(status: int) -> str:
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
