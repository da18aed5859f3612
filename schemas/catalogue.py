"""The vendor's own description of a model, and a body checked against it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from marshmallow import ValidationError

from schemas.faults import Complaint, shown
from schemas.models import unknown_parameter

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError as Breach

_MOST_FAULTS: Final = 20
_BOUNDS: Final = {
    "minimum": "is less than",
    "maximum": "is more than",
    "exclusiveMinimum": "is not more than",
    "exclusiveMaximum": "is not less than",
    "multipleOf": "is no multiple of",
    "minLength": "is shorter than",
    "maxLength": "is longer than",
    "minItems": "has fewer items than",
    "maxItems": "has more items than",
    "pattern": "does not match",
}

Place = tuple[str | int, ...]


def request_schema(api_schema: Any) -> dict[str, Any] | None:
    """The JSON Schema of the request in an ``api_schema`` of the vendor's catalogue, or None.

    Read in the vendor's own clients: ``{"api_schemas": [{"request_schema": ...}]}`` (the live one) and
    ``{"components": {"schemas": {"Request": ...}}}`` (the desktop client's types). A bare JSON Schema is
    taken too.
    """
    if isinstance(api_schema, list):
        return next(filter(None, map(request_schema, api_schema)), None)
    if not isinstance(api_schema, dict):
        return None
    if isinstance(api_schema.get("properties"), dict):
        return api_schema
    ways = ("api_schemas", "request_schema", "components", "schemas", "Request")
    return next(filter(None, (request_schema(api_schema.get(way)) for way in ways)), None)


def check(body: dict[str, Any], api_schema: Any) -> None:
    """Refuse a ``body`` that breaks the vendor's schema. Raises ValidationError, at most 20 faults.

    A schema that is absent, or none that can be used, refuses nothing: the vendor checks again. What the
    schema does not know passes, unless it forbids it: a catalogue may lag behind its models.
    """
    schema = request_schema(api_schema)
    if schema is None:
        return
    # Few processes ever come here, and each would load these at its start.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        # An empty registry: a reference that leads out of the schema is not fetched.
        validator = Draft202012Validator(schema, registry=Registry())
        breaches = list(validator.iter_errors(_without_nulls(body, schema)))
    except (SchemaError, Unresolvable, RecursionError, ArithmeticError, re.error):
        return
    faults = dict(fault for breach in breaches for fault in _faults(breach))
    if faults:
        raise ValidationError(_nested(list(faults.items())[:_MOST_FAULTS]))


def _without_nulls(body: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """``body`` less what may be null by ``nullable``, a word of OpenAPI that JSON Schema lacks."""

    def may_be_null(name: str) -> bool:
        described = schema["properties"].get(name)
        return isinstance(described, dict) and described.get("nullable") is True

    return {name: value for name, value in body.items() if value is not None or not may_be_null(name)}


def _faults(breach: Breach) -> Iterator[tuple[Place, Complaint]]:
    place: Place = tuple(breach.absolute_path)
    keyword = str(breach.validator)
    value: Any = breach.instance
    limit: Any = breach.validator_value
    if keyword == "required":
        missing = (name for name in limit if name not in value)
        yield from (((*place, name), Complaint("is required", code="required")) for name in missing)
    elif keyword == "additionalProperties" and limit is False:
        known: dict[str, Any] = breach.schema.get("properties", {})  # type: ignore[union-attr]
        yield from (((*place, name), unknown_parameter(known)) for name in value if name not in known)
    else:
        yield place, _told(keyword, value, limit)


def _told(keyword: str, value: Any, limit: Any) -> Complaint:
    if keyword == "enum":
        allowed = ", ".join(map(shown, limit))
        return Complaint(f"{shown(value)} is not one of {allowed}", code="choice", allowed=allowed)
    if keyword == "type":
        allowed = limit if isinstance(limit, str) else " or ".join(limit)
        return Complaint(f"{shown(value)} is not of type {allowed}", code="type", allowed=allowed)
    if keyword in _BOUNDS:
        detail = f"{shown(value)} {_BOUNDS[keyword]} {shown(limit)}"
        return Complaint(detail, code="range", allowed=f"{keyword} {shown(limit)}")
    return Complaint(f"{shown(value)} breaks the vendor's rule {keyword!r}", allowed=keyword)


def _nested(faults: list[tuple[Place, Complaint]]) -> dict[Any, Any]:
    """The faults as marshmallow nests them."""
    messages: dict[Any, Any] = {}
    for whole, complaint in faults:
        # The word is marshmallow's for an object itself: a parameter of that name is told where it stands.
        place = whole[: whole.index("_schema")] if "_schema" in whole else whole
        level = messages
        for step in place:
            level = level.setdefault(step, {})
        level.setdefault("_schema", []).append(complaint)
    return messages
