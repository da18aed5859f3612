"""Logs: one JSON object a line on standard error, names with fields, one id through a job's whole life."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

from schemas.predictions import rfc3339

if TYPE_CHECKING:
    from service.deliveries import Claim, Verdict
    from service.sender import Outcome

NOISY = ("rq", "rq.worker", "werkzeug", "urllib3", "_granian")
"""Loggers of libraries that tell each of their own steps."""
_ENCODER = json.JSONEncoder(separators=(",", ":"), default=str)
_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, role: str) -> None:
    """Every logger of this process writes JSON lines from ``level`` up; ``role`` is on each."""
    handler = _Stderr()
    handler.setFormatter(_Lines(role))
    # No line shows these; finding them out is half of what a line costs (howto/logging.html#optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - as that page says
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Libraries that log each of their own steps; ours is the line that matters.
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


class _Stderr(logging.Handler):
    """Each line by one write, which the kernel keeps whole (up to 4 kB for certain, see PIPE_BUF).

    A handler's own lock is held while the interpreter's is let go of for the write: at 64 threads a third
    of a callback's time went into waiting for it.
    """

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """None is needed."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """As logging calls it."""
        try:
            rest = f"{self.format(record)}\n".encode()
            while rest:
                rest = rest[os.write(2, rest) :]
        except Exception:  # noqa: BLE001 - as every handler of logging's own
            self.handleError(record)


class _Lines(logging.Formatter):
    """One JSON object for a record; its ``extra`` are fields."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role

    def format(self, record: logging.LogRecord) -> str:
        """As logging calls it."""
        told = {
            "role": self.role,
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": rfc3339(record.created),
        }
        told.update({name: value for name, value in vars(record).items() if name not in _KNOWN})
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode(told)


class AttemptLog:
    """The canonical line of each delivery attempt, written in batches.

    A logger's overhead for each would cost more than the attempt.
    """

    def __init__(self, level: str, out: TextIO | None = None) -> None:
        self._on = level in {"debug", "info"}
        self._out = out or sys.stderr
        self._lines: list[str] = []

    def note(self, claim: Claim, outcome: Outcome, verdict: Verdict) -> None:
        """Keep the line of one attempt until `flush`."""
        if not self._on:
            return
        line = {
            "role": "forwarder",
            "event": "delivery.attempt",
            "at": verdict.attempt.at,
            "event_id": claim.event,
            "endpoint": claim.endpoint,
            "workspace": claim.workspace,
            "attempt": claim.attempt,
            "status": outcome.status,
            "error": outcome.error,
            "detail": verdict.attempt.detail,
            "duration_ms": outcome.duration_ms,
            "verdict": verdict.word,
        }
        self._lines.append(_ENCODER.encode(line))

    def flush(self) -> None:
        """Write what was noted."""
        if self._lines:
            # A full disk costs these lines, not the deliveries.
            with contextlib.suppress(OSError):
                self._out.write("\n".join(self._lines) + "\n")
                self._out.flush()
            self._lines.clear()
