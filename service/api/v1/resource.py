"""What the resources under ``/v1`` share: who calls, how a request is read, how the document tells of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar

import flask_smorest  # type: ignore[import-untyped]  # it ships no types
from apispec.ext.marshmallow.common import resolve_schema_instance
from flask import Flask, Request, Response, current_app, g, request
from marshmallow import RAISE, Schema, ValidationError
from redis.exceptions import RedisError
from webargs.core import is_json
from webargs.flaskparser import FlaskParser

from schemas import documents
from schemas.faults import flatten
from schemas.queries import NoQuery
from service.api import problems
from service.api.v1.shapes import ProblemView
from service.apikeys import ApiKey
from service.bootstrap import Service
from service.errors import HookreelError, InvalidInput, WrongMediaType
from service.listing import Lists

R = TypeVar("R")

EXTENSION: Final = "hookreel"
MOST_BODY: Final = documents.MEGABYTE
_SCHEME: Final = "Bearer "
_READS_QUERY: Final = "reads_query"
_VERBS: Final[Mapping[str, str]] = {
    "show_all": "list",
    "show": "get",
    "make": "create",
    "change": "update",
    "remove": "delete",
}
"""What generated clients call a handler of that name."""


class Parser(FlaskParser):
    """Reads JSON strictly, refuses what it does not know, and raises our own errors."""

    DEFAULT_VALIDATION_STATUS = 400
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012 - as webargs declares it
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": RAISE,
        "querystring": RAISE,
    }

    def load_json(self, req: Request, schema: Schema) -> Any:
        """The body's value. Raises `WrongMediaType`; ValidationError becomes `InvalidInput`.

        No body at all is an empty one, where nothing in it is required.
        """
        raw = req.get_data(cache=False)
        if not raw and not any(each.required for each in schema.load_fields.values()):
            return {}
        if not is_json(req.mimetype):
            raise WrongMediaType("the body is to be JSON, told by Content-Type: application/json")
        return documents.read(raw, limit=MOST_BODY)

    def handle_error(
        self, error: ValidationError, *_: Any, **__: Any
    ) -> NoReturn:  # what webargs hands over besides is not needed
        """``error.messages`` is keyed by the location, which a pointer does not tell."""
        (messages,) = error.messages_dict.values()
        raise InvalidInput(*flatten(messages)) from error


class Resource(flask_smorest.Blueprint):  # type: ignore[misc]  # untyped, as above
    """A resource's paths: every request carries an API key, every error is a problem."""

    ARGUMENTS_PARSER = Parser()

    def __init__(self, name: str, description: str) -> None:
        super().__init__(name, __name__, url_prefix="/v1", description=description)
        self.before_request(_let_in)
        for error in (HookreelError, ValidationError, RedisError):
            self.register_error_handler(error, problems.answer)

    def on(self, method: str, path: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
        """The handler of ``method`` on ``/v1`` + ``path``; what of the query it does not take is refused."""

        def decorate(handler: Callable[..., R]) -> Callable[..., R]:
            name = f"{self.name}_{_VERBS.get(handler.__name__, handler.__name__)}".replace("-", "_")
            if not getattr(handler, _READS_QUERY, False):
                handler = self.arguments(NoQuery(), location="query", as_kwargs=True)(handler)
            made: Callable[..., R] = self.route(path, methods=[method])(self.doc(operationId=name)(handler))
            return made

        return decorate

    def takes(
        self, schema: Schema, location: str = "json", **options: Any
    ) -> Callable[[Callable[..., R]], Callable[..., R]]:
        """The handler's first argument is loaded from the request by ``schema``."""
        arguments = self.arguments(schema, location=location, **options)

        def decorate(handler: Callable[..., R]) -> Callable[..., R]:
            made: Callable[..., R] = arguments(handler)
            if location == "query":
                setattr(made, _READS_QUERY, True)
            return made

        return decorate

    def gives(
        self, status: int, schema: Schema | dict[str, Any] | None = None, **options: Any
    ) -> Callable[[Callable[..., R]], Callable[..., R]]:
        """What the handler returns is dumped by ``schema``; a Response stays as it is."""
        decorate: Callable[[Callable[..., R]], Callable[..., R]] = self.response(status, schema, **options)
        return decorate


class Document(flask_smorest.Api):  # type: ignore[misc]  # untyped, as above
    """The OpenAPI document, written when it is first asked for: that takes longer than the rest of the start.

    Errors are the application's business; here they are only described.
    """

    ERROR_SCHEMA = ProblemView

    def __init__(self, app: Flask, complete: Callable[[dict[str, Any]], None], about: dict[str, Any]) -> None:
        """``complete`` adds what apispec cannot know."""
        self._complete = complete
        self._resources: list[Resource] = []
        self._lock = threading.Lock()
        self._whole: dict[str, Any] | None = None
        super().__init__(app, spec_kwargs=about)

    def add(self, resource: Resource) -> None:
        """Serve its paths, and tell of them."""
        self._app.extensions["flask-smorest"]["blp_name_to_api"][resource.name] = self
        self._app.register_blueprint(resource)
        self._resources.append(resource)

    def whole(self) -> dict[str, Any]:
        """The document."""
        with self._lock:
            if self._whole is None:
                for each in self._resources:
                    each.register_views_in_doc(self, self._app, self.spec, name=each.name, parameters=None)
                    self.spec.tag({"name": each.name, "description": each.description})
                self._whole = self.spec.to_dict()
                self._complete(self._whole)
            return self._whole

    def _openapi_json(self) -> Response:
        return Response(json.dumps(self.whole(), indent=2), mimetype="application/json")

    def _register_error_handlers(self) -> None:
        """None: the application answers them in the shape that belongs to the path."""

    def _register_pagination_header(self) -> None:
        """None: pages are told in the body."""

    def _register_responses(self) -> None:
        content = {problems.CONTENT_TYPE: {"schema": ProblemView}}
        for name, told in _ANSWERS.items():
            self.spec.components.response(name, {"description": told, "content": content}, lazy=True)


_ANSWERS: Final[Mapping[str, str]] = {
    "BAD_REQUEST": "The request is at fault; `errors` says where and how.",
    "DEFAULT_ERROR": "Any error.",
}


def schema_name(schema: Any) -> str:
    """What a schema is called in the document."""
    name = type(resolve_schema_instance(schema)).__name__
    return name.removesuffix("View").replace("Schema", "Body")


def here() -> Service:
    """The service of the application that answers."""
    service: Service = current_app.extensions[EXTENSION]
    return service


def lists() -> Lists:
    """Its lists."""
    service = here()
    return Lists(service.store, service.endpoints, service.deliveries)


def caller() -> ApiKey:
    """The API key of this request."""
    key: ApiKey = g.api_key
    return key


def presented() -> str:
    """The text of the API key as it was sent, or nothing."""
    given = request.headers.get("Authorization", "")
    return given[len(_SCHEME) :].strip() if given[: len(_SCHEME)].lower() == _SCHEME.lower() else ""


def _let_in() -> Response | None:
    request.max_content_length = MOST_BODY
    g.api_key = here().apikeys.check(presented())
    return None
