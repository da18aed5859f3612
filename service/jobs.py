"""What happens to a job: a verb for each move. Nobody but this module moves a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.outcomes import WORKER_DIED, Outcome, SubmissionOutcome, classify
from schemas.states import HOLDS_SLOT, PRESUMED, JobState, Reason
from service import events, rediskeys
from service.errors import Conflict, NotFound
from service.ledger import Context, Decision, Ledger, Op, drop_blobs, moved
from service.records import Job, Submission, load_job
from service.store import Change, StaleRecord, Store, Word

if TYPE_CHECKING:
    from schemas.predictions import Prediction

MAYBE_BILLED = "The outcome of this submission is unknown: the vendor may have made the task and billed it."
LONGEST_REFUSAL = 60.0
UNKNOWNS_THAT_PAUSE = 3
"""Unknown outcomes in a row after which nothing is submitted until the vendor has answered a probe."""

_CALM: tuple[Op, ...] = (("HSET", rediskeys.VENDOR, "unknowns", 0), ("HDEL", rediskeys.VENDOR, "probe"))


class Jobs(Ledger):
    """The verbs on jobs."""

    def __init__(self, store: Store, context: Context, ring: Callable[[list[str]], None]) -> None:
        super().__init__(store, context, ring)
        self._conclusions = {
            Outcome.ACCEPTED: self._accepted,
            Outcome.REFUSED: self._refused,
            Outcome.FAILED: self._refused_for_good,
            Outcome.UNKNOWN: self._unknown,
        }

    def add(self, job: Job, ops: tuple[Op, ...], guards: tuple[tuple[str, Word, Word], ...]) -> Job:
        """Keep a new job and let it wait. Raises `StaleRecord` with the kind of guard that fails."""
        job = job.noting(job.created_at, "accepted")
        wait: tuple[Op, ...] = (
            ("ZADD", rediskeys.jobs(job.workspace), job.created_at, job.id),
            ("wait", job.workspace, job.id, job.place),
            self._admit(),
        )
        self._commit(Decision(job, (*ops, *wait), guards=guards), rev=0)
        return job

    # -- submission -----------------------------------------------------------------------------------

    def admitted(self, job_id: str) -> Job | None:
        """The job, when it may be submitted now: queued and let into the window. None: nothing to do."""
        asked = self.store.read(
            lambda pipe: (
                pipe.hmget(rediskeys.job(job_id), "rev", "doc")
                .zscore(rediskeys.WINDOW, job_id)
                .hmget(rediskeys.VENDOR, "unknowns", "probe")
            )
        )
        (rev, data), admitted, (unknowns, probe) = asked
        if data is None or admitted is None:
            return None
        job = load_job(int(rev), data)
        if job.state is not JobState.QUEUED:
            return None
        if int(unknowns or 0) >= UNKNOWNS_THAT_PAUSE and (probe or b"").decode() != job_id:
            self._give_back(job)
            return None
        return job

    def _give_back(self, job: Job) -> None:
        """Submissions are paused: the slot goes back, the job waits at its old place."""
        ops = (("leave", job.id), ("wait", job.workspace, job.id, job.place))
        try:
            self._commit(Decision(job, ops), rev=job.rev)
        except StaleRecord:
            return

    def begin(self, job: Job, token: str, incarnation: str) -> Job | None:
        """Write SUBMITTING under ``token``, before anything goes out. None: somebody else moved it."""
        row = Submission(token, self.context.clock(), incarnation)
        submitting = moved(job, JobState.SUBMITTING).noting(
            row.at, "submitting", submissions=(*job.submissions, row)
        )
        guard = ("member", rediskeys.WINDOW, job.id)
        try:
            self._commit(Decision(submitting, guards=(guard,)), rev=job.rev, token=token)
        except StaleRecord:
            return None
        return replace(submitting, rev=job.rev + 1)

    def conclude(self, job_id: str, token: str, found: SubmissionOutcome) -> Job:
        """What became of the submission of ``token``. A job that its callback moved first stays as it is."""

        def decide(job: Job) -> Decision | None:
            row = job.submission_by(token)
            if row is None or row.outcome not in {"open", "unknown"}:
                return None
            told = job.with_submission(
                token, outcome=found.outcome.value, upstream_id=found.upstream_id or ""
            )
            undecided = job.state is JobState.SUBMITTING or (
                job.state is JobState.UNCERTAIN and found.outcome is not Outcome.UNKNOWN
            )
            if not undecided or job.submission is not row:
                return Decision(replace(told, upstream_id=told.upstream_id or found.upstream_id or ""))
            return self._conclusions[found.outcome](told, found)

        return self._change(job_id, decide)

    def refuse(self, job_id: str, message: str, retry_after: float | None) -> Job:
        """An admitted job that could not be prepared: nothing was sent, it is tried again later."""

        def decide(job: Job) -> Decision | None:
            return self._later(job, message, retry_after) if job.state is JobState.QUEUED else None

        return self._change(job_id, decide)

    def give_up_on(self, job_id: str, message: str) -> Job:
        """An admitted job that can never be submitted as it is."""

        def decide(job: Job) -> Decision | None:
            return self._failed(job, Reason.REFUSED, message) if job.state is JobState.QUEUED else None

        return self._change(job_id, decide)

    def lose(self, job_id: str, token: str) -> Job:
        """The worker that held ``token`` is gone: whether its POST went out is unknown."""
        return self.conclude(job_id, token, classify(WORKER_DIED))

    def _accepted(self, job: Job, found: SubmissionOutcome) -> Decision:
        now = self.context.clock()
        processing = moved(job, JobState.PROCESSING).noting(
            now, "processing", upstream_id=found.upstream_id or ""
        )
        ops = (
            *drop_blobs(job),
            *_CALM,
            ("ZREM", rediskeys.UNCERTAIN, job.id),
            ("ZADD", rediskeys.WINDOW, now, job.id),
            self._admit(),
        )
        told = self.context.tells_processing(job.workspace)
        return Decision(replace(processing, blobs={}), ops, event=events.PROCESSING if told else "")

    def _refused(self, job: Job, found: SubmissionOutcome) -> Decision:
        return self._later(job, found.message, found.retry_after)

    def _later(self, job: Job, message: str, retry_after: float | None) -> Decision:
        now = self.context.clock()
        spread = 0.8 + 0.4 * self.context.dice()
        delay = max(min(2.0**job.refusals, LONGEST_REFUSAL) * spread, retry_after or 0.0)
        if now + delay * 1000 > job.created_at + self.context.submit_for * 1000:
            return self._failed(job, Reason.NEVER_SUBMITTED, f"It could not be submitted in time: {message}")
        waiting = replace(job, state=JobState.QUEUED, refusals=job.refusals + 1)
        ops = (
            ("leave", job.id),
            ("ZREM", rediskeys.UNCERTAIN, job.id),
            ("ZADD", rediskeys.LATER, now + int(delay * 1000), job.id),
            ("HDEL", rediskeys.VENDOR, "probe"),
            self._admit(),
        )
        return Decision(waiting.noting(now, f"refused, tried again later: {message}"), ops)

    def _refused_for_good(self, job: Job, found: SubmissionOutcome) -> Decision:
        decision = self._failed(job, Reason.REFUSED, found.message)
        return replace(decision, ops=(*_CALM, *decision.ops))

    def _unknown(self, job: Job, found: SubmissionOutcome) -> Decision:
        now = self.context.clock()
        uncertain = moved(job, JobState.UNCERTAIN).noting(now, f"uncertain: {found.message}")
        ops = (
            ("HINCRBY", rediskeys.VENDOR, "unknowns", 1),
            ("HDEL", rediskeys.VENDOR, "probe"),
            ("leave", job.id),
            ("ZADD", rediskeys.UNCERTAIN, now, job.id),
            self._admit(),
        )
        return Decision(uncertain, ops)

    # -- the vendor's word ----------------------------------------------------------------------------

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
        return replace(decision, ops=(*_CALM, *decision.ops))

    def let_one_pass(self) -> None:
        """Submissions are paused and the vendor answers again: one job may try."""
        (rev,) = self.store.read(lambda pipe: pipe.hget(rediskeys.VENDOR, "rev"))
        ops: tuple[Op, ...] = (("HSET", rediskeys.VENDOR, "probe", "1"), self._admit())
        change = Change(rediskeys.VENDOR, int(rev or 0), self.context.token(), ops)
        try:
            self.ring(self.store.commit(change))
        except StaleRecord:
            return

    # -- time -----------------------------------------------------------------------------------------

    def presume(self, job_id: str, reason: Reason) -> Job:
        """Nothing was heard for too long: ``reason`` is outcome_unknown or expired."""
        expected = JobState.UNCERTAIN if reason is Reason.OUTCOME_UNKNOWN else JobState.PROCESSING

        def decide(job: Job) -> Decision | None:
            return self._failed(job, reason, MAYBE_BILLED) if job.state is expected else None

        return self._change(job_id, decide)

    def wait_again(self, job_id: str) -> Job:
        """A refused job's delay is over: back to its place in the waiting set."""

        def decide(job: Job) -> Decision | None:
            back: tuple[Op, ...] = (("ZREM", rediskeys.LATER, job.id),)
            if job.state is JobState.QUEUED:
                back = (*back, ("wait", job.workspace, job.id, job.place), self._admit())
            return Decision(job, back)

        return self._change(job_id, decide)

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
            ops = (("ZADD", rediskeys.FINAL, 0, job.id),)
            return Decision(job.noting(now := self.context.clock(), "deleted", deleted_at=now), ops)

        return self._change(job_id, decide)


def _open(row: Submission) -> bool:
    return not row.status and row.outcome in {"open", "accepted", "unknown"}
