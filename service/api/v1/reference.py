"""``/openapi.json``, and ``/docs``: the same document for people, whole in one page."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, Final

from flask import Flask, Response
from jinja2 import Environment
from markupsafe import Markup, escape

from service.api.v1.resource import Document

TITLE: Final = "Hookreel management API"
_ABOUT: Final = (
    "Jobs, events, endpoints and deliveries of a workspace. Every request carries "
    "`Authorization: Bearer <API key>`; nothing of another workspace is visible. Lists are newest first, a "
    "page at a time: hand `next` over as `cursor`; `/v1/events` is the exception, oldest first with `after`. "
    "Errors are RFC 9457 problems; a 503 carries `Retry-After`."
)
ABOUT: Final[Mapping[str, Any]] = {
    "info": {"description": _ABOUT},
    "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    "security": [{"key": []}],
}
"""What the document says besides its paths."""
_ASSETS = resources.files("service.api.v1").joinpath("assets")


@dataclass(frozen=True)
class Row:
    """A field or parameter as the page shows it; ``depth`` is how deep it is nested."""

    name: str
    type: str
    description: str
    example: str = ""
    required: bool = False
    depth: int = 0


class Reference:
    """The page of an OpenAPI document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    @cached_property
    def page(self) -> str:
        """The HTML."""
        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        environment.filters["code"] = _code
        template = environment.from_string(_ASSETS.joinpath("docs.html").read_text("utf-8"))
        return template.render(style=_style(), document=self.document, reference=self)

    def groups(self) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
        """Name, description and operations of each tag."""
        for tag in self.document["tags"]:
            found = [each for each in self._operations() if tag["name"] in each["tags"]]
            yield tag["name"], tag.get("description", ""), found

    def body(self, operation: Mapping[str, Any]) -> list[Row]:
        """The fields of the request's body."""
        return list(self._fields(_json_schema(operation.get("requestBody", {}))))

    def example(self, operation: Mapping[str, Any]) -> str:
        """A body as one may send it."""
        content = operation.get("requestBody", {}).get("content", {})
        given = content.get("application/json", {}).get("example")
        return json.dumps(given, indent=2) if given else ""

    def answers(self, operation: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Row]]]:
        """Status, description and fields of each good answer."""
        for status, answer in operation["responses"].items():
            if str(status).startswith("2"):
                yield status, answer.get("description", ""), list(self._fields(_json_schema(answer)))

    def parameters(self, operation: Mapping[str, Any]) -> list[Row]:
        """Path, query and header parameters."""
        return [
            Row(
                each["name"],
                f"{each['in']}, {self._type(each['schema'])}",
                each.get("description", "") or each["schema"].get("description", ""),
                required=each.get("required", False),
            )
            for each in operation.get("parameters", ())
        ]

    def problem(self) -> list[Row]:
        """The fields of an error."""
        return list(self._fields({"$ref": "#/components/schemas/Problem"}))

    def _operations(self) -> Iterator[dict[str, Any]]:
        for path, item in self.document["paths"].items():
            common = item.get("parameters", [])
            for method, operation in item.items():
                if method != "parameters":
                    given = [*common, *operation.get("parameters", [])]
                    yield {**operation, "path": path, "method": method.upper(), "parameters": given}

    def _fields(self, schema: Mapping[str, Any], depth: int = 0) -> Iterator[Row]:
        whole = self._resolved(schema)
        for name, field in whole.get("properties", {}).items():
            example = "".join(map(_written, field.get("examples", ())[:1]))
            required = name in whole.get("required", ())
            yield Row(name, self._type(field), field.get("description", ""), example, required, depth)
            # A page's rows are told where one of them is shown.
            if "next" not in whole["properties"]:
                yield from self._fields(field.get("items", field), depth + 1)

    def _type(self, schema: Mapping[str, Any]) -> str:
        if "$ref" in schema:
            return str(schema["$ref"].rpartition("/")[2])
        whole = self._resolved(schema)
        if "enum" in whole:
            return " | ".join("null" if each is None else str(each) for each in whole["enum"])
        if "items" in whole:
            return f"list of {self._type(whole['items'])}"
        kind = whole.get("type", "anything")
        return " | ".join(kind) if isinstance(kind, list) else str(kind)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for each in (schema, *schema.get("allOf", ())):
            if "$ref" in each:
                found: Mapping[str, Any] = self.document["components"]["schemas"][
                    each["$ref"].rpartition("/")[2]
                ]
                return found
        return schema


def complete(document: dict[str, Any]) -> None:
    """Tell what each setting of an endpoint means, and that a change has no defaults."""
    schemas = document["components"]["schemas"]
    meanings = {name: field["description"] for name, field in schemas["NewEndpoint"]["properties"].items()}
    for body in ("EndpointBody", "EndpointPatchBody"):
        for name, field in schemas[body]["properties"].items():
            field["description"] = f"{meanings[name]} {field['description']}"
    for field in schemas["EndpointPatchBody"]["properties"].values():
        field.pop("default", None)
    # A query or a header cannot be null: what is not given has no value, and no default.
    for path in document["paths"].values():
        for operation in path.values():
            for each in operation.get("parameters", ()) if isinstance(operation, dict) else ():
                if each["schema"].get("default", "") is None:
                    del each["schema"]["default"]
                    each["schema"]["type"] = "string"


def serve(app: Flask, document: Document) -> None:
    """Add ``/docs``; the page is made when it is first asked for."""
    made: dict[str, str] = {}

    def page() -> Response:
        if "page" not in made:
            made["page"] = Reference(document.whole()).page
        digest = b64encode(hashlib.sha256(_style().encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
        return Response(
            made["page"], headers={"Content-Security-Policy": policy}, content_type="text/html; charset=utf-8"
        )

    app.add_url_rule("/docs", "docs", page)


def _style() -> str:
    return _ASSETS.joinpath("docs.css").read_text("utf-8")


def _json_schema(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    content = holder.get("content", {})
    schema: Mapping[str, Any] = content.get("application/json", {}).get("schema", {})
    return schema


def _written(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example)


def _code(text: str) -> str:
    """Text with `backticks` as HTML."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped first
