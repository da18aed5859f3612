"""``POST /callbacks/wavespeed/<job>/<token>``: the vendor tells that a task has ended.

The token belongs to one submission and is looked at first, so that nobody without one learns anything or
costs more than a lookup. Then the signature, over the raw bytes; only then is the body read.

A WSGI application of its own, in front of the others': a job's whole result passes here once, and Flask's
contexts and routing cost as much as the verification and the reading of it together.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from werkzeug.exceptions import MethodNotAllowed
from werkzeug.wrappers import Request

from schemas.callbacks import MAX_BYTES, read_callback
from service.api import answers, http
from service.errors import NotFound
from service.jobs import Jobs
from service.records import Job
from service.vendorsecret import VendorSecret

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

PREFIX: Final = "/callbacks/"
_PATH = re.compile(r"/callbacks/wavespeed/([0-9a-f]{32})/([^/]{1,128})", re.ASCII)
_HEADERS: Final = {
    name: f"HTTP_{name.upper().replace('-', '_')}"
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
}
"""The signature's headers and where WSGI keeps them."""
_TAKEN: Final = b'{"code":200,"message":"success"}'
_TAKEN_HEADERS: Final = [("Content-Type", "application/json"), ("Content-Length", str(len(_TAKEN)))]


class Callbacks:
    """WSGI middleware: what is under ``/callbacks/`` is answered here, the rest by ``behind``."""

    def __init__(self, behind: WSGIApplication, jobs: Jobs, secret: VendorSecret) -> None:
        self.behind = behind
        self.jobs = jobs
        self.secret = secret

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """As WSGI calls it."""
        if not environ["PATH_INFO"].startswith(PREFIX):
            return self.behind(environ, start_response)
        try:
            self.receive(environ)
        except Exception as error:  # noqa: BLE001 - as Flask's own catch-all: answered as a 500 and logged
            return answers.answer(error)(environ, start_response)
        start_response("200 OK", _TAKEN_HEADERS)
        return [_TAKEN]

    def receive(self, environ: dict[str, Any]) -> None:
        """Take one callback; what was heard before changes nothing.

        Refusals in this order: 404 and 405 for the path, 413, 404, 413 for a chunked body, 503, 401, 400,
        409 for the prediction of another task.
        """
        address = _PATH.fullmatch(environ["PATH_INFO"])
        if address is None:
            raise _unknown()
        if environ["REQUEST_METHOD"] != "POST":
            raise MethodNotAllowed(["POST"])
        request = Request(environ)
        http.check_size(request, MAX_BYTES)
        job_id, token = address.groups()
        job = self._addressed(job_id, token)
        try:
            self._take(request, job, token)
        except Exception as error:
            extra = {"job": job_id, "why": str(error)[:200]}
            logging.getLogger(__name__).warning("callback.refused", extra=extra)
            raise

    def _take(self, request: Request, job: Job, token: str) -> None:
        body = http.read_body(request, MAX_BYTES)
        self.secret.verify({name: request.environ.get(key, "") for name, key in _HEADERS.items()}, body)
        word = read_callback(body)
        settled = self.jobs.settle(job.id, token, word, job)
        extra = {"job": job.id, "upstream": word.id, "status": word.status, "state": settled.state.value}
        logging.getLogger(__name__).info("job.called_back", extra=extra)

    def _addressed(self, job_id: str, token: str) -> Job:
        """The job, when one of its submissions has this token; else `NotFound`, whichever was wrong."""
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
