"""A load generator that costs little: requests made beforehand, raw keep-alive connections, one epoll loop.

``python -m benchmarks.load PORT CONNECTIONS FILE`` sends every request in FILE (as `write` wrote it) once,
each connection one at a time, and prints seconds and CPU seconds. Any answer but a 200 ends it.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_SIZE = struct.Struct(">I")
CHUNK = 1 << 16


def post(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST as it goes over the wire."""
    told = {"host": "127.0.0.1", "content-type": "application/json", **headers, "content-length": len(body)}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def write(file: Path, requests: Iterable[bytes]) -> None:
    """Keep requests for `main`."""
    file.write_bytes(b"".join(_SIZE.pack(len(each)) + each for each in requests))


def read(file: Path) -> Iterator[bytes]:
    """What `write` kept."""
    data, at = file.read_bytes(), 0
    while at < len(data):
        (size,) = _SIZE.unpack_from(data, at)
        yield data[at + _SIZE.size : at + _SIZE.size + size]
        at += _SIZE.size + size


class Load:
    """All connections, in one loop."""

    def __init__(self, port: int, connections: int, requests: list[bytes]) -> None:
        self.waiting = iter(requests)
        self.left = len(requests)
        self.partial: dict[int, bytes] = {}
        self.poller = select.epoll()
        opened = (socket.create_connection(("127.0.0.1", port)) for _ in range(connections))
        self.connections = {each.fileno(): each for each in opened}
        for each in self.connections.values():
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.poller.register(each, select.EPOLLIN)

    def run(self) -> None:
        """Until every request was answered."""
        for each in self.connections.values():
            self.send(each)
        while self.left:
            for fd, _ in self.poller.poll(30):
                self.take(fd)

    def send(self, connection: socket.socket) -> None:
        """The next request, if there is one."""
        request = next(self.waiting, None)
        if request is not None:
            connection.sendall(request)

    def take(self, fd: int) -> None:
        """Part of an answer, or all of it."""
        data = self.partial.pop(fd, b"") + self.connections[fd].recv(CHUNK)
        if not complete(data):
            self.partial[fd] = data
            return
        if not data.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(data.decode(errors="replace"))
        self.left -= 1
        self.send(self.connections[fd])


def complete(data: bytes) -> bool:
    """Whether an answer has come to its end, when nothing but one answer can come."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)


def main(port: str, connections: str, file: str) -> None:
    """Send, and print what it took."""
    load = Load(int(port), int(connections), list(read(Path(file))))
    begun, cpu = time.perf_counter(), time.process_time()
    load.run()
    print(json.dumps({"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main(*sys.argv[1:])
