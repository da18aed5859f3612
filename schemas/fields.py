"""marshmallow fields that take JSON at its word: no coercion, and each fault says what is allowed."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing

from schemas import documents
from schemas.faults import Complaint, refusal, shown
from schemas.urls import ALLOWED as URL_ALLOWED
from schemas.urls import MAX_URL, check_callable_url

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Strict(Schema):
    """The base of our schemas: what is no object and what is no known field is refused in our words."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        names = ", ".join(self.load_fields)
        unknown = Complaint(f"is not a known field; {names}", code="unknown", allowed=names)
        shape = Complaint("the body is not a JSON object", code="type", allowed="a JSON object")
        ours = {"unknown": unknown, "type": shape, **type(self).error_messages}
        self.error_messages = {**self.error_messages, **ours}


class Told(fields.Field[Any]):
    """What all of them share: ``allowed`` ends each fault's sentence, and OpenAPI gets it too."""

    def __init__(self, *, allowed: str, openapi: Mapping[str, Any] | None = None, **options: Any) -> None:
        metadata = {"description": f"Allowed: {allowed}.", **(openapi or {})}
        super().__init__(metadata=metadata | options.pop("metadata", {}), **options)
        self.allowed = allowed

    def _validate_missing(self, value: Any) -> None:
        if value is missing and self.required:
            raise self._bad("is required", "required")
        if value is None and not self.allow_none:
            way = "give" if self.required else "leave the field out or give"
            raise self._bad(f"null is no value; {way}", "null", joint=" ")

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> Any:  # noqa: ARG002
        return self._read(value)

    def _read(self, value: Any) -> Any:
        # marshmallow's Field makes no abstract class of this one; each kind of field reads in its own way.
        raise NotImplementedError

    def _bad(self, fault: str, code: str, joint: str = "; ") -> ValidationError:
        detail = f"{fault}{joint}{self.allowed}"
        return ValidationError(Complaint(detail, code=code, allowed=self.allowed))


class Text(Told, fields.String):
    """A JSON string of ``least`` to ``most`` characters, matching ``pattern`` whole where there is one."""

    def __init__(
        self, *, most: int, least: int = 0, pattern: str = "", allowed: str = "", **options: Any
    ) -> None:
        span = f"{least} to {most}" if least else f"at most {most}"
        openapi: dict[str, Any] = {"maxLength": most, "minLength": least}
        if pattern:
            openapi["pattern"] = f"^{pattern}$"
        super().__init__(allowed=allowed or f"text of {span} characters", openapi=openapi, **options)
        self.most, self.least = most, least
        self.pattern = re.compile(pattern, re.ASCII) if pattern else None

    def _read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self._bad(f"{shown(value)} is not a string", "type")
        documents.check_text(value)
        if not self.least <= len(value) <= self.most:
            raise self._bad(f"is {len(value)} characters long" if value else "is empty", "length")
        if self.pattern and not self.pattern.fullmatch(value):
            raise self._bad(f"{shown(value)} is not of this form", "format")
        return value


class Choice(Told, fields.String):
    """One of the given words."""

    def __init__(self, *choices: str, **options: Any) -> None:
        openapi = {"enum": list(choices)}
        super().__init__(allowed=", ".join(choices), openapi=openapi, **options)
        self.choices = choices

    def _read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self._bad(f"{shown(value)} is not a string", "type")
        if value not in self.choices:
            raise self._bad(f"{shown(value)} is not one of", "choice", joint=" ")
        return value


class Whole(Told, fields.Integer):
    """A JSON integer: ``"6"``, ``6.0`` and ``true`` are none."""

    def __init__(self, *, least: int, most: int, **options: Any) -> None:
        openapi = {"minimum": least, "maximum": most}
        super().__init__(allowed=f"an integer from {least} to {most}", openapi=openapi, **options)
        self.least, self.most = least, most

    def _read(self, value: Any) -> int:
        if not is_integer(value):
            raise self._bad(f"{shown(value)} is not an integer", "type")
        if not self.least <= value <= self.most:
            raise self._bad(f"{shown(value)} is out of range", "range")
        return int(value)


class OneOfIntegers(Told, fields.Integer):
    """One of a few JSON integers."""

    def __init__(self, choices: tuple[int, ...], **options: Any) -> None:
        allowed = ", ".join(map(str, choices))
        super().__init__(allowed=allowed, openapi={"enum": list(choices)}, **options)
        self.choices = choices

    def _read(self, value: Any) -> int:
        if not is_integer(value):
            raise self._bad(f"{shown(value)} is not an integer; one of", "type", joint=" ")
        if value not in self.choices:
            raise self._bad(f"{shown(value)} is not one of", "choice", joint=" ")
        return int(value)


class QueryWhole(Whole):
    """An integer in a query string: one to nine digits."""

    def _read(self, value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
            value = int(value)
        return super()._read(value)


class Number(Told, fields.Float):
    """A JSON number, finite, no boolean; an integer stays one."""

    def __init__(self, *, least: float, most: float, unit: str = "", **options: Any) -> None:
        openapi = {"minimum": least, "maximum": most}
        allowed = f"a number from {least} to {most}{unit and ' '}{unit}"
        super().__init__(allowed=allowed, openapi=openapi, **options)
        self.least, self.most = least, most

    def _read(self, value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self._bad(f"{shown(value)} is not a number", "type")
        if not self.least <= value <= self.most:
            raise self._bad(f"{shown(value)} is out of range", "range")
        return value


class Flag(Told, fields.Boolean):
    """``true`` or ``false``: ``1``, ``"true"`` and ``0`` are neither."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allowed="true or false", **options)

    def _read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self._bad(f"{shown(value)} is not a boolean", "type")
        return value


class CallableUrl(Told, fields.String):
    """A URL that we are to call, by its form."""

    def __init__(self, **options: Any) -> None:
        openapi = {"format": "uri", "maxLength": MAX_URL}
        super().__init__(allowed=URL_ALLOWED, openapi=openapi, **options)

    def _read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self._bad(f"{shown(value)} is not a string", "type")
        return check_callable_url(value)


class Instant(Told, fields.AwareDateTime):
    """An RFC 3339 date and time; beyond microseconds it is cut."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allowed="a date and time like 2026-11-22T05:28:00Z", format="iso", **options)

    def _read(self, value: Any) -> dt.datetime:
        if not isinstance(value, str) or not _RFC3339.fullmatch(value):
            raise self._bad(f"{shown(value)} is not of this form", "format")
        try:
            return dt.datetime.fromisoformat(value.upper())
        except ValueError:
            raise self._bad(f"{shown(value)} is no date and time", "format") from None


class Items(Told, fields.List[Any]):
    """A JSON list of ``least`` to ``most`` items; ``unique``: none twice. Loads as a tuple."""

    def __init__(
        self, inner: fields.Field[Any], *, most: int, least: int = 0, unique: bool = False, **options: Any
    ) -> None:
        allowed = f"a list of {least} to {most} items"
        openapi: dict[str, Any] = {"minItems": least, "maxItems": most, "uniqueItems": unique}
        super().__init__(cls_or_instance=inner, allowed=allowed, openapi=openapi, **options)
        self.most, self.least, self.unique = most, least, unique

    def _deserialize(  # type: ignore[override]
        self, value: Any, attr: str | None, data: Any, **options: Any
    ) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise self._bad(f"{shown(value)} is not a list", "type")
        if not self.least <= len(value) <= self.most:
            raise self._bad(f"has {len(value)} items", "length")
        items = super(Told, self)._deserialize(value, attr, data, **options)
        if self.unique and len(set(items)) < len(items):
            twice = next(item for item in items if items.count(item) > 1)
            raise self._bad(f"{shown(twice)} stands there twice", "duplicate")
        return tuple(items)


class Object(Told, fields.Dict):
    """A JSON object of at most ``limit`` bytes as compact JSON, with anything in it."""

    def __init__(self, *, limit: int, **options: Any) -> None:
        super().__init__(allowed=f"a JSON object of at most {limit} bytes", **options)
        self.limit = limit

    def _read(self, value: Any) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise self._bad(f"{shown(value)} is not an object", "type")
        documents.check(value)
        size = len(documents.compact(value))
        if size > self.limit:
            raise self._bad(f"is {size} bytes long", "too_large")
        return value


class JsonText(Told, fields.Dict):
    """A JSON object written as text, as in a query string: at most ``limit`` bytes. Loads as a dict."""

    def __init__(self, *, limit: int, **options: Any) -> None:
        super().__init__(allowed=f"a JSON object of at most {limit} bytes", **options)
        self.limit = limit

    def _read(self, value: Any) -> dict[Any, Any]:
        if not isinstance(value, str):
            raise self._bad(f"{shown(value)} is not a string", "type")
        documents.check_text(value)
        loaded = documents.read(value.encode(), limit=self.limit)
        if not isinstance(loaded, dict):
            raise self._bad(f"{shown(loaded)} is not an object", "type")
        return loaded


def is_integer(value: Any) -> bool:
    """Whether ``value`` is a JSON integer."""
    return isinstance(value, int) and not isinstance(value, bool)


def load(schema: Schema, body: Any) -> Any:
    """``body`` through ``schema``; raises ValidationError, also when it is no object."""
    if not isinstance(body, dict):
        raise refusal(f"{shown(body)} is not an object", code="type", allowed="a JSON object")
    return schema.load(body)
