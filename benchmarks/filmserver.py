"""A server of films that costs next to nothing: ``python -m benchmarks.filmserver BYTES`` prints its port.

Every path is a film of so many bytes, sent by sendfile from one file; ``/N.mp4?bytes=M`` is one of M bytes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO
from urllib.parse import parse_qs, urlsplit

LARGEST = 64 * 10**6


class Films(ThreadingHTTPServer):
    """``size``: of a film whose URL says nothing about it."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(self, size: int, film: IO[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.size = size
        self.film = film


class Handler(BaseHTTPRequestHandler):
    """One film after another over a connection."""

    server: Films
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The film."""
        asked = parse_qs(urlsplit(self.path).query).get("bytes")
        size = int(asked[0]) if asked else self.server.size
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.flush()
        at = 0
        while at < size:
            at += os.sendfile(self.connection.fileno(), self.server.film.fileno(), at, size - at)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main(size: int) -> None:
    """Serve until terminated."""
    with tempfile.TemporaryFile() as film:
        for _ in range(LARGEST // 10**6):
            film.write(os.urandom(10**6))
        film.flush()
        with Films(size, film) as server:
            print(server.server_port, flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
