"""Answers of the API: the envelope, its errors in every shape that was seen, and the faulty ones."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from flask import Response, g, redirect, request

from service.sandbox.switches import Switches

MESSAGES = {
    400: "Bad request",
    401: "Invalid API key",
    403: "You have no permission to do this",
    404: "Not found",
    408: "Request timeout",
    409: "Conflict",
    413: "The body is too large",
    429: "Too many requests. Please slow down.",
    500: "Internal server error",
    503: "Service unavailable",
}
NO_CREDITS = "Insufficient credits. Please top up."
NO_BASE64 = "webhook callback does not support base64 output, please use the normal API to use base64 output"
_GATEWAYS = {502, 504}
_RETRY_LATER = {429, 500, 502, 503, 504}


class Refusal(Exception):
    """An error answer, in the shape that the account's switches ask for."""

    def __init__(self, status: int, message: str = "", shape: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message or MESSAGES.get(status, HTTPStatus(status).phrase)
        self.shape = shape


def reply(document: Any, status: int = 200) -> Response:
    """JSON as the vendor writes it, without spaces."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return Response(text, status, content_type="application/json; charset=utf-8")


def success(data: Any) -> Response:
    """``{"code": 200, "message": "success", "data": ...}``."""
    return reply({"code": 200, "message": "success", "data": data})


def failure(status: int, message: str = "", shape: str = "code_message") -> Response:
    """An error. 502 and 504 come from a gateway before the API, and are plain text whatever the shape."""
    if status in _GATEWAYS:
        return Response(f"error code: {status}", status, content_type="text/plain")
    message = message or MESSAGES.get(status, HTTPStatus(status).phrase)
    bodies = {
        "code_message": {"code": status, "message": message},
        "error": {"error": message},
        "message_error_code": {"message": message, "error_code": status},
        "data_error": {"code": status, "message": message, "data": {"error": message}},
    }
    if shape not in bodies:
        return Response(message, status, content_type="text/plain; charset=utf-8")
    return reply(bodies[shape], status)


def cut() -> Response:
    """No answer: the connection is closed once this call has been noted (see ``app.close_entry``)."""
    g.cut = True
    return Response(status=200)


def faulty(how: str, switches: Switches, data: dict[str, Any] | None = None) -> Response:
    """The answer that the word ``how`` of a switch stands for; ``data`` is what a good one would carry."""
    if how.isdigit():
        return _status(int(how), switches)
    return _UNUSABLE[how](switches, data or {})


def _status(status: int, switches: Switches) -> Response:
    if status == HTTPStatus.TEMPORARY_REDIRECT:
        # To the same place: whoever follows it posts a second time, and that is counted.
        return redirect(request.url, status)  # type: ignore[return-value]
    response = failure(status, shape=switches.error_shape)
    if switches.retry_after is not None and status in _RETRY_LATER:
        response.headers["Retry-After"] = str(switches.retry_after)
    return response


def _no_id(_switches: Switches, data: dict[str, Any]) -> Response:
    return success({name: value for name, value in data.items() if name != "id"})


def _midway(_switches: Switches, data: dict[str, Any]) -> Response:
    whole = success(data).get_data()
    response = Response(whole[: len(whole) // 2], content_type="application/json; charset=utf-8")
    response.headers["Content-Length"] = str(len(whole))
    return response


_UNUSABLE = {
    "envelope_500": lambda _switches, _data: reply({"code": 500, "message": MESSAGES[500]}),
    "insufficient_credits": lambda switches, _data: failure(400, NO_CREDITS, switches.error_shape),
    "not_json": lambda _switches, _data: Response(
        "<html><body>It works</body></html>", content_type="text/html"
    ),
    "no_id": _no_id,
    "null_data": lambda _switches, _data: success(None),
    "empty": lambda _switches, _data: Response(b"", content_type="application/json; charset=utf-8"),
    "cut": lambda _switches, _data: cut(),
    "cut_before": lambda _switches, _data: cut(),
    "cut_after": lambda _switches, _data: cut(),
    "cut_midway": _midway,
}
