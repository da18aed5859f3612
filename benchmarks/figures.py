"""What was measured: a figure each, with the bound that it has to hold, as a table and as JSON."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

Sense = Literal[">=", "<="]


@dataclass(frozen=True)
class Figure:
    """One number. Without a ``bound`` it is told for information, and always held."""

    benchmark: str
    name: str
    value: float
    unit: str
    sense: Sense = ">="
    bound: float | None = None
    detail: str = ""

    @property
    def held(self) -> bool:
        """Whether the value is on the good side of its bound."""
        if self.bound is None:
            return True
        return self.value >= self.bound if self.sense == ">=" else self.value <= self.bound

    def document(self) -> dict[str, Any]:
        """The row as JSON shows it."""
        return {
            "benchmark": self.benchmark,
            "name": self.name,
            "value": float(f"{self.value:.4g}"),
            "unit": self.unit,
            "bound": None if self.bound is None else f"{self.sense} {self.bound:g}",
            "held": self.held,
            "detail": self.detail,
        }


def show(figures: list[Figure], console: Console) -> None:
    """The table."""
    table = Table("benchmark", "figure", "value", "bound", "", "detail", highlight=False)
    for column in (2, 3):
        table.columns[column].justify = "right"
    for figure in figures:
        bound = "" if figure.bound is None else f"{figure.sense} {figure.bound:g}"
        verdict = "" if figure.bound is None else "held" if figure.held else "[bold red]NOT HELD[/]"
        value = f"{figure.value:,.3g}" if figure.value < 100 else f"{figure.value:,.0f}"  # noqa: PLR2004
        table.add_row(figure.benchmark, figure.name, f"{value} {figure.unit}", bound, verdict, figure.detail)
    console.print(table)


def document(figures: list[Figure], seconds: float) -> dict[str, Any]:
    """Everything that was measured, and on what."""
    return {
        "held": all(each.held for each in figures),
        "machine": {
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "system": platform.system(),
            "processor": platform.machine(),
            "python": platform.python_version(),
        },
        "seconds": round(seconds),
        "figures": [each.document() for each in figures],
    }
