"""The doorbells: RQ entries that carry one id. With `workers`, the only place that knows RQ.

An entry is no record: a doubled one finds nothing to do, a lost one is rung again by the clock.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from queue import SimpleQueue
from types import MappingProxyType

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.serializers import JSONSerializer

from service.errors import StoreUnavailable

QUEUE = "vendor"
"""The queue of everything that asks something of the vendor."""
COPIES = "archive"
"""The queue of copies, which take minutes: they never hold a place that a submission needs."""
SUBMIT = "submit"
LOOK_UP = "look_up"
DECIDE = "decide"
ARCHIVE = "archive"
DISCARD = "discard"
TASKS = MappingProxyType(
    {name: f"workers.tasks.{name}" for name in (SUBMIT, LOOK_UP, DECIDE, ARCHIVE, DISCARD)}
)
"""The closed list: what an entry may name -> the function it stands for."""
_COPYING = frozenset({ARCHIVE, DISCARD})

LONGEST_TASK = 180
"""Seconds; longer than every deadline inside a task on the vendor's queue."""
LONGEST_COPY = 7200
"""The same, for the other."""


class Doorbells:
    """Rings for jobs. A bell that cannot be rung is logged and left to the clock.

    ``together``: from a thread, in one go with the bells that come meanwhile. An entry costs RQ
    half a millisecond by itself, and a web process's answer should not wait for it.
    """

    def __init__(self, connection: Redis, *, together: bool = False) -> None:
        self.connection = connection
        self._pending: SimpleQueue[tuple[str, Sequence[str]]] | None = SimpleQueue() if together else None
        if together:
            threading.Thread(target=self._ring_on, name="doorbells", daemon=True).start()
        self.queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
        self.copies = Queue(COPIES, connection=connection, serializer=JSONSerializer)

    def copies_waiting(self) -> int:
        """How many entries wait on the queue of copies. Raises `StoreUnavailable`."""
        try:
            return self.copies.count
        except (RedisError, OSError) as error:
            raise StoreUnavailable("the store cannot be reached") from error

    def ring(self, job_ids: Sequence[str], task: str = SUBMIT) -> None:
        """One entry for each job."""
        if self._pending is None:
            self._ring(job_ids, task)
        else:
            self._pending.put((task, job_ids))

    def _ring_on(self) -> None:
        pending = self._pending
        while pending is not None:
            gathered: dict[str, list[str]] = defaultdict(list)
            task, job_ids = pending.get()
            gathered[task].extend(job_ids)
            while not pending.empty():
                task, job_ids = pending.get()
                gathered[task].extend(job_ids)
            for task, ids in gathered.items():
                self._ring(ids, task)

    def _ring(self, job_ids: Sequence[str], task: str) -> None:
        entries = [
            Queue.prepare_data(
                TASKS[task],
                args=[job_id],
                job_id=f"{task}-{job_id}",
                timeout=LONGEST_COPY if task in _COPYING else LONGEST_TASK,
                result_ttl=0,
                failure_ttl=3600,
                description=f"{task} {job_id}",
            )
            for job_id in job_ids
        ]
        try:
            pipe = self.connection.pipeline(transaction=True)
            (self.copies if task in _COPYING else self.queue).enqueue_many(entries, pipeline=pipe)
            pipe.execute()
        except (RedisError, OSError):
            logging.getLogger(__name__).warning("doorbell.lost", extra={"jobs": list(job_ids)})
