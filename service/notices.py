"""News of events as they are written, for whoever waits in this process: sync waiters, streams, forwarders.

News is a hint. Who waits looks at the records first and again after every bell; when the connection was
lost, every bell is rung. It comes after what it tells of is on disk: the store answers nobody before that.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import RedisError

from service import rediskeys

_WORDS = 6
"""What news of an entry say besides workspace, job and event."""


@dataclass(frozen=True)
class Entry:
    """An event in its workspace's stream, not fanned out yet.

    ``own``: its job's own endpoint, or "". ``revision``: that of the workspace's endpoints when it happened,
    if that is known.
    """

    workspace: str
    id: str
    event: str
    seq: int
    type: str
    channel: str
    own: str
    revision: int | None = None


class Notices:
    """One subscription and one thread for the whole process, started when somebody first waits."""

    def __init__(self, connect: Callable[[], redis.Redis]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._bells: dict[str, set[Callable[[], None]]] = defaultdict(set)
        self._followers: set[Callable[[Entry | None], None]] = set()
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._closed = False
        self._pubsub: Any = None

    def close(self) -> None:
        """Listen no more."""
        self._closed = True
        if self._thread is not None:
            self._ready.wait(1)
            if self._pubsub is not None and self._pubsub.connection is not None:
                self._pubsub.connection.disconnect()
            self._thread.join(5)

    @contextmanager
    def bell(self, *topics: str) -> Iterator[threading.Event]:
        """An event that is set by news of a job or a workspace named in ``topics``."""
        event = threading.Event()
        with self.calling(event.set, *topics):
            yield event

    @contextmanager
    def calling(self, callback: Callable[[], None], *topics: str) -> Iterator[None]:
        """Call ``callback``, from another thread, at news of ``topics``."""
        with self._lock:
            for topic in topics:
                self._bells[topic].add(callback)
        self._start()
        try:
            yield
        finally:
            with self._lock:
                for topic in topics:
                    self._bells[topic].discard(callback)
                    if not self._bells[topic]:
                        del self._bells[topic]

    @contextmanager
    def following(self, callback: Callable[[Entry | None], None]) -> Iterator[None]:
        """Call ``callback``, from another thread, with every event that waits for its fan-out.

        None is news of something else that is due, or that some was missed.
        """
        with self._lock:
            self._followers.add(callback)
        self._start()
        try:
            yield
        finally:
            with self._lock:
                self._followers.discard(callback)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="notices", daemon=True)
                self._thread.start()
        self._ready.wait(5)

    def _listen(self) -> None:
        while not self._closed:
            with self._connect() as client:
                try:
                    self._follow(client)
                except (RedisError, OSError):
                    self._ring_all()
            if not self._closed:
                time.sleep(0.5)

    def _follow(self, client: redis.Redis) -> None:
        with client.pubsub() as self._pubsub:  # type: ignore[no-untyped-call]
            self._pubsub.subscribe(rediskeys.NEWS)
            for message in self._pubsub.listen():
                if self._closed:
                    return
                if message["type"] == "subscribe":
                    self._ready.set()
                    self._ring_all()
                else:
                    self._ring(message["data"].decode())

    def _ring(self, news: str) -> None:
        workspace, job, event, *rest = news.split(" ")
        entry = None
        # What says more is of a later release, and no more than a bell here.
        if len(rest) == _WORDS:
            entry_id, seq, kind, channel, own, revision = rest
            entry = Entry(workspace, entry_id, event, int(seq), kind, channel, own, int(revision))
        with self._lock:
            called = [*self._bells.get(workspace, ()), *self._bells.get(job, ())]
            followers = list(self._followers)
        for callback in called:
            callback()
        for follower in followers:
            follower(entry)

    def _ring_all(self) -> None:
        with self._lock:
            called = [callback for bells in self._bells.values() for callback in bells]
            followers = list(self._followers)
        for callback in called:
            callback()
        for follower in followers:
            follower(None)
