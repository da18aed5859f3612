"""Errors as ``application/problem+json`` (RFC 9457), the shape of every bad answer under ``/v1``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from flask import Response, make_response
from marshmallow import ValidationError
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException

from schemas.faults import Fault, flatten
from service.errors import Gone, HookreelError, InvalidInput, OutcomeUnknown, StoreUnavailable, Unavailable

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = 5
"""Seconds, where an error of the web framework's own says nothing."""

_CODES: Final = {
    400: "invalid_input",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    503: "unavailable",
}
_DETAILS: Final = {
    404: "there is nothing at this path; /openapi.json lists what there is",
    405: "this path does not know the method; the header Allow lists those it knows",
    413: "the body is over the limit of this path; under /v1 that is 1 MB",
    500: "an error of our own; it has been logged",
}


def answer(error: Exception) -> Response:
    """``error`` as a response: ours, the framework's, marshmallow's or the store's; any other is a 500.

    An error that is no error (a redirect) passes through as it is.
    """
    if isinstance(error, ValidationError):
        error = InvalidInput(*flatten(error.messages))
    elif isinstance(error, RedisError):
        error = StoreUnavailable("the store cannot be reached")
    if isinstance(error, HookreelError):
        return _response(error.status, error.code, error.detail, dict(_members(error)), _headers(error))
    if isinstance(error, HTTPException):
        return _framework(error)
    logging.getLogger(__name__).error("request.failed", exc_info=error)
    return _response(500, "internal", _DETAILS[500], {}, {})


def _framework(error: HTTPException) -> Response:
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return make_response(error.get_response())
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("Retry-After", str(RETRY_AFTER))
    code = _CODES.get(error.code, "internal" if error.code >= 500 else "bad_request")  # noqa: PLR2004
    return _response(error.code, code, _DETAILS.get(error.code) or error.description or "", {}, headers)


def _members(error: HookreelError) -> Iterator[tuple[str, Any]]:
    """What this error carries besides the members that all of them have."""
    if isinstance(error, InvalidInput):
        yield "errors", [_row(fault) for fault in error.faults]
    elif isinstance(error, Gone):
        yield "oldest", error.oldest
    elif isinstance(error, OutcomeUnknown):
        yield "prediction_id", error.prediction_id


def _row(fault: Fault) -> dict[str, str]:
    row = {"pointer": fault.pointer, "code": fault.code, "detail": fault.detail}
    return {**row, "allowed": fault.allowed} if fault.allowed else row


def _headers(error: HookreelError) -> dict[str, str]:
    if isinstance(error, Unavailable):
        return {"Retry-After": str(error.retry_after)}
    return {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else {}


def _response(
    status: int, code: str, detail: str, members: dict[str, Any], headers: dict[str, str]
) -> Response:
    problem = {
        "type": f"urn:hookreel:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **members,
    }
    body = json.dumps(problem, ensure_ascii=False) + "\n"
    return Response(body, status, headers, content_type=CONTENT_TYPE)
