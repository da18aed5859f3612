"""When a failed attempt is repeated: pure functions of the schedule, the attempt and the dice."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

JITTER = 0.2
LONGEST_ASKED = 86_400.0
DEFAULT_SCHEDULE: tuple[float, ...] = (
    0.0,
    5.0,
    300.0,
    1_800.0,
    7_200.0,
    18_000.0,
    36_000.0,
    50_400.0,
    72_000.0,
    86_400.0,
)
"""Seconds before each attempt since the one before it; the first goes out at once."""

_SECONDS = re.compile(r"[0-9]+", re.ASCII)


def delay(
    schedule: tuple[float, ...], attempt: int, jitter: float, retry_after: float | None = None
) -> float | None:
    """Seconds to wait after attempt number ``attempt`` (from 1) has failed; None when it was the last.

    ``jitter`` in [-1, 1] moves the delay by up to 20 % either way, also at the schedule's longest delay. With
    ``retry_after`` (seconds) the wait is never shorter than the scheduled delay, so jitter only lengthens it;
    what the receiver asks for counts up to 24 h.
    """
    if attempt >= len(schedule):
        return None
    if retry_after is None:
        return schedule[attempt] * (1 + JITTER * jitter)
    return max(schedule[attempt] * (1 + JITTER * abs(jitter)), min(retry_after, LONGEST_ASKED))


def parse_retry_after(header: str | None, now: float) -> float | None:
    """``Retry-After`` (RFC 9110: seconds or an HTTP date) as seconds from ``now``; None if unreadable."""
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    return _seconds_until(text, now)


def _seconds_until(date: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, aware.timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
