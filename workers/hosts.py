"""How many attempts one forwarder has under way at each host, however many endpoints are there."""

from __future__ import annotations

from collections import Counter

PER_HOST = 256
AGAIN_MS = 250


class Hosts:
    """``most``: attempts under way at one host and port."""

    def __init__(self, most: int = PER_HOST) -> None:
        self.most = most
        self._under_way: Counter[str] = Counter()
        self._turned_away: Counter[str] = Counter()

    def wait(self, host: str) -> int:
        """0 when there is room; else in how many ms to ask again, the later the more were turned away."""
        if self._under_way[host] < self.most:
            return 0
        self._turned_away[host] += 1
        return AGAIN_MS * (1 + self._turned_away[host] // self.most)

    def enter(self, host: str) -> None:
        """An attempt begins."""
        self._under_way[host] += 1

    def leave(self, host: str) -> None:
        """An attempt has ended."""
        for counter in (self._under_way, self._turned_away):
            counter[host] -= 1
            if counter[host] <= 0:
                del counter[host]
