"""Hookreel between the two: the processes that an event passes through, as they are shipped."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple

import psutil

from benchmarks import corpus, crowd, forwarding
from benchmarks.callers import Callers, callers
from benchmarks.field import backlog
from benchmarks.field.books import Run, Sent
from benchmarks.field.parts import Contender, Event, Receiver
from benchmarks.processes import Place, place, process, wait_until
from benchmarks.vendor import SECRET
from service import rediskeys

NAME = "Hookreel"
LONGEST_REWRITE = 60.0


@dataclass(frozen=True)
class Hookreel:
    """A store, a web process, forwarders and a clock; callbacks are its events."""

    at: Place
    web: Callers
    workers: list[psutil.Process]

    @property
    def contender(self) -> Contender:
        """As the load generator sees it."""
        return Contender(NAME, ("127.0.0.1", self.web.port), self._callbacks)

    def _callbacks(self, count: int) -> list[Event]:
        """The vendor's signed word about jobs that it has; their ids come to the subscriber."""
        begun = crowd.at_vendor(self.at.service, count)
        return list(zip((job for job, _, _ in begun), self.web.callbacks(begun), strict=True))


@contextmanager
def hookreel() -> Iterator[Hookreel]:
    """Without an endpoint yet."""
    with (
        place(WAVESPEED_WEBHOOK_SECRET=SECRET) as at,
        process(["-m", "workers.clock"], at, "clock"),
        forwarders(at) as workers,
        callers(at) as web,
    ):
        yield Hookreel(at, web, workers)


@contextmanager
def forwarders(at: Place, count: int = 1) -> Iterator[list[psutil.Process]]:
    """So many forwarder processes, ready."""
    with ExitStack() as stack:
        arguments = ["-m", "workers.forwarder"]
        started = [
            stack.enter_context(process(arguments, at, f"forwarder-{number}")) for number in range(count)
        ]
        client = at.service.store.client
        wait_until(lambda: client.pubsub_numsub(rediskeys.NEWS)[0][1] >= count)
        yield [psutil.Process(each.pid) for each in started]


def subscribe(at: Place, to: Receiver, numbers: range, path: str = "/e", **fields: Any) -> None:
    """Endpoints of those numbers."""
    for number in numbers:
        at.service.endpoints.create(corpus.WORKSPACE, {"url": to.url(number, path), **fields})


@contextmanager
def held(workers: list[psutil.Process]) -> Iterator[None]:
    """They stand still meanwhile."""
    for each in workers:
        each.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for each in workers:
            each.send_signal(signal.SIGCONT)


class Drained(NamedTuple):
    """What came of a backlog, and how often the store was asked meanwhile."""

    run: Run
    reads: int


def drain(
    at: Place, to: Receiver, workers: list[psutil.Process], count: int, fan_out: int = 1, channels: int = 1
) -> Drained:
    """A backlog of ``count`` events, sent as the forwarders are let go, until all have come.

    Raises RuntimeError unless they came once each.
    """
    with held(workers):
        ids = backlog.write(at, count, channels)
        _at_rest(at)
        before = _reads(at)
        begun = time.monotonic_ns()
    to.wait_for(count * fan_out)
    asked = _reads(at) - before
    written = Sent(begun, begun, begun, HTTPStatus.OK)
    return Drained(Run(dict.fromkeys(ids, written), to.take(), fan_out).check(), asked)


def _reads(at: Place) -> int:
    """How often the store has read from a connection: a request in one piece is one, a long one several."""
    return int(at.service.store.client.info("stats")["total_reads_processed"])


def settle(at: Place) -> None:
    """Until everything that came is recorded."""
    wait_until(lambda: forwarding.all_recorded(at))


def _at_rest(at: Place) -> None:
    """Until the store rewrites its file no more: it does so while a backlog grows, not when it drains."""
    client = at.service.store.client
    wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], timeout=LONGEST_REWRITE)
