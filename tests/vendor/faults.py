"""The sandbox's faults after which nobody can know whether a task was made."""

from __future__ import annotations

CUT = ("cut_before", "cut_after", "cut_midway")
ANSWERED = (
    "307",
    "408",
    "500",
    "502",
    "503",
    "504",
    "envelope_500",
    "not_json",
    "no_id",
    "null_data",
    "empty",
)
UNKNOWN = (*ANSWERED, *CUT)
