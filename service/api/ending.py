"""The end of a web process: the server waits for every open answer, and a stream has no end of its own."""

from __future__ import annotations

import signal
from functools import partial
from typing import Final

from flask import Flask

from service import signals
from service.api.v1 import stream

_ENDS: Final = frozenset({signal.SIGTERM, signal.SIGINT})


def watch(app: Flask) -> None:
    """Let the streams of ``app`` end as soon as this process is told to. To be called in its main thread.

    The server installs its own handlers after the app was loaded, and they know nothing of the app.
    """
    signals.watch(_ENDS, partial(stream.end, app))
