"""The yardstick: the same POSTs through libcurl's multi interface, without any bookkeeping at all.

``python -m benchmarks.bare COUNT IN_FLIGHT BODY_FILE URL...`` sends, then prints seconds and CPU seconds.
"""

from __future__ import annotations

import json
import select
import sys
import time
from io import BytesIO
from pathlib import Path

import pycurl

HEADERS = (
    "content-type: application/json",
    "user-agent: bare",
    "webhook-id: evt_0123456789abcdef0123",
    "webhook-timestamp: 1790000000",
    "webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    "Expect:",
)


class Bare:
    """Handles that are set once and added again and again; epoll, as sockets want it."""

    def __init__(self, urls: list[str], body: bytes, in_flight: int) -> None:
        self.epoll = select.epoll()
        self.watched: set[int] = set()
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self.on_socket)
        self.multi.setopt(pycurl.M_MAXCONNECTS, in_flight)
        self.handles = [self.handle(urls[number % len(urls)], body) for number in range(in_flight)]

    @staticmethod
    def handle(url: str, body: bytes) -> pycurl.Curl:
        """A POST that can be sent any number of times."""
        curl = pycurl.Curl()
        for option, value in (
            (pycurl.URL, url),
            (pycurl.HTTPHEADER, list(HEADERS)),
            (pycurl.POSTFIELDS, body),
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROXY, ""),
            (pycurl.WRITEFUNCTION, BytesIO().write),
        ):
            curl.setopt(option, value)
        return curl

    def on_socket(self, what: int, fd: int, _multi: object, _assigned: object) -> None:
        """libcurl's wish for a socket, passed on to epoll."""
        wanted = what & 3
        if fd in self.watched:
            if wanted:
                self.epoll.modify(fd, _EVENTS[wanted])
            else:
                self.watched.discard(fd)
                self.epoll.unregister(fd)
        elif wanted:
            self.watched.add(fd)
            self.epoll.register(fd, _EVENTS[wanted])

    def send(self, count: int) -> None:
        """Until ``count`` were answered with 200."""
        left, done, multi = count, 0, self.multi
        for curl in self.handles[:count]:
            multi.add_handle(curl)
            left -= 1
        while done < count:
            due = multi.timeout()
            if due == 0:
                multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
                due = multi.timeout()
            for fd, events in self.epoll.poll(0 if due == 0 else 0.05):
                multi.socket_action(fd, _actions(events))
            more = 1
            while more:
                more, finished, failed = multi.info_read(1000)
                if failed:
                    raise RuntimeError(failed[0])
                for curl in finished:
                    if curl.getinfo(pycurl.RESPONSE_CODE) != 200:  # noqa: PLR2004
                        raise RuntimeError("no 200")
                    multi.remove_handle(curl)
                    if left:
                        multi.add_handle(curl)
                        left -= 1
                done += len(finished)


_EVENTS = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}


def _actions(events: int) -> int:
    return (pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0) | (
        pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
    )


def main(count: str, in_flight: str, body_file: str, *urls: str) -> None:
    """Send, and print what it took."""
    bare = Bare(list(urls), Path(body_file).read_bytes(), int(in_flight))
    begun, cpu = time.perf_counter(), time.process_time()
    bare.send(int(count))
    print(json.dumps({"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main(*sys.argv[1:])
