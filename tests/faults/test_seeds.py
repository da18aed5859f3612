"""The short run of the fault suite; `make faults` is the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
def test_what_was_accepted_is_paid_once_and_told_to_everybody_whoever_is_killed() -> None:
    seeds = [f"--seed={seed}" for seed in (101, 102, 103)]
    words = ["--at-once=3", "--seconds=20", "--pace=2", "--rate=3", "--settle=90"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *seeds, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
