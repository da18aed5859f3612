"""What the vendor POSTs when a task ends: the bare prediction object, without an envelope."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from marshmallow import ValidationError

from schemas import documents
from schemas.predictions import ERROR_CHARACTERS, UPSTREAM_ID, Prediction, read_prediction

MAX_BYTES: Final = documents.MEGABYTE

_SHORT: Final = 64 * documents.KILOBYTE
"""A body of this size cannot break any of the schema's limits on a whole object."""

_DOCUMENTED: Final = (
    ("id", str, 128),
    ("status", str, 64),
    ("model", str, 256),
    ("outputs", list, 1000),
    ("urls", dict, 10),
    ("has_nsfw_contents", list, 1000),
    ("created_at", str, 64),
    ("error", str, _SHORT),
    ("timings", dict, 100),
)
"""The fields of a good callback, their types, and how long they may be here; the schema takes more."""
_ID: Final = re.compile(UPSTREAM_ID, re.ASCII)


def read_callback(body: bytes) -> Prediction:
    """The prediction in the raw ``body`` of a callback, whose signature was verified on these bytes.

    Raises ValidationError and nothing else, whatever the bytes are; at most 1 MB of them.
    """
    value = _read(body)
    quick = as_documented(value) if len(body) <= _SHORT else None
    return quick or read_prediction(value)


def _read(body: bytes) -> Any:
    try:
        return documents.read(body, limit=MAX_BYTES)
    except ValidationError as error:
        if {getattr(each, "code", "") for each in error.messages} != {"invalid_unicode"}:
            raise
        # An echo of the prompt that was cut in the middle of a character must not cost the result.
        value = documents.without_surrogates(json.loads(body))
        documents.check(value)
        return value


def as_documented(value: Any) -> Prediction | None:
    """What `read_prediction` makes of an object that is, type for type, as the vendor's page shows it.

    None for anything else. The schema costs a fifth of a callback's whole processor time, and nearly every
    callback is of this form.
    """
    if type(value) is not dict or "code" in value or not _ID.fullmatch(str(value.get("id"))):
        return None
    for name, kind, most in _DOCUMENTED:
        found = value.get(name)
        if type(found) is not kind or len(found) > most:
            return None
    took, given = value.get("executionTime"), value.get("input")
    if type(took) is not int or not 0 <= took <= 10**15 or not (given is None or type(given) is dict):
        return None
    if not value["status"] or not _all(str, value["outputs"], value["urls"].values()):
        return None
    if not _all(bool, value["has_nsfw_contents"]):
        return None
    return Prediction(
        id=value["id"],
        status=value["status"],
        model=value["model"],
        outputs=tuple(value["outputs"]),
        urls=value["urls"],
        has_nsfw_contents=tuple(value["has_nsfw_contents"]),
        created_at=value["created_at"],
        error=value["error"][:ERROR_CHARACTERS],
        execution_time=took,
        timings=value["timings"],
        input=given,
    )


def _all(kind: type, *groups: Any) -> bool:
    return all(type(each) is kind for group in groups for each in group)
