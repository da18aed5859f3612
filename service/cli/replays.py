"""``hookreel replays``: how far they are."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from service.cli import printing
from service.cli.client import Client, connect, segment

LOOK_EVERY: Final = 0.5
_COLUMNS = {
    "id": "ID",
    "kind": "KIND",
    "endpoint": "ENDPOINT",
    "state": "STATE",
    "examined": "EXAMINED",
    "total": "OF",
    "revived": "DELIVERIES",
    "created_at": "ASKED FOR",
}


@click.group()
def replays() -> None:
    """See how far `endpoints recover` and `endpoints replay-missing` are, and stop them."""


@replays.command("list")
@printing.as_json
def list_replays(as_json: bool) -> None:
    """List replays, newest first."""
    printing.table(connect().rows("/v1/replays"), _COLUMNS, as_json=as_json, nothing="There are no replays.")


@replays.command()
@click.argument("replay_id", metavar="ID")
@printing.as_json
def show(replay_id: str, as_json: bool) -> None:
    """Show a replay."""
    printing.facts(connect().call("GET", _path(replay_id)), as_json=as_json)


@replays.command()
@click.argument("replay_id", metavar="ID")
@printing.as_json
def stop(replay_id: str, as_json: bool) -> None:
    """Stop a replay; what it has made to wait is delivered all the same."""
    printing.facts(connect().call("DELETE", _path(replay_id)), as_json=as_json)


def ended(client: Client, replay: dict[str, Any]) -> dict[str, Any]:
    """The replay when it has ended."""
    while replay["state"] == "running":
        # The API has progress to read, and no news of it.
        time.sleep(LOOK_EVERY)
        replay = client.call("GET", _path(replay["id"]))
    return replay


def _path(replay_id: str) -> str:
    return f"/v1/replays/{segment(replay_id)}"
