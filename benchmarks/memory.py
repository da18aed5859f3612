"""What a finished job costs in the store: its record, its event, and one delivery that was made."""

from __future__ import annotations

import random
from collections import Counter

from benchmarks import corpus, forwarding
from benchmarks.figures import Figure
from benchmarks.processes import Place, place, sink, wait_until
from schemas.predictions import Prediction
from service.bootstrap import Service

WARM = 200
JOBS = 2000


def figures() -> list[Figure]:
    """By the store's own count: before and after so many jobs have gone all their way."""
    with place() as at, sink(1) as receiver, forwarding.forwarder(at, receiver):
        _pass_through(at, WARM, seed=1)
        before, kinds = used(at.service), families(at.service)
        _pass_through(at, JOBS, seed=2)
        each = (used(at.service) - before) / JOBS
        split = families(at.service) - kinds
        size = event_size(at.service)
    parts = ", ".join(f"{name} {size / JOBS:.0f}" for name, size in split.most_common())
    detail = f"one delivery of a {size}-byte event; by key: {parts}"
    return [Figure("memory", "per finished job", each, "bytes", "<=", 4096, detail)]


def _pass_through(at: Place, count: int, seed: int) -> None:
    """Every verb of a job's life; the vendor's part is told by hand."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(count):
        _one(at.service, dice)
    wait_until(lambda: forwarding.all_recorded(at))
    # A worker would have taken them; what it leaves behind is nothing.
    at.service.doorbells.queue.delete(delete_jobs=True)


def _one(service: Service, dice: random.Random) -> None:
    job, token, task = corpus.begun(service, dice)
    word = Prediction(
        task,
        "completed",
        outputs=(corpus.output(dice, task),),
        has_nsfw_contents=(False,),
        execution_time=41234,
        timings={"inference": 41234},
    )
    service.jobs.settle(job, token, word)


def used(service: Service) -> int:
    """Bytes, without the buffers of connections."""
    info = service.store.client.info("memory")
    return int(info["used_memory"]) - int(info["mem_clients_normal"])


def families(service: Service) -> Counter[str]:
    """Bytes of all keys with the same beginning, by MEMORY USAGE of every element."""
    client, sizes = service.store.client, Counter[str]()
    for key in client.scan_iter(count=1000):
        sizes[key.decode().split(":")[1]] += int(client.memory_usage(key, samples=0) or 0)
    return sizes


def event_size(service: Service) -> int:
    return round(sum(map(len, corpus.bodies(service, 50))) / 50)
