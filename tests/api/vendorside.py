"""The vendor's side of a job: its task begins, and it calls back."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from schemas.callbacks import read_callback
from schemas.outcomes import Outcome, SubmissionOutcome
from service import signing
from service.bootstrap import Service

UPSTREAM = "0123456789abcdef0123456789abcdef"
VIDEO = "https://cdn.example.com/a.mp4"


def begin(service: Service, job_id: str) -> str:
    """The token under which the job is at the vendor, which has not answered yet."""
    token = secrets.token_hex(16)
    assert service.jobs.begin(service.jobs.get(job_id), token, "worker-1")
    return token


def accept(service: Service, job_id: str, upstream_id: str = UPSTREAM) -> str:
    """The token of a submission that the vendor has accepted."""
    token = begin(service, job_id)
    found = SubmissionOutcome(outcome=Outcome.ACCEPTED, row="accepted", message="", upstream_id=upstream_id)
    service.jobs.conclude(job_id, token, found)
    return token


def told(status: str = "completed", upstream_id: str = UPSTREAM, **changes: Any) -> dict[str, Any]:
    """What the vendor says of the task."""
    return {
        "id": upstream_id,
        "model": "minimax/hailuo-02/fast",
        "outputs": [VIDEO] if status == "completed" else [],
        "urls": {"get": f"https://api.wavespeed.ai/api/v3/predictions/{upstream_id}/result"},
        "has_nsfw_contents": [False] if status == "completed" else [],
        "status": status,
        "created_at": "2026-11-22T05:28:00.123456789Z",
        "error": "" if status == "completed" else "it did not work",
        "executionTime": 25729,
        "timings": {"inference": 25729},
        **changes,
    }


def new_job(service: Service, client: FlaskClient) -> tuple[str, str]:
    """A job that the vendor has accepted, and the token of its submission."""
    auth = {"Authorization": f"Bearer {service.apikeys.create('default')[1]}"}
    body = {"image": "https://a.example/a.jpg"}
    answer: Any = client.post("/api/v3/minimax/hailuo-02/fast", headers=auth, json=body).json
    return answer["data"]["id"], accept(service, answer["data"]["id"])


def settle(service: Service, job_id: str, status: str = "completed", upstream_id: str = UPSTREAM) -> str:
    """The job's own id, once the vendor has told its end."""
    token = accept(service, job_id, upstream_id)
    word = read_callback(json.dumps(told(status, upstream_id)).encode())
    service.jobs.settle(job_id, token, word)
    return job_id


@dataclass(frozen=True)
class Vendor:
    """It signs with ``secret`` and calls back through ``client``; ``now`` is in unix seconds."""

    client: FlaskClient
    secret: str = field(repr=False)
    now: int

    def calls(self, job_id: str, token: str, word: Any = None, **changes: Any) -> TestResponse:
        """The answer to one callback. ``body``: raw bytes in place of ``word``; ``headers``: over its own."""
        body = changes.get("body", json.dumps(told() if word is None else word).encode())
        at = changes.get("at", self.now)
        headers = {
            "webhook-id": UPSTREAM,
            "webhook-timestamp": str(at),
            "webhook-signature": signing.sign_v3(self.secret, UPSTREAM, at, body),
            "Content-Type": "application/json",
            **changes.get("headers", {}),
        }
        given = {name: value for name, value in headers.items() if value is not None}
        return self.client.post(f"/callbacks/wavespeed/{job_id}/{token}", data=body, headers=given)
