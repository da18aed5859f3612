"""How endpoints are doing, and what follows: those that only fail are disabled, and whoever asked is told.

What a script has seen stands in the notes until it is told here. Telling twice does no harm: an event's id
follows from its note, and who is disabled is not disabled again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from schemas.eventtypes import DELIVERY_EXHAUSTED, ENDPOINT_DISABLED, ENDPOINT_RECOVERED, OPERATIONAL
from service import events, rediskeys
from service.deliveries import delivery_id
from service.endpoints import Endpoints, Guard
from service.errors import StoreUnavailable, Unavailable
from service.records import Attempt, Endpoint
from service.store import CANCEL, FORGET, Change, StaleRecord, Store, Word

DAY_MS = 86_400_000
DAYS = 7
AT_ONCE = 100
CANCELLED_AT_ONCE = 150
GONE = "it answered 410 Gone"
STOPPED = "{} is exhausted, and the endpoint is ordered: retry or cancel it, then enable the endpoint"
FAILING = "nothing was delivered to it for too long"
EXHAUSTED = "its schedule is over"
_TOLD_BY: Mapping[str, str] = MappingProxyType(
    {"exhausted": DELIVERY_EXHAUSTED, "recovered": ENDPOINT_RECOVERED}
)
"""The notes of which nothing comes but an event."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})
FAILURES_THAT_OPEN = 5
"""As scripts/pace.lua has it."""
_GROWTH = 1.2
"""Of the tally's buckets, from one to the next."""


@dataclass(frozen=True)
class Statistics:
    """Of the last seven days. ``p50`` and ``p95``: ms that a delivery took, to a tenth; None without any.

    ``circuit``: open while one attempt at a time decides whether the others may follow.
    """

    delivered: int = 0
    failed: int = 0
    exhausted: int = 0
    p50: float | None = None
    p95: float | None = None
    backlog: int = 0
    in_flight: int = 0
    failures_in_a_row: int = 0
    last_failure: Attempt | None = None
    circuit: str = "closed"

    @property
    def success_rate(self) -> float | None:
        """Of all attempts; None without any."""
        attempts = self.delivered + self.failed
        return self.delivered / attempts if attempts else None


@dataclass(frozen=True)
class Health:
    """``clock`` in ms; ``event_id`` makes an id from a time and a seed; ``monotonic`` in seconds."""

    store: Store
    endpoints: Endpoints
    clock: Callable[[], int]
    event_id: Callable[[int, bytes], str]
    disable_after: float
    held_retention: float
    retention: float
    monotonic: Callable[[], float] = time.monotonic

    # -- what is told -----------------------------------------------------------------------------------

    def tell(self, budget: float = 0.0) -> int:
        """Act on the notes, for about ``budget`` seconds; on how many. Raises `StoreUnavailable`."""
        deadline, told = self.monotonic() + budget, 0
        while True:
            (raw,) = self.store.read(lambda pipe: pipe.lrange(rediskeys.NOTES, 0, AT_ONCE - 1))
            done = [note for note in raw if self._is_told(note)]
            self._put_away(raw, set(done))
            told += len(done)
            if len(raw) < AT_ONCE or not done or self.monotonic() >= deadline:
                return told

    def _put_away(self, raw: list[bytes], done: set[bytes]) -> None:
        """Those that are told go; those that a later release has to tell stand behind the others."""

        def ask(pipe: Any) -> None:
            for note in raw:
                pipe.lrem(rediskeys.NOTES, 1, note)
                if note not in done:
                    pipe.rpush(rediskeys.NOTES, note)

        if raw:
            self.store.write(ask)

    def _is_told(self, raw: bytes) -> bool:
        try:
            self._act(raw)
        except StoreUnavailable:
            raise
        except Unavailable as error:
            logging.getLogger(__name__).warning("note.left", extra={"why": error.detail})
            return False
        return True

    def _act(self, raw: bytes) -> None:
        note: dict[str, Any] = json.loads(raw)
        kind = note["kind"]
        if kind in _TOLD_BY and not self.endpoints.tells(note["ws"], _TOLD_BY[kind]):
            return
        endpoint = self.endpoints.find(note["endpoint"])
        if endpoint is None:
            return
        told = _Told(self.event_id(note["at"], raw), note["at"], endpoint, _last_attempt(note))
        match kind:
            case "gone" | "stopped":
                halted = ("set", rediskeys.endpoint(endpoint.id), "halted")
                stopped = STOPPED.format(delivery_id(note["event"], endpoint.id))
                self._disable(told, GONE if kind == "gone" else stopped, halted)
            case "exhausted":
                self._tell_exhausted(told, note)
            case "recovered":
                self._write(told, ENDPOINT_RECOVERED, None)

    def _disable(self, told: _Told, reason: str, guard: Guard) -> None:
        """Unless ``guard`` holds no more: somebody has enabled it meanwhile, or it has delivered."""
        wanted = self.endpoints.tells(told.endpoint.workspace, ENDPOINT_DISABLED)
        ops = (told.op(ENDPOINT_DISABLED, reason),) if wanted else ()
        self.endpoints.disable(told.endpoint.id, reason, ops, (guard,))

    def _tell_exhausted(self, told: _Told, note: Mapping[str, Any]) -> None:
        (doc,) = self.store.read(lambda pipe: pipe.hget(rediskeys.event(note["event"]), "doc"))
        if doc is None:
            return  # somebody has deleted it
        kind = json.loads(events.body_of(doc))["type"]
        # Of what tells of deliveries nothing is told, or it would never end.
        if kind not in OPERATIONAL:
            more = {
                "event": {"id": note["event"], "type": kind},
                "delivery": {
                    "id": delivery_id(note["event"], note["endpoint"]),
                    "attempt_count": note["attempts"],
                },
            }
            self._write(told, DELIVERY_EXHAUSTED, EXHAUSTED, more)

    def _write(self, told: _Told, kind: str, reason: str | None, more: Mapping[str, Any] = _NOTHING) -> None:
        change = Change(rediskeys.event(told.id), 0, told.id, (told.op(kind, reason, more),), subject=told.id)
        try:
            self.store.commit(change)
        except StaleRecord:
            return  # it was told before

    # -- what is found ----------------------------------------------------------------------------------

    def disable_failing(self) -> int:
        """Endpoints to which nothing was delivered for as long as that may be; how many were disabled."""
        least = self.disable_after * 1000
        (found,) = self.store.read(
            lambda pipe: pipe.zrangebyscore(rediskeys.FAILING, least, "+inf", 0, AT_ONCE)
        )
        for each in found:
            self._disable_failing(each.decode())
            self._done("zrem", rediskeys.FAILING, each)
        return len(found)

    def _disable_failing(self, endpoint_id: str) -> None:
        endpoint = self.endpoints.find(endpoint_id)
        if endpoint is None:
            return
        (failed,) = self.store.read(lambda pipe: pipe.hget(rediskeys.endpoint(endpoint_id), "failed"))
        at = self.clock()
        last = _attempt_of(failed.decode() if failed else "", "")
        seed = f"{endpoint.id} {endpoint.rev}".encode()
        told = _Told(self.event_id(at, seed), at, endpoint, last)
        self._disable(told, FAILING, ("member", rediskeys.FAILING, endpoint.id))

    def cancel_left(self, budget: float) -> int:
        """What waited for deleted endpoints, for about ``budget`` seconds; how many were cancelled."""
        deadline, cancelled = self.monotonic() + budget, 0
        (leaving,) = self.store.read(lambda pipe: pipe.zrange(rediskeys.LEAVING, 0, AT_ONCE))
        for each in leaving:
            done, all_of_it = self._cancel(each.decode(), "+inf", deadline)
            cancelled += done
            if not all_of_it:
                break
            self._done("zrem", rediskeys.LEAVING, each)
        return cancelled

    def cancel_held(self, now: int, budget: float) -> int:
        """What was held for as long as that may be, for about ``budget`` seconds; how many were cancelled."""
        deadline, cancelled = self.monotonic() + budget, 0
        before = now - int(self.held_retention * 1000)
        (names,) = self.store.read(lambda pipe: pipe.smembers(rediskeys.WORKSPACES))
        for name in names:
            for endpoint in self.endpoints.list(name.decode()):
                if not endpoint.active:
                    cancelled += self._cancel(endpoint.id, before, deadline)[0]
        return cancelled

    def _cancel(self, endpoint: str, before: Word, deadline: float) -> tuple[int, bool]:
        """How many, and whether that was all."""
        cancelled = 0
        while True:
            done = self.store.run(CANCEL, [endpoint, CANCELLED_AT_ONCE, before])
            cancelled += done
            if done < CANCELLED_AT_ONCE or self.monotonic() >= deadline:
                return cancelled, done < CANCELLED_AT_ONCE

    def forget_odd(self, now: int) -> int:
        """Events that are about no job and older than the retention, when nothing of them is owed."""
        before = now - int(self.retention * 1000)
        (old,) = self.store.read(
            lambda pipe: pipe.zrangebyscore(rediskeys.ODD_EVENTS, "-inf", before, 0, AT_ONCE)
        )
        calls = [(FORGET, (), [each.decode(), 0]) for each in old]
        return sum(self.store.run_all(calls)) if calls else 0

    def _done(self, *words: Word) -> None:
        self.store.write(lambda pipe: pipe.execute_command(*words))

    # -- what is shown ----------------------------------------------------------------------------------

    def statistics(self, endpoint: Endpoint) -> Statistics:
        """Counts of the last seven days, and how it is doing now."""
        today, key = self.clock() // DAY_MS, rediskeys.endpoint(endpoint.id)

        def ask(pipe: Any) -> None:
            for day in range(DAYS):
                pipe.hgetall(rediskeys.tally(f"{endpoint.id}:{today - day}"))
            for queue in (rediskeys.wait, rediskeys.late, rediskeys.line):
                pipe.zcard(queue(endpoint.id))
            pipe.hget(rediskeys.running(endpoint.workspace), endpoint.id)
            pipe.hmget(key, "fails", "failed")

        *days, wait, late, line, running, (fails, failed) = self.store.read(ask)
        counts = _summed(days)
        in_flight = int(running or 0)
        # What is in flight to an ordered endpoint stands in its line meanwhile.
        backlog = wait + late + (line - in_flight if endpoint.ordered else line)
        return Statistics(
            delivered=counts.get("delivered", 0),
            failed=counts.get("failed", 0),
            exhausted=counts.get("exhausted", 0),
            p50=_quantile(counts, 0.5),
            p95=_quantile(counts, 0.95),
            backlog=max(0, backlog),
            in_flight=in_flight,
            failures_in_a_row=int(fails or 0),
            last_failure=Attempt.from_row(json.loads(failed)) if failed else None,
            circuit="open" if int(fails or 0) >= FAILURES_THAT_OPEN and not endpoint.ordered else "closed",
        )


@dataclass(frozen=True)
class _Told:
    """An operational event that may be written."""

    id: str
    at: int
    endpoint: Endpoint
    last: dict[str, Any] | None

    def op(self, kind: str, reason: str | None, more: Mapping[str, Any] = _NOTHING) -> tuple[Word, ...]:
        """The word of scripts/commit.lua that writes it."""
        shown = {name: getattr(self.endpoint, name) for name in ("id", "url", "description")}
        data = {"endpoint": shown, "reason": reason, **more, "last_attempt": self.last}
        return events.without_job(self.id, kind, self.at, data).op_in(self.endpoint.workspace)


def _last_attempt(note: Mapping[str, Any]) -> dict[str, Any] | None:
    return _attempt_of(note["item"], note["answer"])


def _attempt_of(item: str, answer: str) -> dict[str, Any] | None:
    if not item:
        return None
    attempt = Attempt.from_row(json.loads(item))
    return {
        "at": events.timestamp(attempt.at),
        "status": attempt.status,
        "error": attempt.error,
        "duration_ms": attempt.duration_ms,
        "answer": answer,
    }


def _summed(days: list[dict[bytes, bytes]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for day in days:
        for name, number in day.items():
            counts[name.decode()] = counts.get(name.decode(), 0) + int(number)
    return counts


def _quantile(counts: Mapping[str, int], share: float) -> float | None:
    """In ms, from the buckets: bucket n holds what took 1.2^n - 1 ms and up to a fifth more."""
    buckets = sorted((int(name[1:]), number) for name, number in counts.items() if name[0] == "b")
    wanted = share * sum(number for _, number in buckets)
    for bucket, number in buckets:
        wanted -= number
        if wanted <= 0:
            return float(round(_GROWTH ** (bucket + 0.5) - 1, 1))
    return None
