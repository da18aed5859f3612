"""What is asked for when something is to be delivered once more, or for the first time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from marshmallow import ValidationError, validates_schema

from schemas.eventtypes import COMPLETED, EVENT_TYPES
from schemas.faults import Complaint
from schemas.fields import Choice, Flag, Instant, Strict, Text
from schemas.predictions import UPSTREAM_ID

REPLAY_KINDS: Final = ("recover", "replay-missing")
REPLAY_STATES: Final = ("running", "done", "cancelled")


class _Span(Strict):
    """Between two times."""

    until = Instant(load_default=None, allow_none=True)

    @validates_schema(skip_on_field_errors=True)
    def _in_order(self, loaded: Mapping[str, Any], **_: Any) -> None:
        since, until = loaded["since"], loaded["until"]
        if since is not None and until is not None and until < since:
            allowed = "a time that is not before since"
            raise ValidationError({"until": [Complaint(f"is before since; {allowed}", allowed=allowed)]})


class RecoverSchema(_Span):
    """The body of ``POST /v1/endpoints/{id}/recover``; ``until`` None: up to now."""

    since = Instant(required=True)


class MissingSchema(_Span):
    """The body of ``POST /v1/endpoints/{id}/replay-missing``; ``since`` None: whatever is kept."""

    since = Instant(load_default=None, allow_none=True)
    include_earlier = Flag(load_default=False)


class ReplaySchema(Strict):
    """The body of ``POST /v1/events/{id}/replay``; ``endpoint`` None: each that it is for."""

    endpoint = Text(
        most=128,
        pattern=UPSTREAM_ID,
        allowed="an endpoint's id, or null",
        load_default=None,
        allow_none=True,
    )


class SampleSchema(Strict):
    """The body of ``POST /v1/endpoints/{id}/test``."""

    type = Choice(*EVENT_TYPES, load_default=COMPLETED)
