"""What every handler needs of a request: whose it is, its body within bounds, and where it was sent to."""

from __future__ import annotations

from typing import Any, Final

from flask import request as current
from marshmallow import ValidationError
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Request

from schemas import documents
from schemas.faults import Fault, flatten
from service.apikeys import ApiKey, ApiKeys
from service.errors import InvalidInput, TooLarge, WrongMediaType

SMALL: Final = documents.MEGABYTE
"""Bytes of a body that carries no image."""


def authorize(apikeys: ApiKeys) -> ApiKey:
    """The API key of ``Authorization: Bearer``. Raises `Unauthorized`."""
    scheme, _, text = current.headers.get("Authorization", "").strip().partition(" ")
    return apikeys.check(text.strip() if scheme.lower() == "bearer" else "")


def check_size(request: Request, limit: int) -> None:
    """Raise `TooLarge` for a body that says itself that it is over ``limit`` bytes; nothing is read."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)


def check_json() -> None:
    """Raise `WrongMediaType` unless the body is declared as JSON."""
    if current.mimetype != "application/json":
        given = current.mimetype[:80] or "none"
        raise WrongMediaType(f"Content-Type: {given!r} is not accepted; application/json")


def read_body(request: Request, limit: int) -> bytes:
    """The body, of which never more than ``limit`` bytes and one are read.

    Raises `TooLarge`, and BadRequest when the sender went away in the middle of it.
    """
    check_size(request, limit)
    # One more than allowed, or a chunked body of the limit could not be told from a longer one.
    request.max_content_length = limit + 1
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise _too_large(limit)
    if len(data) < (request.content_length or 0):
        raise BadRequest("the body is shorter than its Content-Length")
    return data


def read_json(limit: int = SMALL) -> Any:
    """The body's JSON value. Raises `TooLarge`, `WrongMediaType` and `InvalidInput`, in this order."""
    check_size(current, limit)
    check_json()
    data = read_body(current, limit)
    try:
        return documents.read(data, limit=limit)
    except ValidationError as error:
        faults = flatten(error.messages)
        raise InvalidInput(*(Fault("", each.code, f"the body {each.detail}") for each in faults)) from None


def origin() -> str:
    """Scheme and host that the request was sent to, without a slash at the end."""
    return current.host_url.rstrip("/")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is too large; at most {limit} bytes")
