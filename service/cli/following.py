"""The stream of events, gone on with whenever it is cut off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final

import click

from service.cli.client import Client, Message, Refused

PAUSE: Final = 2.0
"""Seconds before the next try, where the service asks for no other."""
_PASSING: Final = frozenset({None, *range(500, 600)})
"""Without an answer, or with one of these: tried again."""


def follow(client: Client, pause: Callable[[float], None] = time.sleep) -> Iterator[Message | None]:
    """Events as they happen, without end; None whenever the stream has begun (anew).

    What happens while the connection is lost comes after it. Raises `Refused` when the service cannot be
    reached at first, or will not have us.
    """
    last: str | None = None
    while True:
        try:
            for message in _once(client, last):
                last = message.id if message else last
                yield message
        except Refused as error:
            if error.status == HTTPStatus.GONE:
                click.echo(f"{error.message}; going on from now", err=True)
                last = None
            elif error.status not in _PASSING or last is None:
                raise
            else:
                click.echo(f"{error.message}; trying again", err=True)
                pause(error.retry_after or PAUSE)


def _once(client: Client, last: str | None) -> Iterator[Message | None]:
    with client.stream(last) as messages:
        yield None
        yield from messages
