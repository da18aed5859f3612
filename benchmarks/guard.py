"""What the sweeps cost those who call: the web process beside a clock that sweeps, and without one.

What guards a submission and a callback (window, queue, room, revision and token, all in one script) cannot be
switched off: it is in both rates, as it is in those that `benchmarks.web` holds against a bare route.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import time

from benchmarks import crowd
from benchmarks.callers import SHIPPED, Callers, callers
from benchmarks.figures import Figure
from benchmarks.processes import Place, place, process, wait_until
from benchmarks.vendor import SECRET
from service import rediskeys
from workers.clock import TICK

REQUESTS = 800
RUNS = 8
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
            clock.send_signal(signal.SIGSTOP)
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
    """Half of them each way, another way first each time."""
    first, second = requests[:REQUESTS], requests[REQUESTS:]
    if run % 2:
        bare = REQUESTS / web.seconds(first)
        return _swept(web, clock, second), bare
    return _swept(web, clock, first), REQUESTS / web.seconds(second)


def _swept(web: Callers, clock: Clock, requests: list[bytes]) -> float:
    clock.send_signal(signal.SIGCONT)
    # It makes a pass at once, being late. The next one comes in the middle of a load that takes about as long
    # as it is from pass to pass.
    time.sleep(TICK / 2)
    rate = REQUESTS / web.seconds(requests)
    clock.send_signal(signal.SIGSTOP)
    return rate


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
