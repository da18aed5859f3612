"""Stores of somebody else's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service import embedded
from tests.waiting import eventually


@contextmanager
def valkey(directory: Path, settings: dict[str, str]) -> Iterator[str]:
    """A store of somebody else's."""
    path = directory / "socket"
    words = {"port": "0", "unixsocket": str(path), "dir": str(directory), "logfile": "log", **settings}
    options = [word for name, value in words.items() for word in (f"--{name}", value)]
    with subprocess.Popen([embedded._program(), *options]) as process:
        assert eventually(lambda: embedded._answers(str(path)))
        yield f"unix://{path}"
        process.terminate()
