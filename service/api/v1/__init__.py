"""The management API under ``/v1``, its document at ``/openapi.json``, and ``/metrics`` for a scraper."""

from __future__ import annotations

from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask, Response

from service import metrics
from service.api.v1 import (
    deliveries,
    endpoints,
    events,
    eventtypes,
    jobs,
    keys,
    reference,
    replays,
    stream,
    webhooksecret,
)
from service.api.v1.resource import EXTENSION, Document, schema_name
from service.bootstrap import VERSION, Service

_RESOURCES = (
    jobs.jobs,
    events.events,
    stream.stream,
    eventtypes.event_types,
    endpoints.endpoints,
    webhooksecret.webhook_secret,
    deliveries.deliveries,
    replays.replays,
    keys.keys,
)


def register(app: Flask, service: Service) -> None:
    """Add all of it to ``app``, which answers errors of routing itself."""
    app.extensions[EXTENSION] = service
    app.config.update(
        API_TITLE=reference.TITLE, API_VERSION=VERSION, OPENAPI_VERSION="3.1.0", OPENAPI_URL_PREFIX="/"
    )
    marshmallow = MarshmallowPlugin(schema_name_resolver=schema_name)
    about = {**reference.ABOUT, "marshmallow_plugin": marshmallow}
    document = Document(app, reference.complete, about)
    for resource in _RESOURCES:
        document.add(resource)
    reference.serve(app, document)
    app.add_url_rule("/metrics", "metrics", lambda: _metrics(service))


def _metrics(service: Service) -> Response:
    body, content_type = metrics.exposition(service)
    return Response(body, content_type=content_type)
