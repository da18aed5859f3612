"""The load generator and the receiver, each started as a process of its own, and a run between the two."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.field.books import Arrival, Run, Sent
from benchmarks.processes import fetch

JOBS_ID = r'"data":\{"id":"([0-9a-f]{32})"'
"""Where an event of Hookreel's names the job that it is about."""
LOOK = 0.05
STRAGGLERS = 0.1
"""Seconds for which a second copy of the last events is waited for."""
PATIENCE = 40.0
"""Seconds without anything new after which nothing more is expected; who hangs is given up after 15."""
LONGEST = 600.0

Event = tuple[str, bytes]
"""Its id, and the request that publishes it."""


@dataclass(frozen=True)
class Contender:
    """Whoever delivers; ``publish`` makes so many events' requests for ``address``.

    ``most``: deliveries of one run, for who would take minutes for more; ``strict``: who loses or doubles an
    event has failed.
    """

    name: str
    address: tuple[str, int]
    publish: Callable[[int], list[Event]]
    most: int = 10**6
    strict: bool = True


@dataclass(frozen=True)
class Receiver:
    """The receiver in its process."""

    host: str
    port: int
    hosts: int

    def address(self, number: int) -> tuple[str, int]:
        """Where an endpoint of that number is: on the next host each, and around."""
        host = number % self.hosts + 1
        return (self.host if host == 1 else f"127.0.{host // 256}.{host % 256}"), self.port

    def url(self, number: int, path: str = "/e") -> str:
        """The URL of that endpoint."""
        return "http://{}:{}".format(*self.address(number)) + f"{path}/{number}"

    def count(self) -> int:
        """How many POSTs were answered."""
        return int(fetch(f"http://{self.host}:{self.port}/count")["answered"])

    def take(self) -> list[Arrival]:
        """Every POST that was answered since the last time."""
        with urllib.request.urlopen(f"http://{self.host}:{self.port}/take", timeout=60) as answer:
            rows = (line.split(" ") for line in answer.read().decode().splitlines())
            return [Arrival(int(at), endpoint, event) for at, endpoint, event in rows]

    def wait_for(self, count: int) -> None:
        """Until so many have come, or nothing new for a while."""
        known, since = -1, time.monotonic()
        while time.monotonic() - since < PATIENCE:
            before, known = known, self.count()
            if known >= count:
                # What comes twice comes later, and nothing announces it.
                time.sleep(STRAGGLERS)
                return
            since = time.monotonic() if known != before else since
            # The receiver is a process of its own, and to be woken for each event would cost it.
            time.sleep(LOOK)


@contextmanager
def receiver(
    hosts: int = 1, pattern: str = JOBS_ID, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Receiver]:
    """Listening."""
    command = [sys.executable, "-m", "benchmarks.field.receiver", "--pattern", pattern]
    command += ["--hosts", str(hosts), "--host", host, "--port", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        line = started.stdout.readline()
        if not line:
            raise RuntimeError(f"the receiver cannot listen on {host}:{port}")
        yield Receiver(host, int(line), hosts)
        started.communicate()


def send(address: tuple[str, int], rate: float, events: list[Event]) -> dict[str, Sent]:
    """Publish ``events`` at a constant rate; what was done when, by the events' ids."""
    with tempfile.NamedTemporaryFile(prefix="hookreel-field-") as file:
        load.write(Path(file.name), (request for _, request in events))
        command = [
            sys.executable,
            "-m",
            "benchmarks.field.generator",
            *map(str, address),
            str(rate),
            file.name,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=LONGEST)
    rows = json.loads(done.stdout)
    return {event: Sent(*row) for (event, _), row in zip(events, rows, strict=True)}


def run(who: Contender, to: Receiver, rate: float, seconds: float, fan_out: int = 1) -> Run:
    """Events through ``who`` at a constant rate, and what has come of them to each of ``fan_out`` endpoints.

    Raises RuntimeError when nothing came, and for who is strict, when not all of it did, once each.
    """
    count = max(1, min(round(rate * seconds), who.most // fan_out))
    sent = send(who.address, rate, who.publish(count))
    to.wait_for(count * fan_out)
    done = Run(sent, to.take(), fan_out)
    return done.check() if who.strict or not done.once else done
