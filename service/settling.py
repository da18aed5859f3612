"""The vendor's word about a job, and what is assumed when it never comes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.states import PRESUMED, JobState, Reason
from service.errors import Conflict, NotFound
from service.ledger import CALM, Decision, Ledger, moved
from service.records import Job, Submission

if TYPE_CHECKING:
    from schemas.predictions import Prediction

MAYBE_BILLED = "The outcome of this submission is unknown: the vendor may have made the task and billed it."


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
            if not word.final or row.status:
                return None
            heard = job.with_submission(token, status=word.status, upstream_id=word.id, outcome="accepted")
            return self._heard(heard, word)

        return self._change(job_id, decide, first)

    def _heard(self, job: Job, word: Prediction) -> Decision:
        now = self.context.clock()
        if job.is_final and job.reason not in PRESUMED:
            return Decision(job.noting(now, f"another {word.status} by {word.id}, kept aside"))
        if not word.completed and any(_open(row) for row in job.submissions):
            return Decision(job.noting(now, f"{word.status} by {word.id}, another submission is open"))
        target = JobState.COMPLETED if word.completed else JobState.FAILED
        told = replace(
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
        return replace(decision, ops=(*CALM, *decision.ops))

    def presume(self, job_id: str, reason: Reason) -> Job:
        """Nothing was heard for too long: ``reason`` is outcome_unknown or expired."""
        expected = JobState.UNCERTAIN if reason is Reason.OUTCOME_UNKNOWN else JobState.PROCESSING

        def decide(job: Job) -> Decision | None:
            return self._failed(job, reason, MAYBE_BILLED) if job.state is expected else None

        return self._change(job_id, decide)


def _open(row: Submission) -> bool:
    return not row.status and row.outcome in {"open", "accepted", "unknown"}
