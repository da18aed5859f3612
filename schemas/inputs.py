"""A submission's body: the Hailuo family by its table, any other model by what the vendor says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from marshmallow import ValidationError, fields

from schemas import catalogue, documents, images
from schemas.faults import refusal, shown
from schemas.fields import Flag, OneOfIntegers, Strict, Text, Told, load
from schemas.models import IMAGE_ALLOWED, MODELS, PROMPT_CHARACTERS, Model, Parameter, check_model_id

MAX_GENERIC_BYTES: Final = documents.MEGABYTE


@dataclass(frozen=True)
class Input:
    """A submission that is valid.

    ``fields`` are what goes to the vendor, defaults applied; where the caller sent an image as a data URI it
    holds `Image.describe`, and ``images`` the image, by the field's name. A URL stays a URL.
    """

    model: str
    fields: dict[str, Any]
    images: dict[str, images.Image]


def parse(model_id: str, body: Any) -> Input:
    """``body`` for one of `MODELS` (KeyError for another id); raises ValidationError with every fault.

    ``enable_sync_mode`` and ``enable_base64_output`` are no parameters of a model: take them out before.
    """
    loaded = load(_SCHEMAS[model_id], body)
    found = {name: value for name, value in loaded.items() if isinstance(value, images.Image)}
    described = {name: image.describe() for name, image in found.items()}
    return Input(model_id, {**loaded, **described}, found)


def parse_generic(model_id: str, body: Any, api_schema: Any = None) -> Input:
    """``body`` for any other model: a JSON object of at most 1 MB that the vendor's ``api_schema`` lets pass.

    Everything stays as it is: data URIs are not decoded, nothing is added. Raises ValidationError.
    """
    try:
        check_model_id(model_id)
    except ValidationError as error:
        raise ValidationError({"model": error.messages}) from None
    if not isinstance(body, dict):
        raise refusal(f"{shown(body)} is not an object", code="type", allowed="a JSON object")
    documents.check(body)
    size = len(documents.compact(body))
    if size > MAX_GENERIC_BYTES:
        allowed = f"at most {MAX_GENERIC_BYTES} bytes; give images as URLs"
        raise refusal(f"is {size} bytes long", code="too_large", allowed=allowed)
    catalogue.check(body, api_schema)
    return Input(model_id, dict(body), {})


class _ImageField(Told, fields.String):
    """An image by URL (loads as the URL) or data URI (loads as an `Image`)."""

    def _read(self, value: Any) -> str | images.Image:
        if not isinstance(value, str):
            raise self._bad(f"{shown(value)} is not a string", "type")
        if images.is_data_uri(value):
            return images.decode_data_uri(value)
        if "://" not in value[:32]:
            raise self._bad(f"{shown(value)} is no URL and no data URI", "format")
        return images.check_url(value)


def _field(parameter: Parameter) -> fields.Field[Any]:
    options: dict[str, Any] = {"required": parameter.required}
    if parameter.default is not None:
        options["load_default"] = parameter.default
    if parameter.kind == "image":
        return _ImageField(allowed=IMAGE_ALLOWED, **options)
    if parameter.kind == "integer":
        return OneOfIntegers(parameter.choices, **options)
    if parameter.kind == "boolean":
        return Flag(**options)
    # The vendor takes an empty text for a missing one.
    return Text(most=PROMPT_CHARACTERS, least=int(parameter.required), **options)


def _schema(model: Model) -> Strict:
    columns = {parameter.name: _field(parameter) for parameter in model.parameters}
    made: type[Strict] = Strict.from_dict(columns, name=model.id)  # type: ignore[assignment]
    return made()


_SCHEMAS: Final[Mapping[str, Strict]] = {model.id: _schema(model) for model in MODELS.values()}
