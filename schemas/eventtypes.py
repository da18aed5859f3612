"""The types of events, one table: what each tells, its JSON Schema (draft 2020-12), and an example.

A schema describes the whole body as it is sent in format ``standard``. Its properties carry examples, of
which the example of the type is made; an optional one without is left out of it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from schemas.predictions import PREDICTION_WORDS

PROCESSING: Final = "prediction.processing"
COMPLETED: Final = "prediction.completed"
FAILED: Final = "prediction.failed"
ARCHIVED: Final = "prediction.archived"
FINAL_TYPES: Final = (COMPLETED, FAILED)
"""Those that tell a job's end; an endpoint hears of them when it does not say otherwise."""

ENDPOINT_DISABLED: Final = "endpoint.disabled"
ENDPOINT_RECOVERED: Final = "endpoint.recovered"
DELIVERY_EXHAUSTED: Final = "delivery.exhausted"
OPERATIONAL: Final = frozenset({ENDPOINT_DISABLED, ENDPOINT_RECOVERED, DELIVERY_EXHAUSTED})
"""Those that tell of the deliveries themselves; they belong to no job."""

INTERRUPTED: Final = "interrupted"
"""The error of an attempt whose process ended before it could say more."""
ATTEMPT_ERRORS: Final = (
    *("timeout", "connect", "tls", "dns", "blocked_address", "protocol", "too_large"),
    INTERRUPTED,
)
"""Why no answer came to an attempt, or none that counts."""

# What the examples are made of.
EVENT_ID: Final = "evt_1s61mgnh4k3b9v8a7cqz2x"
EARLIER_EVENT_ID: Final = "evt_1s61mgnh0a1b2c3d4e5f6g"
ENDPOINT_ID: Final = "ep_1s61mgnh4d5e6f7g8h9jkm"
DELIVERY_ID: Final = f"dlv_{EARLIER_EVENT_ID[4:]}_{ENDPOINT_ID[3:]}"
JOB_ID: Final = "9f2c4e6a8b0d1f3e5a7c9b1d3f5e7a90"
MODEL: Final = "minimax/hailuo-02/fast"
AT: Final = "2026-11-22T05:28:00.123Z"
_ACCEPTED_AT: Final = "2026-11-22T05:27:11.000Z"
_OUTPUT: Final = "https://cdn.example.com/video.mp4"
_SHA256: Final = "7df9a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e"

Schema = dict[str, Any]


@dataclass(frozen=True)
class EventType:
    """A type: what it tells, in a sentence, and the JSON Schema of its ``data``."""

    name: str
    group: str
    description: str
    data: Schema

    @property
    def schema(self) -> Schema:
        """The JSON Schema of a whole event."""
        properties = {
            "id": _text("The event's id; also `webhook-id`.", EVENT_ID, pattern="^evt_[0-9a-z]+$"),
            "type": {"const": self.name, "description": "The type."},
            "timestamp": _at("When it happened."),
            "data": _or_redacted(self.data),
        }
        made = _object(self.description, properties)
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": self.name, **made}

    @property
    def example(self) -> dict[str, Any]:
        """An event as it may be sent; the caller's own to change."""
        made: dict[str, Any] = _sample(self.schema)
        return made


def example(name: str) -> dict[str, Any]:
    """A complete event of this type, which its schema takes. Raises KeyError for a type that is none."""
    return TYPES[name].example


def _sample(schema: Schema) -> Any:
    if "const" in schema:
        return schema["const"]
    if "examples" in schema:
        return copy.deepcopy(schema["examples"][0])
    needed = schema["required"] if "required" in schema else schema["anyOf"][0]["required"]
    inner = schema["properties"].items()
    return {name: _sample(told) for name, told in inner if name in needed or "examples" in told}


def _typed(kind: str | list[str], description: str, example: Any, **rules: Any) -> Schema:
    return {"type": kind, "description": description, "examples": [example], **rules}


def _text(description: str, example: str, **rules: Any) -> Schema:
    return _typed("string", description, example, **rules)


def _text_or_null(description: str, example: str | None, **rules: Any) -> Schema:
    return _typed(["string", "null"], description, example, **rules)


def _at(description: str, example: str = AT) -> Schema:
    return _text(description, example, format="date-time")


def _whole(description: str, example: int) -> Schema:
    return _typed("integer", description, example)


def _object(description: str, properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """What is added to an object one day is no fault in it."""
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "description": description,
        "properties": dict(properties),
        "required": required,
    }


def _or_redacted(data: Schema) -> Schema:
    """``data``, or what is left of it: nothing of a redacted event has to be there but that it is one."""
    properties = {**data["properties"], "redacted": _REDACTED}
    whole = {name: told for name, told in data.items() if name != "required"}
    return {
        **whole,
        "properties": properties,
        "anyOf": [{"required": data["required"]}, {"required": ["redacted"]}],
    }


def _status(*words: str) -> Schema:
    return _text("The state on the vendor-compatible wire.", words[0], enum=list(words))


def _outputs(*urls: str) -> Schema:
    told = "URLs of the results; some models give objects."
    return _typed("array", told, list(urls), items={"type": ["string", "object"]})


def _flags(*flags: bool) -> Schema:
    return _typed("array", "For each output.", list(flags), items={"type": "boolean"})


def _error(text: str) -> Schema:
    return _text("What is told about a failure; else empty.", text)


_FILE: Final = _object(
    "A kept copy of an output.",
    {
        "url": _text(
            "Where it is; good for 7 days.", "https://hooks.example.com/files/video.mp4", format="uri"
        ),
        "sha256": _text("The SHA-256 of its bytes, in hex.", _SHA256, pattern="^[0-9a-f]{64}$"),
        "bytes": _whole("Its length.", 1_843_211),
        "content_type": _text("What it is.", "video/mp4"),
    },
)

_IMAGE: Final = {"media_type": "image/jpeg", "bytes": 60_270, "sha256": _SHA256}

_PREDICTION: Final[Mapping[str, Schema]] = {
    "id": _text("Our id of the job.", JOB_ID, pattern="^[0-9a-f]{32}$"),
    "model": _text("The model.", MODEL),
    "outputs": _outputs(),
    "urls": _object(
        "Where to ask for more.",
        {
            "get": _text(
                "Where the result can be fetched.",
                f"https://hooks.example.com/api/v3/predictions/{JOB_ID}/result",
                format="uri",
            )
        },
    ),
    "has_nsfw_contents": _flags(),
    "status": _status(*PREDICTION_WORDS),
    "created_at": _at("When the job was accepted.", _ACCEPTED_AT),
    "error": _error(""),
    "executionTime": _typed("number", "Milliseconds at the vendor.", 0),
    "timings": _typed("object", "The vendor's.", {"inference": 0}),
    "input": _typed(
        "object",
        "The parameters, with images as media type, size and SHA-256, or as their URL; "
        "left out for an endpoint that says `include_input: false`.",
        {"prompt": "She smiles.", "duration": 6, "image": _IMAGE},
    ),
    "metadata": _typed("object", "What was given with `?metadata=`.", {"order": 42}),
    "channel": _text_or_null("The channel, if the job has one.", None),
}
"""What every prediction event tells of its job, by the names of the vendor and then ours."""

_SUPERSEDES: Final[Schema] = {
    "type": "string",
    "description": "The event that told another end of the same job before; there only where there was one.",
    "pattern": "^evt_[0-9a-z]+$",
}
_TEST: Final[Schema] = {
    "type": "boolean",
    "description": "There, and true, in a sample that was asked for: nothing of it has happened.",
}
_REDACTED: Final[Schema] = {
    "type": "boolean",
    "description": "There, and true, when the payload was taken away: of a prediction its id, model, status "
    "and created_at are left.",
}
_DONE: Final[Mapping[str, Schema]] = {
    "outputs": _outputs(_OUTPUT),
    "has_nsfw_contents": _flags(False),  # noqa: FBT003 - one flag for each output
    "status": _status("completed"),
    "executionTime": _typed("number", "Milliseconds at the vendor.", 31_204),
    "timings": _typed("object", "The vendor's.", {"inference": 31_204}),
}
_FAILURE: Final[Mapping[str, Schema]] = {
    "status": _status("failed", "cancelled", "timeout", "deleted"),
    "error": _error("The prompt was refused by moderation."),
    "code": _whole("The vendor's code of the failure, or ours (9001 to 9004), where there is one.", 1200),
    "maybe_billed": {
        "type": "boolean",
        "description": "There, and true, where nobody knows whether the failed job was billed.",
    },
}
_FILES: Final = _typed(
    "array", "The copies that are kept; `outputs` lead to them as well.", [_sample(_FILE)], items=_FILE
)


def _prediction(**properties: Schema) -> Schema:
    optional = ("input", "code", "maybe_billed", "supersedes", "test")
    return _object("The prediction.", {**_PREDICTION, **properties, "test": _TEST}, optional)


def _last_attempt(status: int, answer: str) -> Schema:
    properties = {
        "at": _at("When it was sent."),
        "status": _typed(["integer", "null"], "The HTTP status; null when no answer came.", status),
        "error": _text_or_null("Why no answer came; null when one did.", None, enum=[*ATTEMPT_ERRORS, None]),
        "duration_ms": _whole("How long it took.", 41),
        "answer": _text_or_null("The first kB of the answer's body.", answer),
    }
    made = _object("The last attempt before it; null where there was none.", properties)
    return {**made, "type": ["object", "null"]}


_ABOUT_ENDPOINT: Final[Mapping[str, Schema]] = {
    "endpoint": _object(
        "The endpoint that it is about.",
        {
            "id": _text("Its id.", ENDPOINT_ID, pattern="^ep_[0-9a-z]+$"),
            "url": _text("Its URL.", "https://example.com/hooks", format="uri"),
            "description": _text("What was given to remember it by.", "the billing service"),
        },
    ),
    "reason": _text_or_null("Why, in words; null where there is nothing to add.", None),
    "last_attempt": _last_attempt(503, "upstream is away"),
}
_ABOUT_DELIVERY: Final[Mapping[str, Schema]] = {
    "event": _object(
        "The event that was not delivered.",
        {
            "id": _text("Its id.", EARLIER_EVENT_ID, pattern="^evt_[0-9a-z]+$"),
            "type": _text("Its type.", COMPLETED),
        },
    ),
    "delivery": _object(
        "The delivery that is given up.",
        {
            "id": _text("Its id.", DELIVERY_ID, pattern="^dlv_[0-9a-z]+_[0-9a-z]+$"),
            "attempt_count": _whole("How many attempts were begun.", 10),
        },
    ),
}

DATA: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        **_PREDICTION,
        **{name: _FAILURE[name] for name in ("code", "maybe_billed")},
        "supersedes": _SUPERSEDES,
        "files": _FILES,
        **_ABOUT_ENDPOINT,
        **_ABOUT_DELIVERY,
        "test": _TEST,
        "redacted": _REDACTED,
    }
)
"""Every property that the ``data`` of some event has."""


def _operational(**properties: Schema) -> Schema:
    return _object("What it is about.", {**_ABOUT_ENDPOINT, **properties, "test": _TEST}, ("test",))


def _reason(example: str) -> Schema:
    return {**_ABOUT_ENDPOINT["reason"], "examples": [example]}


_TABLE: Final = (
    EventType(
        PROCESSING,
        "prediction",
        "The vendor has taken the job.",
        _prediction(status=_status("processing")),
    ),
    EventType(
        COMPLETED,
        "prediction",
        "The job ended with its result.",
        _prediction(**_DONE, supersedes=_SUPERSEDES),
    ),
    EventType(
        FAILED,
        "prediction",
        "The job ended in any other way.",
        _prediction(**_FAILURE, supersedes=_SUPERSEDES),
    ),
    EventType(
        ARCHIVED,
        "prediction",
        "A completed job's outputs are copied, and served from here.",
        _prediction(**_DONE, files=_FILES),
    ),
    EventType(
        ENDPOINT_DISABLED,
        "operational",
        "An endpoint is sent nothing more: it answered 410, or failed for too long. Its deliveries are held.",
        _operational(reason=_reason("it answered 410 Gone"), last_attempt=_last_attempt(410, "")),
    ),
    EventType(
        ENDPOINT_RECOVERED,
        "operational",
        "An endpoint that had failed takes deliveries again.",
        _operational(last_attempt=_last_attempt(200, "ok")),
    ),
    EventType(
        DELIVERY_EXHAUSTED,
        "operational",
        "A delivery was attempted as often as its schedule says, and is given up.",
        _operational(reason=_reason("its schedule is over"), **_ABOUT_DELIVERY),
    ),
)

TYPES: Final[Mapping[str, EventType]] = MappingProxyType({each.name: each for each in _TABLE})
"""Every type, by its name."""
EVENT_TYPES: Final = tuple(TYPES)
