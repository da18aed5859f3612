"""An account's limits: tasks at once, and tasks a minute."""

from __future__ import annotations

import threading
from collections import deque
from enum import Enum

from service.sandbox.switches import Switches

MINUTE_NS = 60_000_000_000


class Admission(Enum):
    """What becomes of a new task."""

    START = "start"
    WAIT = "wait"
    REFUSED = "refused"


class Gate:
    """Counts one account's tasks; the limits are read each time they matter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._waiting: deque[str] = deque()
        self._recent: deque[int] = deque()

    def enter(self, task_id: str, switches: Switches, now_ns: int) -> Admission:
        """Whether the task starts, waits for another to end, or is refused."""
        with self._lock:
            if self._too_many_a_minute(switches.max_per_minute, now_ns):
                return Admission.REFUSED
            full = self._full(switches.max_tasks)
            if full and switches.over_limit != "wait":
                return Admission.REFUSED
            self._recent.append(now_ns)
            if full:
                self._waiting.append(task_id)
                return Admission.WAIT
            self._running.add(task_id)
            return Admission.START

    def leave(self, task_id: str, switches: Switches) -> list[str]:
        """The task has ended: the ids of those that may start now."""
        with self._lock:
            self._running.discard(task_id)
            started = []
            while self._waiting and not self._full(switches.max_tasks):
                started.append(self._waiting.popleft())
                self._running.add(started[-1])
            return started

    def _full(self, limit: int | None) -> bool:
        return limit is not None and len(self._running) >= limit

    def _too_many_a_minute(self, limit: int | None, now_ns: int) -> bool:
        while self._recent and self._recent[0] <= now_ns - MINUTE_NS:
            self._recent.popleft()
        return limit is not None and len(self._recent) >= limit
