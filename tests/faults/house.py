"""The whole service as real processes, each of which can be killed, ended and paused, and comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from cryptography.fernet import Fernet

from service import embedded, lifeline
from service.bootstrap import Service
from service.environment import clean_environment
from service.settings import Settings
from tests.ports import free_port
from tests.waiting import eventually, is_gone

PYTHON = [sys.executable, "-m"]
GRACE = 75.0
ROOT = Path(__file__).parents[2]


@dataclass
class Role:
    """One process of the service, started again ``delay`` seconds after it has ended."""

    name: str
    command: list[str]
    log: Path
    environ: Mapping[str, str]
    line: lifeline.Lifeline
    delay: float = 0.2
    starts: int = 0
    """How often it was started."""
    ended: list[int] = field(default_factory=list)
    """The statuses with which it ended, by a fault or by itself."""
    process: subprocess.Popen[bytes] | None = None
    due: float = 0.0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env={**self.environ, **self.line.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self.line.reader,),
                start_new_session=True,
            )
        self.starts += 1

    def attend(self) -> None:
        """Start it again when it is time."""
        with self.lock:
            if self.process is not None and self.process.poll() is not None:
                self.signal(signal.SIGKILL)
                self.ended.append(self.process.returncode)
                self.process, self.due = None, time.monotonic() + self.delay
            if self.process is None and time.monotonic() >= self.due:
                self.start()

    def signal(self, number: signal.Signals) -> bool:
        """To the process and all that it has started; whether there was one."""
        with self.lock, contextlib.suppress(ProcessLookupError):
            if self.process is not None:
                os.killpg(self.process.pid, number)
                return True
        return False

    def terminate(self) -> bool:
        """As a supervisor does: to the process alone."""
        with self.lock, contextlib.suppress(ProcessLookupError):
            if self.process is not None:
                os.kill(self.process.pid, signal.SIGTERM)
                return True
        return False

    def family(self) -> list[psutil.Process]:
        """The process and its children."""
        with self.lock, contextlib.suppress(psutil.NoSuchProcess):
            if self.process is not None:
                own = psutil.Process(self.process.pid)
                return [own, *own.children(recursive=True)]
        return []


class House:
    """``roles`` by name; ``service`` reads the records, for the ledger alone."""

    def __init__(self, directory: Path, vendor_url: str, **settings: str) -> None:
        self.directory = directory
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.environ = clean_environment(os.environ) | {
            "HOOKREEL_DATA_DIR": str(directory / "data"),
            "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode(),
            "HOOKREEL_PUBLIC_URL": self.url,
            "WAVESPEED_BASE_URL": vendor_url,
            **settings,
        }
        self.data_dir = directory / "data"
        self.line = lifeline.hold()
        self.roles: dict[str, Role] = {}
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._commands = {
            "store": embedded.command(self.data_dir),
            "web": [*PYTHON, "service.cli.main", "serve", "--host", "127.0.0.1", "--port", str(port)],
            "worker-1": [*PYTHON, "workers.worker"],
            "worker-2": [*PYTHON, "workers.worker"],
            "forwarder-1": [*PYTHON, "workers.forwarder"],
            "forwarder-2": [*PYTHON, "workers.forwarder"],
            "clock": [*PYTHON, "workers.clock"],
        }

    def start(self, *names: str) -> None:
        """The store first, then everything (or ``names``); returns when the web process is ready."""
        self.data_dir.mkdir(parents=True)
        self._start("store")
        store = self.roles["store"].process
        assert store
        url = embedded.wait(self.data_dir, store)
        self.service = Service(Settings.from_env(self.environ), url, "faults", f"faults-{os.getpid()}")
        for name in names or tuple(self._commands):
            if name != "store":
                self._start(name)
        self._watcher.start()
        assert eventually(self.is_ready, timeout=60), self.directory

    def _start(self, name: str) -> None:
        self.roles[name] = role = Role(
            name, self._commands[name], self.directory / f"{name}.log", self.environ, self.line
        )
        role.start()

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
        return False

    def _watch(self) -> None:
        while not self._stopping.wait(0.05):
            for role in self.roles.values():
                role.attend()

    def store_server(self) -> psutil.Process | None:
        """Valkey itself, the guardian's only child."""
        children = self.roles["store"].family()[1:]
        return children[0] if children else None

    def stop(self) -> None:
        """End everything, the store last; nothing is left."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        families = [each for role in self.roles.values() for each in role.family()]
        self._end([role for name, role in self.roles.items() if name != "store"])
        self._end([role for name, role in self.roles.items() if name == "store"])
        if "service" in vars(self):
            self.service.close()
        self.line.cut()
        assert eventually(lambda: all(is_gone(each) for each in families))

    @staticmethod
    def _end(roles: list[Role]) -> None:
        for role in roles:
            role.signal(signal.SIGCONT)
            role.terminate()
        for role in roles:
            if role.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    role.process.wait(GRACE)
                role.signal(signal.SIGKILL)
                role.process.wait()


@contextmanager
def running(directory: Path, vendor_url: str, *names: str, **settings: str) -> Iterator[House]:
    """For as long as the block lasts."""
    house = House(directory, vendor_url, **settings)
    try:
        house.start(*names)
        yield house
    finally:
        house.stop()
