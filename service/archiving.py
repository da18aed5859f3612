"""Copies of a completed job's outputs, as far as the records know of them.

The vendor's files are gone after 7 days. Copying is claimed before it begins, by a number in the record; an
outcome applies only under its claim. What is copied, and the event that tells of it, are one change.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from schemas.eventtypes import ARCHIVED
from schemas.states import JobState
from service import rediskeys
from service.errors import NotFound, Unreadable
from service.ledger import Decision, Ledger, Op, tell_unreadable
from service.records import File, Job

KEPT_BY_THE_VENDOR_MS = 7 * 24 * 3600 * 1000
CLAIM_MS = 3600 * 1000
"""Longer than an attempt may take; a claim of a process that is gone is freed by the clock."""
AT_HAND = 64
FIRST_DELAY = 10.0
LONGEST_DELAY = 6 * 3600.0
DOUBLINGS = 12


class Archiving(Ledger):
    """The verbs of copying."""

    def begin_copy(self, job_id: str, incarnation: str) -> Job | None:
        """Claim the copying of a completed job's outputs. None: there is nothing to copy, or not yet.

        Raises `NotFound`.
        """
        claims = 0

        def decide(job: Job) -> Decision | None:
            nonlocal claims
            # A claim that somebody else's overtook is none.
            claims = 0
            now = self.context.time()
            due = self.store.fetch("ZSCORE", rediskeys.ARCHIVE, job_id)
            if due is None or float(due) > now:
                return None
            if not _wanted(job):
                return Decision(job, (("ZREM", rediskeys.ARCHIVE, job.id),))
            if now > job.ended_at + KEPT_BY_THE_VENDOR_MS:
                return self._given_up(job, "not archived: the vendor keeps files for 7 days")
            begun = replace(job, copies=job.copies + 1)
            claims = begun.copies
            ops = (
                ("ZADD", rediskeys.ARCHIVE, now + CLAIM_MS, job.id),
                ("HSET", rediskeys.ARCHIVING, job.id, incarnation),
            )
            return Decision(begun, ops)

        job = self._change(job_id, decide)
        return job if claims else None

    def due_copy(self) -> str | None:
        """A job whose outputs may be copied now: any of the first, since others ask at the same time."""
        now = self.context.time()
        ids = self.store.fetch("ZRANGE", rediskeys.ARCHIVE, "-inf", now, "BYSCORE", "LIMIT", 0, AT_HAND)
        return ids[int(self.context.dice() * len(ids))].decode() if ids else None

    def still_copying(self, claimed: Job) -> bool:
        """Whether the claim holds: nobody has freed it, and the job was not deleted. Raises `NotFound`."""
        rev = self.store.fetch("HGET", rediskeys.job(claimed.id), "rev")
        unmoved = rev is not None and int(rev) == claimed.rev
        return unmoved or _holds(self.get(claimed.id), claimed)

    def copied(self, claimed: Job, files: tuple[File, ...]) -> Job:
        """Every output that can be copied is: the links and the event that tells of them."""

        def decide(job: Job) -> Decision | None:
            if not _holds(job, claimed):
                return _late(job, claimed)
            return self._archived(replace(job, files=files))

        return self._change(claimed.id, decide, claimed)

    def not_copied(self, claimed: Job, files: tuple[File, ...], why: str, *, again: bool, now: bool) -> Job:
        """Something is missing, all but ``files``: tried ``again`` later, or at once; else never."""

        def decide(job: Job) -> Decision | None:
            if not _holds(job, claimed):
                return _late(job, claimed)
            kept, line = replace(job, files=files), f"not archived: {why}"
            due = self.context.time() + (0 if now else self._delay(job))
            if not again or due > job.ended_at + KEPT_BY_THE_VENDOR_MS:
                return self._given_up(kept, line)
            if all(line != told for _, told in job.timeline):
                kept = kept.noting(self.context.clock(), line)
            return Decision(kept, (*_released(job), ("ZADD", rediskeys.ARCHIVE, due, job.id)))

        return self._change(claimed.id, decide, claimed)

    def copier_gone(self, incarnation: str) -> None:
        """Free every claim of a process that is gone: its jobs are due again at once."""
        (claims,) = self.store.read(lambda pipe: pipe.hgetall(rediskeys.ARCHIVING))
        for job_id, holder in claims.items():
            if holder.decode() == incarnation:
                self._free(job_id.decode())

    def _free(self, job_id: str) -> None:
        def decide(job: Job) -> Decision | None:
            again: tuple[Op, ...] = (("ZADD", rediskeys.ARCHIVE, self.context.time(), job.id),)
            return Decision(job, (*_released(job), *(again if _wanted(job) else ())))

        try:
            self._change(job_id, decide)
        except NotFound:
            self.forget_copy(job_id)
        except Unreadable as error:
            tell_unreadable(job_id, error)

    def forget_copy(self, job_id: str) -> None:
        """The record was pruned while its outputs were copied."""
        self.store.write(lambda pipe: pipe.hdel(rediskeys.ARCHIVING, job_id).zrem(rediskeys.ARCHIVE, job_id))

    def recall_copies(self, start: int, count: int) -> int:
        """Jobs that are to be copied and have no place among those any more: back to it.

        Looks at ``count`` of those that ended lately, from the place ``start``; where to go on, 0: from the
        beginning.
        """
        now = self.context.time()
        since = now - KEPT_BY_THE_VENDOR_MS
        (ids,) = self.store.read(
            lambda pipe: pipe.zrangebyscore(rediskeys.FINAL, since, "+inf", start, count)
        )
        jobs = self.find([each.decode() for each in ids])
        lost = {job.id: now for job in jobs.values() if job is not None and _wanted(job)}
        if lost:
            # Whoever was copied just now has its place taken back by the bell.
            self.store.write(lambda pipe: pipe.zadd(rediskeys.ARCHIVE, lost, nx=True))
        return start + count if len(ids) == count else 0

    def may_discard(self, job_id: str) -> bool:
        """Whether the copies can be removed: nobody copies, and the record is deleted or gone."""
        (copying,) = self.store.read(lambda pipe: pipe.hexists(rediskeys.ARCHIVING, job_id))
        job = self.get_all([job_id])[0]
        return not copying and (job is None or bool(job.deleted_at))

    def _discard(self, job: Job) -> tuple[Op, ...]:
        """The writes that come with a deletion: no copy is begun any more, and those there are go."""
        if not job.copies:
            return (("ZREM", rediskeys.ARCHIVE, job.id),)
        now = self.context.time()
        return (("ZREM", rediskeys.ARCHIVE, job.id), ("ZADD", rediskeys.DISCARD, now, job.id))

    def _archived(self, job: Job) -> Decision:
        return Decision(job.noting(self.context.clock(), "archived"), _released(job), event=ARCHIVED)

    def _given_up(self, job: Job, line: str) -> Decision:
        noted = job.noting(self.context.clock(), line, copying_ended=True)
        logging.getLogger(__name__).warning("job.not_archived", extra={"job": job.id, "why": line})
        return Decision(noted, _released(job), event=ARCHIVED if job.files else "")

    def _delay(self, job: Job) -> int:
        """Milliseconds until the next attempt."""
        spread = 0.8 + 0.4 * self.context.dice()
        return int(1000 * min(FIRST_DELAY * 2.0 ** min(job.copies - 1, DOUBLINGS), LONGEST_DELAY) * spread)


def _wanted(job: Job) -> bool:
    wanted = job.state is JobState.COMPLETED and not job.deleted_at and not job.copying_ended
    return wanted and bool(job.uncopied)


def _holds(job: Job, claimed: Job) -> bool:
    return job.copies == claimed.copies and _wanted(job)


def _released(job: Job) -> tuple[Op, ...]:
    return (("ZREM", rediskeys.ARCHIVE, job.id), ("HDEL", rediskeys.ARCHIVING, job.id))


def _late(job: Job, claimed: Job) -> Decision | None:
    """An outcome that nobody waits for any more: the claim ends with it, if it is still the last one."""
    return Decision(job, _released(job)) if job.copies == claimed.copies else None
