"""Small threaded HTTP servers of the driver's own process: they are never killed, and keep books."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """A free port of loopback."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def listening(self) -> Iterator[str]:
        """For as long as the block lasts; where."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield self.url
        finally:
            self.shutdown()
            self.server_close()

    def handle_error(self, *_: object) -> None:
        """Who called is killed now and then, in the middle of a call."""


class Handler(BaseHTTPRequestHandler):
    """Answers in JSON, or not at all."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def body(self) -> bytes:
        """The request's body; raises ConnectionError when it does not come whole."""
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError
        return body

    def answer(self, status: int, document: Any = None) -> None:
        content = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def cut(self) -> None:
        """End the connection instead of answering."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """The book is what is kept."""
