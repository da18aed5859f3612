"""A job's way into the vendor: accepted, let in, begun under a token, concluded."""

from __future__ import annotations

from dataclasses import replace

from schemas.outcomes import WORKER_DIED, Outcome, SubmissionOutcome, classify
from schemas.states import JobState, Reason
from service import rediskeys
from service.ledger import CALM, Context, Decision, Ledger, Op, moved
from service.records import Job, Submission, changed, load_job
from service.store import StaleRecord, Store, Word

LONGEST_REFUSAL = 60.0
DOUBLINGS = 6
UNKNOWNS_THAT_PAUSE = 3
"""Unknown outcomes in a row after which nothing is submitted until the vendor has answered a probe."""
SLOW_DOWN = "slow_down"
"""The row of the outcomes' table that the vendor's 429 falls into."""


class Submitting(Ledger):
    """The verbs from acceptance to the vendor's answer."""

    def __init__(self, store: Store, context: Context) -> None:
        super().__init__(store, context)
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
            ("ZADD", rediskeys.OPEN_JOBS, job.place, job.id),
            self._wait(job),
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
                .hmget(rediskeys.VENDOR, "unknowns", "probe", "not_before")
            )
        )
        (rev, data), admitted, (unknowns, probe, not_before) = asked
        if data is None or admitted is None:
            return None
        job = load_job(int(rev), data)
        if job.state is not JobState.QUEUED:
            return None
        paused = int(unknowns or 0) >= UNKNOWNS_THAT_PAUSE and (probe or b"").decode() != job_id
        if paused or int(not_before or 0) > self.context.time():
            self._give_back(job)
            return None
        return job

    def _give_back(self, job: Job) -> None:
        """Nothing is submitted just now: the slot goes back, the job waits at its old place."""
        ops = (("leave", job.id), self._wait(job))
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
        return changed(submitting, rev=job.rev + 1)

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
                return Decision(changed(told, upstream_id=told.upstream_id or found.upstream_id or ""))
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
        decision = self._taken(job, found.upstream_id or "")
        return replace(decision, ops=(*decision.ops[:-1], self._grow(), decision.ops[-1]))

    def _refused(self, job: Job, found: SubmissionOutcome) -> Decision:
        return self._later(job, found.message, found.retry_after, slow=found.row == SLOW_DOWN)

    def _later(self, job: Job, message: str, retry_after: float | None, *, slow: bool = False) -> Decision:
        """Nothing was taken: the slot goes back. A 429 is about all jobs, everything else about this one."""
        now = self.context.time()
        since = job.refused_since or now
        spread = 0.8 + 0.4 * self.context.dice()
        delay = int(
            1000 * max(min(2.0 ** min(job.refusals, DOUBLINGS), LONGEST_REFUSAL) * spread, retry_after or 0.0)
        )
        last = since + int(self.context.submit_for * 1000)
        if now >= last:
            return self._failed(job, Reason.NEVER_SUBMITTED, f"It could not be submitted in time: {message}")
        queued = changed(job, state=JobState.QUEUED, refusals=job.refusals + 1, refused_since=since)
        again: tuple[Op, ...] = (("ZADD", rediskeys.LATER, min(now + delay, last), job.id),)
        if slow:
            again = (self._wait(job), ("slow", self.context.max_in_flight, delay))
        ops = (
            ("leave", job.id),
            ("ZREM", rediskeys.UNCERTAIN, job.id),
            *again,
            ("HDEL", rediskeys.VENDOR, "probe"),
            self._admit(),
        )
        return Decision(queued.noting(self.context.clock(), f"refused, tried again later: {message}"), ops)

    def _grow(self) -> Op:
        return ("grow", self.context.max_in_flight)

    def _refused_for_good(self, job: Job, found: SubmissionOutcome) -> Decision:
        decision = self._failed(job, Reason.REFUSED, found.message)
        return replace(decision, ops=(*CALM, *decision.ops))

    def _unknown(self, job: Job, found: SubmissionOutcome) -> Decision:
        now = self.context.clock()
        uncertain = moved(job, JobState.UNCERTAIN).noting(now, f"uncertain: {found.message}")
        ops = (
            ("HINCRBY", rediskeys.VENDOR, "unknowns", 1),
            ("HDEL", rediskeys.VENDOR, "probe"),
            ("leave", job.id),
            ("ZADD", rediskeys.UNCERTAIN, self.context.time(), job.id),
            self._admit(),
        )
        return Decision(uncertain, ops)
