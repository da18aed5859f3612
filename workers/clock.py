"""The clock: finds by our records what is due, overdue or left behind, and moves it on.

Two clocks do no harm: every step is a compare-and-set, or may be done twice.
"""

from __future__ import annotations

import logging
import math
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.states import JobState
from service import rediskeys
from service.bootstrap import Service, begin
from service.deliveries import again
from service.errors import HookreelError, NotFound, Unavailable
from service.presence import Watch
from service.queue import ARCHIVE, DECIDE, DISCARD, LOOK_UP
from service.records import Attempt, Job
from service.store import PRUNE, Word
from service.submitting import UNKNOWNS_THAT_PAUSE
from workers.forwarder import claimed, free

TICK = 1.0
SEARCH_EVERY = 4.0
RING_AGAIN_MS = 10_000
"""An admitted job that nobody has begun for so long has lost its bell."""
LONGEST_SUBMISSION_MS = 150_000
"""Longer than every deadline of a submission: who still holds the token is not coming back."""
PROBE_EVERY = 10.0
LONGEST_PROBE_WAIT = 300.0
REBUILD_AFTER_MS = 15_000
AT_ONCE = 200
MOST_COPY_BELLS = 16
INTERRUPTED = "interrupted"
UPSTREAM_KEPT_MS = 2 * 24 * 3600 * 1000


@dataclass
class Clock:
    """``monotonic`` in seconds, ``dice`` in [0, 1)."""

    service: Service
    watch: Watch
    monotonic: Callable[[], float] = time.monotonic
    dice: Callable[[], float] = random.random
    _rung: dict[str, float] = field(default_factory=dict)
    _asked: dict[tuple[str, str], float] = field(default_factory=dict)
    _next_probe: float = 0.0
    _probe_wait: float = 0.0
    _next_search: float = 0.0
    _silent: set[str] = field(default_factory=set)

    def tick(self) -> None:
        """One pass over everything. A part that fails is logged and left to the next pass."""
        for part in (
            self.free_the_dead,
            self.free_the_forgotten,
            self.wait_again,
            self.let_in,
            self.sweep_window,
            self.look_up,
            self.decide,
            self.probe,
            self.rebuild_streams,
            self.archive,
            self.prune,
        ):
            try:
                part()
            except HookreelError as error:
                logging.getLogger(__name__).warning(
                    "clock.failed", extra={"part": part.__name__, "why": error.detail}
                )
            except Exception:
                # One record that nobody foresaw must not keep everything else from being found.
                logging.getLogger(__name__).exception("clock.broken", extra={"part": part.__name__})

    # -- the dead ---------------------------------------------------------------------------------------

    def free_the_dead(self) -> None:
        """Claims and submissions of processes that beat no more."""
        _, dead = self.watch.look()
        for incarnation in sorted(dead):
            self._free(incarnation)

    def free_the_forgotten(self) -> None:
        """The same for who was forgotten, went on, and ended before its next beat."""
        if self.monotonic() < self._next_search:
            return
        self._next_search = self.monotonic() + SEARCH_EVERY
        holders = self._holders()
        (beating,) = self.service.store.read(lambda pipe: pipe.hkeys(rediskeys.BEATS))
        silent = holders - {each.decode() for each in beating}
        for incarnation in sorted(silent & self._silent):
            self._free(incarnation)
        self._silent = silent

    def _holders(self) -> set[str]:
        """Whose the open claims and submissions are."""
        rows = [job.submission for job in self._window() if job.state is JobState.SUBMITTING]
        (copiers,) = self.service.store.read(lambda pipe: pipe.hvals(rediskeys.ARCHIVING))
        found = {row.incarnation for row in rows if row} | {each.decode() for each in copiers}
        return found | {token.rpartition(".")[0] for token in claimed(self.service)}

    def _free(self, incarnation: str) -> None:
        if incarnation.startswith("forwarder-"):
            self._free_claims(incarnation)
        if incarnation.startswith("worker-"):
            self._lose_submissions(incarnation)
            self.service.jobs.copier_gone(incarnation)
        self.watch.forget(incarnation)

    def _free_claims(self, incarnation: str) -> None:
        """A claim without an outcome counts as a failed attempt."""
        schedule = self.service.settings.retry_schedule
        lost = Attempt(self.service.clock(), None, INTERRUPTED, 0).item()
        freed = free(self.service, incarnation, lambda n: again(n, schedule, 2 * self.dice() - 1), lost)
        logging.getLogger(__name__).info("claims.freed", extra={"incarnation": incarnation, "claims": freed})

    def _lose_submissions(self, incarnation: str) -> None:
        for job in self._window():
            row = job.submission
            if job.state is JobState.SUBMITTING and row and row.incarnation == incarnation:
                self.service.jobs.lose(job.id, row.token)

    # -- jobs -------------------------------------------------------------------------------------------

    def wait_again(self) -> None:
        """Refused jobs whose delay is over."""
        for job_id in self._due(rediskeys.LATER, self.service.clock()):
            self._leniently(self.service.jobs.wait_again, job_id, rediskeys.LATER)

    def sweep_window(self) -> None:
        """Bells that were lost, slots that nobody needs, submissions that cannot be going on any more."""
        now, rung = self.monotonic(), {}
        overdue = []
        for job in self._window():
            if job.state is JobState.QUEUED:
                rung[job.id] = self._rung.get(job.id, now)
                if now - rung[job.id] > RING_AGAIN_MS / 1000:
                    overdue.append(job.id)
                    rung[job.id] = now
            elif job.is_final or job.state is JobState.UNCERTAIN:
                self.service.jobs.leave(job.id)
            elif self._is_lost(job):
                self.service.jobs.lose(job.id, job.submissions[-1].token)
        self._rung = rung
        if overdue:
            self.service.doorbells.ring(overdue)

    def _is_lost(self, job: Job) -> bool:
        row = job.submission
        if job.state is not JobState.SUBMITTING or row is None:
            return False
        return self.service.clock() - row.at > LONGEST_SUBMISSION_MS

    def look_up(self) -> None:
        """Jobs at the vendor of which nothing was heard for too long."""
        self._ring_for(rediskeys.SILENT, self.service.clock(), LOOK_UP)

    def decide(self) -> None:
        """Uncertain jobs of which nothing was heard for too long."""
        before = self.service.clock() - int(self.service.settings.uncertain_after * 1000)
        self._ring_for(rediskeys.UNCERTAIN, before, DECIDE)

    def archive(self) -> None:
        """Copies that are due, and copies that nobody wants any more."""
        if self.service.settings.archive is None:
            return
        for zset, task in ((rediskeys.ARCHIVE, ARCHIVE), (rediskeys.DISCARD, DISCARD)):
            # They take minutes, and one goes on with the next: rung for each, those that wait would pile up.
            room = MOST_COPY_BELLS - self.service.doorbells.copies_waiting()
            if room > 0:
                self._ring_for(zset, self.service.clock(), task, room)

    def _ring_for(self, zset: str, before: int, task: str, most: int = AT_ONCE) -> None:
        """Ring for what is due, and again only when nothing came of it."""
        now = self.monotonic()
        due = [each for each in self._due(zset, before) if now >= self._asked.get((task, each), 0.0)][:most]
        if due:
            self.service.doorbells.ring(due, task)
        self._asked = {key: until for key, until in self._asked.items() if until > now}
        self._asked.update({(task, each): now + RING_AGAIN_MS / 1000 for each in due})

    def let_in(self) -> None:
        """Jobs that wait while there is room: after a 429's pause, nothing else would let them in."""
        waiting, window = self.service.store.read(
            lambda pipe: (pipe.zcard(rediskeys.WAITING), pipe.zcard(rediskeys.WINDOW))
        )
        if waiting and window < self.service.settings.max_in_flight:
            self.service.jobs.let_in()

    def probe(self) -> None:
        """While submissions are paused: when the vendor answers a harmless question, one job may pass."""
        (unknowns,) = self.service.store.read(lambda pipe: pipe.hget(rediskeys.VENDOR, "unknowns"))
        if int(unknowns or 0) < UNKNOWNS_THAT_PAUSE:
            self._probe_wait = PROBE_EVERY
            return
        if self.monotonic() < self._next_probe:
            return
        self._next_probe = self.monotonic() + self._probe_wait
        # Every probe that fails may have been billed.
        self._probe_wait = min(2 * self._probe_wait, LONGEST_PROBE_WAIT)
        try:
            self.service.vendor.balance()
        except HookreelError as error:
            if isinstance(error, Unavailable):
                return
        self.service.jobs.let_one_pass()

    def _window(self) -> list[Job]:
        (ids,) = self.service.store.read(lambda pipe: pipe.zrange(rediskeys.WINDOW, 0, -1))
        found = self.service.jobs.get_all([each.decode() for each in ids])
        gone = [each.decode() for each, job in zip(ids, found, strict=True) if job is None]
        if gone:
            self.service.store.write(lambda pipe: pipe.zrem(rediskeys.WINDOW, *gone))
        return [job for job in found if job is not None]

    def _due(self, zset: str, before: int) -> list[str]:
        (ids,) = self.service.store.read(lambda pipe: pipe.zrangebyscore(zset, "-inf", before, 0, AT_ONCE))
        return [each.decode() for each in ids]

    def _leniently(self, verb: Callable[[str], object], job_id: str, zset: str) -> None:
        """``verb``, or out of the index when the record is gone or needs nothing."""
        try:
            job = verb(job_id)
        except NotFound:
            job = None
        if job is None or (
            isinstance(job, Job) and zset == rediskeys.UNCERTAIN and job.state is not JobState.UNCERTAIN
        ):
            self.service.store.write(lambda pipe: pipe.zrem(zset, job_id))

    # -- events and old records -------------------------------------------------------------------------

    def rebuild_streams(self) -> None:
        """Events that are open for long and in no stream any more go back into their stream."""
        for event_id in self._due(rediskeys.OPEN_EVENTS, self.service.clock() - REBUILD_AFTER_MS):
            self.service.events.put_back(event_id, self._own_endpoint)

    def _forget(self, job_id: str) -> None:
        self.service.store.write(lambda pipe: pipe.zrem(rediskeys.FINAL, job_id))

    def _own_endpoint(self, job_id: str) -> str:
        job = self.service.jobs.get_all([job_id])[0]
        return job.own_endpoint if job else ""

    def prune(self) -> None:
        """Final jobs older than the retention, of which nothing is owed."""
        forgotten = self.service.clock() - UPSTREAM_KEPT_MS
        self.service.store.write(lambda pipe: pipe.zremrangebyscore(rediskeys.UPSTREAM, "-inf", forgotten))
        before = self.service.clock() - int(self.service.settings.retention * 1000)
        for job_id in self._due(rediskeys.FINAL, before):
            job = self.service.jobs.get_all([job_id])[0]
            if job is None:
                self._forget(job_id)
                continue
            if job.copies:
                self._discard_later(job)
            args: list[Word] = [job.id, job.workspace, job.rev, job.own_endpoint, *job.events]
            self.service.store.run(PRUNE, args, [rediskeys.job(job.id)])

    def _discard_later(self, job: Job) -> None:
        """Noted before the record goes: nothing else would know of the job's copies then."""
        kept_for = self.service.settings.archive_retention
        if kept_for == math.inf and not job.deleted_at:
            return
        due = self.service.clock() if kept_for is None else job.ended_at + int(kept_for * 1000)
        self.service.store.write(lambda pipe: pipe.zadd(rediskeys.DISCARD, {job.id: due}, nx=True))


def main() -> None:
    """The process: a pass a second until SIGTERM."""
    service = begin("clock")
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    service.presence.start()
    clock = Clock(service, Watch(service.store, time.monotonic))
    while not stop.wait(TICK):
        clock.tick()
    service.presence.stop()


if __name__ == "__main__":
    main()
