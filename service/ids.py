"""Ids that sort by the time at which they were made."""

from __future__ import annotations

from typing import Final

CHANCE_BITS: Final = 65
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME: Final = 9
"""Characters of time; 13 of chance are behind them."""


def sortable(prefix: str, at_ms: int, chance: int) -> str:
    """``prefix`` and 22 characters: 9 of time, by which ids sort, 13 of chance (65 bits)."""
    number = at_ms << CHANCE_BITS | chance
    return prefix + "".join(_ALPHABET[number >> shift & 31] for shift in range(105, -1, -5))


def made_at(given: str) -> int:
    """The time of a `sortable` id, in ms; 0 for what is none."""
    places = [_ALPHABET.find(char) for char in given.rpartition("_")[2][:_TIME]]
    if len(places) < _TIME or min(places) < 0:
        return 0
    at = 0
    for place in places:
        at = at << 5 | place
    return at
