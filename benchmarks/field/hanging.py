"""Endpoints that take a POST and never answer it: what the others notice of them."""

from __future__ import annotations

from benchmarks.field.books import Run
from benchmarks.field.hookreel import Hookreel, drain, hookreel, subscribe
from benchmarks.field.parts import Receiver, receiver, run
from benchmarks.field.told import Scale, Told
from benchmarks.figures import Figure

RATE = 20.0
"""Events a second, each for every endpoint."""
SLOWER, OF_RATE = 2, 0.8
HANG = "/hang"


def hanging(scale: Scale) -> Told:
    """A constant rate and then a backlog, first without those that hang, then with them."""
    live, dead = scale.live, scale.hanging
    with receiver(live + dead) as to, hookreel() as ours:
        subscribe(ours.at, to, range(live))
        run(ours.contender, to, RATE, 0.5, live)
        without = _both(ours, to, scale)
        subscribe(ours.at, to, range(live, live + dead), HANG)
        beside = _both(ours, to, scale)
    return _told(scale, without, beside)


def _both(ours: Hookreel, to: Receiver, scale: Scale) -> tuple[Run, Run]:
    """What came to the endpoints that answer; what hangs is not counted."""
    steady = run(ours.contender, to, RATE, scale.hanging_seconds, scale.live)
    drained = drain(ours.at, to, ours.workers, scale.hanging_backlog, scale.live).run
    return steady, drained


def _told(scale: Scale, without: tuple[Run, Run], beside: tuple[Run, Run]) -> Told:
    dead, everybody = scale.hanging, scale.live + scale.hanging
    slower = beside[0].latency.p95 / without[0].latency.p95
    of_rate = beside[1].rate / without[1].rate
    detail = f"{dead} of {everybody} endpoints hang; {RATE:g} events/s to all for {scale.hanging_seconds:g} s"
    drained = f"a backlog of {scale.hanging_backlog} events, to the last of those that answer"
    told = Told()
    told.latency("hanging", "without", RATE, [without[0]])
    told.latency("hanging", "beside them", RATE, [beside[0]])
    told.figures += [
        Figure("hanging", "p95 of the others, of that without", slower, "x", "<=", SLOWER, detail),
        Figure("hanging", "deliveries to the others, of those without", of_rate, "x", ">=", OF_RATE, drained),
        Figure("hanging", "deliveries without", without[1].rate, "/s"),
        Figure("hanging", "deliveries beside them", beside[1].rate, "/s"),
    ]
    return told
