"""What happens to a job: a verb for each move. Nobody but this moves a job."""

from __future__ import annotations

import contextlib

from schemas.states import HOLDS_SLOT, JobState
from service import rediskeys
from service.archiving import Archiving
from service.errors import Conflict, NotFound
from service.ledger import Decision, Op
from service.records import Job
from service.settling import Settling
from service.store import Change, StaleRecord
from service.submitting import Submitting


class Jobs(Submitting, Settling, Archiving):
    """Every verb on jobs; here those of the window and of the caller."""

    def let_one_pass(self) -> None:
        """Submissions are paused and the vendor answers again: one job may try."""
        self._of_vendor(("probe",), self._admit())

    def let_in(self) -> None:
        """Fill the window; for when nothing else that happens would."""
        self._of_vendor(self._admit())

    def _of_vendor(self, *ops: Op) -> None:
        (rev,) = self.store.read(lambda pipe: pipe.hget(rediskeys.VENDOR, "rev"))
        try:
            self.store.commit(Change(rediskeys.VENDOR, int(rev or 0), self.context.token(), ops))
        except StaleRecord:
            return

    def wait_again(self, job_id: str) -> Job:
        """A refused job's delay is over: back to its place in the waiting set."""

        def decide(job: Job) -> Decision | None:
            back: tuple[Op, ...] = (("ZREM", rediskeys.LATER, job.id),)
            if job.state is JobState.QUEUED:
                back = (*back, self._wait(job), self._admit())
            return Decision(job, back)

        return self._change(job_id, decide)

    def touch(self, job_id: str) -> None:
        """Write a record anew as it is, so that everything stands in it that this version keeps there."""
        with contextlib.suppress(NotFound):
            self._change(job_id, Decision)

    def leave(self, job_id: str) -> None:
        """A slot held by a job that does not need it (the record says so) is given back."""

        def decide(job: Job) -> Decision | None:
            if job.state is JobState.QUEUED or job.state in HOLDS_SLOT:
                return None
            return Decision(job, (("leave", job.id), self._admit()))

        self._change(job_id, decide)

    def mark_deleted(self, job_id: str) -> Job:
        """The caller deleted it: gone from every list, pruned as soon as nothing of it is owed.

        Raises `Conflict` naming the state of a job that is not final.
        """

        def decide(job: Job) -> Decision | None:
            if not job.is_final:
                raise Conflict(
                    f"prediction {job.id} is {job.state.value}; only a finished one can be deleted"
                )
            if job.deleted_at:
                return None
            ops = (("ZADD", rediskeys.FINAL, 0, job.id), *self._discard(job))
            return Decision(job.noting(now := self.context.clock(), "deleted", deleted_at=now), ops)

        return self._change(job_id, decide)
