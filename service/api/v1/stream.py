"""``GET /v1/stream``: events as they happen, by Server-Sent Events.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from flask import Response, current_app
from marshmallow import EXCLUDE

from schemas.fields import Strict, Text
from schemas.predictions import UPSTREAM_ID
from service.api.v1.resource import Resource, caller, here, lists, presented
from service.apikeys import ApiKeys
from service.errors import HookreelError, Unavailable
from service.listing import Happening, Lists
from service.notices import Notices

READERS: Final = 16
"""Streams that one process serves at once; each holds a thread."""
KEEP_ALIVE: Final = 15.0
AT_ONCE: Final = 100
RETRY_AFTER: Final = 5
_SLOTS: Final = "hookreel-stream-slots"

stream = Resource("stream", "Events as they happen.")


class StreamHeaders(Strict):
    """The one header that is read."""

    class Meta:
        """Any other header is somebody else's."""

        unknown = EXCLUDE

    last_event_id = Text(
        least=1,
        most=128,
        pattern=UPSTREAM_ID,
        allowed="an event's id",
        data_key="Last-Event-ID",
        load_default=None,
        metadata={"description": "The event after which to begin; set by EventSource when it comes again."},
    )


class Slots:
    """Places for readers, in one process."""

    def __init__(self, number: int) -> None:
        self._free = threading.BoundedSemaphore(number)

    def take(self) -> Slot:
        """Raises `Unavailable` when all are taken."""
        if not self._free.acquire(blocking=False):
            raise Unavailable(
                "every stream of this process has a reader; GET /v1/events tells the same", RETRY_AFTER
            )
        return Slot(self._free)


class Slot:
    """A reader's place, to be given back exactly once."""

    def __init__(self, free: threading.BoundedSemaphore) -> None:
        self._free = free
        self._held = threading.Lock()

    def leave(self) -> None:
        """Whoever calls it again changes nothing."""
        if self._held.acquire(blocking=False):
            self._free.release()


@dataclass(frozen=True)
class Reader:
    """What one stream needs. ``seq``: the number of the last event that its client knows."""

    lists: Lists
    notices: Notices
    apikeys: ApiKeys
    workspace: str
    key: str
    seq: int

    def __repr__(self) -> str:
        return f"<Reader of {self.workspace}>"

    def lines(self) -> Iterator[bytes]:
        """The stream, until the key is revoked or the store is away; then the client comes again."""
        seq = self.seq
        with self.notices.bell(self.workspace) as bell:
            yield b"retry: 2000\n\n"
            while True:
                bell.clear()
                known = seq
                try:
                    found, seq = self.lists.since(self.workspace, known, AT_ONCE)
                    if found:
                        yield b"".join(map(_written, found))
                    if seq == known and not bell.wait(KEEP_ALIVE):
                        self.apikeys.check(self.key)
                        yield b": still here\n\n"
                except HookreelError:
                    return


@stream.on("GET", "/stream")
@stream.takes(StreamHeaders(), "headers")
@stream.gives(200, {"type": "string"}, content_type="text/event-stream", description="Until the client goes.")
def follow(headers: dict[str, str | None]) -> Response:
    """Follow events as they happen.

    Server-Sent Events: `id` is the event's id, `event` its type, `data` the event as JSON on one line. Begins
    with what happens from now on, or after the event of `Last-Event-ID`. A comment every 15 seconds keeps
    the connection open. At most 16 readers a process; beyond them 503 with `Retry-After`.
    """
    service, found, workspace = here(), lists(), caller().workspace
    last = headers["last_event_id"]
    seq = found.newest(workspace) if last is None else found.number(workspace, last)
    reader = Reader(found, service.notices, service.apikeys, workspace, presented(), seq)
    slot = _slots().take()
    response = Response(reader.lines(), content_type="text/event-stream; charset=utf-8")
    response.call_on_close(slot.leave)
    # A proxy that buffers would keep events from the client.
    response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    return response


def _slots() -> Slots:
    slots: Slots = current_app.extensions.setdefault(_SLOTS, Slots(READERS))
    return slots


def _written(event: Happening) -> bytes:
    kind = json.loads(event.body)["type"]
    # Compact JSON has no line break, so the body is one line of data.
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.id.encode(), kind.encode(), event.body)
