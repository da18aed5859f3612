"""Copies the outputs of one job, and removes what nobody wants any more: the work of two doorbells."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from service import rediskeys
from service.archive import Depot
from service.archive.download import LONGEST, Downloads, Interrupted, Unfetched
from service.archive.naming import kind
from service.errors import NotFound, Unavailable
from service.jobs import Jobs
from service.records import File, Job

AT_A_TIME = 60.0
"""Seconds after which a task begins no other copy."""
NOT_YET_MS = 60_000


@dataclass(frozen=True)
class Archivist:
    """One instance serves every thread of a worker. ``monotonic`` in seconds."""

    jobs: Jobs
    depot: Depot
    downloads: Downloads
    incarnation: str
    monotonic: Callable[[], float] = time.monotonic

    def archive(self, job_id: str) -> None:
        """Copy every output of a completed job that has no copy yet, then go on with what else is due.

        An RQ task costs as much as a small film: one bell is enough for a while.
        """
        until = self.monotonic() + AT_A_TIME
        following: str | None = job_id
        while following is not None and not self.downloads.stopping():
            self._archive(following)
            following = self.jobs.due_copy() if self.monotonic() < until else None

    def _archive(self, job_id: str) -> None:
        try:
            claimed = self.jobs.begin_copy(job_id, self.incarnation)
            if claimed is not None:
                self._copy(claimed)
        except NotFound:
            self.jobs.forget_copy(job_id)

    def discard(self, job_id: str) -> None:
        """Remove the copies of a job that is deleted or pruned."""
        store, later = self.jobs.store, self.jobs.context.time() + NOT_YET_MS
        store.write(lambda pipe: pipe.zadd(rediskeys.DISCARD, {job_id: later}))
        if self.jobs.may_discard(job_id):
            self.depot.remove(job_id)
            store.write(lambda pipe: pipe.zrem(rediskeys.DISCARD, job_id))

    def _copy(self, claimed: Job) -> None:
        deadline = self.monotonic() + LONGEST
        files, faults = list(claimed.files), []
        for place, url in claimed.uncopied.items():
            try:
                files.append(self._file(claimed, place, url, deadline))
            except (Unfetched, Unavailable) as fault:
                faults.append(fault)
            except NotFound:
                raise
            except Exception as error:
                # One output that nobody foresaw must not cost the others.
                logging.getLogger(__name__).exception("job.copy_broken", extra={"job": claimed.id})
                faults.append(Unfetched(f"it cannot be fetched ({type(error).__name__})"))
        kept = tuple(sorted(files, key=lambda file: file.output))
        log = logging.getLogger(__name__)
        if not faults:
            self.jobs.copied(claimed, kept)
            log.info("job.archived", extra={"job": claimed.id, "bytes": sum(file.bytes for file in kept)})
            return
        again = [fault for fault in faults if not getattr(fault, "permanent", False)]
        why = str((again or faults)[0])
        at_once = all(isinstance(fault, Interrupted) for fault in again)
        self.jobs.not_copied(claimed, kept, why, again=bool(again), now=at_once)
        log.warning("job.copy_failed", extra={"job": claimed.id, "why": why, "attempt": claimed.copies})

    def _file(self, job: Job, place: int, url: str, deadline: float) -> File:
        with self.depot.draft(job.id) as draft:
            found = self.downloads.fetch(url, draft, deadline - self.monotonic())
            content_type, suffix = kind(url, found.content_type)
            name = f"{place}{suffix}"
            if not self.jobs.still_copying(job):
                raise Unfetched("its job was deleted, or somebody else copies it")
            self.depot.keep(draft, job.id, name, content_type, found.sha256)
        return File(place, name, found.bytes, found.sha256, content_type)
