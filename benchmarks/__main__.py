"""``python -m benchmarks [name...]``: every figure with its bound, as a table and as JSON.

The exit status is 1 when a bound is not held. The JSON is printed last; that of a whole run is kept in
``results/latest.json``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import archiving, forwarding, guard, handover, memory, recovery, sweep, up, web
from benchmarks.figures import Figure, show

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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
