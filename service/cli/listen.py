"""``hookreel listen``: events as they happen, here or sent on to a program on this machine."""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from service import signals
from service.cli import printing
from service.cli.client import connect
from service.cli.following import follow

if TYPE_CHECKING:
    import requests

    from service.cli.client import Message

_SECRET_BYTES = 24
_FORWARD_PATIENCE = 30.0


@click.command()
@click.option("--forward", metavar="URL", help="Send each event on to URL, signed, once.")
@printing.as_json
def listen(forward: str | None, as_json: bool) -> None:
    """Print events as they happen, until Ctrl-C."""
    onward = _onward(forward) if forward else None
    # The exception alone may come as late as the stream's next word.
    signals.watch({signal.SIGINT}, partial(os._exit, 0))
    with suppress(KeyboardInterrupt):
        for message in follow(connect()):
            if message is None:
                click.echo("listening", err=True)
            elif message.data:
                event = json.loads(message.data)
                _print(event, as_json=as_json)
                if onward is not None:
                    click.echo(f"  {onward.send(message)}", err=True)


@dataclass(frozen=True)
class Onward:
    """Where events are sent on to, signed as Standard Webhooks are."""

    url: str
    secret: str = field(repr=False)
    session: requests.Session = field(repr=False)

    def send(self, message: Message) -> str:
        """What came of it, in words."""
        import requests

        from service.signing import sign_v1

        body, at = message.data.encode(), int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(at),
            "webhook-signature": sign_v1(self.secret, message.id, at, body),
        }
        try:
            answer = self.session.post(
                self.url, data=body, headers=headers, timeout=_FORWARD_PATIENCE, allow_redirects=False
            )
        except requests.RequestException as error:
            return f"{self.url}: {type(error).__name__}"
        return f"{self.url}: {answer.status_code} {answer.reason}"


def _onward(url: str) -> Onward:
    import requests

    from service.bootstrap import USER_AGENT
    from service.signing import new_secret

    session = requests.Session()
    session.trust_env = False
    session.headers["user-agent"] = USER_AGENT
    secret = new_secret(secrets.token_bytes(_SECRET_BYTES))
    click.echo(f"sending on to {url}, signed with {secret}", err=True)
    return Onward(url, secret, session)


def _print(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        printing.line(event)
        return
    data = event["data"]
    # Operational events tell of an endpoint instead; a redacted one of hardly anything.
    about = data.get("id") or data.get("endpoint", {}).get("id")
    told = data.get("error") or data.get("reason") or " ".join(map(str, data.get("outputs", ())))
    words = (event["timestamp"][11:19], event["type"], about, data.get("model"), told)
    click.echo(printing.safe("  ".join(filter(None, words))))
