"""Keeps named commands running: starts again what ends, and ends all of it in the right order.

Each command is a session of its own, so that Ctrl-C reaches the supervisor alone, and holds a lifeline,
so that it ends when the supervisor was killed.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from service import lifeline

FIRST_DELAY = 0.2
LONGEST_DELAY = 10.0
SETTLED = 30.0
_LARGEST_LOG = 50 * 2**20
_LOG_CHECK = 60.0


@dataclass(frozen=True)
class Command:
    """What to run; a higher ``stage`` is ended earlier, and killed after ``grace`` seconds."""

    name: str
    arguments: list[str]
    stage: int
    grace: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Child:
    command: Command
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    delay: float = 0.0


class Supervisor:
    """``logs``: the directory that gets a file for each command; ``None`` passes their lines through.

    ``told`` gets a sentence about each command that ended by itself.
    """

    def __init__(self, environ: Mapping[str, str], logs: Path | None, told: Callable[[str], None]) -> None:
        self._environ = dict(environ)
        self._logs = logs
        self._told = told
        self._children: dict[str, _Child] = {}
        self._line = lifeline.hold()
        self._alarm, self._bell = os.pipe()
        self._log_check = 0.0
        self._signals = 0
        self._last_signal = -math.inf

    def __enter__(self) -> Self:
        for end in (self._alarm, self._bell):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        # Without a handler SIGCHLD would not wake the waiting; the work is done there.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(self._alarm)
        os.close(self._bell)
        self._line.cut()

    @property
    def stopping(self) -> bool:
        """Whether SIGTERM, SIGINT or SIGHUP has come."""
        return self._signals > 0

    def start(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a command, and start it again from here on whenever it has ended, with whatever status."""
        child = self._children[command.name] = _Child(command)
        return self._spawn(child)

    def tick(self, longest: float) -> None:
        """Wait until something happens, for ``longest`` seconds at most, and see to it."""
        due = [child.due for child in self._children.values() if child.process is None]
        timeout = max(0.0, min([longest, *(when - time.monotonic() for when in due)]))
        self._wait(timeout)
        for child in self._children.values():
            self._attend(child)
        self._trim_logs()

    def stop(self) -> None:
        """End everything, the highest stage first; a second signal ends the patience with it."""
        stages = sorted({child.command.stage for child in self._children.values()}, reverse=True)
        for stage in stages:
            self._end([child for child in self._children.values() if child.command.stage == stage])
        self._children.clear()

    def _count(self, _signal: int, _frame: object) -> None:
        # A terminal and a process manager may both send one for the same wish.
        if time.monotonic() - self._last_signal > 1:
            self._signals += 1
        self._last_signal = time.monotonic()

    def _wait(self, timeout: float) -> None:
        select.select([self._alarm], [], [], timeout)
        with contextlib.suppress(BlockingIOError):
            os.read(self._alarm, 4096)

    def _spawn(self, child: _Child) -> subprocess.Popen[bytes]:
        command = child.command
        with self._output(command.name) as output:
            child.process = subprocess.Popen(
                command.arguments,
                env={**self._environ, **command.environment, **self._line.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self._line.reader,),
                start_new_session=True,
            )
        child.started = time.monotonic()
        return child.process

    @contextlib.contextmanager
    def _output(self, name: str) -> Iterator[int | None]:
        if self._logs is None:
            yield None
            return
        with (self._logs / f"{name}.log").open("ab") as file:
            yield file.fileno()

    def _attend(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.due:
                self._spawn(child)
            return
        status = child.process.poll()
        if status is None:
            return
        _kill_group(child.process)
        longer = min(child.delay * 2, LONGEST_DELAY)
        child.delay = FIRST_DELAY if now - child.started > SETTLED else max(FIRST_DELAY, longer)
        child.due = now + child.delay
        child.process = None
        self._told(
            f"{child.command.name} ended with status {status}; starting it again in {child.delay:.1f} s"
        )

    def _end(self, children: list[_Child]) -> None:
        started = [(child.command, child.process) for child in children if child.process is not None]
        for _, process in started:
            process.terminate()
        begun, heard = time.monotonic(), self._signals
        while left := [(command, process) for command, process in started if process.poll() is None]:
            passed = time.monotonic() - begun if self._signals == heard else math.inf
            for command, process in left:
                if passed >= command.grace:
                    _kill_group(process)
            self._wait(max(0.1, min(command.grace for command, _ in left) - passed))
        for _, process in started:
            _kill_group(process)

    def _trim_logs(self) -> None:
        # The writers append, so a file that was cut grows again from its beginning.
        if self._logs is None or time.monotonic() < self._log_check:
            return
        self._log_check = time.monotonic() + _LOG_CHECK
        for name in self._children:
            log = self._logs / f"{name}.log"
            if log.exists() and log.stat().st_size > _LARGEST_LOG:
                with contextlib.suppress(OSError):  # the disk is full; what is cut off makes room
                    shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind of a command: it leads its group, and what it has started is in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
