"""The doorbells: RQ entries that carry one id. With `workers`, the only place that knows RQ.

An entry is no record: a doubled one finds nothing to do, a lost one is rung again by the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import MappingProxyType

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.serializers import JSONSerializer

QUEUE = "vendor"
"""The queue of everything that asks something of the vendor."""
SUBMIT = "submit"
LOOK_UP = "look_up"
DECIDE = "decide"
TASKS = MappingProxyType({name: f"workers.tasks.{name}" for name in (SUBMIT, LOOK_UP, DECIDE)})
"""The closed list: what an entry may name -> the function it stands for."""

LONGEST_TASK = 180
"""Seconds; longer than every deadline inside a task."""


class Doorbells:
    """Rings for jobs. A bell that cannot be rung is logged and left to the clock."""

    def __init__(self, connection: Redis) -> None:
        self.connection = connection
        self.queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)

    def ring(self, job_ids: Sequence[str], task: str = SUBMIT) -> None:
        """One entry for each job, in one round trip."""
        entries = [
            Queue.prepare_data(
                TASKS[task],
                args=[job_id],
                job_id=f"{task}-{job_id}",
                timeout=LONGEST_TASK,
                result_ttl=0,
                failure_ttl=3600,
                description=f"{task} {job_id}",
            )
            for job_id in job_ids
        ]
        try:
            pipe = self.connection.pipeline(transaction=True)
            self.queue.enqueue_many(entries, pipeline=pipe)
            pipe.execute()
        except (RedisError, OSError):
            logging.getLogger(__name__).warning("doorbell.lost", extra={"jobs": list(job_ids)})
