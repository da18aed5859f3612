"""What ``/v1`` shows, described for the OpenAPI document. Times are RFC 3339 in UTC with milliseconds."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from schemas.endpoints import FORMATS
from schemas.eventtypes import (
    AT,
    ATTEMPT_ERRORS,
    COMPLETED,
    DATA,
    DELIVERY_ID,
    ENDPOINT_ID,
    EVENT_ID,
    EVENT_TYPES,
    JOB_ID,
    MODEL,
    TYPES,
)
from schemas.fields import Flag, Strict, Text
from schemas.predictions import PREDICTION_WORDS, UPSTREAM_ID
from schemas.queries import DELIVERY_STATES
from schemas.replays import REPLAY_KINDS, REPLAY_STATES
from schemas.states import JobState, Reason

Field = fields.Field[Any]


def _string(description: str, example: Any = None, *, null: bool = False, **more: Any) -> Field:
    return fields.String(allow_none=null or None, metadata=_told(description, example) | more)


def _at(description: str, *, null: bool = False) -> Field:
    return _string(description, AT, null=null, format="date-time")


def _word(description: str, *words: str, null: bool = False) -> Field:
    return _string(description, null=null, enum=[*words, None] if null else list(words))


def _whole(description: str, example: int | None = None, *, null: bool = False) -> Field:
    return fields.Integer(allow_none=null or None, metadata=_told(description, example))


def _number(description: str, example: float) -> Field:
    # Raw: fields.Float would show an integer that was given as 15 as 15.0.
    return fields.Raw(metadata=_told(description, example) | {"type": "number"})


def _flag(description: str) -> Field:
    return fields.Boolean(metadata=_told(description, None))


def _object(description: str, example: Any = None) -> Field:
    return fields.Dict(metadata=_told(description, example))


def _many(inner: Field, description: str, example: Any = None, *, null: bool = False) -> Field:
    return fields.List(inner, allow_none=null or None, metadata=_told(description, example))


def _told(description: str, example: Any) -> dict[str, Any]:
    return {"description": description} | ({} if example is None else {"examples": [example]})


class FaultView(Strict):
    """One fault of a request."""

    pointer = _string(
        "JSON pointer to the field at fault; empty: the whole body. A query's fields likewise.", "/url"
    )
    code = _string("The kind of fault.", "invalid_url")
    detail = _string("What is wrong with it.")
    allowed = _string("What would be allowed.")


class ProblemView(Strict):
    """Any error: RFC 9457."""

    type = _string("urn:hookreel:<code>; stable.", "urn:hookreel:invalid_input")
    title = _string("The status in words.", "Bad Request")
    status = _whole("The HTTP status.", 400)
    detail = _string("What happened, in a sentence.")
    errors = fields.List(
        fields.Nested(FaultView), metadata={"description": "The faults of the request, field by field."}
    )
    oldest = _string("With cursor_expired: the oldest event there is.", EVENT_ID, null=True)
    prediction_id = _string("With outcome_unknown: the job that may exist.", JOB_ID)


class EndpointView(Strict):
    """A subscriber's URL with its settings. Never its secret."""

    id = _string("The endpoint's id.", ENDPOINT_ID)
    url = _string("Where its events are sent.", "https://example.com/hooks", format="uri")
    event_types = _many(_word("A type.", *EVENT_TYPES), "The types of events that it hears of.")
    format = _word("How events are written and signed.", *FORMATS)
    enabled = _flag("Whether anything is sent to it.")
    disabled_reason = _string("Why it is not enabled; null while it is.", "it answered 410 Gone", null=True)
    channels = _many(_string("A channel."), "It hears of these channels alone; empty: of everything.", ["eu"])
    headers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata={"description": "Headers of your own, sent with every attempt."},
    )
    timeout = _number("Seconds for one attempt.", 15)
    retry_schedule = _many(
        _number("Seconds.", 5),
        "One entry for each attempt: the delay before it. The first goes out at once, whatever is said. "
        "null: the service's own.",
        [0, 5, 300],
        null=True,
    )
    description = _string("Whatever you want to remember.", "the billing service")
    metadata = _object("Whatever your programs want to remember, at most 2 kB.", {"team": "video"})
    include_input = _flag("Whether events carry the job's input.")
    paused = _flag("Whether its deliveries are held until this is taken back.")
    rate = fields.Raw(
        allow_none=True,
        metadata=_told("At most so many deliveries a second; null: as many as there are.", 10)
        | {"type": "number"},
    )
    ordered = _flag("Whether it gets one event at a time, in the order in which they happened.")
    on_exhausted = _word("What an ordered endpoint does when a delivery is exhausted.", "stop", "skip")
    created_at = _at("When it was made.")


class NewEndpointView(EndpointView):
    """An endpoint as it was made, with its secret."""

    secret = _string("The signing secret.", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


class EndingView(Strict):
    """A secret before the present one."""

    expires_at = _at("Until then it signs as well.")


class PreviousSecretView(EndingView):
    """A secret before the present one, as it is."""

    secret = _string("The secret.", "whsec_plJ3nmyCDGBKInavdOK15jsl")


class SecretView(Strict):
    """A signing secret, and those before it that sign as well."""

    secret = _string("The signing secret.", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    previous = fields.List(
        fields.Nested(PreviousSecretView), metadata={"description": "Those before it, newest first."}
    )


class RotatedView(Strict):
    """The secret that signs from now on, and when those before it end."""

    secret = _string("The signing secret.", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    previous = fields.List(
        fields.Nested(EndingView), metadata={"description": "Those before it, newest first."}
    )


class StepView(Strict):
    """One line of a job's timeline."""

    at = _at("When.")
    what = _string("What happened.", "submitting")


class SubmissionView(Strict):
    """One POST to the vendor."""

    at = _at("When.")
    outcome = _word(
        "What came of it; open: not told yet.", "open", "accepted", "refused", "failed", "unknown"
    )
    upstream_id = _string("The vendor's task.", JOB_ID, null=True)
    status = _string("The vendor's last word about it.", "completed", null=True)


class FileView(Strict):
    """A kept copy of an output."""

    url = _string("Where it is; good for 7 days, and fresh whenever it is shown.", format="uri")
    sha256 = _string("The SHA-256 of its bytes, in hex.")
    bytes = _whole("Its length.", 1_843_211)
    content_type = _string("What it is.", "video/mp4")


class JobView(Strict):
    """A caller's generation job."""

    prediction_id = _string("Our id, 32 hex digits; `id` on the vendor-compatible wire.", JOB_ID)
    model = _string("The model.", MODEL)
    state = _word("Where it is.", *JobState)
    status = _word("The state on the vendor-compatible wire.", *PREDICTION_WORDS)
    reason = _word("Why it failed; null unless it did.", *Reason, null=True)
    error = _string("What is told about the failure.", null=True)
    code = _whole("The vendor's code of a failure, or ours (9001 to 9004).", 9001, null=True)
    maybe_billed = _flag("Whether a failed job may have been billed nevertheless.")
    upstream_id = _string("The vendor's task.", JOB_ID, null=True)
    created_at = _at("When it was accepted.")
    ended_at = _at("When it ended.", null=True)
    channel = _string("The channel of its events.", "eu", null=True)
    metadata = _object("What was given with `?metadata=`.", {"order": 42})
    input = _object("The parameters, with images as media type, size and SHA-256, or as their URL.")
    outputs = fields.List(
        fields.Raw(), metadata={"description": "URLs of the results; some models give objects."}
    )
    files = fields.List(
        fields.Nested(FileView), metadata={"description": "Copies of the results that are kept here."}
    )
    events = _many(_string("An event's id.", EVENT_ID), "The events that told of it.")
    submissions = fields.List(
        fields.Nested(SubmissionView), metadata={"description": "Each POST to the vendor, oldest first."}
    )
    timeline = fields.List(
        fields.Nested(StepView), metadata={"description": "What happened to it, oldest first."}
    )


class EventTypeView(Strict):
    """A type of events: what it tells, how it looks."""

    name = _string("The type.", COMPLETED)
    description = _string("When it is written.", TYPES[COMPLETED].description)
    group = _word("What it tells of: a job, or the deliveries themselves.", "prediction", "operational")
    schema = _object("The JSON Schema (draft 2020-12) of the whole body in format `standard`.")
    example = _object("A body as it may be sent.")


EventDataView = Strict.from_dict(
    {name: fields.Raw(metadata=told) for name, told in DATA.items()}, name="EventDataView"
)
"""What the data of some event holds; `/v1/event-types` has the schema of each type."""


class EventView(Strict):
    """What happened, as it is sent to endpoints of format `standard`."""

    id = _string("The event's id; also `webhook-id`.", EVENT_ID)
    type = _word("What happened.", *EVENT_TYPES)
    timestamp = _at("When.")
    data = fields.Nested(EventDataView, metadata={"description": "The prediction, or what else it tells of."})


class AttemptView(Strict):
    """One POST of a delivery."""

    at = _at("When it was sent.")
    status = _whole("The HTTP status of the answer; null when none came.", 200, null=True)
    error = _word("Why no answer came; null when one did.", *ATTEMPT_ERRORS, null=True)
    duration_ms = _whole("How long it took.", 41)
    dns_ms = _whole("Of these, for looking up the host.", 2)
    connect_ms = _whole("Then for the connection.", 9)
    tls_ms = _whole("Then for TLS.", 14)
    first_byte_ms = _whole("Then until the first byte of the answer.", 15)
    detail = _string("More about a failure.")
    answer = _string(
        "The first kilobyte of the answer, where a delivery is shown by itself: of the first attempt and the "
        "last, until it is delivered."
    )


class DeliveryView(Strict):
    """One event for one endpoint."""

    id = _string("The delivery's id.", DELIVERY_ID)
    event = _string("The event.", EVENT_ID)
    endpoint = _string("The endpoint; a job's own `?webhook=` has one too.", ENDPOINT_ID)
    job = _string("The job; null: the event is about none.", JOB_ID, null=True)
    state = _word("Where it is.", *DELIVERY_STATES)
    attempt_count = _whole("How many attempts were begun.", 1)
    attempts = fields.List(
        fields.Nested(AttemptView), metadata={"description": "Each attempt that ended, oldest first."}
    )


class RequestView(Strict):
    """The request of an attempt, signed as it was sent."""

    method = _string("Always POST.", "POST")
    url = _string("Where it went.", "https://example.com/hooks", format="uri")
    headers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata={"description": "Ours as they are; of the endpoint's own the values are hidden."},
    )
    body = _string("The raw body, over which it is signed.", '{"id":"evt_1s61mgnh4k3b9v8a7cqz2x"}')


class LatencyView(Strict):
    """How long what was delivered took, in milliseconds."""

    p50 = fields.Float(allow_none=True, metadata=_told("Half of them at most; null: there are none.", 41.2))
    p95 = fields.Float(allow_none=True, metadata=_told("95 in 100 at most; null: there are none.", 130.6))


class StatisticsView(Strict):
    """How an endpoint has done in the last seven days, and how it does now."""

    delivered = _whole("Attempts that delivered, in seven days.", 1520)
    failed = _whole("Attempts that failed, in seven days.", 12)
    exhausted = _whole("Deliveries whose schedule was over, in seven days.", 0)
    success_rate = fields.Float(
        allow_none=True, metadata=_told("Of all those attempts; null: there are none.", 0.9922)
    )
    latency_ms = fields.Nested(LatencyView)
    backlog = _whole("Deliveries that wait now, be it for their next attempt.", 3)
    in_flight = _whole("Attempts under way now.", 1)
    failures_in_a_row = _whole("Attempts that failed since the last one that delivered.", 0)
    last_failure = fields.Nested(
        AttemptView, allow_none=True, metadata={"description": "The last attempt that failed, if one did."}
    )
    circuit = _word("open: one attempt at a time finds out whether it answers again.", "closed", "open")


class SampleView(Strict):
    """A sample on its way."""

    event = _string("The event.", EVENT_ID)
    delivery = _string("Its delivery.", DELIVERY_ID)


class ReplayedView(Strict):
    """What an event is delivered again to."""

    event = _string("The event.", EVENT_ID)
    waiting = _whole("To so many endpoints it is due now.", 2)
    under_way = _whole("To so many more an attempt was under way just now; it is not repeated for this.", 0)


class ReplayView(Strict):
    """Many deliveries to one endpoint, made to wait little by little."""

    id = _string("The replay's id.", "rpl_1s61mgnh4k3b9v8a7cqz2x")
    kind = _word("What it delivers: what was given up, or what was never there.", *REPLAY_KINDS)
    endpoint = _string("The endpoint.", ENDPOINT_ID)
    state = _word("Where it is.", *REPLAY_STATES)
    since = _at("Of events since then.", null=True)
    until = _at("Of events until then.", null=True)
    total = _whole("So many events are to be looked at.", 1200)
    examined = _whole("So many were.", 500)
    revived = _whole("So many deliveries were made to wait.", 37)
    created_at = _at("When it was asked for.")
    ended_at = _at("When it ended; null: it goes on.", null=True)


class KeyView(Strict):
    """An API key, without its text."""

    id = _string("The key's id.", "key_2c26b46b68ffc68f")
    workspace = _string("Whose jobs, events and endpoints it opens.", "default")
    name = _string("Whatever you want to remember.", "ci")
    operator = _flag("Whether it may make and revoke keys.")
    hint = _string("How its text begins.", "hrk_4fQz")
    created_at = _at("When it was made.")


class NewKeyView(KeyView):
    """An API key as it was made; its text is never shown again."""

    key = _string("The key.", "hrk_...")


class KeySchema(Strict):
    """The body of ``POST /v1/keys``."""

    workspace = Text(
        least=1,
        most=63,
        pattern=r"[a-z0-9][a-z0-9_-]{0,62}",
        allowed="1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit",
        required=True,
    )
    name = Text(most=100, load_default="")
    operator = Flag(load_default=False)


UPSTREAM_ALLOWED: Final = "the vendor's prediction id, 1 to 128 of A-Z a-z 0-9 _ -"


class ResolveSchema(Strict):
    """The body of ``POST /v1/jobs/{id}/resolve``; ``upstream_id`` goes with ``submitted`` true alone."""

    submitted = Flag(required=True)
    upstream_id = Text(
        least=1, most=128, pattern=UPSTREAM_ID, allowed=UPSTREAM_ALLOWED, load_default=None, allow_none=True
    )


_NEXT: Final = "Hand it over as `cursor` for the page after this one; null after the last."


def listed(view: type[Strict]) -> Strict:
    """The schema of a page of ``view``."""
    name = f"{view.__name__.removesuffix('View')}List"
    described = {"description": "The rows, newest first."}
    made: type[Strict] = type(
        name,
        (Strict,),
        {
            "data": fields.List(fields.Nested(view), metadata=described),
            "next": _string(_NEXT, null=True),
            "__doc__": f"A page of {name}.",
        },
    )
    return made()


class EventPage(Strict):
    """Events, oldest first."""

    data = fields.List(fields.Nested(EventView), metadata={"description": "The events, oldest first."})
    next = _string("Hand it over as `after` to go on, now or when more has happened; never null.", EVENT_ID)
