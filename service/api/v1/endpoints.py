"""``/v1/endpoints``: who hears of what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.endpoints import EndpointPatchSchema, EndpointSchema
from schemas.queries import PageQuery
from schemas.replays import SampleSchema
from schemas.rotation import RotationSchema
from service.api.v1.deliveries import attempt_shown
from service.api.v1.resource import Resource, caller, here, lists
from service.api.v1.shapes import (
    EndpointView,
    NewEndpointView,
    RotatedView,
    SampleView,
    SecretView,
    StatisticsView,
    listed,
)
from service.deliveries import delivery_id
from service.events import timestamp
from service.records import Endpoint
from service.signingsecrets import Secrets

endpoints = Resource("endpoints", "Subscribers' URLs with their settings.")
_MADE = ("latency_ms", "last_failure")
_BODY = {
    "url": "https://example.com/hooks",
    "event_types": ["prediction.completed"],
    "description": "billing",
}


@endpoints.on("POST", "/endpoints")
@endpoints.takes(EndpointSchema(), example=_BODY)
@endpoints.gives(201, NewEndpointView())
def make(body: dict[str, Any]) -> dict[str, Any]:
    """Make an endpoint.

    Events from now on that match its types and channels are sent to it. The answer shows its secret.
    """
    endpoint, secret = here().endpoints.create(caller().workspace, _settings(body))
    return {**shown(endpoint), "secret": secret}


@endpoints.on("GET", "/endpoints")
@endpoints.takes(PageQuery(), "query")
@endpoints.gives(200, listed(EndpointView))
def show_all(query: dict[str, Any]) -> dict[str, Any]:
    """List endpoints."""
    page = lists().endpoints(caller().workspace, query["limit"], query["cursor"])
    return {"data": [shown(each) for each in page.rows], "next": page.next}


@endpoints.on("GET", "/endpoints/<endpoint_id>")
@endpoints.gives(200, EndpointView())
def show(endpoint_id: str) -> dict[str, Any]:
    """Show an endpoint."""
    return shown(here().endpoints.get(caller().workspace, endpoint_id))


@endpoints.on("PATCH", "/endpoints/<endpoint_id>")
@endpoints.takes(EndpointPatchSchema(), example={"enabled": True, "timeout": 10})
@endpoints.gives(200, EndpointView())
def change(body: dict[str, Any], endpoint_id: str) -> dict[str, Any]:
    """Change an endpoint.

    What the body names is changed; the rest stays.
    """
    wanted = _settings(body)
    if "enabled" in wanted:
        wanted["disabled_reason"] = "" if wanted["enabled"] else "it was disabled by request"
    return shown(here().endpoints.update(caller().workspace, endpoint_id, wanted))


@endpoints.on("DELETE", "/endpoints/<endpoint_id>")
@endpoints.gives(204)
def remove(endpoint_id: str) -> None:
    """Delete an endpoint.

    Nothing more is sent to it; its open deliveries are cancelled.
    """
    here().endpoints.delete(caller().workspace, endpoint_id)


@endpoints.on("GET", "/endpoints/<endpoint_id>/secret")
@endpoints.gives(200, SecretView())
def secret(endpoint_id: str) -> dict[str, Any]:
    """Show an endpoint's secret.

    And those before it that sign as well.
    """
    service = here()
    return secrets_shown(service.endpoints.secrets(service.endpoints.get(caller().workspace, endpoint_id)))


@endpoints.on("POST", "/endpoints/<endpoint_id>/secret/rotate")
@endpoints.takes(RotationSchema(), example={"overlap": 3600})
@endpoints.gives(200, RotatedView())
def rotate(body: dict[str, Any], endpoint_id: str) -> dict[str, Any]:
    """Change an endpoint's secret.

    The one before it goes on signing for `overlap` seconds (86400, in the format `wavespeed` 0), so that the
    receiver can change when it likes. At most 10 are live at once.
    """
    return secrets_shown(here().endpoints.rotate(caller().workspace, endpoint_id, **body))


@endpoints.on("POST", "/endpoints/<endpoint_id>/test")
@endpoints.takes(SampleSchema(), example={"type": "prediction.completed"}, required=False)
@endpoints.gives(202, SampleView())
def test(body: dict[str, Any], endpoint_id: str) -> dict[str, Any]:
    """Send an endpoint a sample.

    An event of any type, its data marked with `"test": true`, to this endpoint alone, whatever it hears of;
    signed, sent, retried and recorded like any other.
    """
    event = here().samples.send(caller().workspace, endpoint_id, body["type"])
    return {"event": event, "delivery": delivery_id(event, endpoint_id)}


@endpoints.on("GET", "/endpoints/<endpoint_id>/stats")
@endpoints.gives(200, StatisticsView())
def stats(endpoint_id: str) -> dict[str, Any]:
    """Show how an endpoint is doing."""
    service = here()
    found = service.health.statistics(service.endpoints.get(caller().workspace, endpoint_id))
    return {
        **{name: getattr(found, name) for name in StatisticsView().fields if name not in _MADE},
        "latency_ms": {"p50": found.p50, "p95": found.p95},
        "last_failure": found.last_failure and attempt_shown(found.last_failure),
    }


def shown(endpoint: Endpoint) -> dict[str, Any]:
    """As `EndpointView` dumps it."""
    return {
        **{name: getattr(endpoint, name) for name in EndpointView().fields if name != "secret"},
        "disabled_reason": endpoint.disabled_reason or None,
        "retry_schedule": endpoint.retry_schedule or None,
        "rate": endpoint.rate or None,
        "created_at": timestamp(endpoint.created_at),
    }


def secrets_shown(secrets: Secrets) -> dict[str, Any]:
    """As `SecretView` and `RotatedView` dump them."""
    previous = [{"secret": text, "expires_at": timestamp(at)} for text, at in secrets.previous]
    return {"secret": secrets.newest, "previous": previous}


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """The loaded request as the record has it."""
    nothing = {"retry_schedule": (), "rate": 0}
    return {
        name: nothing[name] if name in nothing and value is None else value for name, value in body.items()
    }
