"""What an RQ entry may name, one function each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.archive.archivist import Archivist
    from service.inquiry import Inquiry
    from service.submission import Submitter


@dataclass(frozen=True)
class Hands:
    """Who does the work."""

    submitter: Submitter
    inquiry: Inquiry
    archivist: Archivist | None = None


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


def archive(job_id: str) -> None:
    """Copy the outputs of a completed job."""
    if hands[0].archivist is not None:
        hands[0].archivist.archive(job_id)


def discard(job_id: str) -> None:
    """Remove the copies of a job that is deleted or pruned."""
    if hands[0].archivist is not None:
        hands[0].archivist.discard(job_id)
