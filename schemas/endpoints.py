"""A subscriber's endpoint: what may be set on it, and what is shown of it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from marshmallow import ValidationError, fields, validates_schema

from schemas import documents
from schemas.eventtypes import EVENT_TYPES, FINAL_TYPES
from schemas.faults import Complaint, shown
from schemas.fields import CallableUrl, Choice, Flag, Items, Number, Object, Strict, Text, Told

FORMATS: Final = ("standard", "wavespeed", "cloudevents")
MAX_METADATA: Final = 2 * documents.KILOBYTE

CHANNEL: Final = r"[a-z0-9._-]{1,64}"
CHANNEL_ALLOWED: Final = "1 to 64 of a-z 0-9 . _ -"
DEFAULT_TIMEOUT: Final = 15.0

MAX_HEADERS: Final = 20
MAX_HEADER_VALUE: Final = documents.KILOBYTE
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
_OUR_HEADERS = re.compile(
    r"(content|webhook|proxy)-.*|connection|expect|host|http2-settings|keep-alive|te|trailers?|transfer-encoding"
    r"|upgrade|user-agent"
)

_SECRET_BYTES: Final = range(24, 65)
_SIGNING_ALLOWED: Final = "whsec_ and the base64 of 24 to 64 random bytes"


def channel_field(**options: Any) -> Text:
    """A channel's name."""
    return Text(most=64, pattern=CHANNEL, allowed=CHANNEL_ALLOWED, **options)


class Headers(Told, fields.Dict):
    """Headers of the subscriber's own; values are never echoed, they may be credentials."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allowed=f"an object of at most {MAX_HEADERS} headers", **options)

    def _read(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self._bad(f"{shown(value)} is not an object", "type")
        if len(value) > MAX_HEADERS:
            raise self._bad(f"has {len(value)} headers", "length")
        if len({name.lower() for name in value}) < len(value):
            raise self._bad("names a header twice", "duplicate")
        faults = {name: [fault] for name, text in value.items() if (fault := _header_fault(name, text))}
        if faults:
            raise ValidationError(faults)
        return value


class Secret(Told, fields.String):
    """A signing secret of Standard Webhooks; never echoed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allowed=_SIGNING_ALLOWED, **options)

    def _read(self, value: Any) -> str:
        if not isinstance(value, str) or not value.startswith("whsec_"):
            raise self._bad("is not a signing secret", "format")
        try:
            key = base64.b64decode(value.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            raise self._bad("is not base64 after whsec_", "format") from None
        if len(key) not in _SECRET_BYTES:
            raise self._bad(f"holds {len(key)} bytes", "length")
        return value


class _Settings(Strict):
    """What may be set on an endpoint at any time.

    ``retry_schedule`` null: the service's own. ``rate`` null: as many as there are.
    """

    url = CallableUrl(required=True)
    event_types = Items(
        Choice(*EVENT_TYPES), least=1, most=len(EVENT_TYPES), unique=True, load_default=FINAL_TYPES
    )
    format = Choice(*FORMATS, load_default="standard")
    channels = Items(channel_field(), most=10, unique=True, load_default=())
    headers = Headers(load_default=dict)
    timeout = Number(least=1, most=30, unit="seconds", load_default=DEFAULT_TIMEOUT)
    retry_schedule = Items(
        Number(least=0, most=2 * 86_400, unit="seconds"), least=1, most=20, allow_none=True, load_default=None
    )
    description = Text(most=200, load_default="")
    metadata = Object(limit=MAX_METADATA, load_default=dict)
    include_input = Flag(load_default=True)
    paused = Flag(load_default=False)
    rate = Number(least=0.01, most=10_000, unit="a second", allow_none=True, load_default=None)
    on_exhausted = Choice("stop", "skip", load_default="stop")

    @validates_schema(skip_on_field_errors=True)
    def _together(self, loaded: Mapping[str, Any], **_: Any) -> None:
        check_together(loaded)


class EndpointSchema(_Settings):
    """The body of ``POST /v1/endpoints``: loads as a dict of every setting; ``secret`` None: make one.

    ``ordered`` cannot be changed later: what waits for it stands in another kind of line.
    """

    ordered = Flag(load_default=False)
    secret = Secret(load_default=None)


class EndpointPatchSchema(_Settings):
    """The body of ``PATCH /v1/endpoints/{id}``: loads as a dict of what is to change.

    The service merges it with what is stored and calls `check_together`.
    """

    enabled = Flag()

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "partial": True})


class EndpointView(Strict):
    """What is shown of an endpoint; the secret only in the answer that made it."""

    id = fields.String()
    url = fields.String()
    event_types = fields.List(fields.String())
    format = fields.String()
    enabled = fields.Boolean()
    channels = fields.List(fields.String())
    headers = fields.Dict(keys=fields.String(), values=fields.String())
    timeout = fields.Raw()
    retry_schedule = fields.List(fields.Raw(), allow_none=True)
    description = fields.String()
    metadata = fields.Dict()
    include_input = fields.Boolean()
    paused = fields.Boolean()
    rate = fields.Raw(allow_none=True)
    ordered = fields.Boolean()
    on_exhausted = fields.String()
    created_at = fields.String()


class NewEndpointView(EndpointView):
    """The answer to ``POST /v1/endpoints``."""

    secret = fields.String()


def check_together(endpoint: Mapping[str, Any]) -> None:
    """Refuse settings that are good one by one and not together. Raises ValidationError."""
    unsent = [each for each in endpoint.get("event_types", ()) if each not in FINAL_TYPES]
    if endpoint.get("format") == "wavespeed" and unsent:
        allowed = ", ".join(FINAL_TYPES)
        detail = f"{unsent[0]} is not sent in the format wavespeed; {allowed}"
        raise ValidationError({"event_types": [Complaint(detail, code="choice", allowed=allowed)]})


def _header_fault(name: str, text: Any) -> Complaint | None:
    if not _HEADER_NAME.fullmatch(name):
        return _refused("is not a header's name", "format", "1 to 64 letters, digits and -")
    if _OUR_HEADERS.fullmatch(name.lower()):
        return _refused("is a header that the sender sets", "reserved", "leave it out")
    if not isinstance(text, str):
        return _refused("is not a string", "type", "visible ASCII")
    if len(text) > MAX_HEADER_VALUE:
        return _refused(f"is {len(text)} characters long", "length", f"at most {MAX_HEADER_VALUE}")
    if not _HEADER_VALUE.fullmatch(text):
        return _refused("is empty or holds more than visible ASCII", "format", "visible ASCII")
    return None


def _refused(fault: str, code: str, allowed: str) -> Complaint:
    return Complaint(f"{fault}; {allowed}", code=code, allowed=allowed)
