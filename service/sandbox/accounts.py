"""Every API key that is not empty is an account of its own, with its switches, its queue and its secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections import deque
from typing import Any

from service.sandbox.gate import Gate
from service.sandbox.switchboard import Overrides, in_force
from service.sandbox.switches import Switches

MOST_ACCOUNTS = 10_000
MOST_QUEUED = 10_000


class Account:
    """One key's state. The key itself is not kept: ``name`` is the start of its hash, "" for everybody."""

    def __init__(self, key: str, everybody: Account | None) -> None:
        self.name = hashlib.sha256(key.encode()).hexdigest()[:12] if key else ""
        self.rotations = 0
        self.gate = Gate()
        self._seed = hmac.digest(b"hookreel sandbox webhook secret", key.encode(), "sha256")
        self._everybody = everybody
        self._lock = threading.Lock()
        self._own: Overrides = {}
        self._next: deque[Overrides] = deque()

    @property
    def secret(self) -> str:
        """The webhook secret: ``whsec_`` and base64; the same after a restart unless it was rotated."""
        return self._secret(self.rotations)

    @property
    def old_secret(self) -> str:
        """The one before the last rotation; one that was never valid when there was none."""
        return self._secret(self.rotations - 1)

    def rotate(self) -> str:
        """A new secret."""
        with self._lock:
            self.rotations += 1
        return self.secret

    def overrides(self) -> Overrides:
        """What was switched for everybody, and over it what was switched for this account."""
        common = self._everybody.overrides() if self._everybody else {}
        return {**common, **self._own}

    def switches(self, job: Overrides | None = None) -> Switches:
        """What is in force now, for a call or for a job with overrides of its own."""
        return in_force(self.overrides(), job or {})

    def switch(self, overrides: Overrides) -> None:
        """Replace what was switched for this account."""
        self._own = dict(overrides)

    def queue(self, overrides: Overrides, count: int) -> bool:
        """Switches for each of the next ``count`` submissions; False when that would be too many."""
        with self._lock:
            if len(self._next) + count > MOST_QUEUED:
                return False
            self._next.extend([overrides] * count)
            return True

    def queued(self) -> list[Overrides]:
        """What is queued, in order."""
        with self._lock:
            return list(self._next)

    def clear_queue(self) -> None:
        """Forget what is queued."""
        with self._lock:
            self._next.clear()

    def take_next(self) -> dict[str, Any]:
        """The switches queued for this submission: this account's own before everybody's."""
        with self._lock:
            if self._next:
                return dict(self._next.popleft())
        return self._everybody.take_next() if self._everybody else {}

    def _secret(self, rotation: int) -> str:
        raw = hmac.digest(self._seed, str(rotation).encode(), "sha256")
        return f"whsec_{base64.b64encode(raw).decode()}"


class Accounts:
    """All accounts by key."""

    def __init__(self) -> None:
        self.everybody = Account("", None)
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}

    def of(self, key: str) -> Account:
        """The key's account, made when it is new; everybody's for no key. The longest unused goes first."""
        if not key:
            return self.everybody
        name = hashlib.sha256(key.encode()).hexdigest()
        with self._lock:
            account = self._accounts.pop(name, None) or Account(key, self.everybody)
            self._accounts[name] = account
            if len(self._accounts) > MOST_ACCOUNTS:
                del self._accounts[next(iter(self._accounts))]
            return account
