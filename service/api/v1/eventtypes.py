"""``/v1/event-types``: what there is to hear of."""

from __future__ import annotations

from typing import Any

from schemas.eventtypes import TYPES, EventType
from service.api.v1.resource import Resource
from service.api.v1.shapes import EventTypeView, listed
from service.errors import NotFound

event_types = Resource("event-types", "What there is to hear of.")


@event_types.on("GET", "/event-types")
@event_types.gives(200, listed(EventTypeView))
def show_all() -> dict[str, Any]:
    """List event types.

    All of them, in one page.
    """
    return {"data": [shown(each) for each in TYPES.values()], "next": None}


@event_types.on("GET", "/event-types/<event_type>")
@event_types.gives(200, EventTypeView())
def show(event_type: str) -> dict[str, Any]:
    """Show an event type."""
    if event_type not in TYPES:
        raise NotFound(f"there is no event type {event_type[:64]}")
    return shown(TYPES[event_type])


def shown(kind: EventType) -> dict[str, Any]:
    """As `EventTypeView` dumps it."""
    return {name: getattr(kind, name) for name in EventTypeView().fields}
