"""Receivers on loopback that misbehave as told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Connection:
    """What a behaviour gets: one accepted connection."""

    socket: socket.socket
    receiver: Receiver
    buffer: bytes = b""

    def read_request(self) -> bytes:
        """One request, headers and body; b"" when the sender has hung up."""
        while not self._whole():
            data = self.socket.recv(65536)
            if not data:
                return b""
            self.buffer += data
        end = self._whole()
        request, self.buffer = self.buffer[:end], self.buffer[end:]
        self.receiver.requests.append(request)
        return request

    def answer(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _whole(self) -> int:
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        lengths = [
            line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        ]
        length = int(lengths[0]) if lengths else 0
        return len(head) + 4 + length if found and len(body) >= length else 0


Behaviour = Callable[[Connection], None]


@dataclass
class Receiver:
    """A server whose every connection behaves the same way."""

    behaviour: Behaviour
    tls: ssl.SSLContext | None = None
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept)]
        self.open: list[socket.socket] = []
        self.threads[0].start()

    def url(self, host: str = "127.0.0.1", path: str = "/hook") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def close(self) -> None:
        self.released.set()
        for each in (self.listener, *self.open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                self.threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self.threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            stream = self.tls.wrap_socket(connection, server_side=True) if self.tls else connection
            self.open.append(stream)
            with stream:
                self.behaviour(Connection(stream, self))


def answering(data: bytes = OK) -> Behaviour:
    """Every request of a connection is answered with these bytes."""

    def behave(connection: Connection) -> None:
        while connection.read_request():
            connection.answer(data)

    return behave
