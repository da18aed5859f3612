"""``hookreel endpoints``: who hears of what."""

from __future__ import annotations

from typing import Any

import click
from marshmallow import ValidationError

from schemas import documents
from service.cli import printing
from service.cli.client import connect, segment

_COLUMNS = {
    "id": "ID",
    "url": "URL",
    "event_types": "EVENT TYPES",
    "format": "FORMAT",
    "enabled": "ENABLED",
    "description": "DESCRIPTION",
}


@click.group()
def endpoints() -> None:
    """Add, list, show and remove subscribers' URLs."""


@endpoints.command()
@click.argument("url")
@click.option("--event-type", "event_types", multiple=True, help="A type to hear of; again for more.")
@click.option(
    "--format",
    "format_",
    metavar="FORMAT",
    help="How events are written: standard, wavespeed or cloudevents.",
)
@click.option("--channel", "channels", multiple=True, help="Hear of this channel alone; again for more.")
@click.option("--timeout", type=float, help="Seconds for one attempt.")
@click.option("--description", help="To remember it by.")
@click.option("--metadata", metavar="JSON", help="An object for your own programs.")
@printing.as_json
def add(  # noqa: PLR0917 - click gives them by name
    url: str,
    event_types: tuple[str, ...],
    format_: str | None,
    channels: tuple[str, ...],
    timeout: float | None,
    description: str | None,
    metadata: str | None,
    as_json: bool,
) -> None:
    """Have events sent to URL from now on, and print the secret that they are signed with."""
    given = {
        "url": url,
        "event_types": list(event_types) or None,
        "format": format_,
        "channels": list(channels) or None,
        "timeout": timeout,
        "description": description,
        "metadata": metadata and _json(metadata),
    }
    body = {name: value for name, value in given.items() if value is not None}
    printing.facts(connect().call("POST", "/v1/endpoints", json=body), as_json=as_json)


@endpoints.command("list")
@printing.as_json
def list_endpoints(as_json: bool) -> None:
    """List endpoints, newest first."""
    rows = connect().rows("/v1/endpoints")
    printing.table(
        rows, _COLUMNS, as_json=as_json, nothing="There are no endpoints; `hookreel endpoints add URL`."
    )


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@click.option("--secret", is_flag=True, help="With its signing secret.")
@printing.as_json
def show(endpoint_id: str, secret: bool, as_json: bool) -> None:
    """Show an endpoint."""
    client, path = connect(), f"/v1/endpoints/{segment(endpoint_id)}"
    found = client.call("GET", path)
    if secret:
        found.update(client.call("GET", f"{path}/secret"))
    printing.facts(found, as_json=as_json)


@endpoints.command("rotate-secret")
@click.argument("endpoint_id", metavar="ID")
@click.option("--overlap", type=float, help="Seconds for which the present secret goes on signing.")
@printing.as_json
def rotate_secret(endpoint_id: str, overlap: float | None, as_json: bool) -> None:
    """Have an endpoint's events signed with another secret, and print it."""
    body = {} if overlap is None else {"overlap": overlap}
    path = f"/v1/endpoints/{segment(endpoint_id)}/secret/rotate"
    printing.facts(connect().call("POST", path, json=body), as_json=as_json)


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@printing.as_json
def remove(endpoint_id: str, as_json: bool) -> None:
    """Send nothing more to an endpoint."""
    connect().call("DELETE", f"/v1/endpoints/{segment(endpoint_id)}")
    printing.facts({"removed": endpoint_id}, as_json=as_json)


def _json(text: str) -> Any:
    try:
        return documents.read(text.encode("utf-8", "replace"))
    except ValidationError as error:
        raise click.BadParameter(error.messages[0], param_hint="--metadata") from None
