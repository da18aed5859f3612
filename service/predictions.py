"""The jobs of a workspace as the vendor shows predictions: one, a page of them, and their deletion."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol

from schemas.states import wire_status
from service import rediskeys
from service.errors import Conflict, NotFound
from service.jobs import Jobs
from service.records import Job
from service.store import FORGET, PRUNE, Word
from service.vendor import VendorRefused

LISTED_MS: Final = 7 * 24 * 3600 * 1000
_AT_ONCE: Final = 200
_NOT_FOUND: Final = 404


class Deleter(Protocol):
    """What deletion needs of the vendor's client."""

    def delete(self, ids: list[str]) -> int:
        """How many were deleted."""


@dataclass(frozen=True)
class Filter:
    """Which predictions a page is of; None is any. Both ends of the time belong to it."""

    model: str | None = None
    status: str | None = None
    created_after: dt.datetime | None = None
    created_before: dt.datetime | None = None

    def takes(self, job: Job) -> bool:
        """Whether a job is to be shown."""
        return (
            not job.deleted_at
            and self.model in {None, job.model}
            and self.status in {None, wire_status(job.state, job.reason, job.vendor_status)}
        )


class Predictions:
    """``clock``: milliseconds since the epoch."""

    def __init__(self, jobs: Jobs, vendor: Deleter, clock: Callable[[], int]) -> None:
        self.jobs = jobs
        self.store = jobs.store
        self.vendor = vendor
        self.clock = clock

    def get(self, workspace: str, job_id: str) -> Job:
        """Raises `NotFound`, for another workspace's and a deleted one as well."""
        job = self.jobs.get(job_id)
        if job.workspace != workspace or job.deleted_at:
            raise NotFound(f"there is no prediction {job_id[:64]}")
        return job

    def page(self, workspace: str, wanted: Filter, page: int, size: int) -> list[Job]:
        """The ``page``-th page of the last 7 days, newest first; the first is 1."""
        found = (job for job in self._newest(workspace, wanted) if wanted.takes(job))
        return list(islice(found, (page - 1) * size, page * size))

    def delete(self, workspace: str, ids: Sequence[str]) -> int:
        """Delete finished predictions, at the vendor too; how many there were.

        Raises `Conflict` when one of them is open, and `VendorUnavailable`; nothing was deleted here then.
        """
        found = self.jobs.get_all(list(dict.fromkeys(ids)))
        jobs = [job for job in found if job and job.workspace == workspace and not job.deleted_at]
        for job in jobs:
            if not job.is_final:
                raise Conflict(
                    f"prediction {job.id} is {job.state.value}; only a finished one can be deleted"
                )
        self._delete_upstream([row.upstream_id for job in jobs for row in job.submissions if row.upstream_id])
        for job in jobs:
            self.jobs.mark_deleted(job.id)
        return len(jobs)

    def erase(self, workspace: str, job_id: str) -> None:
        """As `delete`, and nothing of it is kept for what is owed: record, events and attempts go at once.

        Its archived files go as soon as a worker gets to them. Raises `NotFound` besides.
        """
        if self.jobs.get(job_id).workspace != workspace:
            raise NotFound(f"there is no prediction {job_id[:64]}")
        self.delete(workspace, [job_id])
        while (job := self.jobs.get_all([job_id])[0]) is not None:
            # Whoever has moved it meanwhile may have written another event.
            for each in job.events:
                self.store.run(FORGET, [each, 1])
            kept: list[Word] = [job.id, workspace, job.rev, job.own_endpoint, *job.events]
            self.store.run(PRUNE, kept, [rediskeys.job(job.id)])

    def _delete_upstream(self, ids: list[str]) -> None:
        """What the vendor does not know is gone already; one such must not keep the others."""
        try:
            if ids:
                self.vendor.delete(ids)
        except VendorRefused as error:
            if error.status != _NOT_FOUND:
                raise
            for each in ids if len(ids) > 1 else ():
                self._delete_upstream([each])

    def _newest(self, workspace: str, wanted: Filter) -> Iterator[Job]:
        least = max(self.clock() - LISTED_MS, _ms(wanted.created_after) or 0)
        most = _ms(wanted.created_before)
        span = (rediskeys.jobs(workspace), "+inf" if most is None else most, least)
        for start in range(0, 1_000_000_000, _AT_ONCE):
            ids = self._ids(span, start)
            yield from filter(None, self.jobs.get_all(ids))
            if len(ids) < _AT_ONCE:
                return

    def _ids(self, span: tuple[str, Any, int], start: int) -> list[str]:
        (ids,) = self.store.read(lambda pipe: pipe.zrevrangebyscore(*span, start=start, num=_AT_ONCE))
        return [one.decode() for one in ids]


def _ms(moment: dt.datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
