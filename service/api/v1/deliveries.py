"""``/v1/deliveries``: what was sent to whom, and what they answered."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from schemas.queries import DeliveriesQuery
from service.api.v1.resource import Resource, caller, here, lists
from service.api.v1.shapes import DeliveryView, RequestView, listed
from service.deliveries import delivery_id as id_of
from service.events import timestamp
from service.listing import Sent, Wanted
from service.records import Attempt

NO_ANSWERS: Final[Mapping[int, str]] = MappingProxyType({})
PHASES: Final = ("dns_ms", "connect_ms", "tls_ms", "first_byte_ms")

deliveries = Resource("deliveries", "Each event for each endpoint, with every attempt.")


@deliveries.on("GET", "/deliveries")
@deliveries.takes(DeliveriesQuery(), "query")
@deliveries.gives(200, listed(DeliveryView))
def show_all(query: dict[str, Any]) -> dict[str, Any]:
    """List deliveries.

    Those of the newest event first. With a filter a page may be short, even empty, and yet have a `next`.
    """
    limit, cursor = query.pop("limit"), query.pop("cursor")
    page = lists().deliveries(caller().workspace, limit, cursor, Wanted(**query))
    return {"data": [shown(each) for each in page.rows], "next": page.next}


@deliveries.on("GET", "/deliveries/<delivery_id>")
@deliveries.gives(200, DeliveryView())
def show(delivery_id: str) -> dict[str, Any]:
    """Show a delivery."""
    return _by_itself(delivery_id)


@deliveries.on("POST", "/deliveries/<delivery_id>/retry")
@deliveries.gives(202, DeliveryView())
def retry(delivery_id: str) -> dict[str, Any]:
    """Retry a delivery.

    Whatever became of it, it is due now, and its schedule begins anew: it takes the place of the attempt that
    was due later, if there was one. Its `webhook-id` stays. To an endpoint that is paused or disabled it is
    held. While an attempt is under way: 409 `conflict`.
    """
    here().deliveries.retry(caller().workspace, delivery_id)
    return _by_itself(delivery_id)


@deliveries.on("POST", "/deliveries/<delivery_id>/cancel")
@deliveries.gives(200, DeliveryView())
def cancel(delivery_id: str) -> dict[str, Any]:
    """Cancel a delivery.

    One that waits or is held; an ordered endpoint goes on with the next. Any other: 409 `conflict`.
    """
    here().deliveries.cancel(caller().workspace, delivery_id)
    return _by_itself(delivery_id)


@deliveries.on("GET", "/deliveries/<delivery_id>/attempts/<int:number>/request")
@deliveries.gives(200, RequestView())
def show_request(delivery_id: str, number: int) -> dict[str, Any]:
    """Show the request of an attempt.

    The first attempt is 1. It is made anew from the event, the endpoint and the moment of the attempt, so it
    is what was sent as long as the endpoint's settings and secrets are what they were then. 409 `conflict`
    when it cannot be made any more.
    """
    request = here().deliveries.request(caller().workspace, delivery_id, number)
    return {
        "method": "POST",
        "url": request.url,
        "headers": dict(request.headers),
        "body": request.body.decode(),
    }


def _by_itself(delivery_id: str) -> dict[str, Any]:
    row = lists().delivery(caller().workspace, delivery_id)
    return shown(row, here().deliveries.answers(row.delivery.event, row.delivery.endpoint))


def shown(row: Sent, answers: Mapping[int, str] = NO_ANSWERS) -> dict[str, Any]:
    """As `DeliveryView` dumps it; ``answers`` by when the attempt was."""
    delivery = row.delivery
    return {
        "id": id_of(delivery.event, delivery.endpoint),
        "event": delivery.event,
        "endpoint": delivery.endpoint,
        "job": row.job or None,
        "state": delivery.state.value,
        "attempt_count": delivery.attempt_count,
        "attempts": [attempt_shown(each, answers.get(each.at)) for each in delivery.attempts],
    }


def attempt_shown(attempt: Attempt, answer: str | None = None) -> dict[str, Any]:
    """As `AttemptView` dumps it."""
    row = {
        "at": timestamp(attempt.at),
        "status": attempt.status,
        "error": attempt.error,
        "duration_ms": attempt.duration_ms,
        **dict(zip(PHASES, attempt.phases, strict=False)),
    }
    told = {"detail": attempt.detail or None, "answer": answer}
    return row | {name: text for name, text in told.items() if text is not None}
