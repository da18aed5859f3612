"""Replays: an event once more, or everything that an endpoint has missed, little by little.

A replay of many walks the workspace's events by their numbers. What it makes wait and where it has got to are
one write, under the revision that it was read at: no crash and no second clock skips or doubles anything.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from schemas.eventtypes import FINAL_TYPES
from schemas.faults import Fault
from service import rediskeys
from service.deliveries import ENDED, OPEN
from service.endpoints import Endpoints, matches
from service.errors import Conflict, InvalidInput, NotFound, StoreUnavailable, Unavailable
from service.events import Label
from service.ids import made_at
from service.jobs import Jobs
from service.records import Endpoint, Replay, load_replay
from service.store import ADVANCE, REVIVE, Change, Script, StaleRecord, Store, Word

RECOVER: Final = "recover"
MISSING: Final = "replay-missing"
WHICH: Final = {RECOVER: "xc", MISSING: "-"}
"""The deliveries that each kind makes wait, as scripts/again.lua has them."""
RATE: Final = 500
"""Deliveries a second that all replays together make to wait."""
AT_ONCE: Final = 250
"""Events that one step looks at."""
MOST_RUNNING: Final = 10
"""Replays of a workspace at a time."""
SLACK_MS: Final = 1000
"""An event's id is made a moment before its timestamp."""
SKEW_MS: Final = 60_000
"""Ids are made by several machines' clocks: they are in the order of the events only by and large."""
PRUNED_AT_ONCE: Final = 200


Call = tuple[Script, tuple[str, ...], list[Word]]


class Replayed(NamedTuple):
    """How many endpoints an event waits for now, and to how many it was under way just then."""

    waiting: int
    under_way: int


@dataclass(frozen=True)
class Replays:
    """``clock``: ms as people read them; ``now``: ms by the service's time; ``monotonic`` in seconds.

    ``retention``: seconds for which replays that have ended are kept.
    """

    store: Store
    endpoints: Endpoints
    jobs: Jobs
    clock: Callable[[], int]
    now: Callable[[], int]
    new_id: Callable[[], str]
    retention: float
    monotonic: Callable[[], float] = time.monotonic

    # -- one event --------------------------------------------------------------------------------------

    def replay(self, workspace: str, event_id: str, endpoint_id: str | None = None) -> Replayed:
        """Deliver an event again: to one endpoint, or to each that it is for, whenever that was made.

        Raises `NotFound`, and `InvalidInput` for an endpoint whose format cannot carry it.
        """
        (found,) = self.store.read(lambda pipe: pipe.hgetall(rediskeys.event(event_id)))
        if b"doc" not in found or found[b"ws"].decode() != workspace:
            raise NotFound(f"there is no event {event_id[:64]}")
        label = Label.of(found[b"doc"], found.get(b"label"))
        own = self._own(found.get(b"job", b"").decode())
        if endpoint_id is None:
            wanted = self._audience(workspace, label, own, {name.decode() for name in found})
        else:
            wanted = [self._named(workspace, endpoint_id, label, own)]
        every = OPEN + ENDED + "-"
        calls: list[Call] = [(REVIVE, (), [workspace, each, every, event_id]) for each in wanted]
        done = self.store.run_all(calls) if calls else []
        return Replayed(sum(made for made, _, _ in done), sum(flown for _, flown, _ in done))

    def _own(self, job_id: str) -> str:
        """The endpoint of the job's ``?webhook=``, if there is one."""
        job = self.jobs.get_all([job_id])[0] if job_id else None
        return job.own_endpoint if job else ""

    def _audience(self, workspace: str, label: Label, own: str, told: set[str]) -> list[str]:
        """Whom an event is for; a sample is for whom it was sent to alone."""
        listed = self.endpoints.directory(workspace).endpoints
        if label.test:
            return [each.id for each in listed if each.id in told]
        matching = [each.id for each in listed if matches(each, label.type, label.channel)]
        return [*matching, own] if own and label.type in FINAL_TYPES else matching

    def _named(self, workspace: str, endpoint_id: str, label: Label, own: str) -> str:
        if endpoint_id == own:
            return own
        endpoint = self.endpoints.get(workspace, endpoint_id)
        if endpoint.format == "wavespeed" and label.type not in FINAL_TYPES:
            allowed = f"an endpoint of another format, or an event of the types {', '.join(FINAL_TYPES)}"
            detail = f"its format wavespeed does not carry {label.type}; {allowed}"
            raise InvalidInput(Fault("/endpoint", "format", detail, allowed))
        return endpoint.id

    # -- many: asked for, shown, stopped ----------------------------------------------------------------

    def recover(self, workspace: str, endpoint_id: str, since: int, until: int | None) -> Replay:
        """Everything exhausted or cancelled, of events between these times in ms, is delivered again.

        Raises `NotFound`, and `Conflict` when enough is running.
        """
        endpoint = self.endpoints.get(workspace, endpoint_id)
        return self._begin(RECOVER, endpoint, 0, since, until)

    def replay_missing(
        self, workspace: str, endpoint_id: str, since: int | None, until: int | None, *, earlier: bool
    ) -> Replay:
        """What the endpoint would hear of and has no delivery of, be it pending or ended, is delivered.

        ``earlier``: also what happened before it was made. Raises `NotFound`, and `Conflict` when enough is
        running.
        """
        endpoint = self.endpoints.get(workspace, endpoint_id)
        return self._begin(MISSING, endpoint, 0 if earlier else endpoint.since, since, until)

    def get(self, workspace: str, replay_id: str) -> Replay:
        """Raises `NotFound`."""
        (found,) = self.find_all([replay_id])
        if found is None or found.workspace != workspace:
            raise NotFound(f"there is no replay {replay_id[:64]}")
        return found

    def find_all(self, ids: list[str]) -> list[Replay | None]:
        """In the order of ``ids``; None where there is none."""

        def ask(pipe: Any) -> None:
            for each in ids:
                pipe.hgetall(rediskeys.replay(each))

        rows = self.store.read(ask) if ids else []
        return [load_replay(each, row) if row else None for each, row in zip(ids, rows, strict=True)]

    def stop(self, workspace: str, replay_id: str) -> Replay:
        """What waits by now goes on waiting; nothing more is added. One that has ended stays what it is.

        Raises `NotFound`.
        """
        while (found := self.get(workspace, replay_id)).state == "running":
            self._cancel(found)
        return found

    def _begin(
        self, kind: str, endpoint: Endpoint, after: int, since: int | None, until: int | None
    ) -> Replay:
        workspace = endpoint.workspace
        running = [each for each in self.find_all(self._running()) if each and each.workspace == workspace]
        if len(running) >= MOST_RUNNING:
            raise Conflict(f"{MOST_RUNNING} replays are running; wait for one to end, or stop it")
        start, last = self._span(workspace, after, since)
        (total,) = self.store.read(lambda pipe: pipe.zcount(rediskeys.events(workspace), f"({start}", last))
        made = Replay(
            self.new_id(), workspace, kind, endpoint.id, self.clock(), at=start, last=last, total=total
        )
        self._keep(made, since, until)
        return self.get(workspace, made.id)

    def _keep(self, made: Replay, since: int | None, until: int | None) -> None:
        key = rediskeys.replay(made.id)
        told = {
            "ws": made.workspace,
            "which": WHICH[made.kind],
            "since": "" if since is None else since,
            "until": "" if until is None else until,
            **{name: getattr(made, name) for name in ("kind", "endpoint", "state", "created_at")},
            **{name: getattr(made, name) for name in ("at", "last", "total")},
        }
        fields = [word for pair in told.items() for word in pair]
        ops = (
            ("HSET", key, *fields),
            ("ZADD", rediskeys.replays(made.workspace), made.created_at, made.id),
            ("ZADD", rediskeys.REPLAYING, 0, made.id),
        )
        self.store.commit(Change(key, 0, made.id, ops, subject=made.id))

    def _cancel(self, replay: Replay) -> None:
        key = rediskeys.replay(replay.id)
        ops = (
            ("HSET", key, "state", "cancelled", "ended_at", self.clock()),
            ("ZREM", rediskeys.REPLAYING, replay.id),
            ("ZADD", rediskeys.REPLAYED, self.now(), replay.id),
        )
        try:
            self.store.commit(Change(key, replay.rev, self.new_id(), ops, subject=replay.id))
        except StaleRecord:
            return  # it was advanced meanwhile

    def _span(self, workspace: str, after: int, since: int | None) -> tuple[int, int]:
        """The number of the event that a walk begins behind, and that of the newest one."""
        key = rediskeys.events(workspace)
        (newest,) = self.store.read(lambda pipe: pipe.zrange(key, -1, -1, withscores=True))
        last = int(newest[0][1]) if newest else 0
        begun = 0 if since is None else self._number_before(key, since - SLACK_MS - SKEW_MS)
        return min(last, max(after, begun)), last

    def _number_before(self, key: str, at: int) -> int:
        """The number of the last event that was surely made before ``at`` ms."""
        (high,) = self.store.read(lambda pipe: pipe.zcard(key))
        low, found = 0, 0
        while low < high:
            middle = (low + high) // 2
            rows = self.store.fetch("ZRANGE", key, middle, middle, "WITHSCORES")
            if rows and made_at(rows[0].decode()) < at:
                low, found = middle + 1, int(rows[1])
            else:
                high = middle
        return found

    # -- many: on their way -----------------------------------------------------------------------------

    def advance(self, budget: float) -> int:
        """Replays in turns, for about ``budget`` seconds; how many steps were made.

        Raises `StoreUnavailable`.
        """
        deadline, steps = self.monotonic() + budget, 0
        turns = deque(self._running())
        while turns and self.monotonic() < deadline:
            each = turns.popleft()
            steps += 1
            if self._has_more(each):
                turns.append(each)
        return steps

    def forget(self, now: int) -> int:
        """Replays that have ended longer ago than the retention; how many there were."""
        before = now - int(self.retention * 1000)
        (old,) = self.store.read(
            lambda pipe: pipe.zrangebyscore(rediskeys.REPLAYED, "-inf", before, 0, PRUNED_AT_ONCE)
        )
        ids = [each.decode() for each in old]
        for replay in filter(None, self.find_all(ids)):
            self._drop(replay)
        if ids:
            self.store.write(lambda pipe: pipe.zrem(rediskeys.REPLAYED, *ids))
        return len(ids)

    def _drop(self, replay: Replay) -> None:
        listed = rediskeys.replays(replay.workspace)
        self.store.write(lambda pipe: pipe.delete(rediskeys.replay(replay.id)).zrem(listed, replay.id))

    def _running(self) -> list[str]:
        """Whose turn it was longest ago first."""
        (ids,) = self.store.read(lambda pipe: pipe.zrange(rediskeys.REPLAYING, 0, -1))
        return [each.decode() for each in ids]

    def _has_more(self, replay_id: str) -> bool:
        """One step; whether another one may follow in this pass."""
        try:
            return self._step(replay_id)
        except StoreUnavailable:
            raise
        except Unavailable as error:
            # Its endpoint is of a later release; the others need not wait for that.
            extra = {"replay": replay_id, "why": error.detail}
            logging.getLogger(__name__).warning("replay.waits", extra=extra)
            return False

    def _step(self, replay_id: str) -> bool:
        (replay,) = self.find_all([replay_id])
        if replay is None or replay.state != "running":
            self.store.write(lambda pipe: pipe.zrem(rediskeys.REPLAYING, replay_id))
            return False
        endpoint = self.endpoints.find(replay.endpoint)
        if endpoint is None:
            self._cancel(replay)
            return False
        rows = self._next(replay)
        ended = len(rows) < AT_ONCE
        wanted = self._wanted(replay, endpoint, [name for name, _ in rows])
        at = replay.last if ended else rows[-1][1]
        words: list[Word] = [replay.id, replay.rev, at, len(rows), self.clock() if ended else "", RATE]
        made = self.store.run(ADVANCE, [*words, *wanted], [rediskeys.replay(replay.id)])
        return not ended and made >= 0

    def _next(self, replay: Replay) -> list[tuple[str, int]]:
        """The next events and their numbers."""
        key = rediskeys.events(replay.workspace)
        span = (f"({replay.at}", replay.last)
        (rows,) = self.store.read(
            lambda pipe: pipe.zrangebyscore(key, *span, start=0, num=AT_ONCE, withscores=True)
        )
        return [(name.decode(), int(number)) for name, number in rows]

    def _wanted(self, replay: Replay, endpoint: Endpoint, ids: list[str]) -> list[str]:
        timely = [each for each in ids if _within(replay, made_at(each))]
        if replay.kind == RECOVER or not timely:
            return timely
        names = ("doc", "label", endpoint.id)
        rows = self.store.read(lambda pipe: [pipe.hmget(rediskeys.event(each), names) for each in timely])
        return [each for each, row in zip(timely, rows, strict=True) if _is_missing(endpoint, *row)]


def _within(replay: Replay, at: int) -> bool:
    if replay.since is not None and at < replay.since - SLACK_MS:
        return False
    return replay.until is None or at <= replay.until


def _is_missing(endpoint: Endpoint, doc: bytes | None, label: bytes | None, line: bytes | None) -> bool:
    """Whether the endpoint has no delivery of this event and is to have one."""
    if doc is None or line is not None:
        return False
    told = Label.of(doc, label)
    return not told.test and matches(endpoint, told.type, told.channel)
