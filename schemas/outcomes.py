"""What became of a submission: one total table from what was seen to what it means.

A submission is one POST, is billed, and knows no idempotency key: repeating it where the first one may have
been taken pays twice, and giving up where it was taken throws away what was paid for. So every possible
sight has exactly one row in ``TABLE``; the first row that holds decides, and the last one always holds.

The rows follow the vendor's published API and its official clients, which send a submission once, want an id
in ``data.id``, and take an envelope whose ``code`` is not 200 for an error although the status was 200.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from schemas.envelopes import FINE, Envelope, read_envelope, safe_text

FINAL_WORDS = ("completed", "failed", "cancelled", "timeout", "deleted")
"""The vendor's words for a task that will not change any more; every other word means "still running"."""

_SLOW_DOWN = 429
_REQUEST_TIMEOUT = 408


class Outcome(StrEnum):
    """The four things that a submission can have come to."""

    ACCEPTED = "accepted"
    """The task exists and its id is known."""
    REFUSED = "refused"
    """No task exists; the same submission may safely be sent again."""
    FAILED = "failed"
    """No task exists, and the same submission would fail again."""
    UNKNOWN = "unknown"
    """A task may exist. Never repeated by itself; a task that does exist reports by its callback."""


@dataclass(frozen=True)
class Observation:
    """What was seen of one submission.

    ``sent`` is False only when it is known that not one byte of the request went out. ``status`` is None when
    no status line was read, ``body`` None when it could not be read to its end or was over the limit.
    ``retry_after`` is in seconds. ``trouble`` says in our own words what went wrong on our side of the wire.
    """

    sent: bool
    status: int | None = None
    body: bytes | None = field(default=None, repr=False)
    retry_after: float | None = None
    trouble: str = ""


WORKER_DIED = Observation(sent=True, trouble="the worker ended while it was submitting")
"""What is seen of a submission whose worker died: it may have sent all of it."""


@dataclass(frozen=True)
class SubmissionOutcome:
    """What a submission came to.

    ``upstream_id`` is there exactly when it was accepted, ``prediction`` (the vendor's bare prediction
    object) when it is final already. ``code`` is the vendor's most particular number for what went wrong,
    ``row`` the name of the row that decided. ``message`` is one line that people may read: no secrets, and
    nothing that makes a client of the vendor submit again.
    """

    outcome: Outcome
    row: str
    message: str = ""
    upstream_id: str | None = None
    prediction: dict[str, Any] | None = field(default=None, repr=False)
    code: int | None = None
    retry_after: float | None = None


@dataclass(frozen=True)
class Row:
    """One row: when it holds, what it then means, and how it is told."""

    name: str
    holds: Callable[[Observation, Envelope], bool]
    outcome: Outcome
    words: str


_NOBODY_KNOWS = "nobody knows whether the vendor took the job"

TABLE: tuple[Row, ...] = (
    Row(
        "nothing_sent",  # DNS, connect, TLS handshake, a proxy that refused
        lambda seen, _: not seen.sent,
        Outcome.REFUSED,
        "nothing was sent to the vendor",
    ),
    Row(
        "cut_off",  # before a status line was read: the connection, our deadline, the worker itself
        lambda seen, _: seen.status is None,
        Outcome.UNKNOWN,
        f"{_NOBODY_KNOWS}: no answer was read",
    ),
    Row(
        "contradiction",  # an error that names a task: taken at its word, the task could be paid for twice
        lambda seen, envelope: envelope.upstream_id is not None and _is_error(seen, envelope),
        Outcome.UNKNOWN,
        f"{_NOBODY_KNOWS}: its answer is an error that names a task",
    ),
    Row(
        "slow_down",
        lambda seen, _: seen.status == _SLOW_DOWN,
        Outcome.REFUSED,
        "the vendor asks to slow down",
    ),
    Row(
        "request_timeout",
        lambda seen, _: seen.status == _REQUEST_TIMEOUT,
        Outcome.UNKNOWN,
        f"{_NOBODY_KNOWS}: it says that the request took too long",
    ),
    Row(
        "refused_for_good",  # any other 4xx; insufficient credits is a 400
        lambda seen, _: _is_4xx(seen.status),
        Outcome.FAILED,
        "the vendor refused the job",
    ),
    Row(
        "no_success",  # 1xx, 3xx, 5xx and numbers that mean nothing
        lambda seen, _: seen.status not in range(200, 300),
        Outcome.UNKNOWN,
        f"{_NOBODY_KNOWS}: it answered with status {{status}}",
    ),
    Row(
        "unreadable",  # cut off, too long, no JSON, no object
        lambda _, envelope: not envelope.readable,
        Outcome.UNKNOWN,
        f"{_NOBODY_KNOWS}: its answer cannot be read",
    ),
    Row(
        "accepted",
        lambda _, envelope: envelope.code == FINE and envelope.upstream_id is not None,
        Outcome.ACCEPTED,
        "",
    ),
    Row(
        "envelope_slow_down",
        lambda _, envelope: envelope.code == _SLOW_DOWN,
        Outcome.REFUSED,
        "the vendor asks to slow down",
    ),
    Row(
        "envelope_request_timeout",
        lambda _, envelope: envelope.code == _REQUEST_TIMEOUT,
        Outcome.UNKNOWN,
        f"{_NOBODY_KNOWS}: it says that the request took too long",
    ),
    Row(
        "envelope_refused_for_good",
        lambda _, envelope: _is_4xx(envelope.code),
        Outcome.FAILED,
        "the vendor refused the job",
    ),
    Row(
        "no_id",  # a success without a readable id, or an envelope whose code is nothing of the above
        lambda _seen, _envelope: True,
        Outcome.UNKNOWN,
        f"{_NOBODY_KNOWS}: its answer carries no id",
    ),
)


def _is_error(seen: Observation, envelope: Envelope) -> bool:
    return _is_4xx(seen.status) or (seen.status in range(200, 300) and envelope.code != FINE)


def _is_4xx(code: int | None) -> bool:
    return code in range(400, 500)


def classify(seen: Observation, hide: Iterable[str] = ()) -> SubmissionOutcome:
    """What was seen, as what it means. Total: never raises, always one of the four.

    ``hide`` are secrets that the vendor may have echoed; they do not reach the message.
    """
    envelope = read_envelope(seen.body)
    row = next(row for row in TABLE if row.holds(seen, envelope))
    if row.outcome is Outcome.ACCEPTED:
        return _accepted(row, envelope)
    told = (row.words.format(status=seen.status), seen.trouble, envelope.said)
    return SubmissionOutcome(
        row.outcome,
        row.name,
        message=safe_text(": ".join(filter(None, told)), hide),
        code=(envelope.complaint or seen.status) if seen.sent else None,
        retry_after=seen.retry_after if row.outcome is Outcome.REFUSED else None,
    )


def _accepted(row: Row, envelope: Envelope) -> SubmissionOutcome:
    final = envelope.data.get("status") in FINAL_WORDS
    return SubmissionOutcome(
        row.outcome,
        row.name,
        upstream_id=envelope.upstream_id,
        prediction=envelope.data if final else None,
    )
