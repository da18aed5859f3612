"""The book: everything that the sandbox received and sent, in order."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from service.sandbox.times import rfc3339

KINDS = (
    "submit",
    "result_get",
    "list",
    "delete",
    "secret_get",
    "balance_get",
    "price_get",
    "models_get",
    "upload_ticket",
    "upload",
    "image_get",
    "output_get",
    "callback",
    "callback_held",
    "ended",
    "unauthorized",
)
TASKS = "tasks_created"
LONGEST = 50_000

Entry = dict[str, Any]


class Book:
    """Entries ``{"n", "at", "kind", "account", "done", ...}``: the newest 50,000 kept, all counted."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque(maxlen=LONGEST)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._n = 0

    def open(self, kind: str, account: str, **about: Any) -> Entry:
        """A new entry for something that has begun; ``close`` says how it ended."""
        with self._changed:
            self._n += 1
            entry: Entry = {"n": self._n, "at": rfc3339(self._now_ns(), 3), "kind": kind, "account": account}
            entry |= about | {"done": False}
            self._entries.append(entry)
            self._counts[kind, account] += 1
            self._changed.notify_all()
            return entry

    def close(self, entry: Entry, **how: Any) -> None:
        """Note how it ended."""
        with self._changed:
            entry.update(how, done=True)
            self._changed.notify_all()

    def note(self, kind: str, account: str, **about: Any) -> None:
        """An entry for something that is over."""
        self.close(self.open(kind, account, **about))

    def count(self, name: str, account: str) -> None:
        """Count something that has no entry of its own."""
        with self._changed:
            self._counts[name, account] += 1

    def entries(self, **wanted: Any) -> list[Entry]:
        """Copies of the entries that have all these values, oldest first."""
        with self._changed:
            return self._found(wanted)

    def wait(self, count: int, seconds: float, **wanted: Any) -> list[Entry]:
        """The same, as soon as there are ``count`` of them or the seconds have passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._enough(count, wanted), seconds)
            return self._found(wanted)

    def counts(self, account: str | None) -> dict[str, int]:
        """How many of each kind, and tasks, since the book was cleared: one account's, or (None) all."""
        with self._changed:
            counted = dict.fromkeys((*KINDS, TASKS), 0)
            for (kind, whose), number in self._counts.items():
                counted[kind] += number if account in {None, whose} else 0
            return counted

    def clear(self) -> None:
        """Forget all entries and counts; the numbers ``n`` go on."""
        with self._changed:
            self._entries.clear()
            self._counts.clear()

    def _found(self, wanted: Entry) -> list[Entry]:
        return [dict(entry) for entry in self._entries if _fits(entry, wanted)]

    def _enough(self, count: int, wanted: Entry) -> bool:
        found = (True for entry in self._entries if _fits(entry, wanted))
        return len(list(islice(found, count))) >= count


def _fits(entry: Entry, wanted: Entry) -> bool:
    return all(entry.get(name) == value for name, value in wanted.items())
