"""Taking a job: everything that is refused is refused here, before anything is written."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.inputs import Input
from service import rediskeys
from service.endpoints import Endpoints
from service.errors import Conflict, IdempotencyMismatch, NotFound, StoreFull, Unavailable
from service.jobs import Jobs
from service.records import Job
from service.store import StaleRecord, Store, Word

FULL_AT = 0.85
"""Share of the store's memory, or of its disk, at which nothing more is accepted: settling and recording
need the rest.
"""
ENOUGH = 4 * 2**30
"""Bytes free with which a disk is not full, whatever its share: the embedded store never needs as many."""
PLACES_A_MS = 1000
REMEMBERED_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Order:
    """A valid submission. ``idempotency_key`` may be empty; ``request`` is what a replay is compared by."""

    workspace: str
    input: Input
    webhook: str = ""
    channel: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str = ""
    request: bytes = field(default=b"", repr=False)


class Capacity:
    """Whether the store has room, asked at most once a second.

    ``directory``: where it keeps its file, if that is on a disk of this machine's.
    """

    def __init__(
        self,
        store: Store,
        directory: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.directory = directory
        self.monotonic = monotonic
        self._until = 0.0
        self._full = ""

    def check(self) -> None:
        """Raises `StoreFull`."""
        now = self.monotonic()
        if now >= self._until:
            self._full = self._found_full()
            self._until = now + 1.0
        if self._full:
            raise StoreFull(
                f"{self._full} is nearly full; nothing more is accepted until there is room", retry_after=30
            )

    def _found_full(self) -> str:
        """What is; empty when nothing is."""
        (info,) = self.store.read(lambda pipe: pipe.info("memory"))
        most = int(info.get("maxmemory", 0))
        if most and int(info["used_memory"]) > FULL_AT * most:
            return "the store"
        if self.directory is not None:
            _, used, free = shutil.disk_usage(self.directory)
            if disk_is_full(used, free):
                return "the store's disk"
        return ""


def disk_is_full(used: int, free: int) -> bool:
    """By the bytes used and those that this user may still use."""
    return used > FULL_AT * (used + free) and free < ENOUGH


class Acceptance:
    """``new_id`` makes prediction ids: 32 lowercase hex digits; ``clock`` is in milliseconds."""

    def __init__(
        self,
        jobs: Jobs,
        endpoints: Endpoints,
        capacity: Capacity,
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        max_pending_bytes: int,
        max_queued: int,
    ) -> None:
        self.jobs = jobs
        self.endpoints = endpoints
        self.capacity = capacity
        self.clock = clock
        self.new_id = new_id
        self.max_pending_bytes = max_pending_bytes
        self.max_queued = max_queued
        self._places = itertools.count()

    def accept(self, order: Order) -> Job:
        """Keep the job, or find the one that the same idempotency key has made.

        Raises `InvalidInput`, `IdempotencyMismatch`, `StoreFull`, `StoreUnavailable`, `OutcomeUnknown`.
        """
        known = self._known(order)
        if known is not None:
            return known
        self.capacity.check()
        job, ops, guards = self._prepare(order)
        try:
            return self.jobs.add(job, ops, guards)
        except StaleRecord as error:
            if error.guard == "rev":
                # Nobody else has this id: the answer was lost, and the job has gone on meanwhile.
                return self.jobs.get(job.id)
            if error.guard == "absent":
                return self._twin(order)
            if error.guard == "queue":
                detail = f"HOOKREEL_MAX_QUEUED ({self.max_queued}) jobs wait already"
                raise Unavailable(detail, retry_after=30) from error
            raise StoreFull(
                f"the images that wait fill HOOKREEL_MAX_PENDING_BYTES ({self.max_pending_bytes} bytes)",
                retry_after=30,
            ) from error

    def _prepare(
        self, order: Order
    ) -> tuple[Job, tuple[tuple[Word, ...], ...], tuple[tuple[str, Word, Word], ...]]:
        at, job_id = self.clock(), self.new_id()
        ops: list[tuple[Word, ...]] = []
        guards: list[tuple[str, Word, Word]] = [("queue", self.max_queued, "")]
        if order.idempotency_key:
            key = self._key(order)
            guards.append(("absent", key, ""))
            ops.append(("SET", key, f"{_fingerprint(order)} {job_id}", "PX", REMEMBERED_MS))
        blobs = {name: image.data for name, image in order.input.images.items()}
        if blobs:
            total = sum(map(len, blobs.values()))
            guards.append(("room", self.max_pending_bytes, total))
            ops.append(("INCRBY", rediskeys.PENDING_BYTES, total))
            ops.extend(("SET", rediskeys.blob(job_id, name), data) for name, data in blobs.items())
        own = ""
        if order.webhook:
            endpoint, kept = self.endpoints.own(order.workspace, job_id, order.webhook, at)
            own = endpoint.id
            ops.extend(kept)
        job = Job(
            id=job_id,
            workspace=order.workspace,
            model=order.input.model,
            created_at=at,
            place=self.jobs.context.time() * PLACES_A_MS + next(self._places) % PLACES_A_MS,
            input=order.input.fields,
            blobs={name: len(data) for name, data in blobs.items()},
            metadata=order.metadata,
            channel=order.channel,
            own_endpoint=own,
        )
        return job, tuple(ops), tuple(guards)

    def _known(self, order: Order) -> Job | None:
        if not order.idempotency_key:
            return None
        (found,) = self.jobs.store.read(lambda pipe: pipe.get(self._key(order)))
        if found is None:
            return None
        fingerprint, _, job_id = found.decode().partition(" ")
        if fingerprint != _fingerprint(order):
            raise IdempotencyMismatch(
                "Idempotency-Key: it was used for another request in the last 24 hours; "
                "allowed: the same request again, or a fresh key"
            )
        try:
            return self.jobs.get(job_id)
        except NotFound:
            raise Conflict(
                "Idempotency-Key: the prediction that it made was deleted; use a fresh key"
            ) from None

    def _twin(self, order: Order) -> Job:
        """The request that came at the same moment with the same key has won."""
        known = self._known(order)
        if known is None:
            raise Conflict("Idempotency-Key: a request with this key is in progress; try again")
        return known

    @staticmethod
    def _key(order: Order) -> str:
        digest = hashlib.sha256(order.idempotency_key.encode()).hexdigest()[:32]
        return rediskeys.idempotency(order.workspace, digest)


def _fingerprint(order: Order) -> str:
    return hashlib.sha256(order.request).hexdigest()


def canonical_request(model: str, query: Mapping[str, Any], body: Any) -> bytes:
    """What makes two submissions the same: the model, the query and the body, whatever their order."""
    return json.dumps([model, query, body], sort_keys=True, separators=(",", ":")).encode()
