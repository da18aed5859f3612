"""Files: the pictures that were uploaded or sent, and the films; and the tickets to upload them by."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from service.sandbox.accounts import Account

MOST_BYTES = 1 << 30
MOST_TICKETS = 50_000
TICKET_NS = 3_600_000_000_000
CHUNK = 1 << 16


class Files:
    """Files in one directory, at most 1 GiB of them: the oldest go first."""

    def __init__(self, directory: Path, most_bytes: int = MOST_BYTES) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._total = 0

    def new(self, suffix: str = "") -> Path:
        """A path where nothing is yet; ``keep`` it when it is written."""
        return self._directory / f"{secrets.token_hex(16)}{suffix}"

    def keep(self, path: Path, name: str | None = None) -> str:
        """Take a written file into the store under the name (default: its own) and return that."""
        kept = path.replace(self._directory / (name or path.name))
        with self._lock:
            self._total += kept.stat().st_size - self._sizes.pop(kept.name, 0)
            self._sizes[kept.name] = kept.stat().st_size
            while self._total > self._most_bytes:
                self._drop(next(iter(self._sizes)))
        return kept.name

    def write(self, data: bytes, name: str | None = None) -> str:
        """Keep these bytes."""
        path = self.new()
        path.write_bytes(data)
        return self.keep(path, name)

    def path(self, name: str) -> Path | None:
        """Where the file is; None when it never was or is gone."""
        with self._lock:
            return self._directory / name if name in self._sizes else None

    def forget(self, name: str) -> None:
        """The file is needed no more."""
        with self._lock:
            if name in self._sizes:
                self._drop(name)

    def _drop(self, name: str) -> None:
        self._total -= self._sizes.pop(name)
        (self._directory / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class Ticket:
    """Leave to upload one file of at most ``size`` bytes; ``name`` is the stored file's once it is there."""

    token: str = field(repr=False)
    account: Account
    filename: str
    size: int
    content_type: str
    expires_ns: int
    name: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the PUT must carry exactly."""
        return {"Content-Type": self.content_type, "x-upload-expires": str(self.expires_ns // 1_000_000_000)}


class Uploads:
    """Tickets by token; the oldest go first."""

    def __init__(self, files: Files, now_ns: Callable[[], int]) -> None:
        self._files = files
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._tickets: dict[str, Ticket] = {}

    def ticket(
        self, account: Account, filename: str, size: int, content_type: str, *, expired: bool = False
    ) -> Ticket:
        """A new ticket, good for an hour, or one that has expired."""
        expires = self._now_ns() + (-TICKET_NS if expired else TICKET_NS)
        ticket = Ticket(secrets.token_hex(16), account, filename, size, content_type, expires)
        self._set(ticket)
        return ticket

    def get(self, token: str) -> Ticket | None:
        """The ticket, good or expired."""
        with self._lock:
            return self._tickets.get(token)

    def expired(self, ticket: Ticket) -> bool:
        """Whether it is too late for the PUT."""
        return ticket.expires_ns <= self._now_ns()

    def receive(self, ticket: Ticket, stream: IO[bytes], *, exact: bool = True) -> int | None:
        """Store the file; its size, or None, and nothing is kept, when it is not as large as the ticket says.

        ``exact``: a smaller one is no good either.
        """
        path = self._files.new()
        written = _copied(stream, path, ticket.size)
        if written is None or (exact and written < ticket.size):
            path.unlink(missing_ok=True)
            return None
        self._set(replace(ticket, name=self._files.keep(path)))
        return written

    def path(self, token: str) -> Path | None:
        """Where the ticket's file is, if it has come and is still there."""
        ticket = self.get(token)
        return self._files.path(ticket.name) if ticket and ticket.name else None

    def _set(self, ticket: Ticket) -> None:
        with self._lock:
            self._tickets[ticket.token] = ticket
            if len(self._tickets) > MOST_TICKETS:
                del self._tickets[next(iter(self._tickets))]


def _copied(stream: IO[bytes], path: Path, most: int) -> int | None:
    written = 0
    with path.open("wb") as file:
        while chunk := stream.read(CHUNK):
            written += len(chunk)
            if written > most:
                return None
            file.write(chunk)
    return written
