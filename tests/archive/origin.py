"""An origin server that holds films, and misbehaves as it is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FILM = bytes(range(256)) * 4000
"""A little over 1 MB: several blocks of a download."""


@dataclass(frozen=True)
class Answer:
    """How one GET is answered. ``cut``: hang up after so many bytes; ``length``: what is announced."""

    status: int = 200
    body: bytes = FILM
    kind: str = "video/mp4"
    length: int | None = -1
    cut: int | None = None
    chunked: bool = False
    endless: bool = False
    pause: float = 0.0
    location: str = ""
    stays: bool = False
    """The connection stays open for the next GET."""


class Origin(ThreadingHTTPServer):
    """``plan[path]``: the answers to its GETs, one after the other; the last one stays."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: dict[str, list[Answer]] = {}
        self.gets: list[str] = []
        self.connections = 0
        self.let_go = threading.Event()
        """Set when the test is over: whoever pauses goes on."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def film(self, *answers: Answer, path: str = "/film.mp4") -> str:
        """Answer so; the URL."""
        self.plan[path] = list(answers or [Answer()])
        return self.url + path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.gets.append(self.path)
        answers = self.server.plan.get(self.path, [Answer(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.close_connection = not answer.stays
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._head(answer)
            self._body(answer)

    def _head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        if answer.location:
            self.send_header("Location", answer.location)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.length is not None:
            self.send_header("Content-Length", str(len(answer.body) if answer.length < 0 else answer.length))
        self.end_headers()

    def _body(self, answer: Answer) -> None:
        body = answer.body if answer.cut is None else answer.body[: answer.cut]
        if answer.pause:
            self.wfile.write(body[: len(body) * 3 // 4])
            self.server.let_go.wait(answer.pause)
            body = body[len(body) * 3 // 4 :]
        while answer.endless and not self.server.let_go.is_set():
            self._chunk(body)
        if answer.chunked:
            self._chunk(body)
            if answer.cut is None:
                self._chunk(b"")
        else:
            self.wfile.write(body)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *_: Any) -> None:
        return


@contextlib.contextmanager
def serving() -> Iterator[Origin]:
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.let_go.set()
        server.shutdown()
        thread.join()
