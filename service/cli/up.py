"""``hookreel up``: everything on this machine."""

from __future__ import annotations

import base64
import contextlib
import http
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import click

from service import embedded
from service.cli.roles import insist_on_durability, own_url
from service.settings import MADE_KEY, Settings
from service.supervisor import Command, Supervisor

API_KEY = "api-key"
ARCHIVE = "archive"
READY_WAIT = 60.0
# The highest ends first: the web before those who do what it accepted, the store last.
_STORE, _SANDBOX, _WORKERS, _WEB = range(4)
# A submission that is on its way is waited for: one that is cut off may have been paid for.
_SUBMISSION = 75.0


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to bind to.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Default: ./hookreel-data."
)
@click.option("--verbose", is_flag=True, help="Show the logs here, instead of keeping them in DATA_DIR/logs.")
def up(host: str, port: int, data_dir: Path | None, verbose: bool) -> None:
    """Run everything on this machine until Ctrl-C."""
    environ = dict(os.environ)
    if data_dir is not None:
        environ["HOOKREEL_DATA_DIR"] = str(data_dir.absolute())
    house = prepare(environ, host, port)
    logs = None if verbose else house.settings.data_dir / "logs"
    with Supervisor(house.environ, logs, lambda sentence: click.echo(sentence, err=True)) as supervisor:
        run(house, supervisor)


@dataclass(frozen=True)
class House:
    """What `up` is about to start, and where."""

    settings: Settings
    environ: Mapping[str, str]
    host: str
    port: int
    sandbox_url: str | None
    """Where the sandbox will listen; ``None``: the upstream is the vendor, or somebody's stand-in."""

    @property
    def url(self) -> str:
        """Where the service is, seen from this machine."""
        return own_url(self.host, self.port)

    @property
    def api_key(self) -> Path:
        """The file that holds the first API key."""
        return self.settings.data_dir / API_KEY


def prepare(environ: Mapping[str, str], host: str, port: int) -> House:
    """Settings, directories, keys; nothing is started. Raises ``SettingsError`` and ``StoreError``."""
    settings = Settings.from_env(environ)
    settings.check_public()
    port = _bindable(host, port)
    if not embedded.has_room(settings.data_dir):
        raise embedded.StoreError(f"{settings.data_dir} cannot be used: {embedded.NO_ROOM}")
    (settings.data_dir / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.redis_url is None:
        os.close(embedded.own(settings.data_dir))
        if not settings.secret_keys:
            keep(settings.data_dir / MADE_KEY, base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    else:
        settings.check_secret_key()
        insist_on_durability(environ)
    environ = {**environ, "HOOKREEL_DATA_DIR": str(settings.data_dir)}
    if not environ.get("HOOKREEL_ARCHIVE", "").strip():
        environ["HOOKREEL_ARCHIVE"] = str(settings.data_dir / ARCHIVE)
    if settings.public_url is None:
        environ["HOOKREEL_PUBLIC_URL"] = own_url(host, port)
    sandbox_url = None
    if settings.sandbox and not environ.get("WAVESPEED_BASE_URL", "").strip():
        sandbox_url = own_url("127.0.0.1", _bindable("127.0.0.1", 0))
    return House(settings, environ, host, port, sandbox_url)


def run(house: House, supervisor: Supervisor) -> None:
    """Start everything, say so when it is ready, and watch over it until a signal comes."""
    begun = time.monotonic()
    start(house, supervisor)
    if not supervisor.stopping:
        _greet(house, time.monotonic() - begun)
    told = False
    while not supervisor.stopping:
        supervisor.tick(60)
        told = house.settings.redis_url is None and tell_full(house.settings.data_dir, told)


def start(house: House, supervisor: Supervisor) -> None:
    """Start everything and wait until it is ready, or until a signal comes."""
    begun = time.monotonic()
    if house.settings.redis_url is None:
        guardian = supervisor.start(
            Command("store", embedded.command(house.settings.data_dir), _STORE, grace=20)
        )
        embedded.wait(house.settings.data_dir, guardian)
    for command in _commands(house):
        supervisor.start(command)
    _make_api_key(house)
    while not supervisor.stopping and not ready(house.url):
        if time.monotonic() - begun > READY_WAIT:
            raise click.ClickException(
                f"not ready after {READY_WAIT:.0f} s; see {house.settings.data_dir}/logs"
            )
        supervisor.tick(0.1)


def tell_full(data_dir: Path, told: bool) -> bool:
    """Say once that the embedded store has ended because its disk is full; whether that has been said."""
    if embedded.url(data_dir) is not None:
        return told and not embedded.has_room(data_dir)
    if not told and embedded.is_full(data_dir):
        click.echo(
            f"the store ended because the disk that holds {data_dir} is full. Nothing that was accepted is "
            "lost. Make room there: the store is started again until it can go on, and everything with it.",
            err=True,
        )
        return True
    return told


def _commands(house: House) -> list[Command]:
    python = [sys.executable, "-m"]
    web = [*python, "service.cli.main", "serve", "--host", house.host, "--port", str(house.port)]
    commands = [
        Command("web", web, _WEB),
        Command("worker", [*python, "workers.worker"], _WORKERS, grace=_SUBMISSION),
        Command("forwarder", [*python, "workers.forwarder"], _WORKERS, grace=_SUBMISSION),
        Command("clock", [*python, "workers.clock"], _WORKERS),
    ]
    if house.sandbox_url is None:
        return commands
    port = urlsplit(house.sandbox_url).port
    upstream = {"WAVESPEED_BASE_URL": house.sandbox_url}
    allowed = [word for network in house.settings.egress_allow for word in ("--allow", str(network))]
    sandbox = [*python, "service.cli.main", "sandbox", "--port", str(port), *allowed]
    return [
        Command("sandbox", sandbox, _SANDBOX),
        *(replace(command, environment=upstream) for command in commands),
    ]


def _greet(house: House, seconds: float) -> None:
    click.echo("vendor: sandbox" if house.settings.sandbox else "vendor: LIVE, jobs cost money")
    click.echo(f"API key: {house.api_key}")
    if house.sandbox_url is not None:
        click.echo(f"sandbox: {house.sandbox_url}")
    click.echo(f"ready at {house.url} after {seconds:.1f} s")


def _make_api_key(house: House) -> None:
    """A key for the workspace ``default``, unless the one in the file is good."""
    # In a process of its own: what it takes to reach the store would stay in this one for good.
    arguments = [sys.executable, "-m", "service.cli.firstkey", str(house.api_key)]
    made = subprocess.run(arguments, env=house.environ, start_new_session=True, check=False)
    if made.returncode:
        raise click.ClickException(f"{house.api_key} could not be made")


def keep(path: Path, secret: str) -> None:
    """Write one line that only this user can read; it is there whole or not at all."""
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secret}\n")
    draft.replace(path)


def ready(url: str) -> bool:
    """Whether ``/readyz`` answers 200 with every check ok."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        told = json.loads(answer.read())
        return answer.status == http.HTTPStatus.OK and all(check["ok"] for check in told["checks"].values())
    return False


def _bindable(host: str, port: int) -> int:
    """The port, or a free one for 0; to be told now that it is taken is better than from a log."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = (
                f"{host}:{port} cannot be bound ({error.strerror}); choose another with --host and --port"
            )
            raise click.ClickException(reason) from error
        taken: int = probe.getsockname()[1]
        return taken
