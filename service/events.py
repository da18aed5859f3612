"""What is told about a job: the prediction as the vendor would show it, and the event that carries it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.eventtypes import ARCHIVED, COMPLETED, FAILED
from schemas.predictions import prediction_object, rfc3339
from schemas.states import OUR_CODES, PRESUMED, JobState, wire_status
from service import rediskeys
from service.errors import NotFound
from service.records import Job, squeeze, unsqueeze
from service.store import FORGET, REDACT, RESTREAM, Store, Word

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)

VENDOR_FIELDS = (
    "id",
    "model",
    "outputs",
    "urls",
    "has_nsfw_contents",
    "status",
    "created_at",
    "error",
    "code",
    "maybe_billed",
    "executionTime",
    "timings",
)
"""The fields of a prediction on the vendor's wire; the others are ours."""
MARKS = ("test", "redacted")
"""What is told in every format: that an event is only a sample, or that its payload was taken away."""
LEFT = ("id", "model", "status", "created_at")
"""The fields of a prediction that its event keeps when it is redacted."""


def timestamp(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return rfc3339(ms / 1000)


def prediction(job: Job, api_url: str) -> dict[str, Any]:
    """The job as the vendor's prediction object. ``api_url``: what stands before ``/api/v3`` in its URL."""
    shown = prediction_object(
        id=job.id,
        model=job.model,
        status=wire_status(job.state, job.reason, job.vendor_status),
        created_at=job.created_at / 1000,
        url=f"{api_url}/api/v3/predictions/{job.id}/result",
        outputs=job.outputs,
        has_nsfw_contents=job.nsfw,
        error=job.error,
        execution_time=job.execution_time,
        timings=job.timings or None,
    )
    if job.state is JobState.FAILED:
        code = job.code if job.code is not None else OUR_CODES.get(job.reason) if job.reason else None
        if code is not None:
            shown["code"] = code
        if job.reason in PRESUMED:
            shown["maybe_billed"] = True
    return shown


@dataclass(frozen=True)
class Event:
    """An event that is about to be written."""

    id: str
    type: str
    body: bytes

    def op(self, job: Job) -> tuple[Word, ...]:
        """The word of scripts/commit.lua that writes it, with the job's change."""
        return (
            "event",
            job.workspace,
            job.id,
            self.id,
            self.type,
            job.channel,
            job.own_endpoint,
            squeeze(self.body),
        )

    def op_in(self, workspace: str) -> tuple[Word, ...]:
        """As `op`, for an event that is about no job."""
        return ("event", workspace, "", self.id, self.type, "", "", squeeze(self.body))

    def op_for(self, workspace: str, endpoint: str) -> tuple[Word, ...]:
        """As `op_in`, for this endpoint alone, whatever it has subscribed to."""
        return ("deliver", workspace, self.id, squeeze(self.body), endpoint)


def without_job(event_id: str, kind: str, at: int, data: Mapping[str, Any]) -> Event:
    """An event about no job: what it tells is ``data``."""
    body = {"id": event_id, "type": kind, "timestamp": timestamp(at), "data": data}
    return Event(event_id, kind, _compact(body))


def about(job: Job, event_id: str, kind: str, at: int, api_url: str, supersedes: str = "") -> Event:
    """The event ``kind`` about ``job`` as it is shown; its body as it is sent in format ``standard``."""
    data = prediction(job, api_url)
    data.update(input=dict(job.input), metadata=dict(job.metadata), channel=job.channel or None)
    if kind == ARCHIVED:
        data["files"] = files(job)
    if supersedes:
        data["supersedes"] = supersedes
    body = {"id": event_id, "type": kind, "timestamp": timestamp(at), "data": data}
    return Event(event_id, kind, _compact(body))


def files(job: Job) -> list[dict[str, Any]]:
    """The kept copies of the job's outputs, as they are told."""
    return [
        {"url": each.url, "sha256": each.sha256, "bytes": each.bytes, "content_type": each.content_type}
        for each in job.files
        if each.url
    ]


def final_kind(job: Job) -> str:
    """The type of the event that tells a final job."""
    return COMPLETED if job.state is JobState.COMPLETED else FAILED


def body_of(stored: bytes) -> bytes:
    """The body that `Event.op` stored."""
    return unsqueeze(stored)


def without_input(body: bytes) -> bytes:
    """For an endpoint that says ``include_input: false``."""
    document = json.loads(body)
    document["data"].pop("input", None)
    return _compact(document)


def bare_prediction(body: bytes) -> bytes:
    """The vendor's own callback body: the prediction object without an envelope."""
    data: Mapping[str, Any] = json.loads(body)["data"]
    return _compact({name: data[name] for name in (*VENDOR_FIELDS, *MARKS) if name in data})


def cloud_event(body: bytes, workspace: str) -> bytes:
    """The event as CloudEvents 1.0 in structured JSON; its subject is the job, where it tells of one."""
    event = json.loads(body)
    job = event["data"].get("id")
    attributes = {
        "specversion": "1.0",
        "id": event["id"],
        "source": f"urn:hookreel:{workspace}",
        "type": event["type"],
        "time": event["timestamp"],
        **({"subject": job} if job else {}),
        "datacontenttype": "application/json",
    }
    return _compact({**attributes, "data": event["data"]})


def redacted(body: bytes) -> bytes:
    """The event without its payload."""
    document = json.loads(body)
    left = {name: document["data"][name] for name in LEFT if name in document["data"]}
    return _compact({**document, "data": {**left, "redacted": True}})


def _compact(document: Any) -> bytes:
    return _ENCODER.encode(document).encode()


class Label(NamedTuple):
    """What decides who hears of an event: its type, its channel, and whether it is only a sample."""

    type: str
    channel: str
    test: bool

    @classmethod
    def of(cls, stored: bytes, kept: bytes | None) -> Label:
        """Of the body that `Event.op` stored; ``kept``: what stands beside it since it was redacted."""
        if kept:
            return cls(*json.loads(kept))
        body = json.loads(body_of(stored))
        data = body["data"]
        return cls(body["type"], data.get("channel") or "", data.get("test") is True)


class EventLog:
    """The events that are kept."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def redact(self, workspace: str, event_id: str) -> bytes:
        """Take the payload away, and what endpoints answered; the body that is left. Raises `NotFound`."""
        doc, label = self._stored(workspace, event_id)
        body = redacted(body_of(doc))
        told = json.dumps(Label.of(doc, label))
        if not self.store.run(REDACT, [event_id, workspace, squeeze(body), told]):
            raise _unknown(event_id)
        return body

    def erase(self, workspace: str, event_id: str) -> None:
        """Gone at once, with its deliveries, whatever waits. Raises `NotFound`."""
        self._stored(workspace, event_id)
        self.store.run(FORGET, [event_id, 1])

    def _stored(self, workspace: str, event_id: str) -> tuple[bytes, bytes | None]:
        (found,) = self.store.read(lambda pipe: pipe.hmget(rediskeys.event(event_id), "ws", "doc", "label"))
        owner, doc, label = found
        if doc is None or owner.decode() != workspace:
            raise _unknown(event_id)
        return doc, label

    def put_back(self, ids: list[str], own_endpoints: Callable[[list[str]], list[str]]) -> int:
        """Events that wait for their fan-out and are in no stream any more go back into it; how many did.

        ``own_endpoints``: the jobs' own endpoints, by the jobs' ids.
        """
        names = ("job", "entry", "doc", "label")
        rows = self.store.read(lambda pipe: [pipe.hmget(rediskeys.event(each), names) for each in ids])
        waiting = [(each, *row) for each, row in zip(ids, rows, strict=True) if row[1] and row[2]]
        own = own_endpoints([job.decode() for _, job, *_ in waiting])
        calls = [
            (RESTREAM, (), [event, entry, *Label.of(doc, label)[:2], endpoint])
            for (event, _, entry, doc, label), endpoint in zip(waiting, own, strict=True)
        ]
        return sum(self.store.run_all(calls)) if calls else 0


def _unknown(event_id: str) -> NotFound:
    return NotFound(f"there is no event {event_id[:64]}")
