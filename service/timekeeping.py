"""The service's time, in which everything that is due is told: the store's TIME plus a shift.

No process's own clock decides when something is due. When the store's clock jumps, the clock process takes
the jump back by the shift (`Jumps`), so that every due time keeps its distance at once: to move them all, one
by one, would hold the store for a second where 100,000 wait, and they would be wrong for as long.
What is shown to people is told by wall clocks, which may jump.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from service import rediskeys
from service.errors import StoreUnavailable
from service.store import SHIFT, Store

JUMP_MS = 60_000
"""A difference that neither a slow answer nor the adjusting of a clock explains."""
ASK_EVERY = 10.0
ASK_AGAIN = 3.0
PROMPT = 1.0
"""Seconds within which an answer tells the time well enough."""


class Reading(NamedTuple):
    """The service's time in ms at ``boot`` seconds of this process's own count; ``took`` seconds to ask."""

    ms: int
    shift: int
    boot: float
    took: float

    def at(self, boot: float) -> int:
        """The service's time at another moment, by our own count."""
        return self.ms + round((boot - self.boot) * 1000)


def read(store: Store, boottime: Callable[[], float]) -> Reading:
    """Raises `StoreUnavailable`."""
    begun = boottime()
    (seconds, micros), shift = store.read(lambda pipe: pipe.time().hget(rediskeys.SERVICE, "shift"))
    ended = boottime()
    return Reading(seconds * 1000 + micros // 1000 + int(shift or 0), int(shift or 0), ended, ended - begun)


class ServiceTime:
    """The service's time without a question each time: asked for now and then, carried on by our own count.

    ``boottime``: seconds that go on while the machine sleeps. A jump is believed only when it is still there
    at the second look: until then the clock process has had the time to take it back.
    """

    def __init__(self, store: Store, boottime: Callable[[], float]) -> None:
        self.store = store
        self.boottime = boottime
        self._anchor: Reading | None = None
        self._until = 0.0
        self._doubted = False

    def now(self) -> int:
        """Milliseconds. Raises `StoreUnavailable` when it was never known."""
        anchor, boot = self._anchor, self.boottime()
        if anchor is None or boot >= self._until:
            anchor = self._ask(anchor, boot)
        return anchor.at(boot)

    def _ask(self, anchor: Reading | None, boot: float) -> Reading:
        self._until = boot + ASK_AGAIN
        try:
            found = read(self.store, self.boottime)
        except StoreUnavailable:
            if anchor is None:
                raise
            return anchor
        if anchor is not None:
            jumped = abs(found.ms - anchor.at(found.boot)) > JUMP_MS
            if found.took > PROMPT or (jumped and not self._doubted):
                self._doubted = jumped
                return anchor
        self._anchor, self._doubted, self._until = found, False, boot + ASK_EVERY
        return found


class Jumps:
    """Notices that the store's clock has jumped, and takes the jump back. Two observers do no harm."""

    def __init__(self, store: Store, boottime: Callable[[], float]) -> None:
        self.store = store
        self.boottime = boottime
        self._last: Reading | None = None

    def look(self) -> bool:
        """Whether there was one since the last look; then nothing is to be decided by the time just now."""
        last, found = self._last, read(self.store, self.boottime)
        self._last = None if found.took > PROMPT else found
        if last is None or self._last is None:
            return False
        jump = found.ms - last.at(found.boot)
        if abs(jump) <= JUMP_MS:
            return False
        self._last = None
        taken_back = self.store.run(SHIFT, [found.shift, found.shift - jump])
        extra = {"seconds": round(jump / 1000), "taken_back": bool(taken_back)}
        logging.getLogger(__name__).warning("clock.jumped", extra=extra)
        return True
