"""The forwarder: fans events out, claims what is due, hands it to libcurl, and records what came of it.

One thread, one round trip to the store per turn: the outcomes so far, the events to fan out, the next claims
and a look into the streams travel together and share one fsync, while libcurl goes on with what is in flight.
Every claim is on disk before its POST, every outcome after it.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from service.bootstrap import USER_AGENT, Service, begin
from service.connection import LOST
from service.deliveries import Claim, Mailroom, host_of, judge
from service.errors import HookreelError, Unavailable
from service.logs import AttemptLog
from service.notices import Entry
from service.records import Endpoint
from service.sender import Outcome, Sender
from service.store import CLAIM, CLAIMS_OF, OUTCOMES, Batch, Word
from workers.hosts import Hosts
from workers.streams import LOOK_AROUND, Call, Streams

MOST_IN_FLIGHT = 1024
MOST_FILES = 8192
PER_ENDPOINT = 64
FREE_AT_ONCE = 500
LATE = 2.0
"""Seconds after which a command of a connection that was given up has been read by the store, if ever."""


@dataclass(frozen=True)
class Turn:
    """A round trip under way; ``claims``: whether it asks for claims, under its token."""

    token: str
    outcomes: list[Word]
    calls: int
    claims: bool
    batch: Batch
    begun: float


@dataclass
class Forwarder:
    """``dice`` in [0, 1); ``monotonic`` in seconds."""

    service: Service
    sender: Sender
    mailroom: Mailroom
    incarnation: str
    dice: Callable[[], float]
    attempts: AttemptLog
    monotonic: Callable[[], float] = time.monotonic
    most_in_flight: int = MOST_IN_FLIGHT
    per_endpoint: int = PER_ENDPOINT
    patience: float = 10.0
    """Seconds after which a store that has not answered is taken for gone."""
    stopping: bool = False
    rung: bool = True
    _turns: itertools.count[int] = field(default_factory=itertools.count)
    _turn: Turn | None = None
    _outcomes: list[Word] = field(default_factory=list)
    _doubtful: list[str] = field(default_factory=list)
    _suspected: list[tuple[float, str]] = field(default_factory=list)
    _disabling: bool = False
    _loaded: bool = False
    _next_claim: float = 0.0

    def __post_init__(self) -> None:
        self._hosts = Hosts(monotonic=self.monotonic)
        self._streams = Streams(self.service, self.incarnation, self.monotonic)

    def ring(self) -> None:
        """Something is due; from any thread."""
        self.rung = True
        self.sender.wake()

    def hear(self, entry: Entry | None) -> None:
        """News of an event to fan out, or of something else that is due; from any thread."""
        if entry is not None:
            self._streams.heard.append(entry)
        self.ring()

    def stop(self) -> None:
        """Finish what is in flight, then return from `run`."""
        self.stopping = True
        self.sender.wake()

    def run(self) -> None:
        """Until `stop` was called and nothing is in flight any more."""
        pause = 0.0
        while not self.stopping or self.sender.in_flight or self._outcomes or self._turn:
            for outcome in self.sender.poll(pause):
                self._judge(outcome)
            try:
                pause = self._step()
            except (Unavailable, *LOST):
                if self.stopping:
                    # What is not recorded counts as a failed attempt once this process is seen to be gone.
                    return
                self._loaded = False
                logging.getLogger(__name__).warning("forwarder.store_away")
                pause = 0.5

    def _step(self) -> float:
        """End the turn that was answered, begin the one that is due; for how many seconds nothing is."""
        if self._turn is not None:
            patient = self.monotonic() - self._turn.begun < self.patience
            if patient and not self._turn.batch.answered:
                return LOOK_AROUND
            self._end_turn(self._turn)
        if not self._due():
            return LOOK_AROUND if self.stopping else self._until_due()
        if not self._loaded:
            self.service.store.load()
            self._loaded = True
        self._begin_turn()
        return LOOK_AROUND

    def _due(self) -> bool:
        if self._outcomes or self._streams.entries:
            return True
        # Who is to stop begins no turn without need: there would be one under way for ever.
        return not self.stopping and (self.rung or self._until_due() <= 0)

    def _until_due(self) -> float:
        looks = self._streams.next_look
        # What is due while there is no room is claimed with the next outcome.
        due = min(looks, self._next_claim) if self._room else looks
        return max(0.0, due - self.monotonic())

    @property
    def _room(self) -> int:
        return self.most_in_flight - self.sender.in_flight

    # -- one turn ---------------------------------------------------------------------------------------

    def _begin_turn(self) -> None:
        self._streams.look_around()
        self._free_doubtful()
        self.rung = False
        outcomes, token = self._outcomes, f"{self.incarnation}.{next(self._turns)}"
        room = 0 if self.stopping else self._room
        calls: list[Call] = [(OUTCOMES, (), outcomes)] if outcomes else []
        try:
            calls += self._streams.expansions()
            if room > 0:
                calls.append((CLAIM, (), [token, room, self.per_endpoint, 1]))
            batch = self.service.store.send_all(calls, [] if self.stopping else self._streams.reading())
        except Unavailable:
            self._lost(token)
            raise
        self._outcomes = []
        self._turn = Turn(token, outcomes, len(calls), room > 0, batch, self.monotonic())
        self.sender.watch(batch.fileno())

    def _end_turn(self, turn: Turn) -> None:
        self._turn = None
        self.sender.unwatch(turn.batch.fileno())
        if not turn.batch.answered:
            turn.batch.give_up()
        try:
            answers = turn.batch.answers()
        except Unavailable:
            self._outcomes = turn.outcomes + self._outcomes
            self._lost(turn.token)
            raise
        self.attempts.flush()
        try:
            if self._streams.take(answers[turn.calls :]):
                self.rung = True
        except (Unavailable, *LOST):
            self._lost(turn.token)
            raise
        if turn.claims:
            self._send(turn.token, answers[turn.calls - 1])
        if self._disabling and not self._outcomes:
            # The clock would do it a second later.
            self._disabling = False
            with contextlib.suppress(Unavailable):
                self.service.health.tell()

    def _lost(self, token: str) -> None:
        self._doubtful.append(token)
        self._streams.lose()
        self.rung = True

    # -- attempts ---------------------------------------------------------------------------------------

    def _send(self, token: str, answer: list[Any]) -> None:
        wait, revisions, *rows = answer
        self._next_claim = self.monotonic() + (wait / 1000 if wait >= 0 else LOOK_AROUND)
        if not rows:
            return
        claims, documents = [], {}
        for workspace, endpoint, event, attempt, document in _rows(rows, 5):
            claim = Claim(workspace.decode(), endpoint.decode(), event.decode(), token, attempt)
            claims.append(claim)
            if document:
                documents[claim.event] = document
        known = dict(pair.split("=") for pair in revisions.decode().split())
        try:
            self.mailroom.load(claims, known, documents)
        except Unavailable:
            self._doubtful.append(token)
            raise
        for claim in claims:
            self._attempt(claim)

    def _attempt(self, claim: Claim) -> None:
        endpoint = self.mailroom.endpoint(claim)
        if claim.endpoint in self.mailroom.refused:
            self._outcomes.extend(claim.outcome("u10000"))
        elif endpoint is None:
            self._outcomes.extend(claim.outcome("c"))
        elif not endpoint.active:
            # Claimed just before it was paused or disabled, or the store does not know that it is.
            self._outcomes.extend(claim.outcome("u1000"))
        elif wait := self._hosts.wait(host_of(endpoint.url)):
            self._outcomes.extend(claim.outcome(f"u{wait}"))
        else:
            self._post(claim, endpoint)

    def _post(self, claim: Claim, endpoint: Endpoint) -> None:
        try:
            request = self.mailroom.request(claim, endpoint)
        except HookreelError as error:
            logging.getLogger(__name__).warning(
                "delivery.unsignable", extra={"endpoint": endpoint.id, "why": error.detail}
            )
            self._outcomes.extend(claim.outcome("u60000"))
            return
        if request is None:
            self._outcomes.extend(claim.outcome("c"))
        else:
            self._hosts.enter(host_of(endpoint.url))
            self.sender.submit(request)

    def _judge(self, outcome: Outcome) -> None:
        sent = cast("Claim", outcome.key)
        self._hosts.leave(sent.host)
        endpoint = self.mailroom.endpoint(sent)
        schedule = (endpoint.retry_schedule if endpoint else ()) or self.service.settings.retry_schedule
        verdict = judge(
            outcome,
            sent,
            schedule,
            now_ms=self.service.clock(),
            jitter=2 * self.dice() - 1,
            stops=endpoint is not None and endpoint.ordered and endpoint.on_exhausted == "stop",
        )
        self._outcomes.extend(sent.outcome(verdict.word, verdict.attempt, verdict.answer))
        self._disabling |= verdict.disables
        self.attempts.note(sent, outcome, verdict)

    def _free_doubtful(self) -> None:
        """Claims of a turn whose answer was lost were never sent: they go back, uncounted."""
        now = self.monotonic()
        while self._suspected and self._suspected[0][0] <= now:
            free(self.service, self._suspected[0][1], lambda _: "u")
            self._suspected.pop(0)
        while self._doubtful:
            free(self.service, self._doubtful[-1], lambda _: "u")
            # What a store that stood still has in its sockets it may read in any order: look once more.
            self._suspected.append((now + LATE, self._doubtful.pop()))


def free(service: Service, prefix: str, verdict: Callable[[int], str], item: str = "") -> int:
    """Give back every open claim whose token is ``prefix`` or of it; ``verdict`` by the attempt's number."""
    store, cursor, freed = service.store, 0, 0
    while True:
        cursor, *rows = store.run(CLAIMS_OF, [prefix, cursor, FREE_AT_ONCE])
        outcomes: list[Word] = []
        for workspace, endpoint, event, token, attempt in _rows(rows, 5):
            if token.decode() == prefix or token.startswith(prefix.encode() + b"."):
                outcomes += [workspace, endpoint, event, token, verdict(int(attempt)), item]
        if outcomes:
            freed += store.run(OUTCOMES, outcomes)
        if cursor == 0:
            return freed


def claimed(service: Service) -> set[str]:
    """The tokens of all open claims."""
    tokens, cursor = set(), 0
    while True:
        cursor, *rows = service.store.run(CLAIMS_OF, ["", cursor, FREE_AT_ONCE])
        tokens |= {token.decode() for _, _, _, token, _ in _rows(rows, 5)}
        if cursor == 0:
            return tokens


def _rows(flat: Iterable[Any], width: int) -> Iterator[tuple[Any, ...]]:
    return zip(*[iter(flat)] * width, strict=True)


def main() -> None:
    """The process: until SIGTERM, then what is in flight is finished and recorded."""
    # libcurl has 20 threads for look-ups; a name server that hangs must not hold them for long.
    os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:2")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MOST_FILES)), hard))
    service = begin("forwarder")
    settings = service.settings
    sender = Sender(service.policy, USER_AGENT)
    mailroom = Mailroom(service.store, service.endpoints, time.time, USER_AGENT)
    attempts = AttemptLog(settings.log_level)
    forwarder = Forwarder(service, sender, mailroom, service.incarnation, random.random, attempts)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: forwarder.stop())
    service.presence.start()
    with service.notices.following(forwarder.hear):
        forwarder.run()
    service.presence.stop()


if __name__ == "__main__":
    main()
