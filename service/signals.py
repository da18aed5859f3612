"""Signals, heard as soon as they come.

Python looks for one between its own instructions only: one that comes just before a read is not seen until
the read is over. What is written to the wakeup descriptor is there whoever handles the signal, and when.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Container


def watch(numbers: Container[int], told: Callable[[], object]) -> None:
    """Call ``told`` in a thread of its own whenever one of them has come and this process handles it.

    To be called in the main thread, once.
    """
    reader, writer = socket.socketpair()
    writer.settimeout(0)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    args = (numbers, told, reader, writer)
    threading.Thread(target=_wait, args=args, name="signals", daemon=True).start()


def _wait(
    numbers: Container[int], told: Callable[[], object], reader: socket.socket, _writer: socket.socket
) -> None:
    """``_writer`` is held here, for nobody else does."""
    while number := reader.recv(1):
        if number[0] in numbers:
            told()
