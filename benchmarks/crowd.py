"""Very many unfinished jobs, in every index that they belong in, without an fsync for each."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchmarks import corpus
from benchmarks.callers import Begun
from service import rediskeys
from service.acceptance import PLACES_A_MS
from service.bootstrap import Service
from service.records import Job, changed, dump_job

SAMPLES = 200
AT_ONCE = 2000
DAY_MS = 24 * 3600 * 1000


def at_vendor(service: Service, count: int) -> list[Begun]:
    """Jobs that the vendor has, to be looked up tomorrow."""
    now, begun = service.time(), []

    def made() -> Iterator[Job]:
        for job in _queued(service, count):
            token = service.token()
            taken = corpus.processing(service, job, token)
            begun.append((taken.id, token, taken.upstream_id))
            yield taken

    _keep(service, made(), {rediskeys.WINDOW: now, rediskeys.SILENT: now + DAY_MS})
    return begun


def waiting(service: Service, count: int) -> None:
    """Jobs that wait for the window."""
    now = service.time() * PLACES_A_MS
    _keep(service, _queued(service, count), {rediskeys.waiting(corpus.WORKSPACE): now})
    service.store.client.zadd(rediskeys.WAITING, {corpus.WORKSPACE: 1}, nx=True)


def refused(service: Service, count: int) -> None:
    """Jobs that the vendor did not take, to be tried again tomorrow."""
    _keep(service, _queued(service, count), {rediskeys.LATER: service.time() + DAY_MS})


def _queued(service: Service, count: int) -> Iterator[Job]:
    """Few inputs, many jobs: dice cost more than everything else here."""
    dice = random.Random(count)  # noqa: S311 - no secret
    samples = [corpus.queued(service, dice) for _ in range(SAMPLES)]
    place = service.time() * PLACES_A_MS
    return (changed(samples[n % SAMPLES], id=service.token(), place=place + n) for n in range(count))


def _keep(service: Service, jobs: Iterable[Job], indexes: Mapping[str, int]) -> None:
    rows = iter(jobs)
    while batch := list(itertools.islice(rows, AT_ONCE)):
        pipe = service.store.client.pipeline(transaction=False)
        for job in batch:
            record: dict[Any, Any] = {"rev": 1, "doc": dump_job(job), "state": f"{job.state} {job.workspace}"}
            pipe.hset(rediskeys.job(job.id), mapping=record)
        pipe.zadd(rediskeys.OPEN_JOBS, {job.id: job.place for job in batch})
        pipe.zadd(rediskeys.jobs(corpus.WORKSPACE), {job.id: job.created_at for job in batch})
        for key, score in indexes.items():
            pipe.zadd(key, {job.id: score for job in batch})
        pipe.execute()
