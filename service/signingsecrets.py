"""Signing secrets that follow each other, and those of workspaces, for jobs' own ``?webhook=`` deliveries.

Whatever is live signs, so that a receiver verifies with the secret that it has. An overlap ends by the wall
clock, which a signature's timestamp is told by as well.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from schemas.rotation import DAY
from service import rediskeys
from service.errors import Conflict
from service.events import timestamp
from service.sealing import Sealer
from service.signing import new_secret
from service.store import Change, StaleRecord, Store

MOST_LIVE: Final = 10
OVERLAP: Final = float(DAY)
"""Seconds, where nothing else is asked for."""
VENDORS_OVERLAP: Final = 0.0
"""The same for the vendor's scheme: a receiver written as the vendor's page shows refuses two signatures."""
_BYTES: Final = 24


@dataclass(frozen=True)
class Secrets:
    """A secret and those before it, newest first, each with the ms since the epoch at which it ends.

    In the clear, or sealed one by one.
    """

    newest: str = field(repr=False)
    previous: tuple[tuple[str, int], ...] = field(default=(), repr=False)

    def live(self, now: float) -> list[str]:
        """Those that sign at ``now`` ms, newest first."""
        return [self.newest, *(secret for secret, ends_at in self.previous if ends_at > now)]

    def pruned(self, now: float) -> Secrets:
        """Without those that have ended."""
        return Secrets(self.newest, tuple(each for each in self.previous if each[1] > now))

    def each(self, change: Callable[[str], str]) -> Secrets:
        """With every one of them changed, as by sealing."""
        previous = tuple((change(secret), ends_at) for secret, ends_at in self.previous)
        return Secrets(change(self.newest), previous)

    def followed_by(self, fresh: str, overlap: float, now: int) -> Secrets:
        """``fresh`` in the place of the newest, which lives on for ``overlap`` seconds; in the clear.

        The newest itself again changes nothing. Raises `Conflict` for more than `MOST_LIVE`.
        """
        before = ((self.newest, now + int(overlap * 1000)), *self.previous)
        previous = tuple(each for each in before if each[0] != fresh)
        following = Secrets(fresh, previous).pruned(now)
        if len(following.previous) >= MOST_LIVE:
            first = min(ends_at for _, ends_at in self.pruned(now).previous)
            raise Conflict(
                f"{MOST_LIVE} secrets are live, as many as there may be; the next one ends at "
                f"{timestamp(first)}, until then only an overlap of 0 makes room"
            )
        return following


def fresh_secret(random_bytes: Callable[[int], bytes]) -> str:
    """A secret of our own making."""
    return new_secret(random_bytes(_BYTES))


WORKSPACE_FIELDS: Final = ("rev", "secret", "old_secrets")


def workspace_secrets(found: list[bytes | None]) -> tuple[int, Secrets]:
    """The revision and the sealed secrets, from the workspace's `WORKSPACE_FIELDS`; empty for none yet."""
    rev, newest, previous = found
    rows = tuple((secret, ends_at) for secret, ends_at in json.loads(previous or b"[]"))
    return int(rev or 0), Secrets((newest or b"").decode(), rows)


def workspace_change(workspace: str, rev: int, token: str, sealed: Secrets) -> Change:
    """The change that keeps ``sealed``, and has forwarders read them."""
    key = rediskeys.workspace(workspace)
    kept = ("HSET", key, "secret", sealed.newest, "old_secrets", json.dumps(sealed.previous))
    return Change(key, rev, token, (kept, ("HINCRBY", key, "endpoints", 1)))


class WorkspaceSecrets:
    """The secrets of jobs' own webhooks. ``clock`` in ms; a fresh ``token`` for each change."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        *,
        clock: Callable[[], int],
        token: Callable[[], str],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.store = store
        self.sealer = sealer
        self.clock = clock
        self.token = token
        self.random_bytes = random_bytes

    def of(self, workspace: str) -> Secrets:
        """In the clear; the first one is made when it is asked for."""
        return self._read(workspace)[1]

    def rotate(self, workspace: str, secret: str | None = None, overlap: float | None = None) -> Secrets:
        """Another one from now on; those that are live then. Raises `Conflict`."""
        fresh = secret or fresh_secret(self.random_bytes)
        seconds = VENDORS_OVERLAP if overlap is None else overlap
        while True:
            rev, present = self._read(workspace)
            rotated = present.followed_by(fresh, seconds, self.clock())
            with contextlib.suppress(StaleRecord):
                self.store.commit(
                    workspace_change(workspace, rev, self.token(), rotated.each(self.sealer.seal))
                )
                return rotated

    def _read(self, workspace: str) -> tuple[int, Secrets]:
        key = rediskeys.workspace(workspace)
        (found,) = self.store.read(lambda pipe: pipe.hmget(key, *WORKSPACE_FIELDS))
        rev, sealed = workspace_secrets(found)
        if not sealed.newest:
            first = self.sealer.seal(fresh_secret(self.random_bytes))
            self.store.write(lambda pipe: pipe.hsetnx(key, "secret", first))
            return self._read(workspace)
        return rev, sealed.pruned(self.clock()).each(self.sealer.open)
