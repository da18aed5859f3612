"""Two books compared: what was sent, and what has come. Every event is looked for by its id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

NS_A_MS = 1e6
OK = range(200, 300)


class Sent(NamedTuple):
    """A request of the load generator; nanoseconds of CLOCK_MONOTONIC, 0: never."""

    due: int
    sent: int
    answered: int
    status: int


class Arrival(NamedTuple):
    """A POST that came to an endpoint (its path), in nanoseconds of CLOCK_MONOTONIC."""

    at: int
    endpoint: str
    event: str


class Spread(NamedTuple):
    """Percentiles, in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> Spread:
        """Of some times; nearest rank, so that each is one that was measured."""
        ordered = sorted(nanoseconds)
        return cls(*(ordered[max(0, -(-len(ordered) * p // 100) - 1)] / NS_A_MS for p in (50, 95, 99)))


@dataclass(frozen=True)
class Run:
    """Events that were sent, each for ``fan_out`` endpoints, and what has come of them."""

    sent: Mapping[str, Sent]
    came: Sequence[Arrival]
    fan_out: int = 1

    @cached_property
    def copies(self) -> Counter[tuple[str, str]]:
        """How often each event came to each endpoint."""
        return Counter((each.endpoint, each.event) for each in self.came if each.event in self.sent)

    @property
    def wanted(self) -> int:
        """Deliveries that were to be made."""
        return len(self.sent) * self.fan_out

    @property
    def once(self) -> int:
        """Deliveries that were made once."""
        return sum(count == 1 for count in self.copies.values())

    @property
    def incomplete(self) -> int:
        """Events that did not come to as many endpoints as they should."""
        reached = Counter(event for _, event in self.copies)
        return sum(reached[event] != self.fan_out for event in self.sent)

    @property
    def strays(self) -> int:
        """What came and belongs to no event of this run: one from before it, again."""
        return sum(each.event not in self.sent for each in self.came)

    @property
    def refused(self) -> int:
        """Events that were not answered with a 2xx."""
        return sum(each.status not in OK for each in self.sent.values())

    @cached_property
    def latency(self) -> Spread:
        """From when each event was to be sent until it came, at every endpoint."""
        return Spread.of(
            [each.at - self.sent[each.event].due for each in self.came if each.event in self.sent]
        )

    @cached_property
    def last(self) -> Spread:
        """From when each event was to be sent until it had come to the last of its endpoints."""
        latest = {each.event: each.at for each in sorted(self.came)}
        return Spread.of([at - self.sent[event].due for event, at in latest.items()])

    @property
    def lag(self) -> Spread:
        """By how much the load generator was late."""
        return Spread.of([each.sent - each.due for each in self.sent.values()])

    @property
    def overtime(self) -> float:
        """Seconds from when the last event was to be sent until everything had come."""
        return (max(each.at for each in self.came) - max(each.due for each in self.sent.values())) / 1e9

    @property
    def rate(self) -> float:
        """Deliveries a second, from when the first was to be sent until the last had come."""
        seconds = (max(each.at for each in self.came) - min(each.due for each in self.sent.values())) / 1e9
        return len(self.came) / seconds

    def check(self) -> Run:
        """Raises RuntimeError unless every event was taken, and came to each endpoint once."""
        if self.refused or self.strays or self.incomplete or not self.once == len(self.came) == self.wanted:
            raise RuntimeError(f"not everything was done, once each: {self.tally()}")
        return self

    def tally(self) -> dict[str, Any]:
        """The counts by which the two books are compared."""
        return {
            "events": len(self.sent),
            "refused": self.refused,
            "wanted": self.wanted,
            "came": len(self.came),
            "once": self.once,
            "incomplete": self.incomplete,
            "strays": self.strays,
        }
