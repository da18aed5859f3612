"""What an RQ entry may name, one line each. The worker puts its `Submitter` here before it takes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.submission import Submitter

submitter: Submitter


def submit(job_id: str) -> None:
    """Submit a job, unless there is nothing to do any more."""
    submitter.submit(job_id)
