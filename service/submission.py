"""One job's way to the vendor: images, then the token on disk, then the one POST, then its outcome."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.outcomes import Observation, SubmissionOutcome, classify
from service import rediskeys
from service.errors import HookreelError, Unavailable
from service.jobs import Jobs
from service.records import Job

FENCE = 5.0
"""Seconds of boot time after which a token written to disk must not be used any more: whoever was stopped in
between (suspended, swapped out, SIGSTOPped) finds it dead."""

NOT_BEGUN = Observation(sent=False, trouble="the store was away")
NOT_COPIED = Observation(sent=False, trouble="the store's replicas were behind")
KEEP_TRYING = 60.0
"""Seconds for which an outcome is offered to a store that is away."""


class Vendor(Protocol):
    """What a submission needs of the vendor's client."""

    def submit(
        self, model: str, body: dict[str, Any], webhook: str, may_send: Callable[[], bool]
    ) -> SubmissionOutcome:
        """As `service.vendor.Vendor.submit`."""
        ...

    def upload(self, filename: str, data: bytes, content_type: str) -> str:
        """As `service.vendor.Vendor.upload`."""
        ...


@dataclass(frozen=True)
class Submitter:
    """Submits one job at a time; one instance serves every thread of a worker.

    ``boottime``: seconds that go on while the machine sleeps. ``callback_url``: the vendor's way back to
    the submission (job id, token).
    """

    jobs: Jobs
    vendor: Vendor
    incarnation: str
    token: Callable[[], str]
    boottime: Callable[[], float]
    callback_url: Callable[[str, str], str]
    replicas: int = 0
    """How many replicas of the store must have the token before anything goes out."""

    def submit(self, job_id: str) -> None:
        """Submit the job unless there is nothing to do. The doorbell's whole work."""
        job = self.jobs.admitted(job_id)
        if job is None:
            return
        try:
            body = self._body(job)
        except Unavailable as error:
            self.jobs.refuse(job.id, error.detail, error.retry_after)
            return
        except HookreelError as error:
            self.jobs.give_up_on(job.id, f"the vendor refused an image: {error.detail}")
            return
        token = self.token()
        written = self.boottime()
        try:
            begun = self.jobs.begin(job, token, self.incarnation)
            copied = not self.replicas or self.jobs.store.is_replicated(self.replicas)
        except Unavailable:
            # The token may be on disk all the same; nothing will be sent under it.
            self._conclude(job.id, token, classify(NOT_BEGUN))
            return
        if begun is None:
            return
        if not copied:
            self._conclude(job.id, token, classify(NOT_COPIED))
            return
        fresh = lambda: self.boottime() - written < FENCE  # noqa: E731
        found = self.vendor.submit(begun.model, body, self.callback_url(job.id, token), fresh)
        self._conclude(job.id, token, found)

    def _conclude(self, job_id: str, token: str, found: SubmissionOutcome) -> None:
        """The outcome may be all that is known of a paid task: a store that is away is waited for."""
        log = logging.getLogger(__name__)
        log.info("job.submitted", extra={"job": job_id, "outcome": found.outcome.value, "row": found.row})
        deadline = time.monotonic() + KEEP_TRYING
        while True:
            try:
                self.jobs.conclude(job_id, token, found)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return

    def _body(self, job: Job) -> dict[str, Any]:
        """The request body: images uploaded by the vendor's ticket, or inline where it gives none."""
        body = dict(job.input)
        for field in job.blobs:
            body[field] = self._image(job, field)
        return body

    def _image(self, job: Job, field: str) -> str:
        (data,) = self.jobs.store.read(lambda pipe: pipe.get(rediskeys.blob(job.id, field)))
        if data is None:
            raise Unavailable(f"the bytes of {field} are not in the store")
        media_type: str = job.input[field]["media_type"]
        suffix = "png" if media_type == "image/png" else "jpg"
        try:
            return self.vendor.upload(f"{field}.{suffix}", data, media_type)
        except HookreelError as error:
            if error.code != "upload_unsupported":
                raise
        return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
