"""Both state machines, each one table: what a state means, who moves it on, where it may go.

A move that is not in its table raises `IllegalMove` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class JobState(StrEnum):
    """A generation job, from its acceptance to its last word."""

    QUEUED = "queued"
    """Accepted and on disk; waits for a place at the vendor. A worker moves it on."""
    SUBMITTING = "submitting"
    """A worker holds this submission's token and may be sending the one POST."""
    PROCESSING = "processing"
    """The vendor has the task. Its callback moves it on."""
    UNCERTAIN = "uncertain"
    """The POST went out and nobody knows whether the task exists. Its callback, or time, moves it on."""
    COMPLETED = "completed"
    """The vendor's result is here. Pruned after the retention time."""
    FAILED = "failed"
    """It ended without a result; the reason says by whose word. Pruned after the retention time."""


class Reason(StrEnum):
    """Why a job failed."""

    VENDOR = "vendor"
    """The vendor reported the failure of the task."""
    REFUSED = "refused"
    """The vendor refused the submission; there is no task."""
    NEVER_SUBMITTED = "never_submitted"
    """No attempt got through in the time there was; there is no task."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """Presumed: the submission's outcome stayed unknown. It may have been billed."""
    EXPIRED = "expired"
    """Presumed: the vendor has the task and never told its end. It may have been billed."""


PRESUMED = frozenset({Reason.OUTCOME_UNKNOWN, Reason.EXPIRED})
"""Ends that we assumed; the vendor's signed word replaces them whenever it comes."""

OUR_CODES: Mapping[Reason, int] = MappingProxyType(
    {
        Reason.OUTCOME_UNKNOWN: 9001,
        Reason.EXPIRED: 9002,
        Reason.REFUSED: 9003,
        Reason.NEVER_SUBMITTED: 9004,
    }
)
"""``data.code`` of a failure that the vendor did not report itself."""

JOB_MOVES: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        # Completed: an earlier submission of unknown outcome has reported while it waited for the next.
        # Uncertain: the store was set back to a time before its submission.
        JobState.QUEUED: frozenset(
            {JobState.SUBMITTING, JobState.UNCERTAIN, JobState.COMPLETED, JobState.FAILED}
        ),
        JobState.SUBMITTING: frozenset(
            {JobState.QUEUED, JobState.PROCESSING, JobState.UNCERTAIN, JobState.COMPLETED, JobState.FAILED}
        ),
        # Uncertain: its second task has failed, and nobody knows of the first.
        JobState.PROCESSING: frozenset({JobState.UNCERTAIN, JobState.COMPLETED, JobState.FAILED}),
        JobState.UNCERTAIN: frozenset(
            {JobState.QUEUED, JobState.PROCESSING, JobState.COMPLETED, JobState.FAILED}
        ),
        JobState.COMPLETED: frozenset(),
        # Only a presumed failure moves again; `check_job_move` looks at the reason.
        JobState.FAILED: frozenset({JobState.COMPLETED, JobState.FAILED}),
    }
)

FINAL = frozenset({JobState.COMPLETED, JobState.FAILED})
HOLDS_SLOT = frozenset({JobState.SUBMITTING, JobState.PROCESSING})
"""States that count in the in-flight window, besides the queued job that has been admitted."""


class DeliveryState(StrEnum):
    """One event for one endpoint."""

    PENDING = "pending"
    """Not attempted yet. A forwarder claims it when it is due."""
    RETRYING = "retrying"
    """Attempted and not delivered yet. A forwarder claims it when it is due."""
    DELIVERED = "delivered"
    """The endpoint answered 2xx. Pruned with its event, unless it is replayed."""
    EXHAUSTED = "exhausted"
    """The schedule is over. Pruned with its event, unless it is retried."""
    HELD = "held"
    """Pending or retrying, while its endpoint is paused or disabled: it waits for that to end."""
    CANCELLED = "cancelled"
    """By hand, or the endpoint was deleted, or it was held for too long. Pruned with its event, unless it is
    replayed.
    """


DELIVERY_MOVES: Mapping[DeliveryState, frozenset[DeliveryState]] = MappingProxyType(
    {
        DeliveryState.PENDING: frozenset(DeliveryState) - {DeliveryState.PENDING},
        DeliveryState.RETRYING: frozenset(DeliveryState) - {DeliveryState.PENDING},
        DeliveryState.DELIVERED: frozenset({DeliveryState.RETRYING}),
        DeliveryState.EXHAUSTED: frozenset({DeliveryState.RETRYING}),
        DeliveryState.HELD: frozenset(
            {DeliveryState.PENDING, DeliveryState.RETRYING, DeliveryState.CANCELLED}
        ),
        DeliveryState.CANCELLED: frozenset({DeliveryState.PENDING, DeliveryState.RETRYING}),
    }
)

OPEN_DELIVERY = frozenset({DeliveryState.PENDING, DeliveryState.RETRYING, DeliveryState.HELD})


class IllegalMove(Exception):
    """A move that the table does not have."""

    def __init__(self, old: StrEnum, new: StrEnum) -> None:
        super().__init__(f"{old} does not become {new}")


def check_job_move(old: JobState, reason: Reason | None, new: JobState) -> None:
    """Raise `IllegalMove` unless a job in ``old`` (failed for ``reason``) may become ``new``."""
    allowed = new in JOB_MOVES[old]
    if old is JobState.FAILED and reason not in PRESUMED:
        allowed = False
    if not allowed:
        raise IllegalMove(old, new)


def wire_status(state: JobState, reason: Reason | None, vendor_status: str = "") -> str:
    """The job's ``status`` on the vendor-compatible wire.

    A failure that may have been billed is ``timeout``: the vendor's official SDK submits a ``failed`` task
    again, and a ``timeout`` never.
    """
    if state in {JobState.QUEUED, JobState.SUBMITTING}:
        return "created"
    if state in {JobState.PROCESSING, JobState.UNCERTAIN}:
        return "processing"
    if state is JobState.COMPLETED:
        return "completed"
    if reason in PRESUMED:
        return "timeout"
    return vendor_status if vendor_status in {"cancelled", "timeout", "deleted"} else "failed"
