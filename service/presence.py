"""Who is alive: every process beats under a name of its own, and is dead when its beat stands still.

Dead means silent by the observer's own clock: no two clocks are compared. A beat also says which form of the
records its process reads, and shows what everybody else reads (`service.versions`); beside it stands which
keys it opens secrets with.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from service import rediskeys, versions
from service.errors import Unavailable
from service.store import Store

GONE = b"gone"
BEAT_EVERY = 2.0
SILENT_AFTER = 8.0


class Presence:
    """This process's beat.

    ``incarnation`` begins with the role: ``forwarder-4f1c...``; ``ring`` is `Sealer.ring`.
    """

    def __init__(self, store: Store, incarnation: str, ring: Iterable[str] = ()) -> None:
        self.store = store
        self.incarnation = incarnation
        self.ring = " ".join(ring)
        self._stop = threading.Event()
        self._beats = 0
        self._thread: threading.Thread | None = None

    def beat(self) -> None:
        """Once. From then on what is written is what everybody alive reads. Raises `Unavailable`."""
        self._beats += 1
        told = f"{self._beats} {versions.VERSION}"
        try:
            *_, beats = self.store.write(
                lambda pipe: (
                    pipe.hset(rediskeys.BEATS, self.incarnation, told)
                    .hset(rediskeys.KEYRINGS, self.incarnation, self.ring)
                    .hgetall(rediskeys.BEATS)
                )
            )
        except Exception:
            versions.FORMAT.forget()
            raise
        versions.FORMAT.suit(_read_by(beats))

    def start(self) -> None:
        """Beat from now on, in a thread."""
        self.beat()
        self._thread = threading.Thread(target=self._beat_on, name="beat", daemon=True)
        self._thread.start()

    def _beat_on(self) -> None:
        while not self._stop.wait(BEAT_EVERY):
            try:
                self.beat()
            except Unavailable as error:
                logging.getLogger(__name__).warning("beat.lost", extra={"why": error.detail})

    def stop(self) -> None:
        """Say goodbye: whatever this incarnation still claims is free at once."""
        self._stop.set()
        if self._thread is not None:
            # A beat that is on its way would take the goodbye back.
            self._thread.join(SILENT_AFTER)
        versions.FORMAT.forget()
        with contextlib.suppress(Unavailable):
            self.store.write(lambda pipe: pipe.hset(rediskeys.BEATS, self.incarnation, GONE))


def _read_by(beats: Mapping[bytes, bytes]) -> Iterator[int]:
    """The latest form that each live process reads; one that does not say so is of the first release."""
    for told in beats.values():
        if told != GONE:
            yield int(told.partition(b" ")[2] or 1)


class Watch:
    """An observer of all beats. ``monotonic`` is the observer's own clock, in seconds."""

    def __init__(self, store: Store, monotonic: Callable[[], float]) -> None:
        self.store = store
        self.monotonic = monotonic
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._blind = False

    def look(self) -> tuple[set[str], set[str]]:
        """The incarnations that beat, and those that are dead. Raises `Unavailable` when it cannot look."""
        begun, blind, self._blind = self.monotonic(), self._blind, True
        (beats,) = self.store.read(lambda pipe: pipe.hgetall(rediskeys.BEATS))
        now, self._blind = self.monotonic(), False
        # While the store was away nobody could beat: the silence begins anew.
        blind = blind or now - begun > BEAT_EVERY
        current = {name.decode(): counter for name, counter in beats.items()}
        for name, counter in current.items():
            if blind or name not in self._seen or self._seen[name][0] != counter:
                self._seen[name] = (counter, now)
        self._seen = {name: seen for name, seen in self._seen.items() if name in current}
        dead = {
            name
            for name, (counter, since) in self._seen.items()
            if counter == GONE or now - since > SILENT_AFTER
        }
        return set(current) - dead, dead

    def miss(self) -> None:
        """The store was away when it was time to look: the silence begins anew."""
        self._blind = True

    def forget(self, incarnation: str) -> None:
        """Its claims are freed; its beat goes."""
        self.store.write(
            lambda pipe: pipe.hdel(rediskeys.BEATS, incarnation).hdel(rediskeys.KEYRINGS, incarnation)
        )


def alive(store: Store) -> dict[str, int]:
    """How many processes of each role have a beat."""
    (beats,) = store.read(lambda pipe: pipe.hgetall(rediskeys.BEATS))
    roles: dict[str, int] = {}
    for name, counter in beats.items():
        if counter != GONE:
            role = name.decode().partition("-")[0]
            roles[role] = roles.get(role, 0) + 1
    return roles


def keyrings(store: Store) -> dict[str, tuple[str, ...]]:
    """The `Sealer.ring` of each process that has a beat; empty for one that does not tell it."""
    beats, rings = store.read(lambda pipe: pipe.hgetall(rediskeys.BEATS).hgetall(rediskeys.KEYRINGS))
    return {
        name.decode(): tuple(rings.get(name, b"").decode().split())
        for name, counter in beats.items()
        if counter != GONE
    }
