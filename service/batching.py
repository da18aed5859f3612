"""Calls of many threads, made together by whichever of them comes first.

A thread that waits for the store lets go of Python's lock and has to win it back; each callback would do so a
dozen times. While one thread waits for the answers to a batch, the others only queue for the next.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

MOST = 64
"""Calls in one batch."""


class _Call(Generic[Asked, Answer]):
    """One call, and the thread that waits for it."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.answer: Answer | None = None
        self.made = False
        self.turn = threading.Lock()
        self.turn.acquire()


class Batching(Generic[Asked, Answer]):
    """``work`` gets what several threads asked, in the order they came, and answers each in its place.

    None is the answer for whatever has to be done by itself, with its own errors; also when ``work`` raises.
    """

    def __init__(self, work: Callable[[list[Asked]], Sequence[Answer | None]]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._waiting: list[_Call[Asked, Answer]] = []
        self._led = False

    def __call__(self, asked: Asked) -> Answer | None:
        """The answer, made here together with the others' or by another thread together with theirs."""
        call: _Call[Asked, Answer] = _Call(asked)
        with self._lock:
            self._waiting.append(call)
            follows, self._led = self._led, True
        if follows:
            call.turn.acquire()
        if not call.made:
            self._lead()
        return call.answer

    def _lead(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        answers: Sequence[Answer | None] = [None] * len(batch)
        try:
            # Each of them is done again by itself and meets its own error.
            with contextlib.suppress(Exception):
                answers = self._work([call.asked for call in batch])
        finally:
            for call, answer in zip(batch, answers, strict=True):
                call.answer, call.made = answer, True
                call.turn.release()
            self._pass_on()

    def _pass_on(self) -> None:
        """The first of those that came meanwhile leads the next batch; it is the first in it."""
        with self._lock:
            self._led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].turn.release()
