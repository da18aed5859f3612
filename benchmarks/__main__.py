"""``python -m benchmarks [name...]``: every figure with its bound; exit status 1 when one is not held."""

from __future__ import annotations

import sys

from rich.console import Console

from benchmarks import forwarding
from benchmarks.figures import show

BENCHMARKS = {"forwarder": forwarding.figures}


def main(names: list[str]) -> int:
    console = Console(width=None if sys.stdout.isatty() else 150)
    figures = [each for name in names or BENCHMARKS for each in BENCHMARKS[name]()]
    show(figures, console)
    return int(not all(each.held for each in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
