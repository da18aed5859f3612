"""A receiver that costs as little as Python can: raw epoll, 200 to every keep-alive POST, one process.

``python benchmarks/sink.py [--ports N] [--port P]`` prints its ports, a line each (one process plays several
hosts), then serves until its standard input is closed. ``GET /`` tells as JSON how many POSTs and connections
there were.
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

    def __init__(self, addresses: list[tuple[str, int]]) -> None:
        self.listeners: list[socket.socket] = []
        for address in addresses:
            self.listen(*address)
        self.posts = 0
        self.connections = 0
        self._open: dict[int, socket.socket] = {}
        self._partial: dict[int, bytes] = {}
        self._epoll = select.epoll()

    def listen(self, host: str, port: int) -> None:
        """There as well; before `serve`."""
        self.listeners.append(socket.create_server((host, port), backlog=4096))

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
            if data:
                self._take(fd, connection, data)
                return
        except ConnectionError:
            pass
        self._partial.pop(fd, None)
        self._epoll.unregister(fd)
        self._open.pop(fd).close()

    def _take(self, fd: int, connection: socket.socket, data: bytes) -> None:
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
            yield self._answer(data[:head], data[head + 4 : end])
            data = data[end:]

    def _answer(self, head: bytes, _body: bytes) -> bytes:
        if head.startswith(b"GET"):
            return self._tally()
        self.posts += 1
        return ANSWER

    def _tally(self) -> bytes:
        body = json.dumps({"posts": self.posts, "connections": self.connections}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def _content_length(data: bytes, head: int) -> int:
    # The two spellings that libcurl and everybody else use; lowering 2 kB for each POST would cost more.
    at = data.find(b"\r\nContent-Length: ", 0, head)
    if at < 0:
        at = data.find(b"\r\ncontent-length: ", 0, head)
    return int(data[at + 18 : data.find(b"\r\n", at + 18)]) if at >= 0 else 0


def main() -> None:
    """Serve as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ports", type=int, default=1, help="how many ports, chosen by the system")
    arguments = parser.parse_args()
    sink = Sink([("127.0.0.1", arguments.port)] * arguments.ports)
    sys.stdout.write("".join(f"{port}\n" for port in sink.ports))
    sys.stdout.flush()
    sink.serve(until=sys.stdin.fileno())


if __name__ == "__main__":
    main()
