"""The web process against a bare Flask route behind the same server, on the same store."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks import corpus, load
from benchmarks.callers import CONNECTIONS, Begun, Callers, callers, free_port
from benchmarks.figures import Figure
from benchmarks.processes import listens, place, process, wait_until
from benchmarks.vendor import SECRET
from service.cli.roles import BLOCKING_THREADS

REQUESTS = 1500
RUNS = 5
SHARES = 5
AT_VENDOR = {"HOOKREEL_MAX_IN_FLIGHT": str(RUNS * REQUESTS)}
"""For whoever prepares the jobs; the web process has the window that is shipped."""


@dataclass
class Bench:
    """Both servers, and the callers' requests."""

    web: Callers
    plain: int
    begun: Iterator[Begun]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def round(self) -> tuple[float, float, float, float]:
        """Bare route and callbacks, bare route and submits: accepted requests a second."""
        callbacks = self.web.callbacks(list(itertools.islice(self.begun, REQUESTS)))
        submits = self.web.submits(REQUESTS)
        return (*self.rates(callbacks), *self.rates(submits))

    def rates(self, requests: list[bytes]) -> tuple[float, float]:
        """By turns, a share each, so that whatever else the machine does meets both."""
        plain = web = 0.0
        for share in range(SHARES):
            ours = requests[share::SHARES]
            plain += self.web.seconds(self.bare(ours), self.plain)
            web += self.web.seconds(ours)
        return len(requests) / plain, len(requests) / web

    def bare(self, requests: list[bytes]) -> list[bytes]:
        """The same bodies, for the bare route."""
        bodies = (each.partition(b"\r\n\r\n")[2] for each in requests)
        return [load.post(f"/plain/{next(self.numbers)}", {}, body) for body in bodies]


def figures() -> list[Figure]:
    """Alternating runs; every callback and every submit is answered with 200, or the run fails."""
    plain = free_port()
    with (
        place(WAVESPEED_WEBHOOK_SECRET=SECRET, **AT_VENDOR) as at,
        callers(at) as web,
        process(["-m", "benchmarks.plain", str(plain)], at, "plain"),
    ):
        wait_until(lambda: listens(plain))
        begun = [corpus.begun(at.service, web.dice) for _ in range(RUNS * REQUESTS)]
        bench = Bench(web, plain, iter(begun))
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
