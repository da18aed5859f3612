"""Which form of the records is written while processes of two releases run beside each other.

Every record carries the version of its form, and every beat the latest form that its process reads. A
release that changes the form reads both, and writes the old one for as long as somebody alive reads no more.
"""

from __future__ import annotations

from collections.abc import Iterable

VERSION = 1
"""The latest form that this release reads; a record of a later one is refused, in words."""
OLDEST = 1
"""The oldest form that it can still write."""


class Format:
    """The form that this process writes, as of its last look at everybody's beats."""

    def __init__(self) -> None:
        self.written = OLDEST

    def suit(self, readers: Iterable[int]) -> None:
        """``readers``: the latest form that each live process reads."""
        self.written = max(OLDEST, min([VERSION, *readers]))

    def forget(self) -> None:
        """Who is alive is not known: write what everybody reads."""
        self.written = OLDEST


FORMAT = Format()
"""This process's."""
