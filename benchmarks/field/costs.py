"""What an event and a delivery take in the store, what is left of them, and what an idle forwarder costs."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

from benchmarks import memory
from benchmarks.field.hookreel import drain, forwarders, settle, subscribe
from benchmarks.field.parts import Receiver, receiver
from benchmarks.field.told import Scale, Told
from benchmarks.figures import Figure
from benchmarks.processes import Place, cpu, place, wait_until
from service import rediskeys
from service.bootstrap import Service
from workers.clock import Clock

AN_EVENT, A_DELIVERY, LEFT = 2048, 400, 5
WARM, ENDPOINTS = 200, 5
OF_A_JOB = frozenset({"job", "jobs", "final", "took"})
"""The keys that a job has without any event."""
BUSY, SETTLING = 0.5, 2.0


def kept(scale: Scale) -> Told:
    """Events for nobody, as many for five endpoints each, and then the end of their retention."""
    with receiver(ENDPOINTS) as to, place() as at:
        _store(at, to, WARM, 0)
        _prune(at)
        used = memory.used(at.service)
        event = _store(at, to, scale.kept, 0)
        subscribe(at, to, range(ENDPOINTS))
        delivered = _store(at, to, scale.kept, ENDPOINTS)
        grown = memory.used(at.service) - used
        _prune(at)
        left = (memory.used(at.service) - used) / grown * 100
        size = memory.event_size(at.service)
    deliveries = sum((delivered - event).values()) / ENDPOINTS / scale.kept
    parts = ", ".join(f"{name} {bytes_ / scale.kept:.0f}" for name, bytes_ in event.most_common())
    detail = f"a {size}-byte body, without its job's record; by key: {parts}"
    return Told(
        [
            Figure("kept", "an event", sum(event.values()) / scale.kept, "bytes", "<=", AN_EVENT, detail),
            Figure("kept", "a delivered delivery", deliveries, "bytes", "<=", A_DELIVERY),
            Figure("kept", "left after the retention", left, "%", "<=", LEFT, f"of {grown / 1e6:.1f} MB"),
        ]
    )


def _store(at: Place, to: Receiver, count: int, fan_out: int) -> Counter[str]:
    """Events that go all their way; by how many bytes each family of keys has grown."""
    before = memory.families(at.service)
    with forwarders(at) as workers:
        drain(at, to, workers, count, fan_out)
        settle(at)
    grown = memory.families(at.service) - before
    return Counter({name: size for name, size in grown.items() if name not in OF_A_JOB})


def _prune(at: Place) -> None:
    """As the clock does, with a retention that is over at once."""
    service = at.service
    late = Service(replace(service.settings, retention=0), service.url, "bench", "bench-late")
    clock = Clock.of(late, time.monotonic)

    def is_over() -> bool:
        clock.prune()
        return not late.store.client.exists(rediskeys.FINAL)

    wait_until(is_over)
    late.close()


def idle(scale: Scale) -> Told:
    """A forwarder that nobody rings for, with endpoints."""
    with receiver(ENDPOINTS) as to, place() as at:
        subscribe(at, to, range(ENDPOINTS))
        with forwarders(at) as (worker,):
            # What a start leaves to do is not idleness; then the time itself is what is measured.
            time.sleep(SETTLING)
            begun, used = time.monotonic(), cpu(worker)
            time.sleep(scale.idle)
            share = (cpu(worker) - used) / (time.monotonic() - begun) * 100
    return Told([Figure("idle", "a forwarder: CPU of one core", share, "%", "<=", BUSY, f"{scale.idle:g} s")])
