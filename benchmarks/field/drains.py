"""Backlogs: how fast one drains, whether a large one is slower, and what more forwarders help."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator

import psutil

from benchmarks import corpus
from benchmarks.field import backlog
from benchmarks.field.hookreel import NAME, Drained, drain, forwarders, settle, subscribe
from benchmarks.field.parts import Receiver, receiver
from benchmarks.field.told import Point, Scale, Told
from benchmarks.figures import Figure
from benchmarks.processes import Place, place
from service import rediskeys

ENDPOINTS = 8
SMALL_RUNS = 5
OF_SMALL = 0.8
ROUND_TRIPS = 0.5
FAN_OUT = 5
CORES, OF_ONE = 4, 1.6


def backlogs(scale: Scale) -> Told:
    """Small ones, then a large one, fan-out 1: every event is in the channel of one of the endpoints."""
    with receiver(ENDPOINTS) as to, place() as at:
        for number in range(ENDPOINTS):
            subscribe(at, to, range(number, number + 1), channels=(backlog.channel(number),))
        with forwarders(at) as workers:
            # Half of the small ones before and half after: whatever else the machine does meets both.
            small = [_drained(at, to, workers, scale.small) for _ in range(SMALL_RUNS)]
            large = _drained(at, to, workers, scale.large)
            small += [_drained(at, to, workers, scale.small) for _ in range(SMALL_RUNS)]
        return Told(list(_compared(at, small, large)))


def _drained(at: Place, to: Receiver, workers: list[psutil.Process], count: int) -> Drained:
    done = drain(at, to, workers, count, channels=ENDPOINTS)
    settle(at)
    return done


def _compared(at: Place, small: list[Drained], large: Drained) -> Iterator[Figure]:
    rate = statistics.median(each.run.rate for each in small)
    many, few = len(large.run.sent), len(small[0].run.sent)
    detail = f"{many} events, a backlog of {few} drains at {rate:,.0f}/s; {ENDPOINTS} endpoints, fan-out 1"
    yield Figure(
        "backlog", f"rate, of a backlog of {few}", large.run.rate / rate, "x", ">=", OF_SMALL, detail
    )
    yield Figure("backlog", "events", large.run.rate, "/s")
    detail = "reads of the store's from any connection, from the first claim to the last receipt"
    yield Figure("backlog", "round trips a delivery", large.reads / many, "", "<=", ROUND_TRIPS, detail)
    left = at.service.store.client.xlen(rediskeys.stream(corpus.WORKSPACE))
    yield Figure("backlog", "entries left in the stream", left, "", "<=", 0)


def by_forwarders(scale: Scale) -> Told:
    """The same backlog, fan-out 5, for one forwarder process and for more."""
    told, rates = Told(), dict[int, float]()
    with receiver(FAN_OUT) as to, place() as at:
        subscribe(at, to, range(FAN_OUT))
        for count in scale.forwarders:
            with forwarders(at, count) as workers:
                done = drain(at, to, workers, scale.forwarded // FAN_OUT, FAN_OUT).run
                settle(at)
            rates[count] = done.rate
            told.points.append(Point("forwarders", NAME, count, {"rate": round(done.rate)}))
    told.figures += [
        Figure("forwarders", f"{count}: deliveries", rate, "/s") for count, rate in rates.items()
    ]
    told.figures.append(_two(rates[2] / rates[1]))
    return told


def _two(ratio: float) -> Figure:
    cores = os.cpu_count() or 1
    if cores >= CORES:
        return Figure("forwarders", "two, of one", ratio, "x", ">=", OF_ONE)
    detail = f"skipped: the bound, >= {OF_ONE}, is for {CORES} cores or more, and there are {cores}"
    return Figure("forwarders", "two, of one", ratio, "x", detail=detail)
