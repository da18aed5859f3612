"""What an RQ entry may name, one function each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.submission import Submitter

hands: dict[str, Submitter] = {}
"""Who does the work; `workers.worker` fills it before it takes an entry."""


def submit(job_id: str) -> None:
    """Submit a job, unless there is nothing to do any more."""
    hands["submit"].submit(job_id)
