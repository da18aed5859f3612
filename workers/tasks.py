"""What an RQ entry may name, one function each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.inquiry import Inquiry
    from service.submission import Submitter


@dataclass(frozen=True)
class Hands:
    """Who does the work."""

    submitter: Submitter
    inquiry: Inquiry


hands: list[Hands] = []
"""Filled by `workers.worker` before it takes an entry."""


def submit(job_id: str) -> None:
    """Submit a job, unless there is nothing to do any more."""
    hands[0].submitter.submit(job_id)


def look_up(job_id: str) -> None:
    """Ask the vendor about a job of which nothing is heard."""
    hands[0].inquiry.look_up(job_id)


def decide(job_id: str) -> None:
    """Decide about a job whose outcome stayed unknown."""
    hands[0].inquiry.decide(job_id)
