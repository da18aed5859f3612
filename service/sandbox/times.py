"""Times as the vendor writes them: RFC 3339 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

_NANOSECONDS = 1_000_000_000


def rfc3339(unix_ns: int, digits: int = 9) -> str:
    """``2025-09-29T23:09:43.027Z``: three digits stay as they are, of nine the trailing zeros are trimmed."""
    seconds, rest = divmod(unix_ns, _NANOSECONDS)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{rest:09d}"[:digits]
    if digits == len(f"{rest:09d}"):
        fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"
