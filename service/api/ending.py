"""The end of a web process: the server waits for every open answer, and a stream has no end of its own."""

from __future__ import annotations

import signal
import socket
import threading
from typing import Final

from flask import Flask

from service.api.v1 import stream

_ENDS: Final = frozenset({signal.SIGTERM, signal.SIGINT})


def watch(app: Flask) -> None:
    """Let the streams of ``app`` end as soon as this process is told to. To be called in its main thread.

    The server installs its own handlers after the app was loaded, and they know nothing of the app; what is
    written to the wakeup descriptor comes whoever handles the signal.
    """
    reader, writer = socket.socketpair()
    writer.settimeout(0)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(app, reader, writer), name="ending", daemon=True).start()


def _wait(app: Flask, reader: socket.socket, _writer: socket.socket) -> None:
    """``_writer`` is held here, for nobody else does."""
    while number := reader.recv(1):
        if number[0] in _ENDS:
            stream.end(app)
