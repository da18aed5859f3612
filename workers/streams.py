"""The workspaces' event streams, read as one of the forwarders: what happened and is not fanned out yet."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from service import rediskeys
from service.bootstrap import Service
from service.endpoints import Directory
from service.errors import StoreUnavailable, Unavailable
from service.notices import Entry
from service.store import EXPAND, Script, Word

READ_AT_ONCE = 128
CHUNK = 1000
"""Deliveries made by one script."""
LOOK_AROUND = 1.0
"""Seconds after which the store is asked although nobody rang."""
STALE_MS = 10_000
FINAL_EVENTS = frozenset({"prediction.completed", "prediction.failed"})

Call = tuple[Script, tuple[str, ...], list[Word]]


@dataclass
class Streams:
    """``consumer``: our name in the group; ``monotonic`` in seconds.

    ``heard``: news of entries, from any thread; what does not fit is read as what was missed is.
    """

    service: Service
    consumer: str
    monotonic: Callable[[], float]
    entries: list[Entry] = field(default_factory=list)
    heard: deque[Entry] = field(default_factory=lambda: deque(maxlen=READ_AT_ONCE))
    next_look: float = 0.0
    _names: list[str] = field(default_factory=list)
    _read_again: bool = False
    _next_rescue: float = 0.0

    def look_around(self) -> None:
        """Workspaces made meanwhile, entries that a dead forwarder left; now and then."""
        now = self.monotonic()
        if now < self.next_look and self._names:
            return
        (names,) = self.service.store.read(lambda pipe: pipe.smembers(rediskeys.WORKSPACES))
        self._names = sorted(name.decode() for name in names)
        self.next_look = now + LOOK_AROUND
        if now >= self._next_rescue:
            self._next_rescue = now + STALE_MS / 1000
            for workspace in self._names:
                self._rescue(workspace)

    def expansions(self) -> list[Call]:
        """The scripts that fan out what was read or heard of; it is read again when they are lost.

        What is only heard of is no consumer's: its script takes it from the stream, whoever reads that.
        """
        heard = [self.heard.popleft() for _ in range(len(self.heard))]
        entries = {(each.workspace, each.id): each for each in (*self.entries, *heard)}.values()
        self.entries = []
        revisions: dict[str, set[int | None]] = defaultdict(set)
        for each in entries:
            revisions[each.workspace].add(each.revision)
        directories = {workspace: self._directory(workspace, found) for workspace, found in revisions.items()}
        calls = []
        for each in entries:
            if known := directories[each.workspace]:
                calls += _expansion(each, known)
        return calls

    def _directory(self, workspace: str, revisions: set[int | None]) -> Directory | None:
        """None: only a later release can read it. The entries wait, and come again when they are stale."""
        wanted = revisions.pop() if len(revisions) == 1 else None
        try:
            return self.service.endpoints.directory(workspace, wanted)
        except StoreUnavailable:
            raise
        except Unavailable as error:
            extra = {"workspace": workspace, "why": error.detail}
            logging.getLogger(__name__).warning("stream.waits", extra=extra)
            return None

    def reading(self) -> list[tuple[Word, ...]]:
        """The command whose answer `take` takes; none while there is no workspace."""
        if not self._names:
            return []
        keys = [rediskeys.stream(name) for name in self._names]
        head = ("XREADGROUP", "GROUP", rediskeys.GROUP, self.consumer, "COUNT", READ_AT_ONCE, "STREAMS")
        # "0" is what this consumer was given and has not acknowledged: an answer that was lost held it.
        since = "0" if self._read_again else ">"
        return [(*head, *keys, *(since for _ in keys))]

    def take(self, answers: list[Any]) -> bool:
        """The answer of `reading`, if there was one. True: read again at once."""
        if not answers:
            return False
        (found,) = answers
        if isinstance(found, ResponseError):
            for workspace in self._names:
                self._make_group(workspace)
            return True
        again = self._read_again
        if again:
            self._read_again = any(rows for _, rows in found or ())
        for key, rows in found or ():
            self._take_rows(key, rows)
        return again

    def lose(self) -> None:
        """An answer was lost; what it held is still ours and comes again."""
        self.entries, self._read_again = [], True

    def _take_rows(self, key: bytes, rows: list[Any]) -> None:
        workspace = key.decode()[len(rediskeys.stream("")) :]
        # Deleted by hand, with its event still open: the clock puts that back.
        gone = [each for each, flat in rows if flat is None]
        if gone:
            self.service.store.write(lambda pipe: pipe.xack(key, rediskeys.GROUP, *gone))
        for each, flat in rows:
            if flat is not None:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                self.entries.append(_entry(workspace, each, fields))

    def _rescue(self, workspace: str) -> None:
        client = self.service.store.client
        try:
            answer = client.xautoclaim(
                rediskeys.stream(workspace), rediskeys.GROUP, self.consumer, STALE_MS, count=READ_AT_ONCE
            )
        except ResponseError:
            self._make_group(workspace)
            return
        self.entries.extend(_entry(workspace, each, fields) for each, fields in answer[1] if fields)

    def _make_group(self, workspace: str) -> None:
        """A group that is new, or that somebody deleted: from the beginning, since fan-out is repeatable."""
        try:
            self.service.store.read(
                lambda pipe: pipe.xgroup_create(
                    rediskeys.stream(workspace), rediskeys.GROUP, "0", mkstream=True
                )
            )
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


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
    revision = fields.get(b"r")
    return Entry(
        workspace,
        entry_id.decode(),
        fields[b"e"].decode(),
        int(fields[b"s"]),
        fields[b"t"].decode(),
        fields[b"c"].decode(),
        fields[b"w"].decode(),
        None if revision is None else int(revision),
    )
