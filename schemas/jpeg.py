"""The markers of a JPEG (ITU-T T.81, annex B), as far as they say how much work it is and where it ends."""

from __future__ import annotations

import re
from typing import Final

_SCAN: Final = 0xDA
_END: Final = 0xD9
_ALONE: Final = frozenset({0x01, 0xD8})

# Between markers: anything, a stuffed zero, restart markers and fill bytes among it.
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)


def scans(data: bytes) -> int | None:
    """How many scans there are up to the end marker; None when that marker is missing.

    What follows the end marker (a second picture, a film, a maker's notes) is nobody's business.
    """
    count, position = 0, 2
    while match := _MARKER.search(data, position):
        marker, position = match[1][0], match.end()
        if marker == _END:
            return count
        count += marker == _SCAN
        if marker not in _ALONE:
            position += int.from_bytes(data[position : position + 2], "big")
    return None
