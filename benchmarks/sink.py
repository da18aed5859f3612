"""A receiver that costs as little as Python can: raw epoll, 200 to every keep-alive POST, one process.

``python benchmarks/sink.py [--ports N] [--port P] [--record]`` prints its ports, a line each (one process
plays several hosts), then serves until its standard input is closed. ``GET /`` tells as JSON how many POSTs
and connections there were; with ``--record`` also the path and ``webhook-id`` of every POST, in order.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
from collections.abc import Iterator

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNK = 1 << 18


class Sink:
    """All connections of all listeners, in one loop."""

    def __init__(self, ports: list[int], *, record: bool) -> None:
        self.listeners = [socket.create_server(("127.0.0.1", port), backlog=4096) for port in ports]
        self.recorded: list[tuple[str, str]] | None = [] if record else None
        self.posts = 0
        self.connections = 0
        self._open: dict[int, socket.socket] = {}
        self._partial: dict[int, bytes] = {}
        self._epoll = select.epoll()

    @property
    def ports(self) -> list[int]:
        """Where it listens."""
        return [listener.getsockname()[1] for listener in self.listeners]

    def serve(self, until: int) -> None:
        """Answer until the file descriptor ``until`` can be read (which its end of file makes it)."""
        listening = {listener.fileno(): listener for listener in self.listeners}
        for fd in (until, *listening):
            self._epoll.register(fd, select.EPOLLIN)
        while True:
            for fd, _ in self._epoll.poll():
                if fd in self._open:
                    self._read(fd, self._open[fd])
                elif fd == until:
                    return
                else:
                    self._accept(listening[fd])

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open[connection.fileno()] = connection
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        self.connections += 1

    def _read(self, fd: int, connection: socket.socket) -> None:
        try:
            data = connection.recv(CHUNK)
        except ConnectionError:
            data = b""
        if not data:
            self._partial.pop(fd, None)
            self._epoll.unregister(fd)
            self._open.pop(fd).close()
            return
        if self._partial:
            data = self._partial.pop(fd, b"") + data
        answers = b"".join(self._answers(fd, data))
        if answers:
            connection.sendall(answers)

    def _answers(self, fd: int, data: bytes) -> Iterator[bytes]:
        while data:
            head = data.find(b"\r\n\r\n")
            end = head + 4 + _content_length(data, head)
            if head < 0 or len(data) < end:
                self._partial[fd] = data
                return
            yield self._answer(data[:head])
            data = data[end:]

    def _answer(self, head: bytes) -> bytes:
        if head.startswith(b"GET"):
            return self._tally()
        self.posts += 1
        if self.recorded is not None:
            self.recorded.append((head.split(b" ", 2)[1].decode(), _header(head, b"webhook-id")))
        return ANSWER

    def _tally(self) -> bytes:
        tally = {"posts": self.posts, "connections": self.connections, "recorded": self.recorded}
        body = json.dumps(tally).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def _content_length(data: bytes, head: int) -> int:
    # The two spellings that libcurl and everybody else use; lowering 2 kB for each POST would cost more.
    at = data.find(b"\r\nContent-Length: ", 0, head)
    if at < 0:
        at = data.find(b"\r\ncontent-length: ", 0, head)
    return int(data[at + 18 : data.find(b"\r\n", at + 18)]) if at >= 0 else 0


def _header(head: bytes, name: bytes) -> str:
    at = head.lower().find(b"\r\n" + name + b": ")
    return head[at + len(name) + 4 :].split(b"\r\n", 1)[0].decode() if at >= 0 else ""


def main() -> None:
    """Serve as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ports", type=int, default=1, help="how many ports, chosen by the system")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    sink = Sink([arguments.port] * arguments.ports, record=arguments.record)
    sys.stdout.write("".join(f"{port}\n" for port in sink.ports))
    sys.stdout.flush()
    sink.serve(until=sys.stdin.fileno())


if __name__ == "__main__":
    main()
