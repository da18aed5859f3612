"""``hookreel events``: what happened; an event once more, without its payload, or gone."""

from __future__ import annotations

from typing import Any

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
    page = connect().call("GET", "/v1/events", params={"after": after, "limit": limit})
    rows = page["data"] if as_json else [{**row, "about": _about(row["data"])} for row in page["data"]]
    printing.table(rows, _COLUMNS, as_json=as_json, nothing="There are no such events.")
    if len(rows) == limit and not as_json:
        click.echo(f"There may be more: --after {page['next']}", err=True)


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


def _about(data: dict[str, Any]) -> str:
    """The prediction's id, or the endpoint's."""
    return str(data.get("id") or data.get("endpoint", {}).get("id", ""))
