"""``hookreel reseal``: after a new key for stored secrets was put in front of the old one."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from service.cli import printing

if TYPE_CHECKING:
    from service.resealing import Resealer


@click.command()
@click.option(
    "--wait",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Seconds to wait for processes that have another key in front, or have just ended.",
)
@printing.as_json
def reseal(wait: float, as_json: bool) -> None:
    """Encrypt every stored secret with the first key of HOOKREEL_SECRET_KEY.

    While everything runs. When nothing is left the other keys can be dropped. See docs/settings.md.
    """
    from service.bootstrap import build
    from service.resealing import Resealer
    from service.settings import Settings

    settings = Settings.from_env(os.environ)
    settings.check_secret_key()
    service = build(settings, "cli")
    resealer = Resealer(service.store, service.sealer, clock=service.clock, token=service.token)
    _wait(resealer, wait)
    tally = resealer.everything()
    told = {
        "resealed": tally.resealed,
        "already": tally.already,
        "left": len(tally.left),
        "which": tally.left,
    }
    printing.facts(told, as_json=as_json)
    if tally.left:
        raise click.ClickException("what is left cannot be read here: keep the old keys, and look why")


def _wait(resealer: Resealer, seconds: float) -> None:
    """Those that end without a word are alive by their beats for a while."""
    deadline = time.monotonic() + seconds
    while resealer.behind() and time.monotonic() < deadline:
        # They tell by their beats, which come no sooner.
        time.sleep(0.5)
