"""A load generator of constant arrival rate: it sends when it is time, whatever became of what it sent.

``python -m benchmarks.field.generator HOST PORT RATE FILE`` sends the requests in FILE (as
`benchmarks.load.write` wrote it), RATE a second, each over a connection that waits for no answer, opened anew
where there is none. It prints JSON, for each request in order: when it was to be sent and was sent, when its
answer had come (nanoseconds of CLOCK_MONOTONIC; 0: never), and the answer's status.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from pathlib import Path

from benchmarks import load

AHEAD = 20_000_000
"""Nanoseconds from the start until the first is to be sent."""
WARM = 16
MOST = 400
"""Connections; when all of them wait for an answer, what is to be sent is late, and is told to be."""
PATIENCE = 30.0
"""Seconds for which answers are waited for after the last was sent."""


class Generator:
    """``requests`` go to ``address``, one every ``1 / rate`` seconds."""

    def __init__(self, address: tuple[str, int], rate: float, requests: list[bytes]) -> None:
        self._address = address
        self._requests = requests
        self._poller = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._idle = [self._connect() for _ in range(WARM)]
        self._waiting: dict[int, int] = {}
        self._partial: dict[int, bytes] = {}
        start, step = time.monotonic_ns() + AHEAD, 1e9 / rate
        self._due = [start + round(number * step) for number in range(len(requests))]
        self._sent = [0] * len(requests)
        self._answered = [0] * len(requests)
        self._status = [0] * len(requests)

    def run(self) -> list[tuple[int, int, int, int]]:
        """Send all of them, and wait for the answers: due, sent, answered, status."""
        for number, due in enumerate(self._due):
            self._take_until(due)
            while not self._idle and len(self._open) >= MOST:
                self._take(PATIENCE)
            self._send(number)
        end = time.monotonic() + PATIENCE
        while self._waiting and time.monotonic() < end:
            self._take(0.1)
        return list(zip(self._due, self._sent, self._answered, self._status, strict=True))

    def _take_until(self, due: int) -> None:
        """Answers, until it is time for the next."""
        while (left := due - time.monotonic_ns()) > 0:
            self._take(left / 1e9)

    def _take(self, seconds: float) -> None:
        # epoll counts in whole milliseconds; that it can be read tells select sooner.
        if select.select([self._poller], [], [], seconds)[0]:
            for fd, _ in self._poller.poll(0):
                self._read(fd)

    def _connect(self) -> int:
        connection = socket.create_connection(self._address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poller.register(connection, select.EPOLLIN)
        self._open[connection.fileno()] = connection
        return connection.fileno()

    def _send(self, number: int) -> None:
        fd = self._idle.pop() if self._idle else self._connect()
        self._waiting[fd] = number
        self._sent[number] = time.monotonic_ns()
        self._open[fd].sendall(self._requests[number])

    def _read(self, fd: int) -> None:
        try:
            data = self._open[fd].recv(load.CHUNK)
        except ConnectionError:
            data = b""
        if not data or fd not in self._waiting:
            self._close(fd)
            return
        data = self._partial.pop(fd, b"") + data
        if load.complete(data):
            self._answer(fd, data)
        else:
            self._partial[fd] = data

    def _answer(self, fd: int, data: bytes) -> None:
        number = self._waiting.pop(fd)
        self._answered[number] = time.monotonic_ns()
        self._status[number] = int(data[9:12])
        self._idle.append(fd)

    def _close(self, fd: int) -> None:
        """The server has ended it; a request without an answer has no status."""
        if self._waiting.pop(fd, None) is None:
            self._idle.remove(fd)
        self._poller.unregister(fd)
        self._open.pop(fd).close()


def main(host: str, port: str, rate: str, file: str) -> None:
    """Send, and print what was done when."""
    generator = Generator((host, int(port)), float(rate), list(load.read(Path(file))))
    gc.disable()
    json.dump(generator.run(), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
