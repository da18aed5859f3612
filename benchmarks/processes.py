"""The processes of a measurement: all on loopback, each ended by its own handle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from cryptography.fernet import Fernet

from service import embedded
from service.bootstrap import Service
from service.environment import clean_environment
from service.settings import Settings

HERE = Path(__file__).parent
END_WAIT = 20.0
TICK = 0.01


@dataclass(frozen=True)
class Place:
    """A store of one benchmark's own, and the environment of every process on it."""

    service: Service
    environ: Mapping[str, str]
    directory: Path

    @property
    def store_process(self) -> psutil.Process:
        """Valkey itself."""
        return psutil.Process(self.service.store.client.info("server")["process_id"])

    def empty(self) -> None:
        """Forget everything, then make the one workspace anew."""
        self.service.store.client.flushall()
        self.service.apikeys.create("default")


@contextmanager
def place(**settings: str) -> Iterator[Place]:
    """An embedded store as shipped (fsync always) in a temporary directory, and a service on it."""
    with (
        tempfile.TemporaryDirectory(prefix="hookreel-bench-") as name,
        embedded.running(Path(name)) as url,
    ):
        ours = {
            "REDIS_URL": url,
            "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode(),
            "HOOKREEL_DATA_DIR": name,
            **settings,
        }
        environ = clean_environment(os.environ) | ours
        service = Service(Settings.from_env(environ), url, "bench", f"bench-{os.getpid()}")
        made = Place(service, environ, Path(name))
        made.empty()
        yield made
        service.close()


@contextmanager
def process(arguments: list[str], at: Place, name: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """``python <arguments>``; its log goes to a file beside the store."""
    with (at.directory / f"{name}.log").open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, *arguments], env={**at.environ, **more}, stdout=log, stderr=log
        )
        try:
            yield started
        finally:
            started.send_signal(signal.SIGCONT)
            started.terminate()
            started.wait(END_WAIT)


@dataclass(frozen=True)
class Sink:
    """The receiver in its process."""

    ports: tuple[int, ...]
    process: psutil.Process

    @property
    def posts(self) -> int:
        """How many have come so far."""
        return int(fetch(f"http://127.0.0.1:{self.ports[0]}/")["posts"])


@contextmanager
def sink(ports: int) -> Iterator[Sink]:
    """``benchmarks/sink.py``, listening on so many ports."""
    command = [sys.executable, str(HERE / "sink.py"), "--ports", str(ports)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        listening = tuple(int(started.stdout.readline()) for _ in range(ports))
        yield Sink(listening, psutil.Process(started.pid))
        started.communicate()


def fetch(url: str) -> Any:
    """A JSON document from a process of ours."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own, on loopback
        return json.loads(answer.read())


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure(module: str, *arguments: object) -> dict[str, float]:
    """Run a program of this package in a process of its own; the JSON object that it prints."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def cpu(process: psutil.Process) -> float:
    """Seconds of CPU that it has used, in user space and in the kernel."""
    times = process.cpu_times()
    return float(times.user + times.system)


def wait_until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Look every 10 ms; raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(condition)
        # Other processes' states: there is nothing here to wait on.
        time.sleep(TICK)
