"""Signals, heard as soon as they come.

Python looks for one between its own instructions only: one that comes just before a read, or just before the
wait for a lock, is not seen until that is over. What is written to the wakeup descriptor is there whoever
handles the signal, and when.
"""

from __future__ import annotations

import queue
import signal
import socket
import threading
from collections.abc import Callable, Container
from typing import Final

_NUDGE: Final = signal.SIGURG
"""Means nothing to anybody who has no handler for it."""
_AGAIN: Final = 0.05
"""Seconds; a nudge may come too early as well."""


def watch(numbers: Container[int], told: Callable[[], object]) -> None:
    """Call ``told`` in a thread of its own whenever one of them has come and this process handles it.

    The main thread is made to run its own handler, whatever it waits for. To be called there, once.
    """
    reader, writer = socket.socketpair()
    writer.settimeout(0)
    # Of all that one thread tells another by, this alone may be interrupted by its own handler.
    heard: queue.SimpleQueue[None] = queue.SimpleQueue()
    signal.signal(_NUDGE, lambda *_: heard.put(None))
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    args = (numbers, told, heard, reader, writer)
    threading.Thread(target=_wait, args=args, name="signals", daemon=True).start()


def _wait(
    numbers: Container[int],
    told: Callable[[], object],
    heard: queue.SimpleQueue[None],
    reader: socket.socket,
    _writer: socket.socket,
) -> None:
    """``_writer`` is held here, for nobody else does."""
    main = threading.main_thread().ident
    while number := reader.recv(1):
        if number[0] in numbers and main is not None:
            told()
            _nudge(main, heard)


def _nudge(thread: int, heard: queue.SimpleQueue[None]) -> None:
    while True:
        signal.pthread_kill(thread, _NUDGE)
        try:
            return heard.get(timeout=_AGAIN)
        except queue.Empty:
            continue
