"""A process that must not outlive its owner holds the reading end of a pipe; the owner alone can write.

Nothing is ever written: the kernel closes the owner's end when the owner is gone, however it died, and
the reader sees the end of the file.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

VARIABLE = "HOOKREEL_LIFELINE_FD"
GRACE = 10.0


@dataclass(frozen=True)
class Lifeline:
    """The owner's side: hand ``reader`` to children (``pass_fds``) with ``environment``, keep ``writer``."""

    reader: int
    writer: int

    @property
    def environment(self) -> dict[str, str]:
        """What tells a child which descriptor to watch."""
        return {VARIABLE: str(self.reader)}

    def cut(self) -> None:
        """Let go of the children, as if this process had ended."""
        os.close(self.writer)
        os.close(self.reader)


def hold() -> Lifeline:
    """Become an owner. Children must be started by exec: one that is only forked would own the pipe too."""
    return Lifeline(*os.pipe())


def watch(environ: MutableMapping[str, str] = os.environ) -> None:
    """Send this process SIGTERM when its owner is gone, and end it when that has not helped.

    The owner is who holds the pipe named in ``environ``, and the parent of a ``multiprocessing`` child
    (granian's workers are such). The name is taken out: the descriptor means nothing to further children.
    """
    descriptor = environ.pop(VARIABLE, "")
    if descriptor:
        _start(lambda: os.read(int(descriptor), 1))
    parent = multiprocessing.parent_process()
    if parent is not None:
        _start(parent.join)


def _start(wait: Callable[[], object]) -> None:
    threading.Thread(target=_end_after, args=(wait,), name="lifeline", daemon=True).start()


def _end_after(wait: Callable[[], object]) -> None:
    wait()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
