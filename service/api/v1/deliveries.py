"""``/v1/deliveries``: what was sent to whom, and what they answered."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from schemas.queries import DeliveriesQuery
from service.api.v1.resource import Resource, caller, here, lists
from service.api.v1.shapes import DeliveryView, listed
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
    row = lists().delivery(caller().workspace, delivery_id)
    answers = here().deliveries.answers(row.delivery.event, row.delivery.endpoint)
    return shown(row, answers)


def shown(row: Sent, answers: Mapping[int, str] = NO_ANSWERS) -> dict[str, Any]:
    """As `DeliveryView` dumps it; ``answers`` by when the attempt was."""
    delivery = row.delivery
    return {
        "id": id_of(delivery.event, delivery.endpoint),
        "event": delivery.event,
        "endpoint": delivery.endpoint,
        "job": row.job,
        "state": delivery.state.value,
        "attempt_count": delivery.attempt_count,
        "attempts": [_attempt(each, answers.get(each.at)) for each in delivery.attempts],
    }


def _attempt(attempt: Attempt, answer: str | None) -> dict[str, Any]:
    row = {
        "at": timestamp(attempt.at),
        "status": attempt.status,
        "error": attempt.error,
        "duration_ms": attempt.duration_ms,
        **dict(zip(PHASES, attempt.phases, strict=False)),
    }
    told = {"detail": attempt.detail or None, "answer": answer}
    return row | {name: text for name, text in told.items() if text is not None}
