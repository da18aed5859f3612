"""What is kept, as frozen dataclasses, and how each becomes bytes and comes back.

A document is compact JSON, deflated when that is shorter; the first byte tells which. Its version stands in
it (`service.versions`). What a later release has added to it is kept when it is written again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from schemas.states import FINAL, OPEN_DELIVERY, DeliveryState, JobState, Reason
from service import versions
from service.errors import Unreadable

MOST_LINES, FIRST_LINES = 200, 20
"""Of a job's timeline, and how many of its beginning are kept: it is written anew with each of its moves."""
_SMALL = 256
_WINDOW_BITS = 12
"""As much as documents of some kB need: with a window of 32 kB each takes three times as long."""
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_ASCII = json.JSONEncoder(separators=(",", ":"))


Record = TypeVar("Record")


def changed(record: Record, **changes: Any) -> Record:
    """A copy of a frozen dataclass with ``changes``.

    `dataclasses.replace` goes through every parameter again; the ten copies of a callback were a
    sixth of its time.
    """
    made: Record = object.__new__(type(record))
    vars(made).update(vars(record), **changes)
    return made


def pack(document: Any) -> bytes:
    """JSON-able to bytes."""
    return squeeze(_ENCODER.encode(document).encode())


def squeeze(raw: bytes) -> bytes:
    """Bytes, deflated when they are long."""
    return raw if len(raw) < _SMALL else b"z" + zlib.compress(raw, 1, _WINDOW_BITS)


def unsqueeze(data: bytes) -> bytes:
    """The inverse of `squeeze`, for anything that does not begin with ``z`` itself."""
    return zlib.decompress(data[1:]) if data[:1] == b"z" else data


def unpack(data: bytes) -> Any:
    """The inverse of `pack`."""
    return json.loads(unsqueeze(data))


@dataclass(frozen=True)
class Submission:
    """One POST to the vendor: its token (also in its callback URL), when, by whom, and what came of it.

    ``outcome``: ``open`` until told, then accepted, refused, failed or unknown; ``status`` is the vendor's
    last word about the task.
    """

    token: str = field(repr=False)
    at: int
    incarnation: str
    outcome: str = "open"
    upstream_id: str = ""
    status: str = ""
    unknown: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What only a later release knows of."""


@dataclass(frozen=True)
class File:
    """A kept copy of an output: of which (its place), its name in the archive, and what was verified of it.

    ``url`` is where it can be had; it is made whenever the file is shown, and never kept.
    """

    output: int
    name: str
    bytes: int
    sha256: str
    content_type: str
    url: str = ""
    unknown: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Job:
    """A caller's generation job. Times are milliseconds since the epoch."""

    id: str
    workspace: str
    model: str
    created_at: int
    input: Mapping[str, Any]
    rev: int = 0
    place: int = 0
    """In the order of acceptance, among the jobs that wait."""
    state: JobState = JobState.QUEUED
    reason: Reason | None = None
    blobs: Mapping[str, int] = field(default_factory=dict)
    """Fields whose image bytes wait in the store -> their size in bytes."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    channel: str = ""
    own_endpoint: str = ""
    """The endpoint of ``?webhook=``, which hears of this job alone."""
    submissions: tuple[Submission, ...] = ()
    refusals: int = 0
    refused_since: int = 0
    """When the vendor first did not take it; it is tried for HOOKREEL_SUBMIT_FOR from then on."""
    looks: int = 0
    """How often it was looked up because nothing was heard of it."""
    upstream_id: str = ""
    vendor_status: str = ""
    outputs: tuple[str | dict[str, Any], ...] = ()
    files: tuple[File, ...] = ()
    """Kept copies of the outputs."""
    copies: int = 0
    """How often copying them was begun; the number names the claim of the one who does it."""
    copying_ended: bool = False
    """Whether copying was given up."""
    nsfw: tuple[bool, ...] = ()
    error: str = ""
    code: int | None = None
    execution_time: float = 0
    timings: Mapping[str, Any] = field(default_factory=dict)
    ended_at: int = 0
    deleted_at: int = 0
    events: tuple[str, ...] = ()
    last_word: str = ""
    """The event that told the job's end; a later word supersedes it."""
    timeline: tuple[tuple[int, str], ...] = ()
    unknown: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_final(self) -> bool:
        """Whether it ended."""
        return self.state in FINAL

    @property
    def uncopied(self) -> dict[int, str]:
        """The outputs that are URLs and have no kept copy yet, by their place."""
        kept = {file.output for file in self.files}
        return {
            place: output
            for place, output in enumerate(self.outputs)
            if place not in kept and isinstance(output, str) and output.startswith(("https://", "http://"))
        }

    @property
    def submission(self) -> Submission | None:
        """The last submission, if there was one."""
        return self.submissions[-1] if self.submissions else None

    def submission_by(self, token: str) -> Submission | None:
        """The submission of ``token``."""
        return next((each for each in self.submissions if each.token == token), None)

    def submission_of(self, upstream_id: str) -> Submission | None:
        """The submission that became this task of the vendor's; the last one where that is not known."""
        known = (each for each in self.submissions if each.upstream_id == upstream_id)
        return next(known, self.submission)

    def noting(self, at: int, what: str, **changes: Any) -> Job:
        """A copy with ``changes`` and one more line on the timeline: its beginning and its end are kept."""
        lines = (*self.timeline, (at, what))
        if len(lines) > MOST_LINES:
            lines = lines[:FIRST_LINES] + lines[FIRST_LINES + 1 :]
        return changed(self, timeline=lines, **changes)

    def with_submission(self, token: str, **changes: Any) -> Job:
        """A copy in which the submission of ``token`` has ``changes``."""
        rows = tuple(changed(each, **changes) if each.token == token else each for each in self.submissions)
        return changed(self, submissions=rows)


@dataclass(frozen=True)
class Endpoint:
    """A subscriber's URL with its settings. ``secret`` is sealed."""

    id: str
    workspace: str
    url: str
    created_at: int
    rev: int = 0
    event_types: tuple[str, ...] = ("prediction.completed", "prediction.failed")
    format: str = "standard"
    channels: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 15.0
    retry_schedule: tuple[float, ...] = ()
    """Seconds; empty for the service's own schedule."""
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    include_input: bool = True
    secret: str = field(default="", repr=False)
    old_secrets: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    """Those before it, newest first: sealed, and the ms since the epoch at which each ends."""
    enabled: bool = True
    disabled_reason: str = ""
    paused: bool = False
    rate: float = 0
    """Deliveries a second at most; 0: as many as there are."""
    ordered: bool = False
    """One at a time, in the order of the events. Fixed when it is made."""
    on_exhausted: str = "stop"
    """What an ordered endpoint does when a delivery's schedule is over: stop, or skip it."""
    job: str = ""
    """The job whose ``?webhook=`` this is; empty for a workspace's endpoint."""
    since: int = 0
    """The workspace's event number when this was made; earlier events are not its own."""
    unknown: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def active(self) -> bool:
        """Whether anything is sent to it; else its deliveries are held."""
        return self.enabled and not self.paused


@dataclass(frozen=True)
class Attempt:
    """One POST of a delivery. ``status`` is None when no answer came; ``error`` then says why.

    ``at``: when it was sent, in ms; its ``webhook-timestamp`` is that second. ``phases``: ms for DNS,
    connect, TLS and until the first byte, one after the other; empty when nothing was sent.
    """

    at: int
    status: int | None
    error: str | None
    duration_ms: int
    phases: tuple[int, ...] = ()
    detail: str = ""

    def item(self) -> str:
        """As the store keeps it: a JSON array, without what is not there at its end."""
        row: list[Any] = [self.at, self.status, self.error, self.duration_ms]
        if self.detail:
            row += [self.phases, self.detail]
        elif self.phases:
            row.append(self.phases)
        return _ASCII.encode(row)

    @classmethod
    def from_row(cls, row: list[Any]) -> Attempt:
        """The inverse of `item`, decoded."""
        at, status, error, duration, *rest = row
        if rest and isinstance(rest[0], str):
            # Once the detail came right after these.
            return cls(at, status, error, duration, (), rest[0])
        return cls(at, status, error, duration, tuple(rest[0]) if rest else (), *rest[1:])


DELIVERY_STATES = {
    "p": DeliveryState.PENDING,
    "r": DeliveryState.RETRYING,
    "d": DeliveryState.DELIVERED,
    "x": DeliveryState.EXHAUSTED,
    "c": DeliveryState.CANCELLED,
    # No longer written; scripts/mend_events.lua has it wait again.
    "h": DeliveryState.HELD,
}


@dataclass(frozen=True)
class Delivery:
    """One event for one endpoint; its id is made of both.

    ``attempt_count``: how many attempts were begun, those before a retry by hand included.
    """

    event: str
    endpoint: str
    state: DeliveryState
    attempt_count: int
    claim: str = field(repr=False)
    attempts: tuple[Attempt, ...]

    @classmethod
    def from_line(cls, event: str, endpoint: str, line: bytes, *, off: bool = False) -> Delivery:
        """From ``state|attempts|token|log``, the form in which scripts/claim.lua keeps it.

        ``off``: nothing is sent to the endpoint just now, so what waits for it is held.
        """
        letter, count, claim, log = line.decode().split("|", 3)
        attempts = tuple(map(Attempt.from_row, json.loads(f"[{log}]")))
        state = DELIVERY_STATES[letter]
        if off and not claim and state in OPEN_DELIVERY:
            state = DeliveryState.HELD
        # The count itself begins anew with the schedule.
        begun = max(int(count), len(attempts) + bool(claim))
        return cls(event, endpoint, state, begun, claim, attempts)


@dataclass(frozen=True)
class Replay:
    """Many deliveries to one endpoint, made to wait little by little.

    ``kind``: recover, what was exhausted or cancelled; replay-missing, what was never there. ``since`` and
    ``until``: ms, or None, between which the events happened. ``at``: the number of the last event looked at;
    ``last``: of the last one to look at.
    """

    id: str
    workspace: str
    kind: str
    endpoint: str
    created_at: int
    state: str = "running"
    at: int = 0
    last: int = 0
    since: int | None = None
    until: int | None = None
    total: int = 0
    examined: int = 0
    revived: int = 0
    ended_at: int = 0
    rev: int = 0


_NUMBERS = ("created_at", "at", "last", "total", "examined", "revived", "ended_at", "rev")


def load_replay(replay_id: str, fields: Mapping[bytes, bytes]) -> Replay:
    """From the fields of its hash."""
    words = {name.decode(): value.decode() for name, value in fields.items()}
    told: dict[str, Any] = {name: words[name] for name in ("kind", "endpoint", "state")}
    told |= {name: int(words.get(name, 0)) for name in _NUMBERS}
    told |= {name: int(words[name]) for name in ("since", "until") if words.get(name)}
    return Replay(id=replay_id, workspace=words["ws"], **told)


def dump_job(job: Job) -> bytes:
    """A job as its document: what equals its default is left out.

    One that is under way is written and read several times, and deflated when it has ended.
    """
    document = {"v": versions.FORMAT.written, **_sparse(job)}
    return pack(document) if job.is_final else _ENCODER.encode(document).encode()


def load_job(rev: int, data: bytes) -> Job:
    """The inverse of `dump_job`. Raises `Unavailable` for what only a later release reads."""
    try:
        document = _opened(data)
        document["state"] = JobState(document.get("state", JobState.QUEUED))
        if document.get("reason"):
            document["reason"] = Reason(document["reason"])
        document["submissions"] = tuple(_made(Submission, row) for row in document.get("submissions", ()))
        document["files"] = tuple(_made(File, row) for row in document.get("files", ()))
        document["timeline"] = tuple((at, what) for at, what in document.get("timeline", ()))
        return _made(Job, _tupled(document), rev=rev)
    except _UNREADABLE as error:
        raise _refused("job", error) from error


def dump_endpoint(endpoint: Endpoint) -> bytes:
    """An endpoint as its document."""
    return pack({"v": versions.FORMAT.written, **_sparse(endpoint)})


def load_endpoint(rev: int, data: bytes) -> Endpoint:
    """The inverse of `dump_endpoint`. Raises `Unavailable` for what only a later release reads."""
    try:
        document = _opened(data)
        document["old_secrets"] = [(secret, ends_at) for secret, ends_at in document.get("old_secrets", ())]
        return _made(Endpoint, _tupled(document), rev=rev)
    except _UNREADABLE as error:
        raise _refused("endpoint", error) from error


_ROWS = frozenset({"submissions", "files"})
"""The fields that are tuples of dataclasses."""
_UNREADABLE = (ValueError, TypeError, KeyError, zlib.error)
"""What a document of a form that nobody here knows leads to."""


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


_DEFAULTS = {kind: {each.name: _default(each) for each in fields(kind)} for kind in (Job, Endpoint)}
_KNOWN = {
    kind: frozenset(each.name for each in fields(kind)) - {"unknown"}
    for kind in (Job, Endpoint, Submission, File)
}


def _opened(data: bytes) -> dict[str, Any]:
    document: dict[str, Any] = unpack(data)
    version = document.pop("v")
    if version > versions.VERSION:
        raise ValueError(f"its version is {version}, the latest that is known here is {versions.VERSION}")
    return document


_Kept = TypeVar("_Kept", Job, Endpoint, Submission, File)


def _made(kind: type[_Kept], document: dict[str, Any], **more: Any) -> _Kept:
    known = _KNOWN[kind]
    if document.keys() <= known:
        return kind(**more, **document)
    unknown = {name: document.pop(name) for name in document.keys() - known}
    return kind(**more, **document, unknown=unknown)


def _refused(kind: str, error: Exception) -> Unreadable:
    """It stays as it is; a process of the later release will take care of it."""
    return Unreadable(f"this release cannot read a {kind} that a later one has written ({error})")


def _sparse(record: Job | Endpoint) -> dict[str, Any]:
    defaults = _DEFAULTS[type(record)]
    kept = {name: value for name, value in vars(record).items() if value != defaults[name]}
    kept.pop("rev", None)
    for name in _ROWS & kept.keys():
        kept[name] = [_row(row) for row in kept[name]]
    kept |= kept.pop("unknown", {})
    return kept


def _row(record: Submission | File) -> dict[str, Any]:
    row = dict(vars(record))
    row |= row.pop("unknown")
    return row


def _tupled(document: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}
