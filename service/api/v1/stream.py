"""``GET /v1/stream``: events as they happen, by Server-Sent Events.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from flask import Flask, Response, current_app

from schemas.queries import StreamHeaders, StreamQuery
from service.api.v1.resource import Resource, caller, here, lists, presented
from service.apikeys import ApiKeys
from service.errors import HookreelError, Unavailable
from service.listing import Happening, Lists, Place
from service.notices import Notices

READERS: Final = 16
"""Streams that one process serves at once; each holds a thread."""
KEEP_ALIVE: Final = 15.0
AT_ONCE: Final = 100
RETRY_AFTER: Final = 5
SLOTS: Final = "hookreel-stream-slots"

stream = Resource("stream", "Events as they happen.")


class Slots:
    """Places for readers, in one process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = False
        self._lock = threading.Lock()
        self._bells: dict[object, threading.Event | None] = {}

    def take(self) -> Slot:
        """Raises `Unavailable` when all are taken, or the process is about to end."""
        slot = Slot(self)
        with self._lock:
            if self.ended or len(self._bells) >= self.number:
                raise Unavailable(
                    "no more streams in this process; GET /v1/events tells the same", RETRY_AFTER
                )
            self._bells[slot] = None
        return slot

    def end(self) -> None:
        """Let every reader go, so that the process can end."""
        with self._lock:
            self.ended = True
            bells = [each for each in self._bells.values() if each is not None]
        for bell in bells:
            bell.set()

    def hang(self, slot: Slot, bell: threading.Event) -> None:
        """What wakes the reader of ``slot``."""
        with self._lock:
            self._bells[slot] = bell

    def free(self, slot: Slot) -> None:
        """Whoever says so again changes nothing."""
        with self._lock:
            self._bells.pop(slot, None)


class Slot:
    """One reader's place."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    def has_ended(self) -> bool:
        """Whether its reader is to go."""
        return self._slots.ended

    def hang(self, bell: threading.Event) -> None:
        """What wakes its reader."""
        self._slots.hang(self, bell)

    def leave(self) -> None:
        """Give it back."""
        self._slots.free(self)


@dataclass(frozen=True)
class Reader:
    """What one stream needs. ``begin``: the event after which it begins."""

    lists: Lists
    notices: Notices
    apikeys: ApiKeys
    slot: Slot
    workspace: str
    key: str = field(repr=False)
    begin: Place
    keep_alive: float = KEEP_ALIVE

    def lines(self) -> Iterator[bytes]:
        """The stream, until the key is revoked or the store is away; then the client comes again."""
        with self.notices.bell(self.workspace) as bell:
            self.slot.hang(bell)
            # An id without data is no event; the client knows from where to go on, whenever it is cut off.
            yield b"retry: 2000\nid: %s\n\n" % self.begin.name.encode()
            try:
                yield from self._told(bell)
            except HookreelError:
                return

    def _told(self, bell: threading.Event) -> Iterator[bytes]:
        seq = self.begin.score
        while not self.slot.has_ended():
            # Cleared before the look: whatever happens after it rings again.
            bell.clear()
            known = seq
            found, seq = self.lists.since(self.workspace, known, AT_ONCE)
            if found:
                yield b"".join(map(_written, found))
            if seq == known and not self.slot.has_ended() and not bell.wait(self.keep_alive):
                self.apikeys.check(self.key)
                yield b": still here\n\n"


def end(app: Flask) -> None:
    """Let every stream of ``app`` end, before its process does."""
    _slots(app).end()


@stream.on("GET", "/stream")
@stream.takes(StreamQuery(), "query")
@stream.takes(StreamHeaders(), "headers")
@stream.gives(200, {"type": "string"}, content_type="text/event-stream", description="Until the client goes.")
def follow(query: dict[str, str | None], headers: dict[str, str | None]) -> Response:
    """Follow events as they happen.

    Server-Sent Events: `id` is the event's id, `event` its type, `data` the event as JSON on one line. Begins
    with what happens from now on, or after the event of `Last-Event-ID`. A comment every 15 seconds keeps
    the connection open. At most 16 readers a process; beyond them 503 with `Retry-After`.
    """
    service, found, workspace = here(), lists(), caller().workspace
    last = headers["last_event_id"] or query["last_event_id"]
    begin = found.newest(workspace) if last is None else Place(found.number(workspace, last), last)
    slot = _slots(current_app).take()
    reader = Reader(found, service.notices, service.apikeys, slot, workspace, presented(), begin)
    response = Response(reader.lines(), content_type="text/event-stream; charset=utf-8")
    response.call_on_close(slot.leave)
    # A proxy that buffers would keep events from the client.
    response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    return response


def _slots(app: Flask) -> Slots:
    slots: Slots = app.extensions.setdefault(SLOTS, Slots(READERS))
    return slots


def _written(event: Happening) -> bytes:
    kind = json.loads(event.body)["type"]
    # Compact JSON has no line break, so the body is one line of data.
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.id.encode(), kind.encode(), event.body)
