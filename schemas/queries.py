"""What callers ask with: query strings, one header, and the vendor's small bodies."""

from __future__ import annotations

import re
from typing import Any, Final

from marshmallow import EXCLUDE

from schemas.documents import MEGABYTE
from schemas.endpoints import MAX_METADATA, channel_field
from schemas.faults import Complaint, refusal, shown
from schemas.fields import (
    CallableUrl,
    Choice,
    Instant,
    Items,
    JsonText,
    Object,
    QueryWhole,
    Strict,
    Text,
    Whole,
)
from schemas.predictions import PREDICTION_WORDS, UPSTREAM_ID

MAX_UPLOAD: Final = 200 * MEGABYTE
DELIVERY_STATES: Final = ("pending", "retrying", "delivered", "exhausted", "held", "cancelled")

_ID_ALLOWED: Final = "1 to 128 of A-Z a-z 0-9 _ -"
_KEY = re.compile(r"[!-~]{1,255}")


def _id(**options: Any) -> Text:
    return Text(most=128, pattern=UPSTREAM_ID, allowed=_ID_ALLOWED, **options)


class PageQuery(Strict):
    """``?limit=&cursor=`` of every list under ``/v1``, newest first."""

    limit = QueryWhole(least=1, most=100, load_default=20)
    cursor = Text(least=1, most=256, pattern=r"[A-Za-z0-9_.:~=-]*", load_default=None)


class NoQuery(Strict):
    """Of a path that takes no parameter."""

    error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "unknown": Complaint("is not known; this path takes no parameter", code="unknown", allowed="none")
    }


def _last_event_id(name: str, description: str) -> Text:
    return Text(
        least=1,
        most=128,
        pattern=UPSTREAM_ID,
        allowed="an event's id",
        data_key=name,
        load_default=None,
        metadata={"description": description},
    )


class StreamHeaders(Strict):
    """The one header of ``GET /v1/stream`` that is read."""

    class Meta:
        """Any other header is somebody else's."""

        unknown = EXCLUDE

    last_event_id = _last_event_id(
        "Last-Event-ID", "The event after which to begin; set by EventSource when it comes again."
    )


class StreamQuery(Strict):
    """The same for a client of EventSource's kind that cannot set headers."""

    last_event_id = _last_event_id("lastEventId", "As `Last-Event-ID`, which counts where both are given.")


class DeliveriesQuery(PageQuery):
    """The filters of ``GET /v1/deliveries``; None: any."""

    endpoint = _id(load_default=None)
    event = _id(load_default=None)
    job = _id(load_default=None)
    state = Choice(*DELIVERY_STATES, load_default=None)


class EventsQuery(Strict):
    """``GET /v1/events?after=<event id>``, oldest first; ``0`` is the start."""

    after = _id(load_default="0")
    limit = QueryWhole(least=1, most=100, load_default=20)


class SubmitQuery(Strict):
    """The query of a submission. What it does not know is passed over, as by the vendor."""

    class Meta:
        """Unknown parameters are the caller's own."""

        unknown = EXCLUDE

    webhook = CallableUrl(load_default=None)
    channel = channel_field(load_default=None)
    metadata = JsonText(limit=MAX_METADATA, load_default=None)


class _VendorBody(Strict):
    """A small body of the vendor's API. What it does not know is passed over, as by the vendor."""

    class Meta:
        """Unknown fields are passed over."""

        unknown = EXCLUDE


class PredictionsBody(_VendorBody):
    """``POST /api/v3/predictions``: a page of what was submitted, newest first."""

    page = Whole(least=1, most=1_000_000, load_default=1)
    page_size = Whole(least=1, most=100, load_default=20)
    model = Text(least=1, most=128, load_default=None)
    status = Choice(*PREDICTION_WORDS, load_default=None)
    created_after = Instant(load_default=None)
    created_before = Instant(load_default=None)


class DeleteBody(_VendorBody):
    """``POST /api/v3/predictions/delete``."""

    ids = Items(Text(least=1, most=128), least=1, most=100, required=True)


class PriceBody(_VendorBody):
    """``POST /api/v3/model/price``."""

    model_id = Text(least=1, most=128, required=True)
    inputs = Object(limit=MEGABYTE, load_default=dict)


class UploadBody(_VendorBody):
    """``POST /api/v3/media/uploads``: ``size`` in bytes, at most 200 MB."""

    filename = Text(
        least=1, most=255, pattern=r"[^\x00-\x1f\x7f]*", required=True, allowed="a name, 1 to 255"
    )
    size = Whole(least=1, most=MAX_UPLOAD, required=True)
    content_type = Text(
        most=128,
        pattern=r"[\w.+-]+/[\w.+-]+(;[ -~]*)?",
        load_default=None,
        allowed="a media type like video/mp4",
    )


def check_idempotency_key(text: str) -> str:
    """``text`` when it may be an ``Idempotency-Key``; else ValidationError."""
    if not _KEY.fullmatch(text):
        fault = f"{shown(text)} is no Idempotency-Key"
        raise refusal(fault, code="format", allowed="1 to 255 visible ASCII characters")
    return text
