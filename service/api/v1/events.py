"""``/v1/events``: everything that happened, in order, for whoever pulls."""

from __future__ import annotations

from typing import Any

from flask import Response

from schemas.queries import EventsQuery
from service.api.v1.resource import Resource, caller, lists
from service.api.v1.shapes import EventPage, EventView

events = Resource("events", "What happened to jobs.")


@events.on("GET", "/events")
@events.takes(EventsQuery(), "query")
@events.gives(200, EventPage())
def show_all(query: dict[str, Any]) -> Response:
    """List events, oldest first.

    Those after the event `after`; `0` is the start. Hand `next` over as the next `after`: it is never null,
    and stays what it was while nothing has happened. An event that is not kept any more: 410
    `cursor_expired`, with the oldest one there is.
    """
    found, after = lists().events(caller().workspace, query["after"], query["limit"])
    # The bodies are JSON already: what is pulled is byte for byte what is pushed.
    rows = b",".join(each.body for each in found)
    return _json(b'{"data":[' + rows + b'],"next":"' + after.encode() + b'"}')


@events.on("GET", "/events/<event_id>")
@events.gives(200, EventView())
def show(event_id: str) -> Response:
    """Show an event."""
    return _json(lists().event(caller().workspace, event_id))


def _json(body: bytes) -> Response:
    return Response(body + b"\n", content_type="application/json")
