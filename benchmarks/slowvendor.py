"""A vendor that takes every job, after a second each: ``python -m benchmarks.slowvendor`` prints its port.

``GET /`` tells as JSON how many submissions it has answered, and for how many jobs (by their callback URLs).
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from schemas.predictions import envelope, prediction_object

DELAY = 1.0


class Vendor(ThreadingHTTPServer):
    """Counts what it has answered."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.answered = 0
        self.callbacks: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    """The two paths that are asked for."""

    server: Vendor
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """What was counted."""
        self._tell({"answered": self.server.answered, "jobs": len(self.server.callbacks)})

    def do_POST(self) -> None:
        """A submission."""
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(DELAY)
        task = secrets.token_hex(16)
        url = f"http://127.0.0.1/api/v3/predictions/{task}/result"
        told = prediction_object(id=task, model="", status="created", created_at=time.time(), url=url)
        with self.server.lock:
            self.server.answered += 1
            self.server.callbacks.add(self.path.partition("webhook=")[2])
        self._tell(envelope(told))

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _tell(self, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Until the process is ended."""
    with Vendor() as vendor:
        sys.stdout.write(f"{vendor.server_port}\n")
        sys.stdout.flush()
        vendor.serve_forever()


if __name__ == "__main__":
    main()
