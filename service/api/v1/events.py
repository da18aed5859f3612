"""``/v1/events``: everything that happened, in order, for whoever pulls."""

from __future__ import annotations

from typing import Any

from flask import Response

from schemas.queries import EventsQuery
from schemas.replays import ReplaySchema
from service.api.v1.resource import Resource, caller, here, lists
from service.api.v1.shapes import EventPage, EventView, ReplayedView

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


@events.on("POST", "/events/<event_id>/replay")
@events.takes(ReplaySchema(), example={"endpoint": "ep_1s61mgnh4d5e6f7g8h9jkm"}, required=False)
@events.gives(202, ReplayedView())
def replay(body: dict[str, Any], event_id: str) -> dict[str, Any]:
    """Deliver an event again.

    To `endpoint`, whatever that hears of; without, to each endpoint whose types and channels it matches,
    whenever that was made. It is due now, with a schedule that begins anew.
    """
    done = here().replays.replay(caller().workspace, event_id, body["endpoint"])
    return {"event": event_id, **done._asdict()}


@events.on("POST", "/events/<event_id>/redact")
@events.gives(200, EventView())
def redact(event_id: str) -> Response:
    """Take an event's payload away.

    What is left of its data are `id`, `model`, `status`, `created_at` and `"redacted": true`; what endpoints
    answered to it is gone as well. Deliveries that are still owed carry what is left.
    """
    return _json(here().events.redact(caller().workspace, event_id))


@events.on("DELETE", "/events/<event_id>")
@events.gives(204)
def remove(event_id: str) -> None:
    """Delete an event.

    With every attempt, and whatever of it waits. An attempt under way just now ends as it may.
    """
    here().events.erase(caller().workspace, event_id)


def _json(body: bytes) -> Response:
    return Response(body + b"\n", content_type="application/json")
