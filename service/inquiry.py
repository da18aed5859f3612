"""Asking the vendor about jobs that say nothing: the silent ones, and those of unknown outcome."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError

from schemas.predictions import Prediction, read_prediction
from schemas.states import PRESUMED, JobState
from service import rediskeys
from service.errors import Conflict, HookreelError, NotFound, Unavailable, VendorUnavailable
from service.events import timestamp
from service.jobs import Jobs
from service.ledger import is_open
from service.records import Job
from service.settling import MOST_RESUBMISSIONS, open_tokens
from service.store import Store
from service.vendor import Vendor

FIRST_LOOK = 900.0
"""Seconds, for a model of which too little is known."""
SOONEST_LOOK = 120.0
ENOUGH = 20
TIMES_P99 = 3.0
REMEMBERED = 60.0
MARGIN_MS = 600_000
"""How far the vendor's clock may be from ours: twice as far as its callbacks' signatures bear."""
LISTED_MS = 6 * 24 * 3600 * 1000
"""The vendor's list goes back 7 days."""


class Patience:
    """When a job that says nothing is overdue: thrice the 99th percentile of its model's past jobs."""

    def __init__(
        self, store: Store, fixed: float | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self.fixed = fixed
        self.monotonic = monotonic
        self._known: dict[str, tuple[float, float]] = {}

    def overdue_after(self, model: str) -> float:
        """Seconds since the submission."""
        if self.fixed is not None:
            return self.fixed
        until, seconds = self._known.get(model, (0.0, 0.0))
        if self.monotonic() >= until:
            (took,) = self.store.read(lambda pipe: pipe.lrange(rediskeys.took(model), 0, -1))
            seconds = overdue([int(each) for each in took])
            self._known[model] = (self.monotonic() + REMEMBERED, seconds)
        return seconds


def overdue(took_ms: list[int]) -> float:
    """Seconds, from the durations of past jobs in ms."""
    if len(took_ms) < ENOUGH:
        return FIRST_LOOK
    p99 = sorted(took_ms)[math.ceil(0.99 * len(took_ms)) - 1]
    return max(TIMES_P99 * p99 / 1000, SOONEST_LOOK)


@dataclass(frozen=True)
class Inquiry:
    """``on_uncertain``: fail or resubmit, for an outcome that stays unknown."""

    jobs: Jobs
    vendor: Vendor
    on_uncertain: str

    def look_up(self, job_id: str) -> None:
        """One GET for a job whose callback is overdue; the next is due later, whatever comes of this."""
        job = self.jobs.begin_look(job_id)
        row = None if job is None else job.submission_of(job.upstream_id)
        if job is None or row is None:
            return
        try:
            word = self._result(job.upstream_id)
        except HookreelError as error:
            extra = {"job": job.id, "why": error.detail}
            logging.getLogger(__name__).warning("job.look_up_failed", extra=extra)
            self.jobs.heard_nothing(job.id, answered=not isinstance(error, Unavailable))
            return
        if word.final:
            self.jobs.settle(job.id, row.token, word)
        else:
            self.jobs.heard_nothing(job.id, answered=True)

    def decide(self, job_id: str) -> None:
        """An outcome stayed unknown for too long: by the vendor's list if it says enough, else by policy."""
        job = self.jobs.get(job_id)
        again = self.on_uncertain == "resubmit" and len(job.submissions) <= MOST_RESUBMISSIONS
        if self.surely_not_made(job):
            self.jobs.not_made(job_id, "the vendor's list", submit=again, of=open_tokens(job))
        elif again:
            self.jobs.resubmit(job_id)
        else:
            self.jobs.presume_unknown(job_id)

    def surely_not_made(self, job: Job) -> bool:
        """Whether the vendor's list of this model since the submission has no task but other jobs' of ours.

        The list carries neither input nor webhook: that a task in it is this job's cannot be told, that
        there is none can.
        """
        rows = [row for row in job.submissions if is_open(row)]
        since = min((row.at for row in rows), default=0)
        known = any(row.upstream_id for row in rows)
        if not rows or known or self.jobs.context.clock() - since > LISTED_MS:
            return False
        try:
            listed = self.vendor.list_predictions(job.model, created_after=timestamp(since - MARGIN_MS))
        except HookreelError:
            return False
        ids = [str(each.get("id", "")) for each in listed]
        return all(self._is_ours(ids))

    def _is_ours(self, ids: list[str]) -> list[bool]:
        def ask(pipe: Any) -> None:
            for each in ids:
                pipe.zscore(rediskeys.UPSTREAM, each)

        return [score is not None for score in self.jobs.store.read(ask)]

    def resolve(self, job_id: str, upstream_id: str) -> Job:
        """The operator knows the vendor's prediction. Raises `NotFound`, `Conflict`, `Unavailable`."""
        job = self.jobs.get(job_id)
        known = upstream_id in {row.upstream_id for row in job.submissions}
        if known and job.reason not in PRESUMED:
            return job
        if not known and any(self._is_ours([upstream_id])):
            raise Conflict(f"the vendor's prediction {upstream_id} belongs to another job")
        word = self._result(upstream_id)
        if word.model and word.model != job.model:
            raise Conflict(
                f"the vendor's prediction {upstream_id} is of {word.model}, the job of {job.model}"
            )
        return self.jobs.was_made(job_id, word)

    def dismiss(self, job_id: str) -> Job:
        """The operator knows that no task was made: it is submitted again. Raises `NotFound`, `Conflict`."""
        state = self.jobs.get(job_id).state
        if state is not JobState.UNCERTAIN:
            raise Conflict(
                f"prediction {job_id} is {state.value}; only an uncertain one can be submitted again"
            )
        return self.jobs.not_made(job_id, "the operator", submit=True)

    def _result(self, upstream_id: str) -> Prediction:
        try:
            word = read_prediction(self.vendor.result(upstream_id))
        except ValidationError as error:
            raise VendorUnavailable("the vendor's answer is no prediction") from error
        except Unavailable:
            raise
        except HookreelError as error:
            raise NotFound(f"the vendor does not tell of {upstream_id}: {error.detail}") from error
        if word.id != upstream_id:
            raise VendorUnavailable(f"the vendor's answer is about {word.id}, not {upstream_id}")
        return word
