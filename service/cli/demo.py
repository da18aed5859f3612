"""``hookreel demo``: one photograph in, one paid submission, one signed event out, on this machine."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import av
import click
import requests
from marshmallow import ValidationError
from rich.console import Console

from schemas import inputs
from schemas.documents import MEGABYTE
from schemas.faults import flatten
from schemas.images import MAX_BYTES
from service.cli import up
from service.cli.board import Board
from service.cli.story import MODEL, Ledger, Story, StoryFailed
from service.cli.subscriber import Subscriber
from service.embedded import StoreError
from service.environment import clean_environment
from service.errors import HookreelError
from service.supervisor import Supervisor

NAMES = ("subscriber 1", "subscriber 2")
KEEPER = "archive"
_INTERRUPTED = 130


@click.command()
@click.argument("image", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--prompt", metavar="TEXT", help="What should happen in the video.")
@click.option("--duration", type=click.Choice(["6", "10"]), default="6", show_default=True, help="Seconds.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default="hookreel-demo.mp4",
    show_default=True,
    metavar="FILE.mp4",
    help="Where the video is kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Progress on stderr, and one object as the last line.")
def demo(image: Path | None, prompt: str | None, duration: str, output: Path, as_json: bool) -> None:
    """Turn IMAGE, or a bundled photograph, into a video that two subscribers hear of.

    Runs everything on free ports of this machine, in a temporary directory, with the sandbox as the
    vendor: nothing costs money, and the video is a slow pan over the photograph. The status is 0 only if
    the ledger is whole: one submission, no polling, one callback, two verified deliveries.
    """
    body = _body(image, prompt, int(duration))
    output = _writable(output)
    board = Board(Console(stderr=as_json, highlight=False))
    board.begin(str(image or "the bundled photograph"), duration)
    found = _play(body, output, board)
    if as_json:
        print(json.dumps(found.shown()))
    sys.exit(found.status)


@dataclass(frozen=True)
class Found:
    """How it went. ``error`` is empty when the video is there."""

    ledger: Ledger | None = None
    output: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    error: str = ""
    stopped: bool = False

    @property
    def ok(self) -> bool:
        """Whether the ledger is whole and the video saved."""
        return self.ledger is not None and self.ledger.whole and not self.error

    @property
    def status(self) -> int:
        """What the command ends with."""
        return _INTERRUPTED if self.stopped else int(not self.ok)

    def shown(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        ledger = self.ledger or Ledger(0, 0, 0, len(NAMES), 0)
        told = {
            "ok": self.ok,
            "output": str(self.output) if self.output else None,
            "upstream": {"posts": ledger.posts, "result_gets": ledger.result_gets},
            "callbacks": ledger.callbacks,
            "deliveries": {"expected": ledger.expected, "verified": ledger.verified},
            "seconds": self.seconds,
        }
        return told | ({"error": self.error} if self.error else {})


STOPPED = Found(error="it was stopped", stopped=True)


def _play(body: dict[str, Any], output: Path, board: Board) -> Found:
    """All of it, in a directory that is kept only when something went wrong."""
    directory = Path(tempfile.mkdtemp(prefix="hookreel-demo-"))
    found = STOPPED
    try:
        found = _run(body, output, board, directory)
    except (HookreelError, StoreError) as error:
        found = Found(error=str(error))
    except click.ClickException as error:
        found = Found(error=error.message)
    finally:
        if found.ok or found.stopped:
            shutil.rmtree(directory, ignore_errors=True)
    if found.stopped:
        board.say("Stopped; nothing of it is left.")
    elif not found.ok:
        board.fail(found.error or "see the ledger")
        board.say(f"What the processes logged is in {directory / 'logs'}")
    return found


def _run(body: dict[str, Any], output: Path, board: Board, data_dir: Path) -> Found:
    """Start everything, tell the story, end everything."""
    begun = time.monotonic()
    environ = {**clean_environment(os.environ), "HOOKREEL_DATA_DIR": str(data_dir)}
    house = up.prepare(environ, "127.0.0.1", 0)
    with Supervisor(house.environ, data_dir / "logs", board.say) as supervisor, _listening() as listeners:
        with board:
            up.start(house, supervisor)
            if supervisor.stopping:
                return STOPPED
            ready = time.monotonic() - begun
            board.ready(ready, house.url)
            found = _watched(supervisor, _story(house, listeners, board), body, output)
        if not found.stopped:
            board.results(listeners[:-1], found.ledger)
        if found.output:
            board.film(found.output, _about(found.output))
        return replace(found, seconds={"ready": round(ready, 3), **found.seconds})


@contextmanager
def _listening() -> Iterator[tuple[Subscriber, ...]]:
    with ExitStack() as stack:
        yield tuple(stack.enter_context(closing(Subscriber(name))) for name in (*NAMES, KEEPER))


def _story(house: up.House, listeners: tuple[Subscriber, ...], board: Board) -> Story:
    key = house.api_key.read_text(encoding="utf-8").strip()
    *subscribers, keeper = listeners
    return Story(house.url, house.sandbox_url or "", key, tuple(subscribers), keeper, board.reach)


def _watched(supervisor: Supervisor, story: Story, body: dict[str, Any], output: Path) -> Found:
    """The story in a thread of its own, while this one watches over the processes."""
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(_told, story, body, output)
        while not future.done() and not supervisor.stopping:
            supervisor.tick(0.1)
        if supervisor.stopping:
            # Its waits are let go here, its calls end with their servers or in a second.
            for each in (*story.subscribers, story.keeper):
                each.close()
            return STOPPED
        return future.result()


def _told(story: Story, body: dict[str, Any], output: Path) -> Found:
    error, saved = "", None
    with story:
        try:
            story.subscribe()
            story.follow(body)
            saved = story.save(output)
        except (StoryFailed, requests.RequestException) as failure:
            error = str(failure)
        try:
            return Found(story.ledger(), saved, story.seconds, error)
        except requests.RequestException as failure:
            return Found(None, saved, story.seconds, error or str(failure))


def _body(image: Path | None, prompt: str | None, duration: int) -> dict[str, Any]:
    """The request's body. Raises click's usage errors, in the words of the API."""
    body: dict[str, Any] = {"image": _data_uri(image), "duration": duration}
    if prompt is not None:
        body["prompt"] = prompt
    try:
        inputs.parse(MODEL, body)
    except ValidationError as error:
        fault = flatten(error.messages)[0]
        if fault.field == "image":
            raise click.BadParameter(f"{image} {fault.detail}", param_hint="IMAGE") from None
        raise click.BadParameter(fault.detail, param_hint=f"--{fault.field}") from None
    return body


def _data_uri(image: Path | None) -> str:
    try:
        if image is None:
            data = (resources.files("service") / "assets" / "astronaut.jpg").read_bytes()
        elif image.stat().st_size > MAX_BYTES:
            too_large = f"{image} is {image.stat().st_size / MEGABYTE:.1f} MB large; at most 20 MB"
            raise click.BadParameter(too_large, param_hint="IMAGE")
        else:
            data = image.read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{image} cannot be read ({error.strerror})", param_hint="IMAGE") from None
    # The label says that it is an image; the bytes say which.
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _writable(output: Path) -> Path:
    """An absolute path. Nobody's photograph is overwritten by a slip of the finger."""
    path = output.absolute()
    if path.suffix.lower() != ".mp4":
        raise click.BadParameter(f"{output} does not end in .mp4", param_hint="--output")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise click.BadParameter(f"{path.parent} is no directory to write to", param_hint="--output")
    return path


def _about(film: Path) -> str:
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        seconds = (container.duration or 0) / av.time_base
        return f"{seconds:.1f} s, {stream.width} x {stream.height} px, {film.stat().st_size / 1000:.0f} kB"
