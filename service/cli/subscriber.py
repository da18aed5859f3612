"""A subscriber: a small server that verifies what it is sent with the published library, as any would."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

_LARGEST = 1_000_000


@dataclass(frozen=True)
class Received:
    """One POST. ``event`` is None when it did not verify, and ``refusal`` says why."""

    body: bytes = field(repr=False)
    event: dict[str, Any] | None
    refusal: str = ""


class Subscriber:
    """Listens on a free port of this machine from its making until `close`; ``secret`` is its endpoint's."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.secret = ""
        self.received: list[Received] = []
        self.closed = False
        self._changed = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.subscriber = self
        self.url = f"http://127.0.0.1:{self._server.server_port}/{name.replace(' ', '-')}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name=name, daemon=True).start()

    @property
    def events(self) -> list[Received]:
        """What was verified."""
        return [each for each in self.received if each.event is not None]

    def take(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Verify a request and keep it; whether it is good."""
        received = self._judged(body, headers)
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()
        return received.event is not None

    def wait(self, until: float) -> bool:
        """Whether something verified has come by ``until`` of the monotonic clock, or before `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self.events or self.closed, max(0.0, until - time.monotonic()))
            return bool(self.events)

    def close(self) -> None:
        """End the server; who waits is let go."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def _judged(self, body: bytes, headers: Mapping[str, str]) -> Received:
        # The library also raises ValueError (and its children) on headers that nobody honest sends.
        try:
            Webhook(self.secret).verify(body, dict(headers))
            return Received(body, dict(json.loads(body)))
        except (WebhookVerificationError, ValueError) as error:
            return Received(body, None, str(error))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    subscriber: Subscriber

    def handle_error(self, *_: Any) -> None:
        """A connection that was cut says nothing."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def do_POST(self) -> None:
        size = self.headers.get("Content-Length", "")
        if not size.isdigit() or int(size) > _LARGEST:
            self.close_connection = True
            self._answer(HTTPStatus.BAD_REQUEST)
            return
        good = self.server.subscriber.take(self.rfile.read(int(size)), dict(self.headers))
        self._answer(HTTPStatus.NO_CONTENT if good else HTTPStatus.UNAUTHORIZED)

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
