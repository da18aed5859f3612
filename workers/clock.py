"""The clock: finds by our records what is due, overdue or left behind, and moves it on.

Two clocks do no harm: every step is a compare-and-set, or may be done twice.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Self, TypeVar

from schemas.eventtypes import INTERRUPTED
from schemas.states import JobState
from service import rediskeys
from service.bootstrap import Service, begin, boottime
from service.errors import HookreelError, NotFound, Unreadable
from service.ledger import tell_unreadable
from service.presence import Watch
from service.queue import ARCHIVE, DECIDE, DISCARD, LOOK_UP
from service.records import Attempt, Job
from service.store import PRUNE, Script, Word
from service.submitting import UNKNOWNS_THAT_PAUSE
from service.timekeeping import Jumps
from workers.forwarder import claimed, free
from workers.window import RING_AGAIN, Window

T = TypeVar("T")
TICK = 1.0
SEARCH_EVERY = 4.0
PROBE_EVERY = 10.0
LONGEST_PROBE_WAIT = 300.0
DUE_AT_ONCE = 200
MOST_COPY_BELLS = 8
"""As many as one worker copies at once: who is free takes them, and more are rung at the next pass."""
RECALL_EVERY = 300.0
RECALL_AT_ONCE = 50
CONCERNS = MappingProxyType({LOOK_UP: JobState.PROCESSING, DECIDE: JobState.UNCERTAIN})
"""The state of the jobs that a task is about; whoever is due and in another has no business there."""
MOST_ATTEMPTS = 50
"""As many as a schedule can have; a delivery that ends whoever attempts it must come to an end itself."""
UPSTREAM_KEPT_MS = 2 * 24 * 3600 * 1000
TELL_BUDGET = 0.2
"""Seconds of a pass for what is told of endpoints."""
LEAVING_BUDGET = 0.05
"""Seconds of a pass for what waited for deleted endpoints, and for what was held for too long."""
REPLAY_BUDGET = 0.05
"""Seconds of a pass for replays of many events."""
TIDY_EVERY = 60.0
WINDOW_BUDGET = 0.008
"""Seconds of a pass; a window that is larger than that is gone through in several."""


@dataclass
class Clock:
    """``monotonic`` in seconds."""

    service: Service
    watch: Watch
    monotonic: Callable[[], float] = time.monotonic
    boottime: Callable[[], float] = boottime
    _asked: dict[tuple[str, str], float] = field(default_factory=dict)
    _next_probe: float = 0.0
    _probe_wait: float = PROBE_EVERY
    _next_search: float = 0.0
    _next_recall: float = 0.0
    _next_tidy: float = 0.0
    _recalled: int = 0
    _owing: int = 0
    _silent: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.window = Window(self.service, self.monotonic)
        self.jumps = Jumps(self.service.store, self.boottime)

    @classmethod
    def of(cls, service: Service, monotonic: Callable[[], float]) -> Self:
        """A clock with a watch of its own."""
        return cls(service, Watch(service.store, monotonic), monotonic)

    def tick(self) -> None:
        """One pass over everything. A part that fails is logged and left to the next pass."""
        jumped = self._attempt(self.jumps.look)
        if jumped is None:
            self.watch.miss()
        if jumped is not False:
            # By a clock that has just jumped, or cannot be read, nothing is decided.
            return
        for part in (
            self.free_the_dead,
            self.free_the_forgotten,
            self.wait_again,
            self.let_in,
            self.sweep_window,
            self.mend,
            self.look_up,
            self.decide,
            self.probe,
            self.archive,
            self.tell,
            self.tidy_endpoints,
            self.replay,
            self.prune,
        ):
            self._attempt(part)

    @staticmethod
    def _attempt(part: Callable[[], T]) -> T | None:
        log = logging.getLogger(__name__)
        try:
            return part()
        except HookreelError as error:
            log.warning("clock.failed", extra={"part": part.__name__, "why": error.detail})
        except Exception:
            # One record that nobody foresaw must not keep everything else from being found.
            log.exception("clock.broken", extra={"part": part.__name__})
        return None

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
        (copiers,) = self.service.store.read(lambda pipe: pipe.hvals(rediskeys.ARCHIVING))
        found = self.window.holders | {each.decode() for each in copiers}
        return found | {token.rpartition(".")[0] for token in claimed(self.service)}

    def _free(self, incarnation: str) -> None:
        if incarnation.startswith("forwarder-"):
            self._free_claims(incarnation)
        if incarnation.startswith("worker-"):
            self.window.lose(incarnation)
            self.service.jobs.copier_gone(incarnation)
        self.watch.forget(incarnation)

    def _free_claims(self, incarnation: str) -> None:
        """A claim without an outcome counts as a failed attempt.

        The endpoint is not to blame: it is tried again at once, and once more after the schedule's end.
        """
        lost = Attempt(self.service.clock(), None, INTERRUPTED, 0).item()
        freed = free(self.service, incarnation, lambda n: "b0" if n < MOST_ATTEMPTS else "x", lost)
        logging.getLogger(__name__).info("claims.freed", extra={"incarnation": incarnation, "claims": freed})

    # -- jobs -------------------------------------------------------------------------------------------

    def wait_again(self) -> None:
        """Refused jobs whose delay is over."""
        for job_id in self._due(rediskeys.LATER, self.service.time()):
            try:
                self.service.jobs.wait_again(job_id)
            except NotFound:
                self._forget(rediskeys.LATER, job_id)
            except Unreadable as error:
                tell_unreadable(job_id, error)

    def sweep_window(self) -> None:
        """Bells that were lost, slots that nobody needs, submissions that cannot be going on any more."""
        self.window.sweep(WINDOW_BUDGET)

    def mend(self) -> None:
        """Whatever has lost its place in an index, found again by the records."""
        self.service.mender.mend_some()

    def look_up(self) -> None:
        """Jobs at the vendor of which nothing was heard for too long."""
        self._ring_for(rediskeys.SILENT, self.service.time(), LOOK_UP)

    def decide(self) -> None:
        """Uncertain jobs of which nothing was heard for too long."""
        before = self.service.time() - int(self.service.settings.uncertain_after * 1000)
        self._ring_for(rediskeys.UNCERTAIN, before, DECIDE)

    def archive(self) -> None:
        """Copies that are due, and copies that nobody wants any more."""
        if self.service.settings.archive is None:
            return
        # What is to go is gone in a moment: it does not wait until there is nothing to copy.
        for zset, task in ((rediskeys.DISCARD, DISCARD), (rediskeys.ARCHIVE, ARCHIVE)):
            # They take minutes, and one goes on with the next: rung for each, those that wait would pile up.
            room = MOST_COPY_BELLS - self.service.doorbells.copies_waiting()
            if room > 0:
                self._ring_for(zset, self.service.time(), task, room)
        self._recall()

    def _recall(self) -> None:
        """Jobs that have lost their place among those to copy: some at a time, all of them now and then."""
        if self._recalled == 0 and self.monotonic() < self._next_recall:
            return
        if self._recalled == 0:
            self._next_recall = self.monotonic() + RECALL_EVERY
        self._recalled = self.service.jobs.recall_copies(self._recalled, RECALL_AT_ONCE)

    def _ring_for(self, zset: str, before: int, task: str, most: int = DUE_AT_ONCE) -> None:
        """Ring for what is due, and again only when nothing came of it."""
        now = self.monotonic()
        due = [each for each in self._due(zset, before) if now >= self._asked.get((task, each), 0.0)][:most]
        if task in CONCERNS:
            due = self._only(due, CONCERNS[task], zset)
        if due:
            self.service.doorbells.ring(due, task)
        self._asked = {key: until for key, until in self._asked.items() if until > now}
        self._asked.update({(task, each): now + RING_AGAIN for each in due})

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
        if self.service.vendor.answers():
            self.service.jobs.let_one_pass()

    def _only(self, ids: list[str], state: JobState, zset: str) -> list[str]:
        found = self.service.jobs.find(ids) if ids else {}
        stray = [each for each, job in found.items() if job is None or job.state is not state]
        if stray:
            self.service.store.write(lambda pipe: pipe.zrem(zset, *stray))
        return [each for each in found if each not in stray]

    def _due(self, zset: str, before: int, start: int = 0) -> list[str]:
        (ids,) = self.service.store.read(
            lambda pipe: pipe.zrangebyscore(zset, "-inf", before, start, DUE_AT_ONCE)
        )
        return [each.decode() for each in ids]

    # -- endpoints --------------------------------------------------------------------------------------

    def tell(self) -> None:
        """What happened to endpoints, to whoever wants to know; those that only fail are disabled."""
        self.service.health.tell(TELL_BUDGET)
        self.service.health.disable_failing()

    def tidy_endpoints(self) -> None:
        """What waited for deleted endpoints, a little each pass; what was held for too long, now and then."""
        self.service.health.cancel_left(LEAVING_BUDGET)
        if self.monotonic() < self._next_tidy:
            return
        # Where there were some, there may be more.
        if not self.service.health.cancel_held(self.service.time(), LEAVING_BUDGET):
            self._next_tidy = self.monotonic() + TIDY_EVERY

    def replay(self) -> None:
        """What endpoints are to be sent again, or have missed, a little each pass."""
        self.service.replays.advance(REPLAY_BUDGET)

    # -- old records ------------------------------------------------------------------------------------

    def _forget(self, zset: str, job_id: str) -> None:
        self.service.store.write(lambda pipe: pipe.zrem(zset, job_id))

    def prune(self) -> None:
        """Final jobs, other events and replays older than the retention, of which nothing is owed."""
        self.service.health.forget_odd(self.service.time())
        self.service.replays.forget(self.service.time())
        forgotten = self.service.time() - UPSTREAM_KEPT_MS
        self.service.store.write(lambda pipe: pipe.zremrangebyscore(rediskeys.UPSTREAM, "-inf", forgotten))
        before = self.service.time() - int(self.service.settings.retention * 1000)
        due = self._due(rediskeys.FINAL, before, self._owing)
        owing = self._prune(due)
        # Those that something is owed of stand before the others: the next pass goes on behind them.
        self._owing = self._owing + owing if len(due) == DUE_AT_ONCE else 0

    def _prune(self, ids: list[str]) -> int:
        """Of how many something is owed. Each is removed by itself; the answers are waited for once."""
        found = self.service.jobs.find(ids)
        for job_id in (each for each, job in found.items() if job is None):
            self._forget(rediskeys.FINAL, job_id)
        jobs = [job for job in found.values() if job is not None]
        self._discard_later(jobs)
        calls: list[tuple[Script, list[str], list[Word]]] = [
            (PRUNE, [rediskeys.job(job.id)], [job.id, job.workspace, job.rev, job.own_endpoint, *job.events])
            for job in jobs
        ]
        owing = self.service.store.run_all(calls).count(0) if calls else 0
        return owing + len(ids) - len(found)

    def _discard_later(self, jobs: list[Job]) -> None:
        """Noted before the records go: nothing else would know of their copies then."""
        kept_for, now = self.service.settings.archive_retention, self.service.time()
        due = {}
        for job in (each for each in jobs if each.copies):
            if job.deleted_at or kept_for is None:
                due[job.id] = now
            elif kept_for != math.inf:
                due[job.id] = job.ended_at + int(kept_for * 1000)
        if due:
            self.service.store.write(lambda pipe: pipe.zadd(rediskeys.DISCARD, due, nx=True))


def _told(stop: SimpleQueue[None]) -> bool:
    """Whether the end was asked for, before it was time for the next pass."""
    try:
        stop.get(timeout=TICK)
    except Empty:
        return False
    return True


def main() -> None:
    """The process: a pass a second until SIGTERM."""
    service = begin("clock")
    # An Event's lock may be held by the very thread that a handler interrupts; this queue has none.
    stop: SimpleQueue[None] = SimpleQueue()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.put(None))
    service.presence.start()
    clock = Clock.of(service, time.monotonic)
    while not _told(stop):
        clock.tick()
    service.presence.stop()


if __name__ == "__main__":
    main()
