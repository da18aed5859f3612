"""What a pass of the clock costs when very many jobs are open and none of them is due."""

from __future__ import annotations

import statistics
import time
from time import perf_counter

from benchmarks import corpus, crowd
from benchmarks.figures import Figure
from benchmarks.processes import Place, place
from service.bootstrap import Service
from workers.clock import Clock

AT_VENDOR, WAITING, REFUSED = 40_000, 40_000, 20_000
EVENTS = 3000
PASSES = 40
LONGEST = 20_000
"""Commands of one pass that the store's log keeps."""
KEPT_ASIDE = ("slowlog", "config")

Passes = list[tuple[float, float]]
"""Of each pass: how long it took, and the longest that a command of it held the store, in ms."""


def figures() -> list[Figure]:
    """Passes of a clock that has just started, then of one that has seen everything."""
    with place(HOOKREEL_MAX_IN_FLIGHT=str(AT_VENDOR)) as at:
        crowd.at_vendor(at.service, AT_VENDOR)
        crowd.waiting(at.service, WAITING)
        crowd.refused(at.service, REFUSED)
        corpus.finish(at.service, EVENTS, seed=1)
        clock = Clock.of(at.service, time.monotonic)
        started = _passes(at, clock)
        begun = perf_counter()
        put_back = sum(at.service.mender.everything().values())
        everything = perf_counter() - begun
        settled = _passes(at, clock)
        _check(at.service, put_back)
    return _told(started, settled, everything)


def _passes(at: Place, clock: Clock) -> Passes:
    store, found = at.service.store.client, []
    store.config_set("slowlog-log-slower-than", 0)
    store.config_set("slowlog-max-len", LONGEST)
    for _ in range(PASSES):
        store.slowlog_reset()
        begun = perf_counter()
        clock.tick()
        took = perf_counter() - begun
        told = [each for each in store.slowlog_get(LONGEST) if not _aside(each["command"])]
        found.append((took * 1000, max(each["duration"] for each in told) / 1000))
    store.config_set("slowlog-log-slower-than", -1)
    return found


def _aside(command: bytes) -> bool:
    return command.decode(errors="replace").lower().startswith(KEPT_ASIDE)


def _check(service: Service, put_back: int) -> None:
    """Nothing was due, and nothing had lost its place."""
    if put_back or service.doorbells.queue.count:
        raise RuntimeError(f"{put_back} put back, {service.doorbells.queue.count} bells rung")


def _told(started: Passes, settled: Passes, everything: float) -> list[Figure]:
    def median(passes: Passes, number: int) -> float:
        return statistics.median(each[number] for each in passes)

    jobs = AT_VENDOR + WAITING + REFUSED
    detail = f"{jobs} open jobs, {EVENTS} open events, {PASSES} passes; each looks at a part"
    held = "the longest command of each pass, by the store's slow log"
    longest = max(each[1] for each in settled)
    return [
        Figure("sweep", "a pass", median(settled, 0), "ms", "<=", 50, detail),
        Figure("sweep", "holds the store for", median(settled, 1), "ms", "<=", 5, held),
        Figure("sweep", "a pass, just started", median(started, 0), "ms", "<=", 50, "in a hurry to see all"),
        Figure("sweep", "holds the store then for", median(started, 1), "ms", "<=", 5),
        Figure("sweep", "held for longest", longest, "ms", detail=f"by one command of {PASSES} passes"),
        Figure("sweep", "a look at everything", everything, "s", detail="all the parts together"),
    ]
