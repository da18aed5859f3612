"""``POST /callbacks/wavespeed/<job>/<token>``: the vendor tells that a task has ended.

The token belongs to one submission and is looked at first, so that nobody without one learns anything or
costs more than a lookup. Then the signature, over the raw bytes; only then is the body read.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Final

from flask import Flask, Response, request

from schemas.callbacks import MAX_BYTES, read_callback
from service.api import http
from service.errors import NotFound
from service.jobs import Jobs
from service.records import Job
from service.vendorsecret import VendorSecret

_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
_JOB_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TAKEN: Final = b'{"code":200,"message":"success"}'


@dataclass(frozen=True)
class Callbacks:
    """The view, and what it needs."""

    jobs: Jobs
    secret: VendorSecret

    def register(self, app: Flask) -> None:
        """The one route that has to be public."""
        path = "/callbacks/wavespeed/<job_id>/<token>"
        app.add_url_rule(path, "callback", self.receive, methods=["POST"])

    def receive(self, job_id: str, token: str) -> Response:
        """200 also for what was heard before. 413, 404, 503, 401, 400, 404, 409, in this order."""
        http.check_size(MAX_BYTES)
        job = self._addressed(job_id, token)
        body = http.read_body(MAX_BYTES)
        self.secret.verify({name: request.headers.get(name, "") for name in _HEADERS}, body)
        self.jobs.settle(job_id, token, read_callback(body), job)
        return Response(_TAKEN, content_type="application/json")

    def _addressed(self, job_id: str, token: str) -> Job:
        """The job, when one of its submissions has this token; else `NotFound`, whichever was wrong."""
        if not _JOB_ID.fullmatch(job_id):
            raise _unknown()
        try:
            job = self.jobs.get(job_id)
        except NotFound:
            raise _unknown() from None
        given = token.encode()
        known = [hmac.compare_digest(each.token.encode(), given) for each in job.submissions]
        if not any(known):
            raise _unknown()
        return job


def _unknown() -> NotFound:
    return NotFound("there is no such submission")
