"""The forwarder: fans events out, claims what is due, hands it to libcurl, and records what came of it.

One thread, one round trip to the store per turn: the outcomes of the last turn, the events to fan out, the
next claims and a look into the streams travel together and share one fsync. Every claim is on disk before its
POST, every outcome after it.
"""

from __future__ import annotations

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

from redis.exceptions import ResponseError

from service import rediskeys
from service.bootstrap import VERSION, Service, begin
from service.deliveries import Claim, Mailroom, judge
from service.endpoints import Directory
from service.errors import HookreelError, NotFound, StoreUnavailable
from service.logs import AttemptLog
from service.notices import EVERYTHING
from service.records import Endpoint
from service.sender import Outcome, Sender
from service.store import CLAIM, CLAIMS_OF, EXPAND, OUTCOMES, Script, Word

MOST_IN_FLIGHT = 512
MOST_FILES = 8192
PER_ENDPOINT = 64
READ_AT_ONCE = 128
CHUNK = 1000
LOOK_AROUND = 1.0
"""Seconds after which the store is asked although nobody rang."""
STALE_MS = 10_000
FREE_AT_ONCE = 500

Call = tuple[Script, tuple[str, ...], list[Word]]


@dataclass(frozen=True)
class Entry:
    """An event in its workspace's stream, not fanned out yet."""

    workspace: str
    id: str
    event: str
    seq: int
    type: str
    channel: str
    own: str


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
    stopping: bool = False
    rung: bool = True
    _turns: itertools.count[int] = field(default_factory=itertools.count)
    _streams: list[str] = field(default_factory=list)
    _entries: list[Entry] = field(default_factory=list)
    _outcomes: list[Word] = field(default_factory=list)
    _doubtful: list[str] = field(default_factory=list)
    _loaded: bool = False
    _read_again: bool = False
    _next_claim: float = 0.0
    _next_look: float = 0.0
    _next_rescue: float = 0.0

    def ring(self) -> None:
        """News, or a signal; from any thread."""
        self.rung = True
        self.sender.wake()

    def stop(self) -> None:
        """Finish what is in flight, then return from `run`."""
        self.stopping = True
        self.sender.wake()

    def run(self) -> None:
        """Until `stop` was called and nothing is in flight any more."""
        pause = 0.0
        while not self.stopping or self.sender.in_flight or self._outcomes:
            for outcome in self.sender.poll(pause):
                self._judge(outcome)
            if not self._due():
                pause = self._until_due()
                continue
            try:
                if not self._loaded:
                    self.service.store.load()
                    self._loaded = True
                self._turn()
                pause = 0.0
            except StoreUnavailable:
                if self.stopping:
                    # What is not recorded counts as a failed attempt once this process is seen to be gone.
                    return
                self._loaded = False
                logging.getLogger(__name__).warning("forwarder.store_away")
                pause = 0.5

    def _due(self) -> bool:
        now = self.monotonic()
        return bool(
            self._outcomes or self._entries or self.rung or now >= self._next_look or now >= self._next_claim
        )

    def _until_due(self) -> float:
        return max(0.0, min(self._next_look, self._next_claim) - self.monotonic())

    # -- one turn ---------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._look_around()
        self._free_doubtful()
        outcomes, entries = self._outcomes, self._entries
        calls: list[Call] = [(OUTCOMES, (), outcomes)] if outcomes else []
        directories = {
            name: self.service.endpoints.directory(name) for name in {each.workspace for each in entries}
        }
        for entry in entries:
            calls.extend(_expansion(entry, directories[entry.workspace]))
        room = 0 if self.stopping else self.most_in_flight - self.sender.in_flight
        token = f"{self.incarnation}.{next(self._turns)}"
        if room > 0:
            calls.append((CLAIM, (), [token, room, self.per_endpoint]))
        self.rung = False
        try:
            answers = self.service.store.run_all(calls, then=self._reading())
        except StoreUnavailable:
            self._doubtful.append(token)
            self._entries, self._read_again, self.rung = [], True, True
            raise
        self._outcomes, self._entries = [], []
        self.attempts.flush()
        self._read_streams(answers[len(calls)] if len(answers) > len(calls) else None)
        if room > 0:
            self._send(token, answers[len(calls) - 1])

    def _look_around(self) -> None:
        """Workspaces made meanwhile, entries that a dead forwarder left; now and then."""
        now = self.monotonic()
        if now < self._next_look and self._streams:
            return
        (names,) = self.service.store.read(lambda pipe: pipe.smembers(rediskeys.WORKSPACES))
        self._streams = sorted(name.decode() for name in names)
        self._next_look = now + LOOK_AROUND
        if now >= self._next_rescue:
            self._next_rescue = now + STALE_MS / 1000
            for workspace in self._streams:
                self._rescue(workspace)

    def _rescue(self, workspace: str) -> None:
        client = self.service.store.client
        try:
            answer = client.xautoclaim(
                rediskeys.stream(workspace), rediskeys.GROUP, self.incarnation, STALE_MS, count=READ_AT_ONCE
            )
        except ResponseError:
            self._make_group(workspace)
            return
        self._entries.extend(_entry(workspace, each, fields) for each, fields in answer[1] if fields)

    def _make_group(self, workspace: str) -> None:
        """A group that is new, or that somebody deleted: from the beginning, since fan-out is repeatable."""
        try:
            self.service.store.client.xgroup_create(
                rediskeys.stream(workspace), rediskeys.GROUP, "0", mkstream=True
            )
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _reading(self) -> list[tuple[Word, ...]]:
        if self.stopping or not self._streams:
            return []
        keys = [rediskeys.stream(name) for name in self._streams]
        head = ("XREADGROUP", "GROUP", rediskeys.GROUP, self.incarnation, "COUNT", READ_AT_ONCE, "STREAMS")
        # "0" is what this consumer was given and has not acknowledged: an answer that was lost held it.
        since = "0" if self._read_again else ">"
        return [(*head, *keys, *(since for _ in keys))]

    def _read_streams(self, answer: Any) -> None:
        if isinstance(answer, ResponseError):
            for workspace in self._streams:
                self._make_group(workspace)
            self.rung = True
            return
        prefix = len(rediskeys.stream(""))
        if self._read_again:
            self._read_again, self.rung = any(rows for _, rows in answer or ()), True
        for key, rows in answer or ():
            workspace = key.decode()[prefix:]
            for each, flat in rows:
                if flat is None:  # deleted by hand, with its event still open: the clock puts that back
                    self.service.store.client.xack(key, rediskeys.GROUP, each)
                else:
                    self._entries.append(_entry(workspace, each, dict(_rows(flat, 2))))

    # -- attempts ---------------------------------------------------------------------------------------

    def _send(self, token: str, answer: list[Any]) -> None:
        wait, revisions, *rows = answer
        self._next_claim = self.monotonic() + (wait / 1000 if wait >= 0 else LOOK_AROUND)
        claims = [
            Claim(ws.decode(), ep.decode(), event.decode(), token, int(attempt))
            for ws, ep, event, attempt in _rows(rows, 4)
        ]
        if not claims:
            return
        known = dict(pair.split("=") for pair in revisions.decode().split())
        try:
            self.mailroom.load(claims, known)
        except StoreUnavailable:
            self._doubtful.append(token)
            raise
        for claim in claims:
            self._attempt(claim)

    def _attempt(self, claim: Claim) -> None:
        endpoint = self.mailroom.endpoint(claim)
        if endpoint is None:
            self._outcomes.extend(claim.outcome("c"))
        elif not endpoint.enabled:
            self._outcomes.extend(claim.outcome("h"))
        else:
            self._post(claim, endpoint)

    def _post(self, claim: Claim, endpoint: Endpoint) -> None:
        try:
            request = self.mailroom.request(claim, endpoint)
        except HookreelError as error:
            logging.getLogger(__name__).warning(
                "delivery.unsignable", extra={"endpoint": endpoint.id, "why": error.detail}
            )
            self._outcomes.extend(claim.outcome("r60000"))
            return
        if request is None:
            self._outcomes.extend(claim.outcome("c"))
        else:
            self.sender.submit(request)

    def _judge(self, outcome: Outcome) -> None:
        claim = cast("Claim", outcome.key)
        endpoint = self.mailroom.endpoint(claim)
        schedule = (endpoint.retry_schedule if endpoint else ()) or self.service.settings.retry_schedule
        jitter = 2 * self.dice() - 1
        verdict = judge(outcome, claim, schedule, now_ms=self.service.clock(), jitter=jitter)
        self._outcomes.extend(claim.outcome(verdict.word, verdict.attempt))
        if verdict.disables and endpoint is not None:
            self._disable(endpoint)
        self.attempts.note(claim, outcome, verdict)

    def _disable(self, endpoint: Endpoint) -> None:
        if endpoint.job:
            return
        try:
            why = {"enabled": False, "disabled_reason": "it answered 410 Gone"}
            self.service.endpoints.update(endpoint.workspace, endpoint.id, why)
        except NotFound:
            return

    def _free_doubtful(self) -> None:
        """Claims of a turn whose answer was lost were never sent: they go back, uncounted."""
        while self._doubtful:
            free(self.service, f"{self._doubtful[-1]}", lambda _: "u")
            self._doubtful.pop()


FINAL_EVENTS = frozenset({"prediction.completed", "prediction.failed"})


def free(service: Service, prefix: str, verdict: Callable[[int], str], item: str = "") -> int:
    """Give back every open claim whose token is ``prefix`` or of it; ``verdict`` by the attempt's number."""
    store, cursor, freed = service.store, 0, 0
    while True:
        cursor, *rows = store.run(CLAIMS_OF, [prefix, cursor, FREE_AT_ONCE])
        done = cursor == 0
        outcomes: list[Word] = []
        for workspace, endpoint, event, token, attempt in _rows(rows, 5):
            if token.decode() == prefix or token.startswith(prefix.encode() + b"."):
                outcomes += [workspace, endpoint, event, token, verdict(int(attempt)), item]
        if outcomes:
            freed += store.run(OUTCOMES, outcomes)
            # What was freed has left the set that the cursor counts in.
            cursor = max(0, cursor - len(outcomes) // 6)
        if done:
            return freed


def _rows(flat: Iterable[Any], width: int) -> Iterator[tuple[Any, ...]]:
    return zip(*[iter(flat)] * width, strict=True)


def _expansion(entry: Entry, directory: Directory) -> list[Call]:
    wanted = directory.matching(entry.type, entry.channel, entry.seq)
    if entry.own and entry.type in FINAL_EVENTS:
        wanted.append(entry.own)
    chunks = [wanted[at : at + CHUNK] for at in range(0, len(wanted), CHUNK)] or [[]]
    head = (entry.workspace, entry.event, entry.id)
    return [
        (EXPAND, (), [*head, int(number == len(chunks)), *chunk])
        for number, chunk in enumerate(chunks, start=1)
    ]


def _entry(workspace: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    return Entry(
        workspace,
        entry_id.decode(),
        fields[b"e"].decode(),
        int(fields[b"s"]),
        fields[b"t"].decode(),
        fields[b"c"].decode(),
        fields[b"w"].decode(),
    )


def main() -> None:
    """The process: until SIGTERM, then what is in flight is finished and recorded."""
    # libcurl has 20 threads for look-ups; a name server that hangs must not hold them for long.
    os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:2")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MOST_FILES)), hard))
    service = begin("forwarder")
    settings = service.settings
    agent = f"Hookreel/{VERSION}"
    sender = Sender(service.policy, agent)
    mailroom = Mailroom(service.store, service.endpoints, time.time, agent)
    attempts = AttemptLog(settings.log_level)
    forwarder = Forwarder(service, sender, mailroom, service.incarnation, random.random, attempts)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: forwarder.stop())
    service.presence.start()
    with service.notices.calling(forwarder.ring, EVERYTHING):
        forwarder.run()
    service.presence.stop()


if __name__ == "__main__":
    main()
