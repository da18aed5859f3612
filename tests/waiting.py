"""Waiting for conditions, instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil


def eventually(condition: Callable[[], object], timeout: float = 30) -> bool:
    """Whether the condition comes true in ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def runs(process: psutil.Process, word: str) -> bool:
    """Whether the process is there and ``word`` is in its command line."""
    try:
        return not is_gone(process) and word in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
