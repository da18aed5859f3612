"""How much is measured, and what a row tells: figures for the table, points for the plot."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.field.books import Run, Spread
from benchmarks.figures import Figure


@dataclass(frozen=True)
class Scale:
    """How much of everything; seconds are of load."""

    seconds: float = 4.0
    rounds: int = 3
    rates: tuple[int, ...] = (50, 200, 500)
    probe: float = 3.0
    """Seconds of one rate in the search for the highest."""
    fan_outs: tuple[int, ...] = (1, 5, 100, 1000)
    fanned: int = 30_000
    """Deliveries of the run that is held against the bare loop."""
    small: int = 1_000
    large: int = 100_000
    """Events of a backlog."""
    live: int = 40
    hanging: int = 10
    """Endpoints that answer, and that never do."""
    hanging_seconds: float = 20.0
    hanging_backlog: int = 400
    forwarders: tuple[int, ...] = (1, 2, 3, 4)
    forwarded: int = 20_000
    kept: int = 2_000
    """Events whose room in the store is measured."""
    idle: float = 20.0


FULL = Scale()
QUICK = Scale(
    seconds=0.4,
    rounds=1,
    rates=(50,),
    probe=0.4,
    fan_outs=(1, 5),
    fanned=200,
    small=100,
    large=400,
    live=4,
    hanging=1,
    hanging_seconds=0.5,
    hanging_backlog=20,
    forwarders=(1, 2),
    forwarded=400,
    kept=100,
    idle=0.5,
)
"""To see that it works; its figures say nothing."""


@dataclass(frozen=True)
class Point:
    """What the plot shows: of whom, at how much of what, in ms or a second."""

    row: str
    who: str
    at: float
    values: dict[str, float]

    def document(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {"row": self.row, "who": self.who, "at": self.at, **self.values}


@dataclass
class Told:
    """What a row has measured so far."""

    figures: list[Figure] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def and_(self, more: Told) -> Told:
        """Both."""
        return Told(self.figures + more.figures, self.points + more.points)

    def latency(self, row: str, who: str, at: float, runs: Sequence[Run]) -> None:
        """The medians of what the runs say, as a row of the table and a point of the plot."""
        spread = middle([each.latency for each in runs])
        late, overtime = middle([each.lag for each in runs]).p95, max(each.overtime for each in runs)
        detail = f"p50 {spread.p50:.3g}, p99 {spread.p99:.3g} ms; {sum(len(each.came) for each in runs)} came"
        if overtime > 1:
            detail += f"; falls behind: the last {overtime:.0f} s after it was to be sent"
        if late > LATE:
            detail += f"; the load generator was late: p95 {late:.0f} ms"
        self.figures.append(Figure(row, f"{who}, {at:g} events/s: p95", spread.p95, "ms", detail=detail))
        self.points.append(
            Point(row, who, at, {name: round(each, 3) for name, each in spread._asdict().items()})
        )


LATE = 5.0
"""Milliseconds by which a load generator that keeps up is late at most (95 % of its requests)."""


def middle(spreads: Sequence[Spread]) -> Spread:
    """The median of each percentile."""
    return Spread(*map(statistics.median, zip(*spreads, strict=True)))
