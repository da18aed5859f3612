"""One process of the service each: ``serve``, ``worker``, ``forwarder``, ``clock``, ``sandbox``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import NoReturn

import click

BLOCKING_THREADS = 64
DRAIN = 8
REFUSED = 2


def own_url(host: str, port: int) -> str:
    """How a process on this machine reaches what is bound to ``host``."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def insist_on_durability(environ: Mapping[str, str]) -> None:
    """End, in words, when the store of ``environ`` may forget what it has acknowledged."""
    if not any(environ.get(name, "").strip() for name in ("REDIS_URL", "REDIS_URL_FILE")):
        return
    # In a process of its own: what it takes to reach the store would stay in this one for good.
    asked = subprocess.run([sys.executable, "-m", "service.durability"], env=environ, check=False)
    if asked.returncode == REFUSED:
        raise click.exceptions.Exit(REFUSED)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to bind to.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="The port.")
def serve(host: str, port: int) -> None:
    """The web process: both APIs and the callback."""
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    from service import lifeline
    from service.settings import Settings

    settings = Settings.from_env(os.environ)
    settings.check_secret_key()
    settings.check_public()
    insist_on_durability(os.environ)
    lifeline.watch()
    # granian's worker inherits handlers that swallow a signal for as long as it loads the app.
    os.register_at_fork(after_in_child=_end_by_signals)
    os.environ["HOOKREEL_BOUND_URL"] = own_url(host, port)
    Granian(
        "service.wsgi:app",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        blocking_threads=BLOCKING_THREADS,
        log_level=LogLevels.error,
        workers_kill_timeout=DRAIN,
    ).serve()


def _end_by_signals() -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)


@click.command()
def worker() -> None:
    """Submits jobs to the vendor, several at once."""
    _become("workers.worker")


@click.command()
def forwarder() -> None:
    """Fans events out and delivers them."""
    _become("workers.forwarder")


@click.command()
def clock() -> None:
    """Finds what is due, overdue or past keeping."""
    _become("workers.clock")


def _become(module: str) -> NoReturn:
    # By exec: the service's floor knows nothing of the workers above it.
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to bind to.")
@click.option(
    "--port",
    default=8090,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port; 0: any free one.",
)
@click.option(
    "--allow", multiple=True, metavar="NETWORK", help="A network to fetch pictures from, besides public ones."
)
def sandbox(host: str, port: int, allow: tuple[str, ...]) -> None:
    """The stand-in for the vendor: renders real videos, and calls back."""
    from service import lifeline
    from service.sandbox import serve as stand_in

    lifeline.watch()
    stand_in(host, port, allow)
