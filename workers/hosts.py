"""How many attempts one forwarder has under way at each host, however many endpoints are there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

PER_HOST = 256
SOONEST = 0.25
EACH = 1 / 512
"""Seconds from one that is turned away to the next: a host that hangs costs few looks."""


class Hosts:
    """``most``: attempts under way at one host and port. ``monotonic`` in seconds."""

    def __init__(self, most: int = PER_HOST, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.monotonic = monotonic
        self._under_way: Counter[str] = Counter()
        self._next: dict[str, float] = {}

    def wait(self, host: str) -> int:
        """0 when there is room; else in how many ms to ask again: one after the other, never all at once."""
        if self._under_way[host] < self.most:
            return 0
        now = self.monotonic()
        self._next[host] = max(now + SOONEST, self._next.get(host, 0.0) + EACH)
        return round((self._next[host] - now) * 1000)

    def enter(self, host: str) -> None:
        """An attempt begins."""
        self._under_way[host] += 1

    def leave(self, host: str) -> None:
        """An attempt has ended."""
        self._under_way[host] -= 1
        if self._under_way[host] <= 0:
            del self._under_way[host]
            self._next.pop(host, None)
