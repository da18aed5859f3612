"""The records of jobs, and the common way in which every verb moves one.

A verb reads a record, decides, and commits the move with what follows from it. When the record was moved
meanwhile, it reads again and decides again; a verb that finds nothing left to do returns without a write.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.eventtypes import FINAL_TYPES, PROCESSING
from schemas.states import JobState, Reason, check_job_move
from service import events, rediskeys
from service.errors import NotFound, Unreadable
from service.records import Job, Submission, changed, dump_job, load_job
from service.store import Change, StaleRecord, Store, Word

Op = tuple[Word, ...]
MAYBE_BILLED = "The outcome of this submission is unknown: the vendor may have made the task and billed it."


@dataclass(frozen=True)
class Context:
    """What a rule may know of the outside: the time (ms), fresh tokens, dice in [0, 1), and the limits.

    ``clock`` tells people when something was; ``time`` is the service's, in which everything is due.
    """

    clock: Callable[[], int]
    time: Callable[[], int]
    token: Callable[[], str]
    event_id: Callable[[], str]
    dice: Callable[[], float] = random.random
    max_in_flight: int = 100
    submit_for: float = 3600.0
    api_url: Callable[[], str] = str
    overdue_after: Callable[[str], float] = lambda _model: 900.0
    """Seconds after which a job of this model that says nothing is looked up."""
    tells_processing: Callable[[str], bool] = bool
    """Whether anybody in this workspace wants ``prediction.processing``; unasked, it is not written."""
    archives: bool = False
    """Whether the outputs of completed jobs are copied."""
    shown: Callable[[Job, str], Job] = lambda job, _base: job
    """The job with its outputs where they are kept, below a base URL."""


@dataclass(frozen=True)
class Decision:
    """The record as it should be, what else is written with it, and the event that tells of it."""

    job: Job
    ops: tuple[Op, ...] = ()
    event: str = ""
    guards: tuple[tuple[str, Word, Word], ...] = ()


class Ledger:
    """The jobs of every workspace."""

    def __init__(self, store: Store, context: Context) -> None:
        self.store = store
        self.context = context
        # Nobody has to be kept from guessing what names a change; it is to be nobody else's.
        self._name = context.token()[:16]
        self._changes = itertools.count()

    def get(self, job_id: str) -> Job:
        """Raises `NotFound`."""
        found = self.store.fetch("HMGET", rediskeys.job(job_id), "rev", "doc")
        rev, data = found
        if data is None:
            raise NotFound(f"there is no prediction {job_id[:64]}")
        return load_job(int(rev), data)

    def get_all(self, ids: list[str]) -> list[Job | None]:
        """In the order of ``ids``, in one round trip; None where there is none."""
        return [load_job(int(rev), data) if data else None for rev, data in self._documents(ids)]

    def _documents(self, ids: Sequence[str]) -> list[Any]:
        def ask(pipe: Any) -> None:
            for each in ids:
                pipe.hmget(rediskeys.job(each), "rev", "doc")

        return self.store.read(ask)

    def find(self, ids: Sequence[str]) -> dict[str, Job | None]:
        """By their ids; None where there is none. One that cannot be read is left out: it is for itself."""
        found: dict[str, Job | None] = {}
        for job_id, (rev, data) in zip(ids, self._documents(ids), strict=True):
            try:
                found[job_id] = load_job(int(rev), data) if data else None
            except Unreadable as error:
                tell_unreadable(job_id, error)
        return found

    def _failed(self, job: Job, reason: Reason, message: str) -> Decision:
        """A failure by our own word; a submission of unknown outcome may have been billed all the same."""
        if reason is not Reason.EXPIRED and any(map(is_open, job.submissions)):
            reason, message = Reason.OUTCOME_UNKNOWN, MAYBE_BILLED
        failed = changed(moved(job, JobState.FAILED), reason=reason, error=message)
        return self._ended(job, failed.noting(self.context.clock(), f"failed: {reason.value}"))

    def _ended(self, old: Job, new: Job) -> Decision:
        """The move into a final state: slot and images go, the event comes, the next job is let in."""
        now = self.context.clock()
        ops: tuple[Op, ...] = (
            ("ended", old.workspace, old.id, self.context.time()),
            *drop_blobs(old),
            *self._to_archive(new),
            self._admit(),
        )
        return Decision(changed(new, ended_at=now, blobs={}), ops, event=events.final_kind(new))

    def _taken(self, job: Job, upstream_id: str) -> Decision:
        """The vendor has the task: images go; it is looked up when nothing is heard for too long."""
        now, said = self.context.time(), self.context.clock()
        processing = moved(job, JobState.PROCESSING).noting(said, "processing", upstream_id=upstream_id)
        overdue = now + int(self.context.overdue_after(job.model) * 1000)
        ops = (
            *drop_blobs(job),
            *CALM,
            ("ZREM", rediskeys.UNCERTAIN, job.id),
            ("ZADD", rediskeys.WINDOW, now, job.id),
            self._ours(upstream_id),
            ("ZADD", rediskeys.SILENT, overdue, job.id),
            self._admit(),
        )
        told = self.context.tells_processing(job.workspace)
        return Decision(changed(processing, blobs={}), ops, event=PROCESSING if told else "")

    def _to_archive(self, job: Job) -> tuple[Op, ...]:
        wanted = self.context.archives and job.state is JobState.COMPLETED and job.uncopied
        return (("ZADD", rediskeys.ARCHIVE, self.context.time(), job.id),) if wanted else ()

    def _ours(self, upstream_id: str) -> Op:
        """The vendor's task is known to be a job's."""
        return ("ZADD", rediskeys.UPSTREAM, self.context.time(), upstream_id)

    def _wait(self, job: Job) -> Op:
        return ("wait", job.workspace, job.id, job.place)

    def _admit(self) -> Op:
        return ("admit", self.context.max_in_flight)

    def _change(self, job_id: str, decide: Callable[[Job], Decision | None], first: Job | None = None) -> Job:
        """``first``: the job as the caller has just read it."""
        while True:
            job, first = first or self.get(job_id), None
            decision = decide(job)
            if decision is None:
                return job
            try:
                return self._commit(decision, rev=job.rev)
            except StaleRecord:
                continue

    def _commit(self, decision: Decision, *, rev: int, token: str = "") -> Job:
        job, ops = decision.job, decision.ops
        if decision.event:
            base, ends = self.context.api_url(), decision.event in FINAL_TYPES
            told = events.about(
                self.context.shown(job, base),
                self.context.event_id(),
                decision.event,
                self.context.clock(),
                base,
                supersedes=job.last_word if ends else "",
            )
            job = changed(job, events=(*job.events, told.id))
            if ends:
                job = changed(job, last_word=told.id)
            ops = (*ops, told.op(job))
        key = rediskeys.job(job.id)
        change = Change(
            key,
            rev,
            token or f"{self._name}-{next(self._changes)}",
            (("HSET", key, "doc", dump_job(job), "state", f"{job.state} {job.workspace}"), *ops),
            decision.guards,
            subject=job.id,
        )
        self.store.commit(change)
        return changed(job, rev=rev + 1)


CALM: tuple[Op, ...] = (("HSET", rediskeys.VENDOR, "unknowns", 0), ("HDEL", rediskeys.VENDOR, "probe"))
"""What ends a pause of submissions: the vendor has answered for a task."""


def tell_unreadable(job_id: str, error: Unreadable) -> None:
    """To the log: the job is left as it is, and nobody waits for it."""
    logging.getLogger(__name__).warning("job.unreadable", extra={"job": job_id, "why": error.detail})


def is_open(row: Submission) -> bool:
    """Whether its task may exist, and has not ended as far as is known."""
    return not row.status and row.outcome in {"open", "accepted", "unknown"}


def moved(job: Job, new: JobState) -> Job:
    """The job in its new state; raises `IllegalMove` for a move that the table does not have."""
    check_job_move(job.state, job.reason, new)
    return changed(job, state=new)


def drop_blobs(job: Job) -> tuple[Op, ...]:
    """The writes that let go of the job's waiting images."""
    if not job.blobs:
        return ()
    keys = [rediskeys.blob(job.id, name) for name in job.blobs]
    return (("DEL", *keys), ("DECRBY", rediskeys.PENDING_BYTES, sum(job.blobs.values())))
