"""Callers that keep a request open until their job has ended. They are woken by news and never poll."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from service.errors import Unavailable
from service.notices import Notices
from service.records import Job

MOST = 16
PATIENCE = 90.0


class Waiters:
    """At most ``most`` at once in this process, for ``seconds`` at most. ``get`` reads a job by its id."""

    def __init__(
        self,
        get: Callable[[str], Job],
        notices: Notices,
        *,
        most: int = MOST,
        seconds: float = PATIENCE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.get = get
        self.notices = notices
        self.most = most
        self.seconds = seconds
        self.monotonic = monotonic
        self._places = threading.BoundedSemaphore(most)

    def wait(self, job: Job) -> tuple[Job, float]:
        """The job, final unless the time was over, and the seconds waited: 0 when there was no place."""
        if job.is_final or not self._places.acquire(blocking=False):
            return job, 0
        try:
            return self._end_of(job), self.seconds
        finally:
            self._places.release()

    def _end_of(self, job: Job) -> Job:
        deadline = self.monotonic() + self.seconds
        with self.notices.bell(job.id) as rung:
            while True:
                rung.clear()
                # A store that is away says nothing about the job; its return rings every bell.
                with suppress(Unavailable):
                    job = self.get(job.id)
                if job.is_final or not rung.wait(max(deadline - self.monotonic(), 0)):
                    return job
