"""The vendor's word about a job, and what is assumed when it never comes."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.states import PRESUMED, JobState, Reason
from service import rediskeys
from service.errors import Conflict, NotFound
from service.ledger import CALM, MAYBE_BILLED, Decision, Ledger, Op, is_open, moved
from service.records import Job, Submission, changed

if TYPE_CHECKING:
    from schemas.predictions import Prediction

SAMPLES = 200
"""Durations that are kept for each model."""
EXPIRES_AFTER_MS = 24 * 3600 * 1000
LONGEST_INTERVAL = 3600.0
MOST_RESUBMISSIONS = 1
LOOKED = "looked up"


class Settling(Ledger):
    """The verbs that end a job."""

    def settle(self, job_id: str, token: str, word: Prediction, first: Job | None = None) -> Job:
        """The vendor's signed word about the task of ``token``; one that was heard before changes nothing.

        Raises `NotFound` for a token of no submission, `Conflict` for another task's prediction.
        """

        def decide(job: Job) -> Decision | None:
            row = job.submission_by(token)
            if row is None:
                raise NotFound("there is no such submission")
            if row.upstream_id not in {"", word.id}:
                raise Conflict(f"this submission's prediction is {row.upstream_id}, not {word.id}")
            # A task that has failed and completes after all: its film is there, and paid for.
            if not word.final or (row.status and not (word.completed and row.status != word.status)):
                return None
            heard = job.with_submission(token, status=word.status, upstream_id=word.id, outcome="accepted")
            decision = self._heard(heard, word)
            if row.upstream_id:
                return decision
            return replace(decision, ops=(*decision.ops, self._ours(word.id)))

        return self._change(job_id, decide, first)

    def _heard(self, job: Job, word: Prediction) -> Decision:
        now = self.context.clock()
        if job.is_final and job.reason not in PRESUMED:
            return self._kept_aside(job, word)
        if not word.completed and (job.state is JobState.QUEUED or any(map(is_open, job.submissions))):
            return self._left_to_another(job, word)
        target = JobState.COMPLETED if word.completed else JobState.FAILED
        told = changed(
            moved(job, target),
            reason=None if word.completed else Reason.VENDOR,
            upstream_id=word.id,
            vendor_status=word.status,
            outputs=word.outputs,
            nsfw=word.has_nsfw_contents,
            error=word.error,
            code=word.code,
            execution_time=word.execution_time,
            timings=dict(word.timings or {}),
        )
        decision = self._ended(job, told.noting(now, word.status))
        return replace(decision, ops=(*CALM, *_duration(job, word, now), *decision.ops))

    def _left_to_another(self, job: Job, word: Prediction) -> Decision:
        """A failure while another submission's task may exist: that one decides, and is asked after."""
        now, said = self.context.time(), self.context.clock()
        noted = job.noting(said, f"{word.status} by {word.id}, another submission is open")
        told_of = job.submission is not None and job.submission.upstream_id == word.id
        if not told_of or job.state not in {JobState.SUBMITTING, JobState.PROCESSING}:
            return Decision(noted)
        known = next((row.upstream_id for row in job.submissions if is_open(row) and row.upstream_id), "")
        if known and job.state is JobState.SUBMITTING:
            return self._taken(noted, known)
        if known:
            due = now + int(self.context.overdue_after(job.model) * 1000)
            return Decision(changed(noted, upstream_id=known), (("ZADD", rediskeys.SILENT, due, job.id),))
        ops = (
            ("leave", job.id),
            ("ZREM", rediskeys.SILENT, job.id),
            ("ZADD", rediskeys.UNCERTAIN, now, job.id),
            self._admit(),
        )
        return Decision(moved(noted, JobState.UNCERTAIN), ops)

    def _kept_aside(self, job: Job, word: Prediction) -> Decision:
        """A second word about a job that has ended: paid for twice, if it completed; the operator is told."""
        files = "".join(f" {each}" for each in word.outputs)
        noted = job.noting(self.context.clock(), f"another {word.status} by {word.id}, kept aside{files}")
        if not word.completed:
            return Decision(noted)
        logging.getLogger(__name__).warning("job.completed_twice", extra={"job": job.id, "upstream": word.id})
        return Decision(noted, (("HINCRBY", rediskeys.VENDOR, "duplicates", 1),))

    def presume_unknown(self, job_id: str) -> Job:
        """The outcome stayed unknown for too long: a failure that yields to the vendor's word."""

        def decide(job: Job) -> Decision | None:
            uncertain = job.state is JobState.UNCERTAIN
            return self._failed(job, Reason.OUTCOME_UNKNOWN, MAYBE_BILLED) if uncertain else None

        return self._change(job_id, decide)

    def begin_look(self, job_id: str) -> Job | None:
        """Claim the next look at a silent job, before it is made. None: there is nothing to look for."""
        claimed: list[Job] = []

        def decide(job: Job) -> Decision | None:
            if job.state is not JobState.PROCESSING or not job.upstream_id or job.submission is None:
                return Decision(job, (("ZREM", rediskeys.SILENT, job.id),))
            now = self.context.clock()
            interval = min(self.context.overdue_after(job.model) * 2**job.looks, LONGEST_INTERVAL)
            looked = job.noting(now, LOOKED, looks=job.looks + 1)
            claimed.append(looked)
            due = self.context.time() + int(interval * 1000)
            return Decision(looked, (("ZADD", rediskeys.SILENT, due, job.id),))

        self._change(job_id, decide)
        return claimed[-1] if claimed else None

    def heard_nothing(self, job_id: str, *, answered: bool) -> Job:
        """A look told nothing, though the vendor ``answered``: after a day the job is presumed failed.

        But never without a look that was made after that day: we may have been away for longer. One that was
        not answered does not count alone.
        """

        def decide(job: Job) -> Decision | None:
            row = job.submission
            if job.state is not JobState.PROCESSING or row is None:
                return None
            late = [at for at, what in job.timeline if what == LOOKED and at - row.at > EXPIRES_AFTER_MS]
            if len(late) < (1 if answered else 2):
                return None
            return self._failed(job, Reason.EXPIRED, MAYBE_BILLED)

        return self._change(job_id, decide)

    def resubmit(self, job_id: str) -> Job:
        """Try an uncertain job once more, as a submission of its own; the first may still report."""

        def decide(job: Job) -> Decision | None:
            if job.state is not JobState.UNCERTAIN:
                return None
            if len(job.submissions) > MOST_RESUBMISSIONS:
                return self._failed(job, Reason.OUTCOME_UNKNOWN, MAYBE_BILLED)
            return self._queued_again(job, "submitted again: its outcome stayed unknown")

        return self._change(job_id, decide)

    def not_made(self, job_id: str, by: str, *, submit: bool, of: frozenset[str] | None = None) -> Job:
        """It is known (``by`` whom) that no task was made: submit it again, or fail it as never submitted.

        ``of``: the tokens of which it is known; where others are open meanwhile, nothing is.
        """

        def decide(job: Job) -> Decision | None:
            doubted = open_tokens(job)
            if job.state is not JobState.UNCERTAIN or (of is not None and of != doubted):
                return None
            cleared = job
            for token in doubted:
                cleared = cleared.with_submission(token, outcome="refused")
            if submit:
                return self._queued_again(cleared, f"{by}: no task was made")
            ended = next((row.status for row in job.submissions if row.status), "")
            if ended:
                return self._failed(cleared, Reason.VENDOR, f"The vendor's task ended as {ended}.")
            message = "It was not submitted: the vendor has made no task for it."
            return self._failed(cleared, Reason.NEVER_SUBMITTED, message)

        return self._change(job_id, decide)

    def was_made(self, job_id: str, word: Prediction) -> Job:
        """The operator says that the vendor's prediction ``word`` is this job's.

        Raises `Conflict` for a job of which that is not in question.
        """

        def decide(job: Job) -> Decision | None:
            row = job.submission_of(word.id)
            in_question = job.state is JobState.UNCERTAIN or job.reason in PRESUMED
            if row is None or not in_question:
                raise Conflict(
                    f"prediction {job.id} is {job.state.value}; only an uncertain one can be resolved"
                )
            told = job.with_submission(row.token, outcome="accepted", upstream_id=word.id, status="")
            if word.final:
                decision = self._heard(told.with_submission(row.token, status=word.status), word)
                return replace(decision, ops=(*decision.ops, self._ours(word.id)))
            if job.is_final:
                raise Conflict(f"the vendor's prediction {word.id} is {word.status}; wait until it has ended")
            return self._taken(told, word.id)

        return self._change(job_id, decide)

    def doubt(self, job_id: str) -> Job:
        """The store was set back to an earlier state: what was done about this job since is not known.

        One that waited or was being submitted is uncertain; one at the vendor is looked up at once.
        """

        def decide(job: Job) -> Decision | None:
            now = self.context.clock()
            if job.state is JobState.PROCESSING:
                return Decision(job, (("ZADD", rediskeys.SILENT, self.context.time(), job.id),))
            if job.state is JobState.QUEUED:
                # At any time since its acceptance, by a process that is not known any more.
                row = Submission(self.context.token(), job.created_at, "", "unknown")
                job = changed(job, submissions=(*job.submissions, row))
            elif job.state is JobState.SUBMITTING and job.submission is not None:
                job = job.with_submission(job.submission.token, outcome="unknown")
            else:
                return None
            ops = (
                ("leave", job.id),
                ("ZREM", rediskeys.LATER, job.id),
                ("ZREM", rediskeys.waiting(job.workspace), job.id),
                ("ZADD", rediskeys.UNCERTAIN, self.context.time(), job.id),
            )
            return Decision(
                moved(job, JobState.UNCERTAIN).noting(now, "uncertain: the store was set back"), ops
            )

        return self._change(job_id, decide)

    def _queued_again(self, job: Job, why: str) -> Decision:
        queued = moved(job, JobState.QUEUED).noting(self.context.clock(), why)
        return Decision(queued, (("ZREM", rediskeys.UNCERTAIN, job.id), self._wait(job), self._admit()))


def _duration(job: Job, word: Prediction, now: int) -> tuple[Op, ...]:
    if not word.completed or job.submission is None:
        return ()
    key = rediskeys.took(job.model)
    return (("LPUSH", key, now - job.submission.at), ("LTRIM", key, 0, SAMPLES - 1))


def open_tokens(job: Job) -> frozenset[str]:
    """Of the submissions whose task may exist and has not ended."""
    return frozenset(row.token for row in job.submissions if is_open(row))
