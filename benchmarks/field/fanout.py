"""One event for many subscribers: when each has it, when the last has it, and how many POSTs a second."""

from __future__ import annotations

import statistics
from itertools import pairwise

from benchmarks import corpus
from benchmarks.field.books import Run
from benchmarks.field.hookreel import NAME, drain, forwarders, hookreel, subscribe
from benchmarks.field.parts import Contender, Receiver, receiver, run
from benchmarks.field.rivals import TASKS, THREADS, usual
from benchmarks.field.told import Point, Scale, Told, middle
from benchmarks.figures import Figure
from benchmarks.processes import Place, measure, place

HOSTS = 5
RATES = {1: 200.0, 5: 100.0, 100: 10.0}
"""Events a second, by how many endpoints they go to."""
RATE = 1.0
OF_BARE = 0.20
IN_FLIGHT = 512
"""As many as a forwarder has."""


def fan_out(scale: Scale) -> Told:
    """Each fan-out at a rate of its own, then the largest against the bare loop."""
    told, largest = Told(), scale.fan_outs[-1]
    with receiver(HOSTS) as to:
        with hookreel() as ours:
            for have, want in pairwise((0, *scale.fan_outs)):
                subscribe(ours.at, to, range(have, want))
                run(ours.contender, to, 10, 0.2, want)
                _tell(told, ours.contender, to, want, scale)
        for name in (THREADS, TASKS):
            with usual(name, [to.url(number) for number in range(largest)]) as who:
                _tell(told, who, to, largest, scale)
        with place() as at:
            told.figures += _against_bare(at, to, scale)
    return told


def _tell(told: Told, who: Contender, to: Receiver, count: int, scale: Scale) -> None:
    rate = RATES.get(count, RATE)
    done = run(who, to, rate, scale.seconds, count)
    last = done.last
    detail = f"{len(done.sent)} events, {rate:g}/s; each subscriber: p50 {done.latency.p50:.3g} ms"
    told.figures.append(
        Figure("fanout", f"{who.name}, 1 to {count}: the last has it", last.p50, "ms", detail=detail)
    )
    told.points.append(Point("fanout", who.name, count, {"last": round(last.p50, 3), **_rounded(done)}))


def _rounded(done: Run) -> dict[str, float]:
    return {name: round(value, 3) for name, value in middle([done.latency])._asdict().items()}


def _against_bare(at: Place, to: Receiver, scale: Scale) -> list[Figure]:
    """By turns: a backlog that goes to everybody, and as many POSTs by libcurl alone."""
    largest = scale.fan_outs[-1]
    body = at.directory / "body.json"
    body.write_bytes(next(corpus.bodies(at.service, 1)))
    subscribe(at, to, range(largest))
    urls = [to.url(number) for number in range(largest)]
    ours, bare = [], []
    with forwarders(at) as workers:
        drain(at, to, workers, 1, largest)
        for _ in range(scale.rounds):
            bare.append(scale.fanned / measure("bare", scale.fanned, IN_FLIGHT, body, *urls)["seconds"])
            to.take()
            ours.append(drain(at, to, workers, scale.fanned // largest, largest).run.rate)
    return _compared(ours, bare, f"{largest} endpoints on {HOSTS} hosts, {scale.fanned} POSTs")


def _compared(ours: list[float], bare: list[float], detail: str) -> list[Figure]:
    ratio = statistics.median(each / yardstick for each, yardstick in zip(ours, bare, strict=True))
    return [
        Figure("fanout", "of the bare CurlMulti loop", ratio, "x", ">=", OF_BARE, detail),
        Figure("fanout", f"{NAME}: deliveries", statistics.median(ours), "/s"),
        Figure("fanout", f"bare CurlMulti loop, {IN_FLIGHT} in flight: POSTs", statistics.median(bare), "/s"),
    ]
