"""``hookreel events``: what happened; an event once more, without its payload, or gone."""

from __future__ import annotations

import click

from service.cli import printing
from service.cli.client import connect, segment

_COLUMNS = {"id": "ID", "type": "TYPE", "timestamp": "TIMESTAMP", "about": "ABOUT"}


@click.group()
def events() -> None:
    """List and show events, deliver one again, take its payload away."""


@events.command("list")
@click.option("--after", metavar="EVENT_ID", default="0", help="Those after this one; else from the first.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many.")
@printing.as_json
def list_events(after: str, limit: int, as_json: bool) -> None:
    """List events, oldest first."""
    rows = connect().call("GET", "/v1/events", params={"after": after, "limit": limit})["data"]
    shown = rows if as_json else [{**row, "about": row["data"].get("id")} for row in rows]
    printing.table(shown, _COLUMNS, as_json=as_json, nothing="There are no such events.")


@events.command()
@click.argument("event_id", metavar="ID")
@printing.as_json
def show(event_id: str, as_json: bool) -> None:
    """Show an event."""
    printing.facts(connect().call("GET", f"/v1/events/{segment(event_id)}"), as_json=as_json)


@events.command()
@click.argument("event_id", metavar="ID")
@click.option("--endpoint", metavar="ENDPOINT_ID", help="To this endpoint alone, whatever it hears of.")
@printing.as_json
def replay(event_id: str, endpoint: str | None, as_json: bool) -> None:
    """Deliver an event again, to each endpoint that it is for."""
    path = f"/v1/events/{segment(event_id)}/replay"
    printing.facts(connect().call("POST", path, json={"endpoint": endpoint}), as_json=as_json)


@events.command()
@click.argument("event_id", metavar="ID")
@printing.as_json
def redact(event_id: str, as_json: bool) -> None:
    """Take an event's payload away; what is still to be delivered goes without it."""
    printing.facts(connect().call("POST", f"/v1/events/{segment(event_id)}/redact"), as_json=as_json)


@events.command()
@click.argument("event_id", metavar="ID")
@printing.as_json
def remove(event_id: str, as_json: bool) -> None:
    """Delete an event with everything that was sent of it."""
    connect().call("DELETE", f"/v1/events/{segment(event_id)}")
    printing.facts({"removed": event_id}, as_json=as_json)
