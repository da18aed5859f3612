"""A web process under load, and those who call it: the vendor with its callbacks, clients that submit."""

from __future__ import annotations

import json
import random
import socket
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import corpus, load
from benchmarks.processes import Place, fetch, measure, process, wait_until
from benchmarks.vendor import completed

CONNECTIONS = 32
SHIPPED = {"HOOKREEL_MAX_IN_FLIGHT": "100"}

Begun = tuple[str, str, str]
"""A job at the vendor: its id, its submission's token, its task."""


@dataclass
class Callers:
    """Requests for the web process that listens on ``port``."""

    at: Place
    key: str
    port: int
    dice: random.Random

    def callbacks(self, begun: list[Begun]) -> list[bytes]:
        """The vendor's signed word about each of those jobs."""
        return [self._callback(*each) for each in begun]

    def _callback(self, job: str, token: str, task: str) -> bytes:
        headers, body = completed(task, corpus.output(self.dice, task))
        return load.post(f"/callbacks/wavespeed/{job}/{token}", headers, body)

    def submits(self, count: int) -> list[bytes]:
        """As a client of the vendor's submits."""
        headers = {"authorization": f"Bearer {self.key}"}
        bodies = (json.dumps(corpus.fields(self.dice)).encode() for _ in range(count))
        return [load.post(f"/api/v3/{corpus.MODEL}", headers, body) for body in bodies]

    def seconds(self, requests: list[bytes], port: int = 0) -> float:
        """Until all are answered with 200, by another process if ``port`` is that one's."""
        file = self.at.directory / "requests"
        load.write(file, requests)
        return measure("load", port or self.port, CONNECTIONS, file)["seconds"]


@contextmanager
def callers(at: Place) -> Iterator[Callers]:
    """The web process as shipped, ready, on the store of ``at``."""
    port = free_port()
    with process(["-m", "service.cli.main", "serve", "--port", str(port)], at, "web", **SHIPPED):
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"))
        _, key = at.service.apikeys.create(corpus.WORKSPACE)
        yield Callers(at, key, port, random.Random(1))  # noqa: S311 - no secret


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return bool(fetch(url))
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from error
    except OSError:
        return False
