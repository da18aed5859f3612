"""``POST /api/v3/{model}``: a job is taken, exactly as the vendor would take it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Final

from flask import Flask, Response, request

from schemas.faults import Fault, shown
from schemas.images import is_data_uri
from schemas.inputs import Input
from schemas.models import MODELS
from schemas.queries import SubmitQuery, check_idempotency_key
from schemas.states import JobState
from service import events
from service.acceptance import Order, canonical_request
from service.addresses import Policy
from service.api import answers, http
from service.api.rawquery import submit_query
from service.bootstrap import Service
from service.catalogue import Catalogue
from service.errors import BlockedAddress, InvalidInput
from service.records import Job
from service.waiters import Waiters

LIMIT: Final = 57_000_000
"""Bytes of a body: two images of 20 MB as data URIs, and room for the rest."""

NO_BASE64: Final = (
    "webhook callback does not support base64 output, please use the normal API to use base64 output"
)
"""The vendor's text, from its page on ``enable_base64_output``; all of ours go up with a webhook."""

SYNC_TIMEOUT: Final = 5004
"""The vendor's ``data.code`` of a wait that ran out."""

_QUERY = SubmitQuery()
_PUBLIC = Policy()


@dataclass(frozen=True)
class Submissions:
    """The view, and what it needs."""

    service: Service
    catalogue: Catalogue
    waiters: Waiters

    def register(self, app: Flask) -> None:
        """One route, behind every other path of the API."""
        app.add_url_rule("/api/v3/<path:model>", "submit", self.submit, methods=["POST"])

    def submit(self, model: str) -> Response:
        """Refusals in this order: 401, 413, 415, 404 for the model, 400."""
        workspace = http.authorize(self.service.apikeys).workspace
        http.check_size(request, LIMIT)
        http.check_json()
        self.catalogue.check(model)
        query = _QUERY.load(submit_query(request.query_string))
        key = _idempotency_key()
        body = http.read_json(LIMIT)
        parsed, sync = self._parsed(model, body)
        order = Order(
            workspace=workspace,
            input=parsed,
            webhook=query["webhook"] or "",
            channel=query["channel"] or "",
            metadata=query["metadata"] or {},
            idempotency_key=key,
            request=canonical_request(model, query, body) if key else b"",
        )
        job = self.service.acceptance.accept(order)
        extra = {"job": job.id, "workspace": workspace, "model": model}
        logging.getLogger(__name__).info("job.accepted", extra=extra)
        return self._ended(job) if sync else answers.good(wire(_as_created(job), self._base()))

    def _parsed(self, model: str, body: Any) -> tuple[Input, bool]:
        fields = dict(body) if isinstance(body, dict) else body
        base64 = _flag(fields, "enable_base64_output")
        sync = _flag(fields, "enable_sync_mode")
        if base64:
            raise InvalidInput(Fault("", "base64_output", NO_BASE64))
        parsed = self.catalogue.parse(model, fields)
        if not self.service.settings.sandbox and model in MODELS:
            _check_images(parsed)
        return parsed, sync

    def _ended(self, job: Job) -> Response:
        """Sync mode: the job when it has ended, else the vendor's word for a wait that ran out."""
        job, waited = self.waiters.wait(job)
        base = self._base()
        shown_job = wire(self.service.shown(job, base), base)
        if job.is_final:
            return answers.good(shown_job)
        told = {"id": job.id, "status": "processing", "code": SYNC_TIMEOUT, "error": self._excuse(waited)}
        return answers.good({**told, "urls": shown_job["urls"]})

    def _excuse(self, waited: float) -> str:
        full = "" if waited else f"{self.waiters.most} requests wait already. "
        return (
            f"Sync mode timed out after {waited:g} seconds. {full}The prediction goes on; query its result."
        )

    def _base(self) -> str:
        return self.service.settings.api_url or http.origin()


def wire(job: Job, base: str) -> dict[str, Any]:
    """The job as the vendor's prediction object, nothing of ours in it. ``base``: of ``urls.get``."""
    found = events.prediction(job, base)
    return {name: found[name] for name in events.VENDOR_FIELDS if name in found}


def _as_created(job: Job) -> Job:
    """The answer to a submission is the same whenever it is asked for."""
    return replace(
        job, state=JobState.QUEUED, reason=None, outputs=(), nsfw=(), error="", execution_time=0, timings={}
    )


def _idempotency_key() -> str:
    given = request.headers.get("Idempotency-Key")
    return "" if given is None else check_idempotency_key(given)


def _flag(fields: Any, name: str) -> bool:
    value = fields.pop(name, False) if isinstance(fields, dict) else False
    if not isinstance(value, bool):
        detail = f"{shown(value)} is not a boolean; true or false"
        raise InvalidInput(Fault(f"/{name}", "type", detail, "true or false"))
    return value


def _check_images(parsed: Input) -> None:
    """Refuse what a vendor on the public internet cannot fetch, by a literal address in the URL."""
    for parameter in MODELS[parsed.model].parameters:
        url = parsed.fields.get(parameter.name)
        if parameter.kind != "image" or not isinstance(url, str) or is_data_uri(url):
            continue
        pointer = f"/{parameter.name}"
        try:
            # Whether http will do is the vendor's business; here it is about the address.
            _PUBLIC.check_url(f"https{url[url.index('://') :]}", pointer)
        except BlockedAddress as error:
            address = error.detail.partition(" is not called")[0]
            detail = f"{address} is no address of the public internet, where the vendor fetches images"
            raise InvalidInput(Fault(pointer, "blocked_address", detail, "a public URL")) from None
