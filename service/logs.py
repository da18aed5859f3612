"""Logs: one JSON object a line on standard error, names with fields, one id through a job's whole life."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, TextIO

import structlog

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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[_lines(role)]))
    # No line shows these; finding them out is half of what a line costs (howto/logging.html#optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - as that page says
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Libraries that log each of their own steps; ours is the line that matters.
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


def _lines(role: str) -> structlog.typing.Processor:
    """One step for the whole line: a chain of them cost a tenth of a callback."""

    def render(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> str:
        record: logging.LogRecord = line["_record"]
        told = {
            "role": role,
            "event": line["event"],
            "level": record.levelname.lower(),
            "timestamp": rfc3339(record.created),
        }
        told.update({name: value for name, value in vars(record).items() if name not in _KNOWN})
        if line.get("exc_info"):
            told["exception"] = logging.Formatter().formatException(line["exc_info"])
        return _ENCODER.encode(told)

    return render


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
            self._out.write("\n".join(self._lines) + "\n")
            self._out.flush()
            self._lines.clear()
