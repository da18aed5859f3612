"""Where films are made: a child process for each, two at a time at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

from service.sandbox.media import Files
from service.sandbox.timeline import Lane

RENDER_SECONDS = 120
TINY = "tiny.mp4"


class Unfilmed(Exception):
    """A film that could not be made; the text says why."""


class Studio:
    """Makes films into the store. ``lane`` is where its slow work belongs."""

    def __init__(self, files: Files) -> None:
        self.lane = Lane("studio", min(2, os.cpu_count() or 1))
        self._files = files
        self._lock = threading.Lock()
        self._tiny_lock = threading.Lock()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def film(self, name: str, **shot: Any) -> str:
        """Make the film of a ``render.Shot`` (all but its output) and keep it as ``name``; or Unfilmed."""
        output = self._files.new(".mp4")
        self._run(json.dumps({**shot, "output": str(output)}).encode())
        return self._files.keep(output, name)

    def tiny(self) -> str:
        """One small film for every job, made when it is first wanted."""
        with self._tiny_lock:
            if self._files.path(TINY) is None:
                self.film(TINY, seconds=6, fps=1, prompt="Hookreel sandbox")
        return TINY

    def close(self) -> None:
        """End the renders that are under way; there will be no more."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.kill()

    def _run(self, order: bytes) -> None:
        child = self._started()
        try:
            _, told = child.communicate(order, RENDER_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise Unfilmed(f"the render took longer than {RENDER_SECONDS} s") from None
        finally:
            with self._lock:
                self._children.discard(child)
        if child.returncode:
            raise Unfilmed(
                told.decode("utf-8", "replace").strip().rpartition("\n")[2] or "the render was killed"
            )

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise Unfilmed("the sandbox is ending")
            child = subprocess.Popen(
                [sys.executable, "-m", "service.sandbox.render"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
            )
            self._children.add(child)
            return child
