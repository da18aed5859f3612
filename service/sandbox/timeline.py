"""What happens later: a few lanes of threads, and a clock that puts calls into them when they are due."""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable

Call = Callable[[], None]
_LOG = logging.getLogger("hookreel.sandbox")


class Lane:
    """Calls that run one after another, ``width`` of them at once.

    The threads are daemons: a call that is stuck must not hold up the end of the process.
    """

    def __init__(self, name: str, width: int) -> None:
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        for number in range(width):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def put(self, call: Call) -> None:
        """Run it as soon as a thread is free."""
        self._calls.put(call)

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            try:
                call()
            except Exception:  # noqa: BLE001 - the next call must still run
                _LOG.exception("a call of the sandbox failed")


class Timeline:
    """Puts calls into lanes when their time has come; sleeps without waking while there is nothing to do."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Lane, Call]] = []
        self._order = itertools.count()
        threading.Thread(target=self._run, name="timeline", daemon=True).start()

    def after(self, seconds: float, lane: Lane, call: Call) -> None:
        """Put the call into the lane in so many seconds; at once for 0."""
        if seconds <= 0:
            lane.put(call)
            return
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), lane, call))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                _, _, lane, call = heapq.heappop(self._due)
            lane.put(call)
