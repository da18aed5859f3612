"""``python -m tests.faults [--seed N ...] [--seeds 20] [--seconds 60]``: runs, and the ledger of each.

The exit status is 0 only if every ledger is whole. A seed draws the same faults, and meets the same vendor
and subscribers, whenever it is run with the same ``--seconds``, ``--rate`` and ``--pace``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from service.environment import clean_environment
from tests.faults.run import Run, play

NUMBERS = {
    "seconds": (60.0, "of load and faults in each run"),
    "rate": (5.0, "jobs a second"),
    "pace": (3.0, "seconds between two faults, on average"),
    "settle": (120.0, "seconds in which everything has to end"),
}


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="this one (and this one)")
    parser.add_argument("--seeds", type=int, default=1, help="so many, from 1 on")
    for name, (default, what) in NUMBERS.items():
        parser.add_argument(f"--{name}", type=float, default=default, help=what)
    parser.add_argument("--at-once", type=int, default=1, help="runs at once, each in a process of its own")
    parser.add_argument("--verbose", action="store_true", help="tell what is left while it settles")
    return parser.parse_args()


def main() -> int:
    arguments = _parsed()
    seeds = arguments.seed or list(range(1, arguments.seeds + 1))
    if len(seeds) == 1:
        numbers = {name: getattr(arguments, name) for name in NUMBERS}
        report = play(Run(seeds[0], **numbers, verbose=arguments.verbose))
        print(report, flush=True)
        return 0 if report.ledger.whole else 1
    begun = time.monotonic()
    with ThreadPoolExecutor(arguments.at_once) as pool:
        runs = list(pool.map(lambda seed: _one(seed, arguments), seeds))
    failed = [seed for seed, (status, _) in zip(seeds, runs, strict=True) if status]
    faults = sum((struck for _, struck in runs), Counter[str]())
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items()))
    print(
        f"{len(seeds)} seeds in {time.monotonic() - begun:.0f} s: {told}; {len(failed)} failed {failed or ''}"
    )
    return 1 if failed else 0


def _one(seed: int, arguments: argparse.Namespace) -> tuple[int, Counter[str]]:
    """In a process of its own: its exit status, and how many faults of each kind it struck."""
    command = [sys.executable, "-m", "tests.faults", f"--seed={seed}"]
    command += [f"--{name}={getattr(arguments, name)}" for name in NUMBERS]
    environ = clean_environment(os.environ)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    print(done.stdout or done.stderr, end="", flush=True)
    counted = [part.split() for line in done.stdout.splitlines()[1:2] for part in line.split(", ")]
    return done.returncode, Counter({words[1]: int(words[0]) for words in counted if len(words) == 2})


if __name__ == "__main__":
    sys.exit(main())
