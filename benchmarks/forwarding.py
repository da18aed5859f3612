"""The forwarder against the bare CurlMulti loop, and against a task for each delivery."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from benchmarks import corpus
from benchmarks.figures import Figure
from benchmarks.processes import Place, Sink, cpu, measure, place, process, sink, wait_until
from service import rediskeys
from workers.forwarder import PER_ENDPOINT

ENDPOINTS = 5
EVENTS = 4000
BARE_POSTS = 20_000
TASKS = 200
RUNS = 5
CLAIMED_AT_ONCE = ENDPOINTS * PER_ENDPOINT


@dataclass(frozen=True)
class Run:
    """So many POSTs: what they took in all."""

    posts: int
    seconds: float
    cpu: float
    store_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """POSTs a second."""
        return self.posts / self.seconds

    @property
    def cpu_each(self) -> float:
        """Microseconds of CPU for one."""
        return self.cpu / self.posts * 1e6

    @property
    def store_cpu_each(self) -> float:
        """Microseconds of the store's CPU for one."""
        return self.store_cpu / self.posts * 1e6


def figures() -> list[Figure]:
    """Alternating runs: bare loop, forwarder, tasks."""
    with place() as at, sink(ENDPOINTS) as receiver:
        body = at.directory / "body.json"
        body.write_bytes(next(corpus.bodies(at.service, 1)))
        with forwarder(at, receiver) as worker:
            runs = [_round(at, receiver, body, worker, seed) for seed in range(RUNS)]
        size = body.stat().st_size
    return _told(runs, f"{size}-byte events, {ENDPOINTS} endpoints, {CLAIMED_AT_ONCE} in flight, one thread")


Round = tuple[Run, Run, Run]


@contextmanager
def forwarder(at: Place, receiver: Sink) -> Iterator[psutil.Process]:
    """One forwarder process, with a workspace of five endpoints."""
    for port in receiver.ports:
        at.service.endpoints.create(corpus.WORKSPACE, {"url": f"http://127.0.0.1:{port}/hook"})
    with process(["-m", "workers.forwarder"], at, "forwarder") as started:
        wait_until(lambda: bool(at.service.store.client.pubsub_numsub(rediskeys.NEWS)[0][1]))
        yield psutil.Process(started.pid)


def _round(at: Place, receiver: Sink, body: Path, worker: psutil.Process, seed: int) -> Round:
    urls = [f"http://127.0.0.1:{port}/hook" for port in receiver.ports]
    bare = measure("bare", BARE_POSTS, CLAIMED_AT_ONCE, body, *urls)
    forwarded = forward(at, receiver, worker, seed)
    os.environ["REDIS_URL"] = at.service.url
    tasks = measure("rqposts", TASKS, body, *receiver.ports)
    return Run(BARE_POSTS, **bare), forwarded, Run(TASKS, **tasks)


def forward(at: Place, receiver: Sink, worker: psutil.Process, seed: int) -> Run:
    """Write the events while the forwarder is held still, let it go, and wait until all is recorded."""
    worker.send_signal(signal.SIGSTOP)
    corpus.finish(at.service, EVENTS, seed)
    posts, before, store = receiver.posts, cpu(worker), cpu(at.store_process)
    begun = perf_counter()
    worker.send_signal(signal.SIGCONT)
    wait_until(lambda: all_recorded(at))
    seconds = perf_counter() - begun
    run = Run(EVENTS * ENDPOINTS, seconds, cpu(worker) - before, cpu(at.store_process) - store)
    _check(at, receiver.posts - posts)
    return run


def all_recorded(at: Place) -> bool:
    """Whether nothing is left to fan out, to try or to record."""
    # In the order in which a delivery passes through them.
    keys = (rediskeys.OPEN_EVENTS, rediskeys.TURNS, rediskeys.FLIGHT)
    return not any(at.service.store.read(lambda pipe: [pipe.exists(key) for key in keys]))


def _check(at: Place, posts: int) -> None:
    """Each delivery was made once: by the sink's count and by the records."""
    service = at.service
    (rows,) = service.store.read(lambda pipe: pipe.zrange(rediskeys.events(corpus.WORKSPACE), 0, -1))
    ids = [each.decode() for each in rows]
    lines = [each for _, found in service.deliveries.of_events(ids[-EVENTS:]) for each in found]
    once = [each for each in lines if each.state.value == "delivered" and len(each.attempts) == 1]
    if not len(once) == len(lines) == posts == EVENTS * ENDPOINTS:
        raise RuntimeError(f"{posts} POSTs, {len(once)} of {len(lines)} deliveries made at the first attempt")


def _told(runs: list[Round], detail: str) -> list[Figure]:
    def median(number: Any) -> float:
        return float(statistics.median(number(*each) for each in runs))

    name = "forwarder"
    return [
        Figure(
            name,
            "of the bare CurlMulti loop",
            median(lambda b, f, _: f.rate / b.rate),
            "x",
            ">=",
            0.15,
            detail,
        ),
        Figure(name, "CPU per delivery", median(lambda b, f, _: f.cpu_each / b.cpu_each), "x", "<=", 5),
        Figure(name, "of one RQ task a delivery", median(lambda _, f, t: f.rate / t.rate), "x", ">=", 20),
        Figure(name, "deliveries", median(lambda _b, f, _t: f.rate), "/s"),
        Figure(name, "bare POSTs", median(lambda b, *_: b.rate), "/s"),
        Figure(name, "RQ tasks", median(lambda *each: each[2].rate), "/s"),
        Figure(name, "CPU", median(lambda _b, f, _t: f.cpu_each), "us"),
        Figure(name, "bare CPU", median(lambda b, *_: b.cpu_each), "us"),
        Figure(name, "store CPU", median(lambda _b, f, _t: f.store_cpu_each), "us"),
    ]
