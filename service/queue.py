"""The doorbells: RQ entries that carry one id. With `workers`, the only place that knows RQ.

An entry is no record: a doubled one finds nothing to do, a lost one is rung again by the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

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
    """Rings for jobs. A bell that cannot be rung is logged and left to the clock."""

    def __init__(self, connection: Redis) -> None:
        self.connection = connection
        self.queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
        self.copies = Queue(COPIES, connection=connection, serializer=JSONSerializer)

    def copies_waiting(self) -> int:
        """How many entries wait on the queue of copies. Raises `StoreUnavailable`."""
        try:
            return self.copies.count
        except (RedisError, OSError) as error:
            raise StoreUnavailable("the store cannot be reached") from error

    def ring(self, job_ids: Sequence[str], task: str = SUBMIT) -> None:
        """One entry for each job, in one round trip."""
        entries = [Queue.prepare_data(TASKS[task], **_options(task, job_id)) for job_id in job_ids]
        try:
            pipe = self.connection.pipeline(transaction=True)
            (self.copies if task in _COPYING else self.queue).enqueue_many(entries, pipeline=pipe)
            pipe.execute()
        except (RedisError, OSError):
            logging.getLogger(__name__).warning("doorbell.lost", extra={"jobs": list(job_ids)})


def _options(task: str, job_id: str) -> dict[str, Any]:
    """The job's id is the entry's own, after the task's name: so the entry is the same for every job."""
    return {
        "job_id": f"{task}-{job_id}",
        "timeout": LONGEST_COPY if task in _COPYING else LONGEST_TASK,
        "result_ttl": 0,
        "failure_ttl": 3600,
        "description": task,
    }


def submit_bell() -> list[bytes]:
    """What scripts/commit.lua writes for each job that it admits, so that the entry is part of the move.

    The queue's key, what comes before the job's id in an entry's key and in its id, then the entry's fields
    and values as RQ itself makes them. RQ's own call costs half a millisecond and a round trip.
    """
    queue = Queue(QUEUE, connection=Redis(), serializer=JSONSerializer)
    entry = queue.create_job(TASKS[SUBMIT], **_options(SUBMIT, ""))
    # The same in every process: the words are part of the script.
    entry.origin, entry.created_at = queue.name, datetime.fromtimestamp(0, UTC)
    fields = {name: value for name, value in entry.to_dict().items() if value not in ("", None)}
    words = [queue.key, entry.key, entry.id, *(word for pair in fields.items() for word in pair)]
    return [_encoded(word) for word in words]


def _encoded(word: Any) -> bytes:
    if isinstance(word, bytes):
        return word
    # RQ's states are strings whose str() is "JobStatus.QUEUED".
    return (word if isinstance(word, str) else str(word)).encode()
