"""A constant rate: how long until the subscriber has the event, and how high the rate may be."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.field.books import Run, Spread
from benchmarks.field.hookreel import NAME, Hookreel, hookreel, subscribe
from benchmarks.field.parts import Contender, Receiver, receiver, run
from benchmarks.field.rivals import RELAY, TASKS, THREADS, direct, posts, templated, usual
from benchmarks.field.told import LATE, Point, Scale, Told
from benchmarks.figures import Figure

PUBLISHED = {"Convoy on Postgres": 127.0, "Convoy on Redis": 1800.0}
"""The field's published p95 at 200 events a second, in ms, each on its makers' machine."""
AT = 200
FSYNCS, FSYNC_BYTES = 200, 3000
PATH = "/e/0"
OF_DIRECT = 5
SUSTAINED_P95 = 100.0
SUSTAINED_END = 0.25
FIRST = {NAME: 400.0, THREADS: 400.0, TASKS: 50.0}
"""Events a second at which the search for the highest begins."""
NEAR = 1.1
TRIES = 2
FAR = 0.5
"""Seconds of backlog that are no accident."""


@contextmanager
def _ready(scale: Scale) -> Iterator[tuple[Receiver, Hookreel]]:
    """One endpoint, and everything warm."""
    with receiver() as to, hookreel() as ours:
        subscribe(ours.at, to, range(1))
        run(ours.contender, to, 100, scale.seconds / 8)
        yield to, ours


def rates(scale: Scale) -> Told:
    """A direct POST, the least that can stand between, and Hookreel, by turns, fan-out 1."""
    told = Told()
    with _ready(scale) as (to, ours), usual(RELAY, [to.url(0)]) as relay:
        bare = direct(to, lambda count: posts(ours.at.service, count, PATH))
        run(relay, to, 100, scale.seconds / 8)
        for rate in scale.rates:
            runs = _by_turns(told, (bare, relay, ours.contender), to, rate, scale)
            if rate == AT:
                told.figures += _bounds(*runs)
                told.figures.append(_fsync(ours.at.directory / "probe"))
    return told


def _fsync(file: Path) -> Figure:
    """What the store waits for before it answers to a write: the disk, with nothing else to do."""
    took = []
    with file.open("wb", buffering=0) as written:
        for _ in range(FSYNCS):
            begun = time.monotonic_ns()
            written.write(bytes(FSYNC_BYTES))
            os.fdatasync(written.fileno())
            took.append(time.monotonic_ns() - begun)
            # As often as events come.
            time.sleep(1 / AT)
    spread = Spread.of(took)
    detail = f"p50 {spread.p50:.3g} ms, {FSYNC_BYTES} bytes each"
    return Figure("rates", "an fsync on this disk: p95", spread.p95, "ms", detail=detail)


def _by_turns(
    told: Told, contenders: tuple[Contender, ...], to: Receiver, rate: int, scale: Scale
) -> list[tuple[Run, ...]]:
    """The runs of each."""
    runs: list[list[Run]] = [[] for _ in contenders]
    for turn in range(scale.rounds):
        # Another one first each time: whatever a run leaves behind meets each of them.
        for place in range(len(contenders)):
            each = (turn + place) % len(contenders)
            runs[each].append(run(contenders[each], to, rate, scale.seconds))
    for who, of in zip(contenders, runs, strict=True):
        told.latency("rates", who.name, rate, of)
    return [tuple(of) for of in runs]


def other_rates(who: Contender, to: Receiver, template: str, scale: Scale) -> Told:
    """A server of the caller's and a direct POST by turns."""
    told, bare = Told(), direct(to, templated(to.url(0), {}, template))
    for rate in scale.rates:
        _, through = _by_turns(told, (bare, who), to, rate, scale)
        told.figures.append(_delivered(who.name, rate, through))
    return told


def _delivered(name: str, rate: float, runs: tuple[Run, ...]) -> Figure:
    wanted, once = sum(each.wanted for each in runs), sum(each.once for each in runs)
    detail = f"{once} of {wanted}, by their ids, at the subscriber"
    what = f"{name}, {rate:g} events/s: delivered, once each"
    return Figure("rates", what, 100 * once / wanted, "%", ">=", 100, detail)


def _bounds(bare: tuple[Run, ...], least: tuple[Run, ...], through: tuple[Run, ...]) -> Iterator[Figure]:
    what = f"{AT} events/s: of a direct POST's p95"
    yield Figure("rates", f"{NAME}, {what}", _times(bare, through), "x", "<=", OF_DIRECT)
    detail = "no signature, no claim, no record of the delivery: one write, then the POST"
    yield Figure("rates", f"{RELAY}, {what}", _times(bare, least), "x", detail=detail)
    yield _delivered(NAME, AT, through)
    for who, p95 in PUBLISHED.items():
        yield Figure("rates", f"{who}, {AT} events/s: p95", p95, "ms", detail="published by its makers")


def _times(of: tuple[Run, ...], runs: tuple[Run, ...]) -> float:
    return statistics.median(b.latency.p95 / a.latency.p95 for a, b in zip(of, runs, strict=True))


def highest(scale: Scale) -> Told:
    """The highest rate that Hookreel sustains, fan-out 1."""
    with _ready(scale) as (to, ours):
        return search(ours.contender, to, scale)


def other_highest(who: Contender, to: Receiver, _template: str, scale: Scale) -> Told:
    """The highest rate that a server of the caller's sustains."""
    return search(who, to, scale)


def search(who: Contender, to: Receiver, scale: Scale) -> Told:
    """Twice as much until it is too much, then the middle until that is near enough."""
    good, bad, rate = 0.0, 0.0, FIRST.get(who.name, AT)
    while not bad or bad / max(good, 1.0) > NEAR:
        if sustains(who, to, rate, scale.probe):
            good = rate
        else:
            bad = rate
        rate = 2 * rate if not bad else (good + bad) / 2 if good else rate / 2
        if rate < 1:
            break
    detail = f"p95 within {SUSTAINED_P95:.0f} ms, nothing left {SUSTAINED_END} s after the last was sent"
    return Told(
        [Figure("highest", f"{who.name}: sustained", good, "events/s", detail=detail)],
        [Point("highest", who.name, good, {})],
    )


def sustains(who: Contender, to: Receiver, rate: float, seconds: float) -> bool:
    """Whether one of some runs at that rate shows that no backlog grows."""
    for _ in range(TRIES):
        found = run(who, to, rate, seconds)
        calm = found.latency.p95 <= SUSTAINED_P95 and found.lag.p95 <= LATE
        if calm and found.overtime <= SUSTAINED_END and found.once == found.wanted:
            return True
        if found.overtime > FAR:
            return False
    return False


def threads(scale: Scale) -> Told:
    """The same with a pool of threads."""
    return _usual(THREADS, scale)


def tasks(scale: Scale) -> Told:
    """The same with a task for each delivery."""
    return _usual(TASKS, scale)


def _usual(name: str, scale: Scale) -> Told:
    told = Told()
    with receiver() as to, usual(name, [to.url(0)]) as who:
        run(who, to, 20, 0.5)
        for rate in scale.rates:
            told.latency("rates", name, rate, [run(who, to, rate, scale.seconds)])
        return told.and_(search(who, to, scale))
