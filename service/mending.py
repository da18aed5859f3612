"""Putting back what an index has lost, from the records themselves, a little at a time.

Every index can be made again: those of a job from the unfinished jobs, those of a delivery from the open
events, and both of these, as all lists, from the records. Each is walked by a cursor of the store's own,
which misses nothing that stands still meanwhile. What a script finds lost it puts back in the same step:
nothing that is just moving is taken for lost.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from service import rediskeys
from service.endpoints import Endpoints
from service.errors import Unreadable
from service.events import EventLog
from service.jobs import Jobs
from service.records import Job
from service.store import MEND_EVENTS, MEND_JOBS, MEND_LISTS, MISSING, RECOUNT, RELIST, Script, Store, Word

AT_ONCE = 150
"""Records that one script looks at, so that it holds the store for a few milliseconds at most."""
EVENTS_AT_ONCE = 60
"""An event has deliveries."""
LOOK_UP_MS = 60_000
"""A silent job whose turn was lost is looked up after so long."""
BUDGET = MappingProxyType({"jobs": 0.004, "events": 0.012, "lists": 0.002})
"""Seconds that a pass spends on each kind of record; the next goes on where it stopped."""
FIRST = 0.014
"""Seconds more, after a start, until all of it was looked at."""
URGENT = 0.100
"""Seconds more for those of which something seems to be lost."""
MANY = 100
"""Deliveries that do not all go at once, but for a hand that deletes them."""
MOST_QUEUES = 200
_QUEUES = (rediskeys.wait(""), rediskeys.late(""))
RECOUNT_EVERY = 10.0
START = b"0"

Call = tuple[Script, tuple[str, ...], list[Word]]


@dataclass
class Walk:
    """A cursor, and how often it has come to its end."""

    cursor: bytes = START
    rounds: int = 0

    def go_on(self, cursor: bytes) -> None:
        """From ``cursor``."""
        self.cursor = cursor
        self.rounds += cursor == START


class Vitals:
    """The sizes of what is open, from one look to the next."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._sizes: dict[str, int] = {}

    def suspects(self) -> set[str]:
        """The kinds of records of which something seems to be lost.

        An index that has run empty cannot be told from one that was deleted; but then little is open.
        """
        before, missing = self._sizes, self.store.run(MISSING)
        self._sizes = self._measured([key for key, size in before.items() if size])
        gone = {key for key, size in before.items() if size and not self._sizes[key]}
        found = {"jobs"} if missing > 0 else set()
        if gone & {rediskeys.OPEN_JOBS, rediskeys.OPEN_EVENTS}:
            found.add("lists")
        if any(before[key] > MANY for key in gone if key.startswith(_QUEUES)):
            found.add("events")
        return found

    def _measured(self, known: list[str]) -> dict[str, int]:
        """The indexes of what is open, the queues of some endpoints, and those that were there before."""
        (busy,) = self.store.read(lambda pipe: pipe.zrange(rediskeys.TURNS, 0, MOST_QUEUES))
        dues = [rediskeys.due(name.decode()) for name in busy]
        found = (
            self.store.read(lambda pipe: [pipe.zrange(due, 0, MOST_QUEUES) for due in dues]) if dues else []
        )
        waiting = [ep.decode() for eps in found for ep in eps][:MOST_QUEUES]
        queues = [queue(ep) for ep in waiting for queue in (rediskeys.wait, rediskeys.late)]
        keys = list(dict.fromkeys((rediskeys.OPEN_JOBS, rediskeys.OPEN_EVENTS, *queues, *known)))
        return dict(zip(keys, self.store.read(lambda pipe: [pipe.zcard(key) for key in keys]), strict=True))


class Mender:
    """``schedule``: the service's delays before each attempt, in seconds; ``monotonic`` in seconds."""

    def __init__(
        self,
        jobs: Jobs,
        events: EventLog,
        endpoints: Endpoints,
        schedule: tuple[float, ...],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = jobs.store
        self.jobs = jobs
        self.events = events
        self.endpoints = endpoints
        self.schedule = schedule
        self.monotonic = monotonic
        self._vitals = Vitals(self.store)
        self._some = {"lists": self._some_lists, "jobs": self._some_jobs, "events": self._some_events}
        self._walks = {kind: Walk() for kind in self._some}
        # Until which round a kind is urgent, and how many seconds more of a pass it gets.
        self._urgent = {kind: (1, FIRST / len(self._some)) for kind in self._some}
        # Events of very many deliveries, and the cursor within each.
        self._large: deque[tuple[bytes, bytes]] = deque()
        self._next_recount = 0.0

    @property
    def rounds(self) -> int:
        """How often everything was looked at."""
        return min(walk.rounds for walk in self._walks.values())

    def mend_some(self) -> int:
        """A pass: some of everything, most of what seems to have lost something; how much was put back."""
        for kind in self._vitals.suspects():
            walk = self._walks[kind]
            # A round that is under way has passed some records already.
            self._urgent[kind] = (walk.rounds + (1 if walk.cursor == START else 2), URGENT)
        return sum(self._mend(kind, BUDGET[kind] + self._more(kind)) for kind in self._some)

    def _more(self, kind: str) -> float:
        until, seconds = self._urgent[kind]
        return seconds if self._walks[kind].rounds < until else 0.0

    def everything(self) -> dict[str, int]:
        """All of it once, however long it takes: how much was put back, by kind."""
        self._walks = {kind: Walk() for kind in self._some}
        return {kind: self._mend(kind, math.inf) for kind in self._some}

    def _mend(self, kind: str, budget: float) -> int:
        """For about so many seconds, or to the end of the round."""
        walk, deadline, put = self._walks[kind], self.monotonic() + budget, 0
        rounds = walk.rounds
        while walk.rounds == rounds or self._large:
            put += self._some[kind]()
            if self.monotonic() >= deadline:
                break
        if kind == "events" and walk.rounds > rounds:
            put += self._recount()
        if put:
            logging.getLogger(__name__).warning("index.mended", extra={"kind": kind, "put_back": put})
        return put

    # -- unfinished jobs --------------------------------------------------------------------------------

    def _some_jobs(self) -> int:
        cursor, put, *mute = self.store.run(MEND_JOBS, [self._walks["jobs"].cursor, AT_ONCE, LOOK_UP_MS])
        for job_id in mute:
            with suppress(Unreadable):
                self.jobs.touch(job_id.decode())
        self._walks["jobs"].go_on(cursor)
        return int(put)

    # -- open events ------------------------------------------------------------------------------------

    def _some_events(self) -> int:
        delays = [int(each * 1000) for each in self.schedule]
        if self._large:
            event, within = self._large.popleft()
            cursor, put, *rest = self.store.run(MEND_EVENTS, [START, AT_ONCE, event, within, *delays])
            if cursor != START:
                self._large.appendleft((event, cursor))
        else:
            words: list[Word] = [self._walks["events"].cursor, EVENTS_AT_ONCE, "", START, *delays]
            cursor, put, *rest = self.store.run(MEND_EVENTS, words)
            self._walks["events"].go_on(cursor)
        end = rest.index(b"")
        self._large.extend((event, START) for event in rest[end + 1 :])
        return int(put) + self._put_back([event.decode() for event in rest[:end]])

    def _put_back(self, lost: list[str]) -> int:
        return self.events.put_back(lost, self._own_endpoints) if lost else 0

    def _own_endpoints(self, job_ids: list[str]) -> list[str]:
        return [job.own_endpoint if job else "" for job in self.jobs.get_all(job_ids)]

    def _recount(self) -> int:
        """How many attempts are under way for each endpoint, by the claims themselves; now and then."""
        if self.monotonic() < self._next_recount:
            return 0
        self._next_recount = self.monotonic() + RECOUNT_EVERY
        (names,) = self.store.read(lambda pipe: pipe.smembers(rediskeys.WORKSPACES))
        workspaces = sorted(name.decode() for name in names)
        keys = [rediskeys.FLIGHT, *map(rediskeys.running, workspaces)]
        flight, *busy = self.store.read(lambda pipe: [pipe.exists(key) for key in keys])
        wanted = [name for name, there in zip(workspaces, busy, strict=True) if there]
        return int(self.store.run(RECOUNT, wanted)) if wanted or flight else 0

    # -- every record -----------------------------------------------------------------------------------

    def _some_lists(self) -> int:
        cursor, put, *keys = self.store.run(MEND_LISTS, [self._walks["lists"].cursor, AT_ONCE])
        names = [key.decode() for key in keys]
        jobs = self.jobs.find([_id(name) for name in names if name.startswith(rediskeys.job(""))])
        calls = [_lists_of(job) for job in jobs.values() if job is not None]
        for name in names:
            if name.startswith(rediskeys.endpoint("")):
                put += self.endpoints.relist(_id(name))
        self._walks["lists"].go_on(cursor)
        return int(put) + (sum(self.store.run_all(calls)) if calls else 0)


def _id(key: str) -> str:
    return key.rpartition(":")[2]


def _lists_of(job: Job) -> Call:
    """The script that puts a job back into its lists."""
    lists: list[Any] = [rediskeys.jobs(job.workspace), job.created_at, job.id]
    if job.is_final:
        lists += [rediskeys.FINAL, 0 if job.deleted_at else job.ended_at, job.id]
    else:
        lists += [rediskeys.OPEN_JOBS, job.place, job.id]
    return RELIST, (rediskeys.job(job.id),), [job.rev, *lists]
