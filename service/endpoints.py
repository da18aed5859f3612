"""Endpoints: who hears of what. Belong to a workspace, or to the one job whose ``?webhook=`` they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from schemas.endpoints import check_together
from schemas.eventtypes import FINAL_TYPES, OPERATIONAL, PROCESSING
from schemas.faults import Fault
from service import rediskeys
from service.addresses import SETTING, Policy
from service.errors import BlockedAddress, InvalidInput, NotFound, Unavailable
from service.records import Endpoint, dump_endpoint, load_endpoint
from service.sealing import Sealer
from service.signingsecrets import OVERLAP, VENDORS_OVERLAP, Secrets, WorkspaceSecrets, fresh_secret
from service.store import RELIST, Change, StaleRecord, Store, Word

Ops = tuple[tuple[Word, ...], ...]
Guard = tuple[str, Word, Word]


class Endpoints:
    """Every workspace's endpoints. ``random_bytes`` makes secrets, ``new_id`` ids; ``clock`` is in ms."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        policy: Policy,
        workspaces: WorkspaceSecrets,
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.store = store
        self.sealer = sealer
        self.policy = policy
        self.workspaces = workspaces
        self.clock = clock
        self.new_id = new_id
        self.random_bytes = random_bytes
        self._directories: dict[str, Directory] = {}

    def create(self, workspace: str, fields: Mapping[str, Any]) -> tuple[Endpoint, str]:
        """A new endpoint and its secret, from a loaded request. Raises `InvalidInput`."""
        wanted = dict(fields)
        self.check_url(wanted["url"])
        secret = wanted.pop("secret", None) or fresh_secret(self.random_bytes)
        (seq,) = self.store.read(lambda pipe: pipe.hget(rediskeys.workspace(workspace), "seq"))
        endpoint = Endpoint(
            id=self.new_id(),
            workspace=workspace,
            created_at=self.clock(),
            secret=self.sealer.seal(secret),
            since=int(seq or 0),
            **wanted,
        )
        listed = ("ZADD", rediskeys.endpoints(workspace), endpoint.created_at, endpoint.id)
        self._commit(endpoint, (listed,))
        return endpoint, secret

    def own(self, workspace: str, job_id: str, url: str, at: int) -> tuple[Endpoint, Ops]:
        """The endpoint of a job's ``?webhook=``, and the writes that keep it together with the job."""
        self.check_url(url, "/webhook")
        endpoint = Endpoint(
            id=self.new_id(),
            workspace=workspace,
            url=url,
            created_at=at,
            event_types=FINAL_TYPES,
            format="wavespeed",
            job=job_id,
        )
        return endpoint, (
            ("HSET", rediskeys.endpoint(endpoint.id), "rev", 1, "doc", dump_endpoint(endpoint)),
        )

    def check_url(self, url: str, pointer: str = "/url") -> None:
        """Raises `InvalidInput` for an address that we would never call, as far as it can be known now."""
        try:
            self.policy.check_url(url, pointer)
        except BlockedAddress as error:
            allowed = f"a public address, or one in {SETTING}"
            raise InvalidInput(Fault(pointer, "blocked_address", error.detail, allowed)) from error

    def get(self, workspace: str, endpoint_id: str) -> Endpoint:
        """Raises `NotFound`, for another workspace's as well."""
        endpoint = self.find(endpoint_id)
        if endpoint is None or endpoint.workspace != workspace or endpoint.job:
            raise NotFound(f"there is no endpoint {endpoint_id[:64]}")
        return endpoint

    def find(self, endpoint_id: str) -> Endpoint | None:
        """In any workspace; None where there is none."""
        return self.find_all([endpoint_id])[0]

    def find_all(self, ids: list[str]) -> list[Endpoint | None]:
        """In the order of ``ids``, in one round trip; None where there is none."""
        return [load_endpoint(int(rev), data) if data else None for rev, data in self._rows(ids)]

    def readable(self, ids: list[str]) -> tuple[dict[str, Endpoint], set[str]]:
        """Those that are there, and the ids of those that only a later release can read."""
        found, refused = {}, set()
        for each, (rev, data) in zip(ids, self._rows(ids), strict=True):
            try:
                if data:
                    found[each] = load_endpoint(int(rev), data)
            except Unavailable:
                refused.add(each)
        return found, refused

    def _rows(self, ids: list[str]) -> list[Any]:
        def ask(pipe: Any) -> None:
            for each in ids:
                pipe.hmget(rediskeys.endpoint(each), "rev", "doc")

        return self.store.read(ask)

    def ids(self, workspace: str) -> list[str]:
        """Newest first."""
        (ids,) = self.store.read(lambda pipe: pipe.zrevrange(rediskeys.endpoints(workspace), 0, -1))
        return [each.decode() for each in ids]

    def list(self, workspace: str) -> list[Endpoint]:
        """Newest first."""
        return [each for each in self.find_all(self.ids(workspace)) if each is not None]

    def update(self, workspace: str, endpoint_id: str, fields: Mapping[str, Any]) -> Endpoint:
        """Change what ``fields`` names. Raises `NotFound` and `InvalidInput`."""
        wanted = dict(fields)
        if "url" in wanted:
            self.check_url(wanted["url"])
        if "secret" in wanted:
            wanted["secret"] = self.sealer.seal(wanted["secret"])
        while True:
            kept = self.get(workspace, endpoint_id)
            changed = replace(kept, **wanted)
            check_together({"format": changed.format, "event_types": changed.event_types})
            try:
                return self._commit(changed, _following(kept, changed))
            except StaleRecord:
                continue

    def disable(
        self, endpoint_id: str, reason: str, ops: Ops = (), guards: tuple[Guard, ...] = ()
    ) -> Endpoint | None:
        """Send nothing more to it; None when that was so, it is gone, or one of ``guards`` does not hold.

        ``ops`` are written with it.
        """
        while True:
            kept = self.find(endpoint_id)
            if kept is None or kept.job or not kept.enabled:
                return None
            off = replace(kept, enabled=False, disabled_reason=reason)
            down = ("HSET", rediskeys.endpoint(endpoint_id), "down", 1)
            try:
                return self._commit(off, (down, *ops), guards)
            except StaleRecord as error:
                if error.guard != "rev":
                    return None

    def relist(self, endpoint_id: str) -> int:
        """Put a workspace's endpoint back into its list, which has lost it; 1 if that was so."""
        (endpoint,) = self.find_all([endpoint_id])
        if endpoint is None:
            return 0
        workspace = endpoint.workspace
        listed = (rediskeys.endpoints(workspace), endpoint.created_at, endpoint.id)
        put = int(self.store.run(RELIST, [endpoint.rev, *listed], [rediskeys.endpoint(endpoint_id)]))
        if put:
            self.store.write(lambda pipe: pipe.hincrby(rediskeys.workspace(workspace), "endpoints", 1))
        return put

    def delete(self, workspace: str, endpoint_id: str) -> None:
        """Gone at once, however much waits for it: the clock cancels that. Raises `NotFound`."""
        self.get(workspace, endpoint_id)
        self.store.write(
            lambda pipe: (
                pipe.zadd(rediskeys.LEAVING, {endpoint_id: self.clock()})
                .delete(rediskeys.endpoint(endpoint_id))
                .zrem(rediskeys.endpoints(workspace), endpoint_id)
                .zrem(rediskeys.due(workspace), endpoint_id)
                .zrem(rediskeys.FAILING, endpoint_id)
                .hincrby(rediskeys.workspace(workspace), "endpoints", 1)
            )
        )

    def secrets(self, endpoint: Endpoint) -> Secrets:
        """The endpoint's secrets in the clear; a job's own endpoint is signed with its workspace's."""
        if not endpoint.secret:
            return self.workspaces.of(endpoint.workspace)
        sealed = Secrets(endpoint.secret, endpoint.old_secrets)
        return sealed.pruned(self.clock()).each(self.sealer.open)

    def rotate(
        self, workspace: str, endpoint_id: str, secret: str | None = None, overlap: float | None = None
    ) -> Secrets:
        """Another secret from now on; those that are live then. Raises `NotFound` and `Conflict`."""
        fresh = secret or fresh_secret(self.random_bytes)
        while True:
            endpoint = self.get(workspace, endpoint_id)
            usual = VENDORS_OVERLAP if endpoint.format == "wavespeed" else OVERLAP
            seconds = usual if overlap is None else overlap
            rotated = self.secrets(endpoint).followed_by(fresh, seconds, self.clock())
            sealed = rotated.each(self.sealer.seal)
            changed = replace(endpoint, secret=sealed.newest, old_secrets=sealed.previous)
            with contextlib.suppress(StaleRecord):
                self._commit(changed, ())
                return rotated

    def directory(self, workspace: str, wanted: int | None = None) -> Directory:
        """The workspace's endpoints as of its present revision; read again only when that has moved.

        Those of the revision ``wanted`` do, too, and are not asked for when they are known.
        """
        known = self._directories.get(workspace)
        if known is not None and known.revision == wanted:
            return known
        found = self.store.fetch("HGET", rediskeys.workspace(workspace), "endpoints")
        revision = int(found or 0)
        if known is None or known.revision != revision:
            known = Directory(revision, tuple(self.list(workspace)))
            self._directories[workspace] = known
        return known

    def tells(self, workspace: str, kind: str) -> bool:
        """Whether some endpoint of the workspace wants events of the type ``kind``."""
        return any(kind in each.event_types for each in self.directory(workspace).endpoints)

    def tells_processing(self, workspace: str) -> bool:
        """Whether some endpoint of the workspace wants ``prediction.processing``."""
        return self.tells(workspace, PROCESSING)

    def _commit(self, endpoint: Endpoint, ops: Ops, guards: tuple[Guard, ...] = ()) -> Endpoint:
        live = Secrets(endpoint.secret, endpoint.old_secrets).pruned(self.clock())
        endpoint = replace(endpoint, old_secrets=live.previous)
        key, workspace = rediskeys.endpoint(endpoint.id), endpoint.workspace
        every: Ops = (
            ("HSET", key, "doc", dump_endpoint(endpoint), "ws", workspace, *_for_scripts(endpoint)),
            ("HINCRBY", rediskeys.workspace(workspace), "endpoints", 1),
            *ops,
            ("place", workspace, endpoint.id),
        )
        self.store.commit(Change(key, endpoint.rev, self.new_id(), every, guards, subject=endpoint.id))
        return replace(endpoint, rev=endpoint.rev + 1)


def _for_scripts(endpoint: Endpoint) -> tuple[Word, ...]:
    """What of it the scripts must know."""
    off, ordered = int(not endpoint.active), int(endpoint.ordered)
    return ("off", off, "halted", 0, "ordered", ordered, "rate", endpoint.rate)


def _following(kept: Endpoint, changed: Endpoint) -> Ops:
    """What scripts kept of an endpoint and a change of it makes void."""
    key = rediskeys.endpoint(changed.id)
    ops: list[tuple[Word, ...]] = []
    if changed.rate != kept.rate:
        # When the next may go was reckoned by the old one.
        ops.append(("HDEL", key, "tat"))
    if changed.active and not kept.active:
        # Whatever it did before, it is tried at once; when it delivers, that is told.
        ops += [("HDEL", key, "fails", "since", "probe", "rest"), ("ZREM", rediskeys.FAILING, changed.id)]
    return tuple(ops)


@dataclass(frozen=True)
class Directory:
    """A workspace's endpoints at one revision."""

    revision: int
    endpoints: tuple[Endpoint, ...]

    def matching(self, kind: str, channel: str, seq: int) -> list[str]:
        """Who hears of an event of this type, in this channel, of this number: as expand.lua wants them."""
        return [
            f">{each.id}" if each.ordered else each.id
            for each in self.endpoints
            if hears(each, kind, channel, seq)
        ]


def hears(endpoint: Endpoint, kind: str, channel: str, seq: int) -> bool:
    """Whether an event is the endpoint's own: type, channel, and not older than the endpoint."""
    return seq > endpoint.since and matches(endpoint, kind, channel)


def matches(endpoint: Endpoint, kind: str, channel: str) -> bool:
    """Whether an event is of the endpoint's types and channels, whenever it happened."""
    return (
        kind in endpoint.event_types
        # The vendor calls back for ends only, so its format carries nothing else.
        and (endpoint.format != "wavespeed" or kind in FINAL_TYPES)
        # What tells of deliveries happens in no channel.
        and (not endpoint.channels or channel in endpoint.channels or kind in OPERATIONAL)
    )
