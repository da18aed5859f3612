"""Answers of the vendor-compatible API and of the callback: the envelope, and the vendor's error body."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from flask import Response
from marshmallow import ValidationError
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException

from schemas.faults import flatten
from schemas.predictions import envelope, error_body
from service.errors import HookreelError, InvalidInput, OutcomeUnknown, StoreUnavailable, Unavailable
from service.vendor import VendorRefused

_WORDS = {
    404: "there is nothing at this path",
    405: "this path does not know the method; the header Allow lists those it knows",
    413: "the body is too large",
    500: "an error of our own; it has been logged",
}


def good(data: Any) -> Response:
    """``{"code": 200, "message": "success", "data": ...}``."""
    return _response(200, envelope(data))


def answer(error: Exception) -> Response:
    """``error`` as ``{"code", "message"}``; any other is logged and a 500 without details."""
    if isinstance(error, ValidationError):
        error = InvalidInput(*flatten(error.messages))
    elif isinstance(error, RedisError):
        logging.getLogger(__name__).warning("store.error", exc_info=error)
        error = StoreUnavailable("the store cannot be reached")
    if isinstance(error, HookreelError) and error.status != HTTPStatus.INTERNAL_SERVER_ERROR:
        return _told(error)
    if isinstance(error, HTTPException) and error.code and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _framework(error, error.code)
    logging.getLogger(__name__).error("request.failed", exc_info=error)
    return _response(500, error_body(500, _WORDS[500]))


def _told(error: HookreelError) -> Response:
    status, detail = error.status, error.detail
    if isinstance(error, VendorRefused) and status == HTTPStatus.UNAUTHORIZED:
        # It is the operator's key that the vendor refuses; the caller's is good.
        status = HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, OutcomeUnknown):
        detail = f"{detail}: the job may exist as prediction {error.prediction_id}; look before you repeat it"
    response = _response(status, error_body(status, detail))
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(error.retry_after)
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "60"
    elif status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _framework(error: HTTPException, status: int) -> Response:
    if status < HTTPStatus.BAD_REQUEST:
        return Response.force_type(error.get_response())  # type: ignore[return-value]
    response = _response(status, error_body(status, _WORDS.get(status) or error.description or ""))
    allowed = dict(error.get_headers()).get("Allow")
    if allowed:
        response.headers["Allow"] = allowed
    return response


def _response(status: int, document: dict[str, Any]) -> Response:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, content_type="application/json")
