"""``python -m benchmarks [name...]``: every figure with its bound, as a table and as JSON.

The exit status is 1 when a bound is not held. The JSON is printed last; that of a whole run is kept in
``results/latest.json``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks import archiving, forwarding, guard, handover, memory, recovery, sweep, up, web
from benchmarks.figures import Figure, document, show

BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "forwarder": forwarding.figures,
    "web": web.figures,
    "submitting": up.submitting,
    "memory": memory.figures,
    "archive": archiving.figures,
    "guard": guard.figures,
    "recovery": recovery.figures,
    "sweep": sweep.figures,
    "handover": handover.figures,
    "idle": up.idle,
}
LATEST = Path(__file__).parent / "results" / "latest.json"
WIDTH = 160


def main(names: list[str]) -> int:
    """Run those benchmarks, or all."""
    console, begun, figures = Console(width=WIDTH), time.monotonic(), []
    for name in names or BENCHMARKS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        figures += BENCHMARKS[name]()
    show(figures, console)
    told = document(figures, time.monotonic() - begun)
    print(json.dumps(told))
    if not names:
        LATEST.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return int(not told["held"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
