"""The client of the vendor's HTTP API, ``/api/v3`` (https://wavespeed.ai/docs).

Only ``submit`` costs money. It sends its POST exactly once, whatever happens, and says what is known about
it; everything else may be called again. No key, callback token or upload signature gets into a log, an
error or a ``repr``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from schemas.envelopes import FINE, Envelope, read_envelope, safe_text
from schemas.models import check_model_id
from schemas.outcomes import Observation, SubmissionOutcome, classify
from schemas.predictions import UPSTREAM_ID
from service.backoff import LONGEST_ASKED, parse_retry_after
from service.errors import HookreelError, VendorUnavailable
from service.transport import MB, Exchange, Question, Reply, Transport

_ANSWER_LIMIT = 16 * MB
_CATALOGUE_LIMIT = 64 * MB
_QUESTION_SECONDS = 10.0
_GET_TRIES = 3
_SHORTEST_SECRET = 8
_UNAUTHORIZED = 401
_PASSING = frozenset({408, 429})
_SUCCESS = range(200, 300)
_THEIR_TROUBLE = range(500, 600)
_UNKNOWN_METHOD = 501

_PAGE = 100
_MOST_PAGES = 20


class VendorRefused(HookreelError):
    """The vendor understood the question and refuses it for good.

    ``status`` is the vendor's (4xx, or 501), ``message`` what it said, made safe to repeat.
    """

    code = "vendor_refused"
    status: int  # type: ignore[misc]  # the one error whose status is not its class's

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class UploadUnsupported(HookreelError):
    """The vendor gives no upload ticket; the bytes have to travel inside the submission."""

    code = "upload_unsupported"


class Vendor:
    """The vendor at ``base_url`` (its origin, without ``/api/v3``).

    ``proxy`` is the only proxy there is: the environment's is ignored, as is ``.netrc``. ``connect_timeout``
    is in seconds for each step of connecting, ``total`` for all of a submission or an upload. ``ca_file``
    replaces the public certificate authorities. ``now`` gives unix seconds; it is read where the vendor
    names a date.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        proxy: str | None = None,
        connect_timeout: float = 10.0,
        total: float = 60.0,
        ca_file: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = base_url.rstrip("/").removesuffix("/api/v3") + "/api/v3"
        self._key = api_key
        self._total = total
        self._now = now
        self._transport = Transport(proxy, connect_timeout, ca_file)

    def __repr__(self) -> str:
        place = urlsplit(self._root)
        return f"Vendor({place.scheme}://{place.netloc.rpartition('@')[2]})"

    def submit(
        self, model: str, body: dict[str, Any], webhook: str, may_send: Callable[[], bool] = lambda: True
    ) -> SubmissionOutcome:
        """Send the one POST that is billed and say what became of it. Never repeated, whatever came of it.

        ``may_send`` is asked when the connection stands and nothing has been sent: the place to check that
        the claim behind this submission is still fresh. False means refused, nothing sent.
        Raises ValidationError for what is no model id; nothing was sent then either.
        """
        address = f"{self._root}/{check_model_id(model)}?webhook={quote(webhook, safe='')}"
        question = Question("POST", address, self._headers(), _json(body), self._total, MB)
        exchange = self._transport.exchange(question, may_send)
        return classify(self._observed(exchange), (self._key, *_secrets_of(webhook)))

    def _observed(self, exchange: Exchange) -> Observation:
        reply = exchange.reply
        if reply is None:
            return Observation(exchange.sent, trouble=exchange.trouble)
        wait = self._asked_wait(reply)
        return Observation(exchange.sent, reply.status, reply.body, wait, exchange.trouble)

    def upload(self, filename: str, data: bytes, content_type: str) -> str:
        """Put bytes where the vendor can fetch them: the URL to name in a submission. Unbilled, repeatable.

        Raises UploadUnsupported when the vendor gives no ticket, VendorUnavailable when it may be retried.
        """
        try:
            granted = self.ticket({"filename": filename, "size": len(data), "content_type": content_type})
            ticket = _TICKET.load(granted)
        except (VendorRefused, ValidationError) as refusal:
            raise UploadUnsupported(f"the vendor gives no upload ticket: {refusal}") from None
        self._put(ticket["upload"]["url"], ticket["upload"]["headers"] or {}, data)
        return str(ticket["download_url"])

    def _put(self, url: str, headers: Mapping[str, str], data: bytes) -> None:
        """Exactly the ticket's headers: they are signed, and the vendor's key is not for the storage."""
        question = Question("PUT", url, headers, data, self._total, MB)
        exchange = self._transport.exchange(question)
        if exchange.reply is None:
            raise VendorUnavailable(f"the upload did not get through: {exchange.trouble}")
        if exchange.reply.status not in _SUCCESS:
            raise VendorUnavailable(f"the upload was answered with status {exchange.reply.status}")

    def ticket(self, body: dict[str, Any]) -> dict[str, Any]:
        """An upload ticket as the vendor gives it: ``download_url``, ``upload{method, url, headers}``."""
        return _object(self._ask("POST", "/media/uploads", body).data)

    def result(self, prediction_id: str) -> dict[str, Any]:
        """The vendor's bare prediction object. Raises VendorRefused (404) when it knows no such id."""
        return _object(self._ask("GET", f"/predictions/{quote(prediction_id, safe='')}/result").data)

    def list_predictions(self, model: str, created_after: str) -> list[dict[str, Any]]:
        """Every task of ``model`` since ``created_after`` (RFC 3339): the bare items, without their inputs.

        Raises VendorUnavailable when the list is longer than this reads, or not wholly understood.
        """
        found: list[dict[str, Any]] = []
        known: set[str] = set()
        for page in range(1, _MOST_PAGES + 1):
            query = {"page": page, "page_size": _PAGE, "model": model, "created_after": created_after}
            data = _object(self._ask("POST", "/predictions", query).data)
            items = data.get("items")
            if not isinstance(items, list) or not all(map(_is_task, items)):
                # What is passed over could be the task that is asked for.
                _puzzled()
            known |= {each["id"] for each in items}
            found += items
            # A short page is no end: how many a page holds is the vendor's to say.
            total = data.get("total")
            if total == len(known) or (not items and not isinstance(total, int)):
                return found
            if not items:
                _puzzled()
        raise VendorUnavailable("the vendor's list is too long")

    def delete(self, ids: list[str]) -> int:
        """Delete finished predictions; how many the vendor says it deleted."""
        data = self._ask("POST", "/predictions/delete", {"ids": ids}).data
        count = data.get("deleted_count") if isinstance(data, dict) else None
        return count if isinstance(count, int) else 0

    def balance(self) -> float:
        """What is left on the account, in USD."""
        return _number(self._ask("GET", "/balance").data, "balance")

    def answers(self) -> bool:
        """Whether it answers at all: what it says of the account is of no interest here."""
        try:
            self._ask("GET", "/balance")
        except VendorUnavailable:
            return False
        except HookreelError:
            return True
        return True

    def price(self, model_id: str, inputs: dict[str, Any]) -> float:
        """What one job would cost, in USD."""
        return _number(
            self._ask("POST", "/model/price", {"model_id": model_id, "inputs": inputs}).data, "price"
        )

    def models(self) -> list[dict[str, Any]]:
        """The catalogue: ``{model_id, name, base_price, description, type, api_schema}`` each."""
        data = self._ask("GET", "/models", limit=_CATALOGUE_LIMIT).data
        return [model for model in data if isinstance(model, dict)] if isinstance(data, list) else _puzzled()

    def webhook_secret(self) -> str:
        """The ``whsec_...`` that callbacks are signed with.

        Seen in ``data.secret``; also taken from ``secret`` at the top and from ``data`` as a string.
        """
        answer = self._ask("GET", "/webhook/secret")
        inner = answer.data.get("secret") if isinstance(answer.data, dict) else answer.data
        found = [text for text in (inner, answer.document.get("secret")) if isinstance(text, str) and text]
        return found[0] if found else _puzzled()

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, limit: int = _ANSWER_LIMIT
    ) -> Envelope:
        """A question that is safe to repeat. Raises VendorUnavailable or VendorRefused."""
        content = None if body is None else _json(body)
        question = Question(
            method, self._root + path, self._headers(), content, min(self._total, _QUESTION_SECONDS), limit
        )
        exchange = self._fetch(question, _GET_TRIES if method == "GET" else 1)
        if exchange.reply is None or exchange.reply.body is None:
            raise VendorUnavailable(f"the vendor did not answer: {exchange.trouble}")
        return self._understood(exchange.reply)

    def _fetch(self, question: Question, tries: int) -> Exchange:
        exchange = self._transport.exchange(question)
        reply = exchange.reply
        answered = reply is not None and reply.body is not None and reply.status not in _THEIR_TROUBLE
        return exchange if answered or tries == 1 else self._fetch(question, tries - 1)

    def _understood(self, reply: Reply) -> Envelope:
        envelope = read_envelope(reply.body)
        verdict = envelope.code if reply.status in _SUCCESS and envelope.readable else reply.status
        if verdict == FINE and envelope.readable:
            return envelope
        said = safe_text(envelope.said, (self._key,))
        if verdict is not None and _for_good(verdict):
            raise VendorRefused(verdict, _blame(verdict, said))
        told = f"the vendor answered with status {reply.status}" + (f": {said}" if said else "")
        wait = self._asked_wait(reply)
        raise VendorUnavailable(told) if wait is None else VendorUnavailable(told, retry_after=int(wait))

    def _asked_wait(self, reply: Reply) -> float | None:
        wait = parse_retry_after(reply.headers.get("Retry-After"), self._now())
        return None if wait is None else min(wait, LONGEST_ASKED)

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "Hookreel",
        }


def _for_good(verdict: int) -> bool:
    return verdict == _UNKNOWN_METHOD or (verdict in range(400, 500) and verdict not in _PASSING)


def _blame(verdict: int, said: str) -> str:
    """A 401 is about the operator's key, and would otherwise be read as being about the caller's."""
    about = said or f"the vendor refuses it with status {verdict}"
    return f"the vendor does not accept WAVESPEED_API_KEY: {about}" if verdict == _UNAUTHORIZED else about


class _UploadSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    method = fields.String(required=True, validate=validate.Equal("PUT"))
    url = fields.String(required=True, validate=validate.Regexp(r"https?://"))
    headers = fields.Dict(keys=fields.String(), values=fields.String(), load_default=None, allow_none=True)


class _TicketSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    download_url = fields.String(required=True, validate=validate.Regexp(r"https?://"))
    upload = fields.Nested(_UploadSchema, required=True)


_TICKET = _TicketSchema()


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _secrets_of(webhook: str) -> tuple[str, ...]:
    """The callback's URL in both spellings, and its token, which is the path's last segment."""
    token = urlsplit(webhook).path.rpartition("/")[2]
    return (webhook, quote(webhook, safe=""), token if len(token) >= _SHORTEST_SECRET else "")


def _object(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else _puzzled()


def _is_task(item: Any) -> bool:
    told = item.get("id") if isinstance(item, dict) else None
    return isinstance(told, str) and re.fullmatch(UPSTREAM_ID, told, re.ASCII) is not None


def _number(data: Any, name: str) -> float:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else _puzzled()


def _puzzled() -> NoReturn:
    raise VendorUnavailable("the vendor's answer does not have the documented shape")
