"""A subscriber in this process that answers what it is told to, and keeps when each POST came."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hook(ThreadingHTTPServer):
    """``status``: of every answer; None: there is none until the caller goes away."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status: int | None = 200
        self.came: list[tuple[float, str]] = []
        """Seconds of the monotonic clock, and the event."""

    def after(self, moment: float) -> dict[str, float]:
        """The events that came after that moment -> when they did first."""
        came = [(at, event) for at, event in tuple(self.came) if at > moment]
        return {event: at for at, event in reversed(came)}

    def handle_error(self, *_: object) -> None:
        """Who called may have been killed meanwhile."""


class Handler(BaseHTTPRequestHandler):
    """The one path."""

    server: Hook
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """A delivery."""
        at = time.monotonic()
        self.rfile.read(int(self.headers["content-length"]))
        self.server.came.append((at, self.headers["webhook-id"]))
        if self.server.status is None:
            self.rfile.read(1)
            self.close_connection = True
            return
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def hook() -> Iterator[Hook]:
    """Listening."""
    with Hook() as subscriber:
        threading.Thread(target=subscriber.serve_forever, args=(0.05,), daemon=True).start()
        yield subscriber
        subscriber.shutdown()
