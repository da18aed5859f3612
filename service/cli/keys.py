"""``hookreel keys``: API keys; with ``REDIS_URL`` on the store itself, else by a running service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from service.cli import printing
from service.cli.client import connect, segment

if TYPE_CHECKING:
    from service.apikeys import ApiKey, ApiKeys

_COLUMNS = {
    "id": "ID",
    "workspace": "WORKSPACE",
    "name": "NAME",
    "operator": "OPERATOR",
    "hint": "BEGINS",
    "created_at": "MADE",
}


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command()
@click.option(
    "--workspace", default="default", show_default=True, help="Whose jobs it opens; made if need be."
)
@click.option("--name", default="", help="To remember it by.")
@click.option("--operator", is_flag=True, help="It may make and revoke keys.")
@printing.as_json
def create(workspace: str, name: str, operator: bool, as_json: bool) -> None:
    """Make an API key. It is shown once."""
    store = _on_store()
    if store is None:
        body = {"workspace": workspace, "name": name, "operator": operator}
        made = connect().call("POST", "/v1/keys", json=body)
    else:
        key, text = store.create(workspace, name=name, operator=operator)
        made = {**_shown(key), "key": text}
    printing.facts(made, as_json=as_json, leave_out=("hint",))


@keys.command("list")
@printing.as_json
def list_keys(as_json: bool) -> None:
    """List API keys, newest first."""
    store = _on_store()
    rows = connect().call("GET", "/v1/keys")["data"] if store is None else map(_shown, store.list())
    printing.table(rows, _COLUMNS, as_json=as_json, nothing="There are no API keys.")


@keys.command()
@click.argument("key_id", metavar="ID")
@printing.as_json
def revoke(key_id: str, as_json: bool) -> None:
    """Revoke an API key by its id."""
    store = _on_store()
    if store is None:
        connect().call("DELETE", f"/v1/keys/{segment(key_id)}")
    else:
        store.revoke(key_id)
    printing.facts({"revoked": key_id}, as_json=as_json)


def _on_store() -> ApiKeys | None:
    if not any(os.environ.get(name, "").strip() for name in ("REDIS_URL", "REDIS_URL_FILE")):
        return None
    from service.bootstrap import build
    from service.settings import Settings

    return build(Settings.from_env(os.environ), "cli").apikeys


def _shown(key: ApiKey) -> dict[str, Any]:
    from dataclasses import asdict

    from service.events import timestamp

    return {**asdict(key), "created_at": timestamp(key.created_at)}
