"""``hookreel endpoints``: who hears of what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click
from marshmallow import ValidationError

from schemas import documents
from service.cli import printing, replays
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
    """Subscribers' URLs: who hears of what, how they are doing, and what they have missed."""


_SETTINGS = (
    click.option("--event-type", "event_types", multiple=True, help="A type to hear of; again for more."),
    click.option(
        "--format", metavar="FORMAT", help="How events are written: standard, wavespeed or cloudevents."
    ),
    click.option("--channel", "channels", multiple=True, help="Hear of this channel alone; again for more."),
    click.option(
        "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Sent along; again for more."
    ),
    click.option("--timeout", type=float, help="Seconds for one attempt."),
    click.option("--retry-schedule", metavar="SECONDS,...", help="The delay before each attempt."),
    click.option("--rate", type=float, help="At most so many deliveries a second."),
    click.option("--on-exhausted", metavar="WHAT", help="Of an ordered endpoint: stop or skip."),
    click.option("--input/--no-input", "include_input", default=None, help="Whether events carry the input."),
    click.option("--description", help="To remember it by."),
    click.option("--metadata", metavar="JSON", help="An object for your own programs."),
)


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@endpoints.command()
@click.argument("url")
@_settings
@click.option("--ordered", is_flag=True, default=None, help="Strictly in order, one at a time; for good.")
@click.option("--paused", is_flag=True, default=None, help="Hold its deliveries until it is resumed.")
@printing.as_json
def add(as_json: bool, **given: Any) -> None:
    """Have events sent to URL from now on, and print the secret that they are signed with."""
    printing.facts(connect().call("POST", "/v1/endpoints", json=_body(given)), as_json=as_json)


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@click.option("--url", help="Where events are sent to.")
@_settings
@printing.as_json
def update(endpoint_id: str, as_json: bool, **given: Any) -> None:
    """Change what is named of an endpoint."""
    body = _body(given)
    if not body:
        raise click.UsageError("say what to change")
    _print(endpoint_id, "PATCH", "", body, as_json=as_json)


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


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@click.option("--type", "type_", metavar="TYPE", help="Of the sample; prediction.completed when not given.")
@printing.as_json
def test(endpoint_id: str, type_: str | None, as_json: bool) -> None:
    """Send an endpoint a sample, signed, and print which delivery that is."""
    _print(endpoint_id, "POST", "/test", {"type": type_} if type_ else {}, as_json=as_json)


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@printing.as_json
def stats(endpoint_id: str, as_json: bool) -> None:
    """Show how an endpoint has done in seven days, and how it does now."""
    _print(endpoint_id, "GET", "/stats", as_json=as_json)


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@printing.as_json
def pause(endpoint_id: str, as_json: bool) -> None:
    """Hold an endpoint's deliveries until it is resumed."""
    _print(endpoint_id, "PATCH", "", {"paused": True}, as_json=as_json)


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@printing.as_json
def resume(endpoint_id: str, as_json: bool) -> None:
    """Send to an endpoint again that was paused or disabled, with what was held meanwhile."""
    _print(endpoint_id, "PATCH", "", {"paused": False, "enabled": True}, as_json=as_json)


_wait = click.option("--wait", is_flag=True, help="Until it has ended.")
_until = click.option("--until", metavar="TIME", help="Of events until then.")


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@click.option("--since", metavar="TIME", required=True, help="Of events since then: 2026-11-22T05:28:00Z.")
@_until
@_wait
@printing.as_json
def recover(endpoint_id: str, since: str, until: str | None, wait: bool, as_json: bool) -> None:
    """Deliver again what was given up or cancelled."""
    _replay(endpoint_id, "/recover", {"since": since, "until": until}, wait=wait, as_json=as_json)


@endpoints.command("replay-missing")
@click.argument("endpoint_id", metavar="ID")
@click.option("--since", metavar="TIME", help="Of events since then: 2026-11-22T05:28:00Z.")
@_until
@click.option("--include-earlier", is_flag=True, help="Also those from before the endpoint was made.")
@_wait
@printing.as_json
def replay_missing(
    endpoint_id: str, since: str | None, until: str | None, include_earlier: bool, wait: bool, as_json: bool
) -> None:
    """Deliver what an endpoint never had."""
    body = {"since": since, "until": until, "include_earlier": include_earlier}
    _replay(endpoint_id, "/replay-missing", body, wait=wait, as_json=as_json)


def _print(
    endpoint_id: str, method: str, path: str, body: dict[str, Any] | None = None, *, as_json: bool
) -> None:
    answer = connect().call(method, f"/v1/endpoints/{segment(endpoint_id)}{path}", json=body)
    printing.facts(answer, as_json=as_json)


def _replay(endpoint_id: str, path: str, body: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    client = connect()
    begun = client.call("POST", f"/v1/endpoints/{segment(endpoint_id)}{path}", json=body)
    printing.facts(replays.ended(client, begun) if wait else begun, as_json=as_json)


def _body(given: dict[str, Any]) -> dict[str, Any]:
    """What was given, as the API takes it."""
    body = {name: value for name, value in given.items() if value not in {None, ()}}
    for name, read in _READ.items():
        if name in body:
            body[name] = read(body[name])
    return body


def _headers(lines: tuple[str, ...]) -> dict[str, str]:
    pairs = [line.partition(":") for line in lines]
    if not all(colon for _, colon, _ in pairs):
        # What follows a colon may be a credential, so the line is not repeated.
        raise click.BadParameter("has no colon; NAME:VALUE", param_hint="--header")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _schedule(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of seconds", param_hint="--retry-schedule") from None


def _json(text: str) -> Any:
    try:
        return documents.read(text.encode("utf-8", "replace"))
    except ValidationError as error:
        raise click.BadParameter(error.messages[0], param_hint="--metadata") from None


_READ: Mapping[str, Callable[[Any], Any]] = {
    "event_types": list,
    "channels": list,
    "headers": _headers,
    "retry_schedule": _schedule,
    "metadata": _json,
}
