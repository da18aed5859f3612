"""``hookreel deliveries``: what was sent to whom, and once more."""

from __future__ import annotations

import sys
from typing import Any

import click

from service.cli import printing
from service.cli.client import connect, segment

_COLUMNS = {
    "id": "ID",
    "state": "STATE",
    "attempt_count": "ATTEMPTS",
    "last": "LAST",
    "event": "EVENT",
    "endpoint": "ENDPOINT",
}
_ATTEMPTS = {
    "at": "AT",
    "status": "STATUS",
    "error": "ERROR",
    "duration_ms": "MS",
    "detail": "DETAIL",
    "answer": "ANSWER",
}


@click.group()
def deliveries() -> None:
    """List and show what was sent, retry and cancel it."""


@deliveries.command("list")
@click.option("--endpoint", help="To this endpoint alone.")
@click.option("--event", help="Of this event alone.")
@click.option("--job", help="Of this job alone.")
@click.option("--state", help="In this state alone, such as exhausted.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many.")
@printing.as_json
def list_deliveries(
    endpoint: str | None, event: str | None, job: str | None, state: str | None, limit: int, as_json: bool
) -> None:
    """List deliveries, those of the newest event first."""
    given = {"endpoint": endpoint, "event": event, "job": job, "state": state}
    query = {name: value for name, value in given.items() if value is not None}
    rows = _found({**query, "limit": limit}, limit)
    shown = rows if as_json else [{**row, "last": _last(row)} for row in rows]
    printing.table(shown, _COLUMNS, as_json=as_json, nothing="There are no such deliveries.")


@deliveries.command()
@click.argument("delivery_id", metavar="ID")
@printing.as_json
def show(delivery_id: str, as_json: bool) -> None:
    """Show a delivery with each of its attempts."""
    _print(connect().call("GET", f"/v1/deliveries/{segment(delivery_id)}"), as_json=as_json)


@deliveries.command()
@click.argument("delivery_id", metavar="ID")
@printing.as_json
def retry(delivery_id: str, as_json: bool) -> None:
    """Send a delivery again at once, whatever became of it."""
    _print(connect().call("POST", f"/v1/deliveries/{segment(delivery_id)}/retry"), as_json=as_json)


@deliveries.command()
@click.argument("delivery_id", metavar="ID")
@printing.as_json
def cancel(delivery_id: str, as_json: bool) -> None:
    """Send a delivery that waits no more."""
    _print(connect().call("POST", f"/v1/deliveries/{segment(delivery_id)}/cancel"), as_json=as_json)


@deliveries.command()
@click.argument("delivery_id", metavar="ID")
@click.option("--attempt", type=click.IntRange(1), help="Of this attempt; else of the last.")
@printing.as_json
def request(delivery_id: str, attempt: int | None, as_json: bool) -> None:
    """Show the request of an attempt, as it was sent."""
    client, path = connect(), f"/v1/deliveries/{segment(delivery_id)}"
    number = attempt or len(client.call("GET", path)["attempts"]) or 1
    made = client.call("GET", f"{path}/attempts/{number}/request")
    if as_json:
        printing.line(made)
        return
    click.echo(f"{made['method']} {printing.safe(made['url'])}")
    for name, value in made["headers"].items():
        click.echo(printing.safe(f"{name}: {value}"))
    # Signed are these very bytes; only a terminal is not to be steered by them.
    click.echo(f"\n{printing.safe(made['body']) if sys.stdout.isatty() else made['body']}")


def _found(query: dict[str, Any], most: int) -> list[dict[str, Any]]:
    """A page with a filter may be short although there are more."""
    client, rows = connect(), []
    while True:
        page = client.call("GET", "/v1/deliveries", params=query)
        rows += page["data"]
        if len(rows) >= most or page["next"] is None:
            return rows[:most]
        query["cursor"] = page["next"]


def _print(delivery: dict[str, Any], *, as_json: bool) -> None:
    printing.facts(delivery, as_json=as_json, leave_out=("attempts",))
    if not as_json and delivery["attempts"]:
        click.echo()
        printing.table(delivery["attempts"], _ATTEMPTS, as_json=False, nothing="")


def _last(delivery: dict[str, Any]) -> str:
    """What came of the last attempt."""
    attempt = delivery["attempts"][-1] if delivery["attempts"] else {}
    return str(attempt.get("status") or attempt.get("error") or "")
