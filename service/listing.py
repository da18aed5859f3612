"""Lists, a page at a time: cursors over the sorted sets of a workspace.

A cursor is the place of the last row that was shown: its score and its name. What is added meanwhile is
newer than any cursor, and what is removed meanwhile leaves the others where they are.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from schemas.faults import Fault
from service import rediskeys
from service.deliveries import Deliveries
from service.endpoints import Endpoints
from service.errors import Gone, InvalidInput, NotFound
from service.events import body_of
from service.records import Delivery, Endpoint, Job, Replay, load_job
from service.store import Store

Row = TypeVar("Row")
START: Final = "0"
"""The event id before the first."""
BATCH: Final = 50
MOST_BATCHES: Final = 8
"""Batches of events that one page of deliveries looks through; then it ends, short, with a cursor."""
_CURSOR_ALLOWED: Final = "the next of the page before"


@dataclass(frozen=True, order=True)
class Place:
    """A row's place in its list: the score, and the name where scores are equal."""

    score: int
    name: str

    def cursor(self, kind: str) -> str:
        """As it is handed out. ``kind`` names the list, so that no cursor is taken for another's."""
        return base64.urlsafe_b64encode(f"{kind}:{self.score}:{self.name}".encode()).decode().rstrip("=")

    @classmethod
    def read(cls, kind: str, cursor: str | None) -> Place | None:
        """The inverse of `cursor`; None for none. Raises `InvalidInput`."""
        if cursor is None:
            return None
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True)
            given, score, name = text.decode("ascii").split(":", 2)
            if given == kind and len(score) <= len(str(2**53)):
                return cls(int(score), name)
        except (binascii.Error, ValueError):
            pass
        fault = Fault(
            "/cursor", "cursor", f"is not a cursor of this list; {_CURSOR_ALLOWED}", _CURSOR_ALLOWED
        )
        raise InvalidInput(fault)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows; ``next`` is None when there are no more."""

    rows: list[Row]
    next: str | None = None


@dataclass(frozen=True)
class Sent:
    """A delivery, and the job that its event is about."""

    job: str
    delivery: Delivery


@dataclass(frozen=True)
class Wanted:
    """Which deliveries; None: any."""

    endpoint: str | None = None
    event: str | None = None
    job: str | None = None
    state: str | None = None

    def has(self, row: Sent) -> bool:
        """Whether ``row`` is one of them."""
        given = (row.delivery.endpoint, row.delivery.event, row.job, row.delivery.state.value)
        asked = (self.endpoint, self.event, self.job, self.state)
        return all(want in {None, have} for want, have in zip(asked, given, strict=True))


@dataclass(frozen=True)
class Happening:
    """An event as it is told: its number in the workspace, its id, its body as compact JSON."""

    seq: int
    id: str
    body: bytes


class Lists:
    """What a workspace may read; nothing of another is ever found."""

    def __init__(self, store: Store, endpoints: Endpoints, deliveries: Deliveries) -> None:
        self.store = store
        self._endpoints = endpoints
        self._deliveries = deliveries

    def jobs(self, workspace: str, limit: int, cursor: str | None) -> Page[Job]:
        """Newest first, without deleted ones. Raises `InvalidInput` for a cursor that is none."""
        places = self._older(rediskeys.jobs(workspace), Place.read("j", cursor))
        return _page("j", limit, places, self._load_jobs)

    def job(self, workspace: str, job_id: str) -> Job:
        """Raises `NotFound`."""
        (job,) = self._load_jobs([job_id])
        if job is None or job.workspace != workspace:
            raise NotFound(f"there is no job {job_id[:64]}")
        return job

    def endpoints(self, workspace: str, limit: int, cursor: str | None) -> Page[Endpoint]:
        """Newest first. Raises `InvalidInput` for a cursor that is none."""
        places = self._older(rediskeys.endpoints(workspace), Place.read("e", cursor))
        return _page("e", limit, places, self._endpoints.find_all)

    def replays(
        self, workspace: str, limit: int, cursor: str | None, load: Callable[[list[str]], list[Replay | None]]
    ) -> Page[Replay]:
        """Newest first, as ``load`` finds them. Raises `InvalidInput` for a cursor that is none."""
        places = self._older(rediskeys.replays(workspace), Place.read("r", cursor))
        return _page("r", limit, places, load)

    def deliveries(self, workspace: str, limit: int, cursor: str | None, wanted: Wanted) -> Page[Sent]:
        """Those of the newest event first. A page may be short, even empty, and yet have a next one.

        Raises `InvalidInput` for a cursor that is none.
        """
        after = Place.read("d", cursor)
        events = self._events_of(workspace, wanted, after)
        rows: list[Sent] = []
        last = Place(0, "")
        for batch in islice(_batches(events, BATCH), MOST_BATCHES):
            for here, row in self._sent(batch):
                if (after is not None and here >= after) or not wanted.has(row):
                    continue
                if len(rows) == limit:
                    return Page(rows, last.cursor("d"))
                rows.append(row)
                last = here
            last = Place(batch[-1].score, "")
        return Page(rows, last.cursor("d") if next(events, None) else None)

    def delivery(self, workspace: str, delivery_id: str) -> Sent:
        """Raises `NotFound`."""
        found = self._deliveries.get(workspace, delivery_id)
        (job,) = self.store.read(lambda pipe: pipe.hget(rediskeys.event(found.event), "job"))
        return Sent((job or b"").decode(), found)

    def events(self, workspace: str, after: str, limit: int) -> tuple[list[Happening], str]:
        """Oldest first, those after the event ``after``, and the id to go on from. Raises `Gone`."""
        seq = self.number(workspace, after)
        ids = self._ids_after(workspace, seq, limit)
        return self._told(ids), ids[-1].name if ids else after

    def since(self, workspace: str, seq: int, limit: int) -> tuple[list[Happening], int]:
        """Oldest first, those after the event of number ``seq``, and the number to go on from."""
        ids = self._ids_after(workspace, seq, limit)
        return self._told(ids), ids[-1].score if ids else seq

    def event(self, workspace: str, event_id: str) -> bytes:
        """The event's body. Raises `NotFound`."""
        (found,) = self.store.read(lambda pipe: pipe.hmget(rediskeys.event(event_id), "ws", "doc"))
        owner, doc = found
        if doc is None or owner.decode() != workspace:
            raise NotFound(f"there is no event {event_id[:64]}")
        return body_of(doc)

    def number(self, workspace: str, event_id: str) -> int:
        """The event's number in its workspace. Raises `Gone` with the oldest event there is."""
        if event_id == START:
            return 0
        key = rediskeys.events(workspace)
        seq, oldest = self.store.read(lambda pipe: pipe.zscore(key, event_id).zrange(key, 0, 0))
        if seq is None:
            detail = f"the event {event_id[:64]} is not kept any more, or never was; begin with after={START}"
            raise Gone(detail, oldest[0].decode() if oldest else None)
        return int(seq)

    def newest(self, workspace: str) -> Place:
        """The newest event, by its number and id; with no event: 0 and `START`."""
        rows = self._slice(rediskeys.events(workspace), float("inf"), 0, 1)
        return rows[0] if rows else Place(0, START)

    def _older(self, key: str, after: Place | None) -> Iterator[Place]:
        """The places below ``after``, from the top."""
        top: float = after.score if after else float("inf")
        offset = 0
        while True:
            rows = self._slice(key, top, offset)
            for place in rows:
                if after is None or place < after:
                    after = place
                    yield place
            if len(rows) < BATCH:
                return
            # Begins again at the last score, so that a row removed meanwhile hides no other.
            top, offset = rows[-1].score, offset + BATCH if rows[-1].score == top else 0

    def _slice(self, key: str, top: float, offset: int, most: int = BATCH) -> list[Place]:
        (rows,) = self.store.read(
            lambda pipe: pipe.zrevrangebyscore(key, top, "-inf", start=offset, num=most, withscores=True)
        )
        return [Place(int(score), name.decode()) for name, score in rows]

    def _events_of(self, workspace: str, wanted: Wanted, after: Place | None) -> Iterator[Place]:
        """The events whose deliveries are to be looked at: from the one of ``after``, itself included."""
        key = rediskeys.events(workspace)
        if wanted.event is None and wanted.job is None:
            return self._older(key, Place(after.score, "~") if after else None)
        ids = [wanted.event] if wanted.event is not None else self._events_of_job(workspace, wanted.job or "")

        def ask(pipe: Any) -> None:
            for each in ids:
                pipe.zscore(key, each)

        found = zip(ids, self.store.read(ask) if ids else [], strict=True)
        places = [Place(int(seq), each) for each, seq in found if seq is not None]
        return iter(sorted((each for each in places if not after or each.score <= after.score), reverse=True))

    def _events_of_job(self, workspace: str, job_id: str) -> list[str]:
        try:
            return list(self.job(workspace, job_id).events)
        except NotFound:
            return []

    def _sent(self, batch: list[Place]) -> Iterator[tuple[Place, Sent]]:
        """Every delivery of these events, with its place."""
        found = self._deliveries.of_events([each.name for each in batch])
        for place, (job, deliveries) in zip(batch, found, strict=True):
            for each in sorted(deliveries, key=lambda one: one.endpoint, reverse=True):
                yield Place(place.score, each.endpoint), Sent(job, each)

    def _ids_after(self, workspace: str, seq: int, limit: int) -> list[Place]:
        key = rediskeys.events(workspace)
        (rows,) = self.store.read(
            lambda pipe: pipe.zrangebyscore(key, f"({seq}", "+inf", start=0, num=limit, withscores=True)
        )
        return [Place(int(score), name.decode()) for name, score in rows]

    def _told(self, places: list[Place]) -> list[Happening]:
        """Those that were not pruned meanwhile."""

        def ask(pipe: Any) -> None:
            for each in places:
                pipe.hget(rediskeys.event(each.name), "doc")

        docs = self.store.read(ask) if places else []
        return [
            Happening(place.score, place.name, body_of(doc))
            for place, doc in zip(places, docs, strict=True)
            if doc is not None
        ]

    def _load_jobs(self, ids: list[str]) -> list[Job | None]:
        def ask(pipe: Any) -> None:
            for each in ids:
                pipe.hmget(rediskeys.job(each), "rev", "doc")

        jobs = [load_job(int(rev), data) if data else None for rev, data in self.store.read(ask)]
        return [None if job is None or job.deleted_at else job for job in jobs]


def _page(
    kind: str, limit: int, places: Iterator[Place], load: Callable[[list[str]], list[Row | None]]
) -> Page[Row]:
    rows: list[Row] = []
    last = Place(0, "")
    for batch in _batches(places, limit + 1):
        for place, row in zip(batch, load([each.name for each in batch]), strict=True):
            if len(rows) == limit:
                return Page(rows, last.cursor(kind))
            last = place
            if row is not None:
                rows.append(row)
    return Page(rows)


def _batches(places: Iterator[Place], size: int) -> Iterator[list[Place]]:
    while batch := list(islice(places, size)):
        yield batch
