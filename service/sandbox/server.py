"""The sandbox as a process: a threaded server, a directory for its files, and an end without delay."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from types import FrameType

from werkzeug.serving import WSGIRequestHandler, make_server

from service.sandbox.app import build

PREFIX = "hookreel-sandbox-"
_LOCK = ".lock"


class Handler(WSGIRequestHandler):
    """Keeps quiet: the book notes what matters, and a URL may carry somebody's token."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


def serve(host: str = "127.0.0.1", port: int = 8090, allow: tuple[str, ...] = ()) -> None:
    """Serve until SIGTERM or SIGINT, then exit with status 0. Port 0: a free one; the first line says which.

    ``allow``: networks besides the public internet and loopback from which pictures may be fetched.
    """
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    with scratch() as directory:
        sandbox = build(directory, tuple(map(ip_network, allow)))
        server = make_server(host, port, sandbox.app, threaded=True, request_handler=Handler)
        shown = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"sandbox on http://{shown}:{server.port}\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        finally:
            sandbox.close()


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary directory, removed at the end; those of sandboxes that were killed are removed now."""
    _sweep()
    # Locked before it gets the name that a sweep looks for.
    new = Path(tempfile.mkdtemp(prefix=f"new-{PREFIX}"))
    with (new / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        directory = new.rename(new.with_name(new.name.removeprefix("new-")))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _sweep() -> None:
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if directory.is_symlink() or directory.stat().st_uid != os.getuid():
            continue
        try:
            with (directory / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
        except OSError:
            # Locked by its living owner, or gone already.
            continue


def _exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
