"""The web process against a bare Flask route behind the same server, on the same store."""

from __future__ import annotations

import itertools
import json
import random
import socket
import statistics
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks import corpus, load
from benchmarks.figures import Figure
from benchmarks.processes import Place, fetch, measure, place, process, wait_until
from schemas.predictions import prediction_object
from service.cli.roles import BLOCKING_THREADS
from service.signing import new_secret, sign_v3

REQUESTS = 1500
CONNECTIONS = 32
RUNS = 5
SHARES = 5
SECRET = new_secret(b"benchmarks' own secret!!")
AT_VENDOR = {"HOOKREEL_MAX_IN_FLIGHT": str(RUNS * REQUESTS)}
"""For whoever prepares the jobs; the web process has the window that is shipped."""
SHIPPED = {"HOOKREEL_MAX_IN_FLIGHT": "100"}


@dataclass
class Bench:
    """Both servers, and the callers' requests."""

    at: Place
    key: str
    web: int
    plain: int
    dice: random.Random
    begun: Iterator[tuple[str, str, str]]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def round(self) -> tuple[float, float, float, float]:
        """Bare route and callbacks, bare route and submits: accepted requests a second."""
        callbacks, submits = self.callbacks(), self.submits()
        return (*self.rates(callbacks), *self.rates(submits))

    def rates(self, requests: list[bytes]) -> tuple[float, float]:
        """By turns, a share each, so that whatever else the machine does meets both."""
        plain = web = 0.0
        for share in range(SHARES):
            ours = requests[share::SHARES]
            plain += self.seconds(self.plain, self.bare(ours))
            web += self.seconds(self.web, ours)
        return len(requests) / plain, len(requests) / web

    def seconds(self, port: int, requests: list[bytes]) -> float:
        """Until all are accepted."""
        file = self.at.directory / "requests"
        load.write(file, requests)
        return measure("load", port, CONNECTIONS, file)["seconds"]

    def callbacks(self) -> list[bytes]:
        """The vendor's signed word about so many jobs, each at the vendor."""
        return [self.callback(*each) for each in itertools.islice(self.begun, REQUESTS)]

    def callback(self, job: str, token: str, task: str) -> bytes:
        """As the vendor calls back."""
        word = prediction_object(
            id=task,
            model=corpus.MODEL,
            status="completed",
            created_at=time.time(),
            url=f"https://api.wavespeed.ai/api/v3/predictions/{task}/result",
            outputs=[corpus.output(self.dice, task)],
            has_nsfw_contents=[False],
            execution_time=41234,
        )
        body, at = json.dumps(word, separators=(",", ":")).encode(), int(time.time())
        headers = {
            "webhook-id": task,
            "webhook-timestamp": str(at),
            "webhook-signature": sign_v3(SECRET, task, at, body),
        }
        return load.post(f"/callbacks/wavespeed/{job}/{token}", headers, body)

    def submits(self) -> list[bytes]:
        """As a client of the vendor's submits."""
        headers = {"authorization": f"Bearer {self.key}"}
        bodies = (json.dumps(corpus.fields(self.dice)).encode() for _ in range(REQUESTS))
        return [load.post(f"/api/v3/{corpus.MODEL}", headers, body) for body in bodies]

    def bare(self, requests: list[bytes]) -> list[bytes]:
        """The same bodies, for the bare route."""
        bodies = (each.partition(b"\r\n\r\n")[2] for each in requests)
        return [load.post(f"/plain/{next(self.numbers)}", {}, body) for body in bodies]


def figures() -> list[Figure]:
    """Alternating runs; every callback and every submit is answered with 200, or the run fails."""
    with ExitStack() as stack:
        at = stack.enter_context(place(WAVESPEED_WEBHOOK_SECRET=SECRET, **AT_VENDOR))
        web, plain = _free_port(), _free_port()
        serve = ["-m", "service.cli.main", "serve", "--port", str(web)]
        stack.enter_context(process(serve, at, "web", **SHIPPED))
        stack.enter_context(process(["-m", "benchmarks.plain", str(plain)], at, "plain"))
        wait_until(lambda: _answers(f"http://127.0.0.1:{web}/readyz"))
        wait_until(lambda: _listens(plain))
        _, key = at.service.apikeys.create(corpus.WORKSPACE)
        dice = random.Random(1)  # noqa: S311 - no secret
        begun = [corpus.begun(at.service, dice) for _ in range(RUNS * REQUESTS)]
        bench = Bench(at, key, web, plain, dice, iter(begun))
        rounds = [bench.round() for _ in range(RUNS)]
    return _told(rounds)


def _told(rounds: list[tuple[float, float, float, float]]) -> list[Figure]:
    def median(number: Callable[[tuple[float, float, float, float]], float]) -> float:
        return statistics.median(map(number, rounds))

    detail = f"one process, {BLOCKING_THREADS} threads, {CONNECTIONS} connections"
    return [
        Figure("web", "callbacks, of a bare route", median(lambda r: r[1] / r[0]), "x", ">=", 0.40, detail),
        Figure("web", "submits, of a bare route", median(lambda r: r[3] / r[2]), "x", ">=", 0.25, detail),
        Figure("web", "callbacks", median(lambda r: r[1]), "/s"),
        Figure("web", "bare route, callbacks' bodies", median(lambda r: r[0]), "/s"),
        Figure("web", "submits", median(lambda r: r[3]), "/s"),
        Figure("web", "bare route, submits' bodies", median(lambda r: r[2]), "/s"),
    ]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    try:
        return bool(fetch(url))
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from error
    except OSError:
        return False
