"""A receiver that remembers which event came to which endpoint, and when.

``python -m benchmarks.field.receiver`` prints its port, then serves until its standard input is closed. An
endpoint is a path, and each of several addresses (127.0.0.1, 127.0.0.2 and so on, all with that port) is a
host of its own. A POST is answered with 200; one to a path that begins with ``/hang`` never is. The id of an
event is what ``--pattern`` finds in the body.

``GET /count``  JSON: how many POSTs were answered, and how many hang
``GET /take``   a line for each that was answered: nanoseconds of CLOCK_MONOTONIC, path, id (or "-");
                from then on it begins anew
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import resource
import sys
import time

from benchmarks.sink import ANSWER, Sink

HANG = b"/hang"
NONE = b"-"
DEFAULT_PATTERN = r"(field-[0-9a-f]{32})"
"""The ids that the load generator makes for a body template."""


class Receiver(Sink):
    """``pattern``: its first group is an event's id."""

    def __init__(self, addresses: list[tuple[str, int]], pattern: bytes) -> None:
        super().__init__(addresses)
        self._find = re.compile(pattern).search
        self._came: list[tuple[int, bytes, bytes]] = []
        self._hung = 0

    def _answer(self, head: bytes, body: bytes) -> bytes:
        at = time.monotonic_ns()
        method, path, _ = head.split(b" ", 2)
        if method == b"GET":
            return self._tell(path)
        if path.startswith(HANG):
            self._hung += 1
            return b""
        found = self._find(body)
        self._came.append((at, path, found[1] if found else NONE))
        return ANSWER

    def _tell(self, path: bytes) -> bytes:
        if path == b"/take":
            came, self._came, self._hung = self._came, [], 0
            body = b"".join(b"%d %s %s\n" % row for row in came)
        else:
            body = json.dumps({"answered": len(self._came), "hung": self._hung}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def main() -> None:
    """Serve as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="the address, or the first of them")
    parser.add_argument("--hosts", type=int, default=1, help="how many addresses of 127.0.0.0/8")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pattern", default=DEFAULT_PATTERN)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    first = Receiver([(arguments.host, arguments.port)], arguments.pattern.encode())
    port = first.ports[0]
    for number in range(2, arguments.hosts + 1):
        first.listen(f"127.0.{number // 256}.{number % 256}", port)
    print(port, flush=True)
    # What is remembered grows and grows, and has no cycles.
    gc.disable()
    first.serve(until=sys.stdin.fileno())


if __name__ == "__main__":
    main()
