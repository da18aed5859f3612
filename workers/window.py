"""The in-flight window, watched: bells that were lost, slots that nobody needs, submissions gone silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.states import JobState
from service.bootstrap import Service
from service.mending import AT_ONCE, START
from service.records import Job
from service.store import IN_WINDOW

RING_AGAIN = 10.0
"""Seconds after which an admitted job that nobody has begun has lost its bell."""
LONGEST_SUBMISSION = 150.0
"""Longer than every deadline of a submission: who still holds the token is not coming back."""


@dataclass
class Window:
    """Looked through once a pass, or for as long as there is time and further in the next pass.

    ``monotonic``: seconds of our own clock, by which alone somebody is too slow.
    """

    service: Service
    monotonic: Callable[[], float]
    holders: set[str] = field(default_factory=set)
    """The incarnations that hold submissions, as of the last look."""
    _cursor: bytes = START
    _since: dict[str, float] = field(default_factory=dict)
    """What is watched, admitted jobs by their id and submissions by their token -> since when."""
    _met: set[str] = field(default_factory=set)
    _holders: set[str] = field(default_factory=set)

    def sweep(self, budget: float) -> None:
        """For about ``budget`` seconds, or once around."""
        deadline = self.monotonic() + budget
        while True:
            self._cursor, found = self._look(self._cursor)
            for job in found:
                self._see_to(job)
            if self._cursor == START:
                self._end_round()
            if self._cursor == START or self.monotonic() >= deadline:
                return

    def lose(self, incarnation: str) -> None:
        """Its process is dead: nobody knows what became of its submissions."""
        cursor = START
        while True:
            cursor, found = self._look(cursor)
            for job in found:
                row = job.submission
                if job.state is JobState.SUBMITTING and row and row.incarnation == incarnation:
                    self.service.jobs.lose(job.id, row.token)
            if cursor == START:
                return

    def _look(self, cursor: bytes) -> tuple[bytes, list[Job]]:
        """Some jobs of the window, without those that the vendor has."""
        following, *rows = self.service.store.run(IN_WINDOW, [cursor, AT_ONCE])
        found = self.service.jobs.find([job_id.decode() for job_id in rows[1::2]])
        return following, [job for job in found.values() if job is not None]

    def _see_to(self, job: Job) -> None:
        if job.state is JobState.QUEUED:
            if self._is_overdue(job.id, RING_AGAIN):
                self._since[job.id] = self.monotonic()
                self.service.doorbells.ring([job.id])
        elif job.state is JobState.SUBMITTING and job.submission is not None:
            self._holders.add(job.submission.incarnation)
            if self._is_overdue(job.submission.token, LONGEST_SUBMISSION):
                self.service.jobs.lose(job.id, job.submission.token)
        elif job.is_final or job.state is JobState.UNCERTAIN:
            self.service.jobs.leave(job.id)

    def _is_overdue(self, name: str, after: float) -> bool:
        self._met.add(name)
        return self.monotonic() - self._since.setdefault(name, self.monotonic()) > after

    def _end_round(self) -> None:
        self._since = {name: since for name, since in self._since.items() if name in self._met}
        self.holders = self._holders
        self._met, self._holders = set(), set()
