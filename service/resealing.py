"""Sealing every secret with the newest key, while everything runs, so that the older keys can be dropped.

Each record is changed from the revision at which it was read, so nothing that happens meanwhile is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from service import rediskeys
from service.errors import Conflict, HookreelError
from service.presence import keyrings
from service.records import dump_endpoint, load_endpoint
from service.sealing import Sealer
from service.signingsecrets import WORKSPACE_FIELDS, Secrets, workspace_change, workspace_secrets
from service.store import Change, StaleRecord, Store

AT_ONCE: Final = 1000
Found = list[bytes | None]


class Held(NamedTuple):
    """What a record holds sealed, and the change, under a token, that keeps it sealed otherwise."""

    sealed: Secrets
    change: Callable[[str, Secrets], Change]


class Kind(NamedTuple):
    """Records that may hold secrets: a pattern of their keys, the fields that tell, and how to read these."""

    pattern: str
    fields: tuple[str, ...]
    held: Callable[[str, Found], Held | None]


@dataclass
class Tally:
    """Secrets sealed anew, and those that were already; records that moved, and those that are left."""

    resealed: int = 0
    already: int = 0
    moved: int = 0
    left: list[str] = field(default_factory=list)


class Resealer:
    """``clock`` in ms; ``token`` is fresh for every change."""

    def __init__(
        self, store: Store, sealer: Sealer, *, clock: Callable[[], int], token: Callable[[], str]
    ) -> None:
        self.store = store
        self.sealer = sealer
        self.clock = clock
        self.token = token

    def behind(self) -> list[str]:
        """The processes that are alive and have another key in front than we have."""
        first = self.sealer.ring[:1]
        return sorted(name for name, ring in keyrings(self.store).items() if ring[:1] != first)

    def everything(self) -> Tally:
        """Until a round finds nothing to do any more. Raises `Conflict` when some process is `behind`."""
        if behind := self.behind():
            raise Conflict(
                f"another key is in front in {', '.join(behind)}: give every process the same "
                "HOOKREEL_SECRET_KEY, the new key first, and restart it before"
            )
        tally = latest = self._round()
        while latest.resealed or latest.moved:
            latest = self._round()
            tally = Tally(tally.resealed + latest.resealed, tally.already, 0, latest.left)
        return tally

    def _round(self) -> Tally:
        tally = Tally()
        for kind in _KINDS:
            for keys in self._matching(kind.pattern):
                for key, found in zip(keys, self._read(keys, kind.fields), strict=True):
                    self._look(kind, key, found, tally)
        return tally

    def _matching(self, pattern: str) -> Iterator[list[str]]:
        cursor: Any = b"0"
        while True:
            cursor, keys = self.store.fetch("SCAN", cursor, "MATCH", pattern, "COUNT", AT_ONCE)
            if keys:
                yield [key.decode() for key in keys]
            if cursor == b"0":
                return

    def _read(self, keys: list[str], fields: tuple[str, ...]) -> list[Found]:
        return self.store.read(lambda pipe: [pipe.hmget(key, *fields) for key in keys])

    def _look(self, kind: Kind, key: str, found: Found, tally: Tally) -> None:
        now = self.clock()
        try:
            held = kind.held(key, found)
            if held is None:
                return
            live = held.sealed.pruned(now)
            renewed = live.each(self.sealer.renewed)
        except HookreelError:
            # No key that we have opens it, or a later release has written the record.
            tally.left.append(key.removeprefix(rediskeys.PREFIX))
            return
        if renewed != held.sealed and not self._kept(held.change(self.token(), renewed)):
            tally.moved += 1
            return
        same = [old == new for old, new in zip(live.live(now), renewed.live(now), strict=True)]
        tally.already += sum(same)
        tally.resealed += len(same) - sum(same)

    def _kept(self, change: Change) -> bool:
        """Whether it was applied; if not, somebody has changed the record since it was read."""
        try:
            self.store.commit(change)
        except StaleRecord:
            return False
        return True


def _of_endpoint(key: str, found: Found) -> Held | None:
    rev, doc = found
    endpoint = load_endpoint(int(rev or 0), doc) if doc else None
    if endpoint is None or not endpoint.secret:
        return None

    def change(token: str, sealed: Secrets) -> Change:
        changed = replace(endpoint, secret=sealed.newest, old_secrets=sealed.previous)
        return Change(key, endpoint.rev, token, (("HSET", key, "doc", dump_endpoint(changed)),))

    return Held(Secrets(endpoint.secret, endpoint.old_secrets), change)


def _of_workspace(key: str, found: Found) -> Held | None:
    rev, sealed = workspace_secrets(found)
    name = key.removeprefix(rediskeys.workspace(""))
    return Held(sealed, lambda token, new: workspace_change(name, rev, token, new)) if sealed.newest else None


def _of_vendor(key: str, found: Found) -> Held | None:
    rev, secret = int(found[0] or 0), found[1]
    if secret is None:
        return None
    return Held(
        Secrets(secret.decode()),
        lambda token, new: Change(key, rev, token, (("HSET", key, "secret", new.newest),)),
    )


_KINDS: Final = (
    Kind(rediskeys.endpoint("*"), ("rev", "doc"), _of_endpoint),
    Kind(rediskeys.workspace("*"), WORKSPACE_FIELDS, _of_workspace),
    Kind(rediskeys.VENDOR, ("rev", "secret"), _of_vendor),
)
