"""The vendor's wire: the envelope, the error body and the prediction object, written and read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from marshmallow import EXCLUDE, ValidationError, fields, post_load

from schemas import documents
from schemas.faults import shown
from schemas.fields import Flag, Items, Number, Object, Strict, Text, Told, Whole, load

COMPLETED: Final = "completed"
FAILED_WORDS: Final = frozenset({"failed", "cancelled", "timeout", "deleted"})
"""The vendor's words for a failure that is final. Any word but these and ``completed``: still running."""
PREDICTION_WORDS: Final = ("created", "processing", "completed", "failed", "cancelled", "timeout", "deleted")
"""What we show as ``status``."""

UPSTREAM_ID: Final = r"[A-Za-z0-9_-]{1,128}"
"""Ours are 32 lowercase hex digits, and so are the vendor's today."""

ERROR_CHARACTERS: Final = 4000
"""A longer text of the vendor's is cut here: it goes into every event."""

_MOST: Final = documents.MEGABYTE
_MOST_OUTPUTS: Final = 10_000

Output = str | dict[str, Any]
"""A URL; some models of the vendor answer with JSON objects in its place (its own clients' types say so)."""


@dataclass(frozen=True)
class Prediction:
    """A prediction as the vendor told it; ``status`` is its word, ``execution_time`` in ms.

    ``created_at`` is the vendor's text, "" when it gave none. ``code`` is ``data.code`` of a failure.
    """

    id: str
    status: str
    model: str = ""
    outputs: tuple[Output, ...] = ()
    urls: Mapping[str, str] | None = None
    has_nsfw_contents: tuple[bool, ...] = ()
    created_at: str = ""
    error: str = ""
    code: int | None = None
    execution_time: float = 0
    timings: Mapping[str, Any] | None = None
    input: Mapping[str, Any] | None = None

    @property
    def completed(self) -> bool:
        """Whether it ended well."""
        return self.status == COMPLETED

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise, for good."""
        return self.status in FAILED_WORDS

    @property
    def final(self) -> bool:
        """Whether it ended."""
        return self.completed or self.failed


def read_prediction(obj: Any) -> Prediction:
    """The prediction in the vendor's object (``data`` of an envelope, or a callback's body).

    Absent and null are taken for empty, unknown fields are passed over. What is paid for must not be lost
    for a field that nobody needs: one that is not as documented is taken for absent, as is an output that is
    none beside one that is. Raises ValidationError for the rest.
    """
    try:
        found: Prediction = load(_SCHEMA, obj)
    except ValidationError as error:
        wrong = error.messages_dict.keys() if isinstance(obj, dict) else set()
        if not wrong or not wrong <= _SPARED:
            raise
        found = load(_SCHEMA, {name: value for name, value in obj.items() if name not in wrong})
    return found


def envelope(data: Any) -> dict[str, Any]:
    """The body of every good answer under ``/api/v3``."""
    return {"code": 200, "message": "success", "data": data}


def error_body(code: int, message: str) -> dict[str, Any]:
    """The body of every bad answer under ``/api/v3``; it carries no ``data``."""
    return {"code": code, "message": message}


def prediction_object(  # noqa: PLR0913 - the vendor's object has so many fields
    *,
    id: str,  # noqa: A002 - the vendor's name
    model: str,
    status: str,
    created_at: float,
    url: str,
    outputs: Sequence[Output] = (),
    has_nsfw_contents: Sequence[bool] = (),
    error: str = "",
    code: int | None = None,
    execution_time: float = 0,
    timings: Mapping[str, Any] | None = None,
    input: Mapping[str, Any] | None = None,  # noqa: A002 - the vendor's name
) -> dict[str, Any]:
    """The vendor's prediction object, its fields in the vendor's order.

    ``created_at`` in unix seconds, ``execution_time`` in ms, ``url`` absolute. ``code`` and ``input``
    stand in it only when given.
    """
    made = {
        "id": id,
        "model": model,
        "outputs": list(outputs),
        "urls": {"get": url},
        "has_nsfw_contents": list(has_nsfw_contents),
        "status": status,
        "created_at": rfc3339(created_at),
        "error": error,
        "executionTime": execution_time,
        "timings": dict(timings) if timings is not None else {"inference": execution_time},
    }
    extra = {"code": code, "input": None if input is None else dict(input)}
    return made | {name: value for name, value in extra.items() if value is not None}


def rfc3339(at: float) -> str:
    """Unix seconds as RFC 3339 in UTC with milliseconds: ``2025-09-29T23:09:43.027Z``."""
    # Rounded first: the nearest float to .027 lies below it, and isoformat cuts.
    moment = dt.datetime.fromtimestamp(round(at, 3), dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Outputs(Told, fields.Raw):
    def _read(self, value: Any) -> tuple[Output, ...]:
        given = value if isinstance(value, list) else [value]
        if len(given) > _MOST_OUTPUTS:
            raise self._bad(f"has {len(given)} items", "length")
        outputs = tuple(filter(_is_output, given))
        if given and not outputs:
            raise self._bad(f"{shown(value)} holds neither", "type")
        return outputs


def _is_output(value: Any) -> bool:
    try:
        documents.check(value)
    except ValidationError:
        return False
    return isinstance(value, (str, dict))


def _tolerant(field: type[fields.Field[Any]], *parts: Any, **options: Any) -> fields.Field[Any]:
    return field(*parts, **options, allow_none=True, load_default=None)


class _PredictionSchema(Strict):
    """The vendor's prediction object; what it adds to it one day is passed over."""

    id = Text(most=128, pattern=UPSTREAM_ID, required=True, allowed="1 to 128 of A-Z a-z 0-9 _ -")
    status = Text(least=1, most=64, required=True)
    model = _tolerant(Text, most=256)
    outputs = _tolerant(_Outputs, allowed=f"a list of at most {_MOST_OUTPUTS} URLs or objects")
    urls = _tolerant(Object, limit=_MOST)
    has_nsfw_contents = _tolerant(Items, Flag(allow_none=True), most=10_000)
    created_at = _tolerant(Text, most=64)
    error = _tolerant(Text, most=_MOST)
    code = _tolerant(Whole, least=-(10**9), most=10**9)
    execution_time = _tolerant(Number, least=0, most=1e15, data_key="executionTime")
    timings = _tolerant(Object, limit=_MOST)
    input = _tolerant(Object, limit=_MOST)

    @post_load
    def _made(self, loaded: dict[str, Any], **_: Any) -> Prediction:
        given = {name: value for name, value in loaded.items() if value is not None}
        given["error"] = given.get("error", "")[:ERROR_CHARACTERS]
        if "urls" in given:
            given["urls"] = {name: url for name, url in given["urls"].items() if isinstance(url, str)}
        given["has_nsfw_contents"] = tuple(map(bool, given.get("has_nsfw_contents", ())))
        return Prediction(**given)


_SCHEMA: Final = _PredictionSchema(unknown=EXCLUDE)
_SPARED: Final = {each.data_key or name for name, each in _SCHEMA.load_fields.items()} - {
    "id",
    "status",
    "outputs",
}
