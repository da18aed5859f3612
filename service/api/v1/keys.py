"""``/v1/keys``: API keys, for operators."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from service.api.v1.resource import Resource, caller, here
from service.api.v1.shapes import KeySchema, KeyView, NewKeyView, listed
from service.apikeys import ApiKey
from service.errors import Forbidden
from service.events import timestamp

keys = Resource("keys", "API keys of every workspace; only for keys that are an operator's.")


@keys.before_request  # type: ignore[untyped-decorator]  # flask-smorest ships no types
def _for_operators() -> None:
    if not caller().operator:
        raise Forbidden("this API key is not an operator's; one that is can make and revoke keys")


@keys.on("POST", "/keys")
@keys.takes(KeySchema(), example={"workspace": "billing", "name": "ci"})
@keys.gives(201, NewKeyView())
def make(body: dict[str, Any]) -> dict[str, Any]:
    """Make an API key.

    Makes its workspace if need be. The key's text is shown in this answer and never again.
    """
    key, text = here().apikeys.create(body["workspace"], name=body["name"], operator=body["operator"])
    return {**shown(key), "key": text}


@keys.on("GET", "/keys")
@keys.gives(200, listed(KeyView))
def show_all() -> dict[str, Any]:
    """List API keys.

    All of them, without their texts.
    """
    return {"data": [shown(each) for each in here().apikeys.list()], "next": None}


@keys.on("DELETE", "/keys/<key_id>")
@keys.gives(204)
def revoke(key_id: str) -> None:
    """Revoke an API key.

    Whoever presents it from now on is refused.
    """
    here().apikeys.revoke(key_id)


def shown(key: ApiKey) -> dict[str, Any]:
    """As `KeyView` dumps it."""
    return {**asdict(key), "created_at": timestamp(key.created_at)}
