"""``/v1/jobs``: what became of each submission, with everything that we know."""

from __future__ import annotations

from typing import Any

from schemas.faults import Fault
from schemas.queries import PageQuery
from service import events
from service.api import http
from service.api.v1.resource import Resource, caller, here, lists
from service.api.v1.shapes import UPSTREAM_ALLOWED, JobView, ResolveSchema, listed
from service.errors import Forbidden, InvalidInput
from service.records import Job, Submission

jobs = Resource("jobs", "Generation jobs, submitted over the vendor-compatible API.")


@jobs.on("GET", "/jobs")
@jobs.takes(PageQuery(), "query")
@jobs.gives(200, listed(JobView))
def show_all(query: dict[str, Any]) -> dict[str, Any]:
    """List jobs."""
    page = lists().jobs(caller().workspace, query["limit"], query["cursor"])
    return {"data": [shown(each) for each in page.rows], "next": page.next}


@jobs.on("GET", "/jobs/<job_id>")
@jobs.gives(200, JobView())
def show(job_id: str) -> dict[str, Any]:
    """Show a job.

    With its timeline and each of its submissions.
    """
    return shown(lists().job(caller().workspace, job_id))


@jobs.on("POST", "/jobs/<job_id>/resolve")
@jobs.takes(ResolveSchema(), example={"submitted": True, "upstream_id": "9f2c4e6a8b0d1f3e5a7c9b1d3f5e7a90"})
@jobs.gives(200, JobView())
def resolve(body: dict[str, Any], job_id: str) -> dict[str, Any]:
    """Resolve an uncertain job.

    For an operator's key: the operator has looked at the vendor's list and knows what became of the
    submission. With `submitted` true the job goes on as the vendor's prediction `upstream_id`; with false it
    is submitted again.
    """
    if not caller().operator:
        raise Forbidden("this API key is not an operator's; one that is can resolve jobs")
    job, upstream_id = lists().job(caller().workspace, job_id), body["upstream_id"]
    if body["submitted"] == (upstream_id is None):
        fault = "is required with submitted true" if body["submitted"] else "goes with submitted true alone"
        detail = f"{fault}; {UPSTREAM_ALLOWED}"
        raise InvalidInput(Fault("/upstream_id", "required", detail, UPSTREAM_ALLOWED))
    inquiry = here().inquiry
    return shown(inquiry.dismiss(job.id) if upstream_id is None else inquiry.resolve(job.id, upstream_id))


@jobs.on("DELETE", "/jobs/<job_id>")
@jobs.gives(204)
def remove(job_id: str) -> None:
    """Delete a job.

    One that has ended: here and at the vendor, with its events, their deliveries and the copies of its
    outputs. Deliveries that wait are cancelled with it. An open job: 409 `conflict`, which names its state.
    """
    here().predictions.erase(caller().workspace, job_id)


def shown(job: Job) -> dict[str, Any]:
    """As `JobView` dumps it."""
    service = here()
    job = service.shown(job, service.settings.api_url or http.origin())
    told = events.prediction(job, "")
    return {
        "prediction_id": job.id,
        "model": job.model,
        "state": job.state.value,
        "status": told["status"],
        "reason": job.reason.value if job.reason else None,
        "error": job.error or None,
        "code": told.get("code"),
        "maybe_billed": told.get("maybe_billed", False),
        "upstream_id": job.upstream_id or None,
        "created_at": events.timestamp(job.created_at),
        "ended_at": events.timestamp(job.ended_at) if job.ended_at else None,
        "channel": job.channel or None,
        "metadata": job.metadata,
        "input": job.input,
        "outputs": job.outputs,
        "files": events.files(job),
        "events": job.events,
        "submissions": [_submission(row) for row in job.submissions],
        "timeline": [{"at": events.timestamp(at), "what": what} for at, what in job.timeline],
    }


def _submission(row: Submission) -> dict[str, Any]:
    return {
        "at": events.timestamp(row.at),
        "outcome": row.outcome,
        "upstream_id": row.upstream_id or None,
        "status": row.status or None,
    }
