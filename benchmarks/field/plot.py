"""``python -m benchmarks.field.plot``: ``docs/field.svg`` from ``benchmarks/results/field.json``, by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.field.hookreel import NAME
from benchmarks.field.rates import AT, PUBLISHED, SUSTAINED_P95
from benchmarks.field.rivals import DIRECT, RELAY, TASKS, THREADS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "field.json"
SVG = ROOT / "docs" / "field.svg"

WIDTH, HEIGHT = 920, 668
COLOURS = {DIRECT: "#8c959f", RELAY: "#1a7f37", NAME: "#0969da", THREADS: "#bf8700", TASKS: "#cf222e"}
NOTES = {THREADS: " (keeps nothing on disk)"}
INK, PALE, RULE = "#1f2328", "#59636e", "#d1d9e0"
STYLE = "font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:12px"

Points = list[dict[str, Any]]


@dataclass(frozen=True)
class Panel:
    """A rectangle to draw in; ``low`` to ``high`` is what its height means, by powers of ten."""

    left: float
    top: float
    width: float
    height: float
    low: float
    high: float

    def y(self, value: float) -> float:
        """Where a value is."""
        part = math.log10(value / self.low) / math.log10(self.high / self.low)
        return self.top + self.height * (1 - min(1.0, max(0.0, part)))

    def frame(self, title: str, unit: str) -> Iterator[str]:
        """Title, rules and their values."""
        yield text(self.left - 46, self.top - 34, title, size=15, weight=600)
        yield text(self.left - 46, self.top - 16, unit, fill=PALE)
        for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1):
            y = self.y(10.0**power)
            yield line(self.left, y, self.left + self.width, y, RULE)
            yield text(self.left - 8, y + 4, f"{10.0**power:,g}", fill=PALE, anchor="end")


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    weight: int = 400,
    fill: str = INK,
    anchor: str = "start",
) -> str:
    """Some words."""
    style = f'font-size="{size}" font-weight="{weight}" fill="{fill}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    """A straight one."""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>'


def dot(x: float, y: float, colour: str) -> str:
    """A mark."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}" stroke="#fff" stroke-width="1.5"/>'


def bar(x: float, y: float, width: float, colour: str) -> str:
    """A horizontal one."""
    return f'<rect x="{x}" y="{y}" width="{width:.1f}" height="18" rx="3" fill="{colour}"/>'


def diamond(x: float, y: float) -> str:
    """A mark of what others have published."""
    corners = f"{x},{y - 6} {x + 6},{y} {x},{y + 6} {x - 6},{y}"
    return f'<polygon points="{corners}" fill="#fff" stroke="{INK}" stroke-width="1.5"/>'


def short(milliseconds: float) -> str:
    """As people say it."""
    if milliseconds >= 1000:  # noqa: PLR2004
        return f"{milliseconds / 1000:.2g} s"
    return f"{milliseconds:.2g} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"  # noqa: PLR2004


def of(points: Points, row: str) -> Points:
    """Those of a row."""
    return [each for each in points if each["row"] == row]


def latencies(points: Points) -> Iterator[str]:
    """A group for each rate: from the median to the 99th percentile, with a mark at the 95th."""
    panel = Panel(64, 92, 540, 250, 0.1, 10_000)
    rates = sorted({each["at"] for each in points})
    group = panel.width / len(rates)
    yield from panel.frame(
        "From the event's arrival to the subscriber", "ms; a bar from p50 to p99, a mark at p95"
    )
    for number, rate in enumerate(rates):
        left = panel.left + group * number
        yield line(left, panel.top, left, panel.top + panel.height, RULE)
        yield text(left + group / 2, panel.top + panel.height + 22, f"{rate:g} events/s", anchor="middle")
        for each in points:
            if each["at"] == rate:
                yield from _range(panel, left + group * _place(each["who"]), each)
        if rate == AT:
            yield from _published(panel, left + group * 0.89)


def _place(who: str) -> float:
    """Across a group, from 0 to 1."""
    return 0.1 + list(COLOURS).index(who) * 0.17


def _range(panel: Panel, x: float, point: dict[str, Any]) -> Iterator[str]:
    colour = COLOURS[point["who"]]
    yield line(x, panel.y(point["p50"]), x, panel.y(point["p99"]), colour, 6)
    yield dot(x, panel.y(point["p95"]), colour)
    yield text(x, panel.y(point["p99"]) - 9, short(point["p95"]), size=11, fill=colour, anchor="middle")


def _published(panel: Panel, x: float) -> Iterator[str]:
    for p95 in PUBLISHED.values():
        yield diamond(x, panel.y(p95))
        yield text(x, panel.y(p95) - 10, short(p95), size=11, anchor="middle")


def highest(points: Points) -> Iterator[str]:
    """A bar each."""
    left, top, width = 660, 92, 220
    most = max(each["at"] for each in points)
    yield text(left, top - 34, "Highest sustained rate", size=15, weight=600)
    yield text(left, top - 16, f"events/s, p95 within {SUSTAINED_P95:g} ms", fill=PALE)
    for number, each in enumerate(sorted(points, key=lambda one: list(COLOURS).index(one["who"]))):
        y, long = top + 14 + 62 * number, max(2.0, (width - 50) * each["at"] / most)
        yield text(left, y, each["who"] + NOTES.get(each["who"], ""))
        yield bar(left, y + 8, long, COLOURS[each["who"]])
        yield text(left + long + 8, y + 22, f"{each['at']:,.0f}", weight=600)


def fan_outs(points: Points) -> Iterator[str]:
    """When the last subscriber has it."""
    panel = Panel(64, 444, 540, 150, 1, 100_000)
    sizes = sorted({each["at"] for each in points})
    yield from panel.frame("Until the last of many subscribers has it", "ms, median of the events")
    for number, size in enumerate(sizes):
        x = panel.left + panel.width * (number + 0.5) / len(sizes)
        yield text(x, panel.top + panel.height + 22, f"1 to {size:,g}", anchor="middle")
        here = [each for each in points if each["at"] == size]
        for place, each in enumerate(here):
            yield from _last(panel, x + 44 * (place - (len(here) - 1) / 2), each)


def _last(panel: Panel, x: float, point: dict[str, Any]) -> Iterator[str]:
    y, colour = panel.y(point["last"]), COLOURS[point["who"]]
    yield dot(x, y, colour)
    yield text(x, y - 10, short(point["last"]), size=11, fill=colour, anchor="middle")


def by_forwarders(points: Points) -> Iterator[str]:
    """Bars again."""
    left, top, width = 660, 444, 220
    most = max(each["rate"] for each in points)
    yield text(left, top - 34, "Forwarder processes", size=15, weight=600)
    yield text(left, top - 16, "deliveries/s of a backlog, fan-out 5", fill=PALE)
    for number, each in enumerate(points):
        y, long = top + 4 + 36 * number, (width - 80) * each["rate"] / most
        yield text(left, y + 14, f"{each['at']:g}", fill=PALE)
        yield bar(left + 16, y, long, COLOURS[NAME])
        yield text(left + long + 24, y + 14, f"{each['rate']:,.0f}", weight=600)


def legend() -> Iterator[str]:
    """Whose mark is whose."""
    x = 24.0
    for who, colour in COLOURS.items():
        yield dot(x, 24, colour)
        yield text(x + 11, 28, who)
        x += 34 + 6.6 * len(who)
    yield diamond(x, 24)
    yield text(x + 12, 28, f"p95 as published: {', '.join(PUBLISHED)}")


def foot(machine: dict[str, Any]) -> Iterator[str]:
    """What it was measured on."""
    words = (
        f"{machine['system']} on {machine['processor']}, {machine['cores']} cores, Python {machine['python']}"
    )
    where = "everything on this one machine; Hookreel's and RQ's store with fsync always"
    yield text(18, HEIGHT - 14, f"{words}; {where}", size=11, fill=PALE)


def draw(document: dict[str, Any]) -> str:
    """The whole picture."""
    points: Points = document["points"]
    parts: list[Iterable[str]] = [
        legend(),
        latencies(of(points, "rates")),
        highest(of(points, "highest")),
        fan_outs(of(points, "fanout")),
        by_forwarders(of(points, "forwarders")),
        foot(document["machine"]),
    ]
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{STYLE}" role="img">'
    title = "<title>Latency, highest rate, fan-out and forwarder processes, measured</title>"
    paper = f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>'
    drawn = [element for part in parts for element in part]
    return "\n".join([head, title, paper, *drawn, "</svg>", ""])


def main() -> None:
    """Read, and draw."""
    document = json.loads(RESULTS.read_text("utf-8"))
    SVG.write_text(draw(document), encoding="utf-8")


if __name__ == "__main__":
    main()
