"""What the sweeps cost those who call: the web process beside a clock that sweeps, and without one.

What guards a submission and a callback (window, queue, room, revision and token, all in one script) cannot be
switched off: it is in both rates, as it is in those that `benchmarks.web` holds against a bare route.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import crowd
from benchmarks.callers import SHIPPED, Callers, callers
from benchmarks.figures import Figure
from benchmarks.processes import Place, place, process, wait_until
from benchmarks.vendor import SECRET
from service import rediskeys
from workers.clock import TICK

REQUESTS = 1500
RUNS = 5
ORDER = (False, True, True, False)
"""Whether the clock is stopped."""
AT_VENDOR, WAITING = 2 * RUNS * REQUESTS, 10_000
SETTINGS = {"HOOKREEL_MAX_QUEUED": "100000"}
"""Room for all that is submitted here; as shipped, 10,000 may wait."""

Clock = subprocess.Popen[bytes]
Rates = tuple[float, float]
"""Requests a second, with the clock and without."""


def figures() -> list[Figure]:
    """Alternating runs; every request is answered with 200, or the run fails."""
    with place(WAVESPEED_WEBHOOK_SECRET=SECRET, **SETTINGS) as at:
        # A rewrite of the store's file takes seconds, and would meet one of the two.
        at.service.store.client.config_set("auto-aof-rewrite-percentage", 0)
        begun = crowd.at_vendor(at.service, AT_VENDOR)
        crowd.waiting(at.service, WAITING)
        with callers(at) as web, process(["-m", "workers.clock"], at, "clock", **SHIPPED) as clock:
            wait_until(lambda: _beats(at, clock))
            callbacks, submits = [], []
            for run in range(RUNS):
                ours = begun[run * 2 * REQUESTS :][: 2 * REQUESTS]
                callbacks.append(_rates(web, clock, run, web.callbacks(ours)))
                submits.append(_rates(web, clock, run, web.submits(2 * REQUESTS)))
    return _told(callbacks, submits)


def _beats(at: Place, clock: Clock) -> bool:
    """Whether it has begun its work."""
    (beating,) = at.service.store.read(lambda pipe: pipe.hkeys(rediskeys.BEATS))
    return any(each.startswith(f"clock-{clock.pid}-".encode()) for each in beating)


def _rates(web: Callers, clock: Clock, run: int, requests: list[bytes]) -> Rates:
    """A share each by turns, in an order that meets what else the machine does alike."""
    order = ORDER if run % 2 else ORDER[::-1]
    shares = [requests[share :: len(order)] for share in range(len(order))]
    swept, bare = [], []
    for number, (stopped, share) in enumerate(zip(order, shares, strict=True)):
        if stopped:
            with _stopped(clock):
                bare.append(web.seconds(share))
        else:
            # Begun at another moment between two passes each time, so that on average all of them are met.
            time.sleep(TICK * ((number / len(order) + run / RUNS) % 1))
            swept.append(web.seconds(share))
    return REQUESTS / sum(swept), REQUESTS / sum(bare)


@contextmanager
def _stopped(clock: Clock) -> Iterator[None]:
    clock.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        clock.send_signal(signal.SIGCONT)


def _told(callbacks: list[Rates], submits: list[Rates]) -> list[Figure]:
    open_jobs = AT_VENDOR + WAITING
    detail = f"{open_jobs} open jobs; a clock that sweeps against one that is stopped; guards are in both"

    def ratio(rates: list[Rates]) -> float:
        return statistics.median(ours / bare for ours, bare in rates)

    return [
        Figure("guard", "callbacks, of those without sweeps", ratio(callbacks), "x", ">=", 0.90, detail),
        Figure("guard", "submits, of those without sweeps", ratio(submits), "x", ">=", 0.90, detail),
        Figure("guard", "callbacks, swept", statistics.median(each for each, _ in callbacks), "/s"),
        Figure("guard", "submits, swept", statistics.median(each for each, _ in submits), "/s"),
    ]
