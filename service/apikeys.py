"""API keys: shown once, kept as their SHA-256, revocable; each belongs to a workspace."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from schemas.faults import Fault
from service import rediskeys
from service.errors import InvalidInput, NotFound, Unauthorized
from service.store import Store

PREFIX = "hrk_"
WORKSPACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
WORKSPACE_RULE = "1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit"


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key; the key itself is not. ``operator``: may make and revoke keys."""

    id: str
    workspace: str
    created_at: int
    hint: str
    name: str = ""
    operator: bool = False


class ApiKeys:
    """``token``: fresh url-safe text for a new key; ``clock``: milliseconds."""

    def __init__(self, store: Store, token: Callable[[], str], clock: Callable[[], int]) -> None:
        self.store = store
        self.token = token
        self.clock = clock

    def create(self, workspace: str, *, name: str = "", operator: bool = False) -> tuple[ApiKey, str]:
        """A new key and its text, which is never shown again. Makes the workspace if need be.

        Raises `InvalidInput` for a workspace name that is none.
        """
        if not WORKSPACE.fullmatch(workspace):
            detail = f"'{workspace[:40]}' is no workspace name"
            raise InvalidInput(Fault("/workspace", "invalid", detail, WORKSPACE_RULE))
        text = f"{PREFIX}{self.token()}"
        digest = _digest(text)
        key = ApiKey(f"key_{digest[:16]}", workspace, self.clock(), text[:8], name, operator)
        row = json.dumps(asdict(key), separators=(",", ":"))
        self.store.write(
            lambda pipe: pipe.sadd(rediskeys.WORKSPACES, workspace).hset(rediskeys.APIKEYS, digest, row)
        )
        return key, text

    def check(self, text: str) -> ApiKey:
        """Whose key it is. Raises `Unauthorized`."""
        if not text:
            raise Unauthorized("an API key is needed: Authorization: Bearer <key>")
        found = self.store.fetch("HGET", rediskeys.APIKEYS, _digest(text))
        if found is None:
            raise Unauthorized("this API key is unknown or revoked")
        return ApiKey(**json.loads(found))

    def list(self) -> list[ApiKey]:
        """Every key, newest first."""
        (found,) = self.store.read(lambda pipe: pipe.hvals(rediskeys.APIKEYS))
        return sorted((ApiKey(**json.loads(row)) for row in found), key=lambda key: -key.created_at)

    def revoke(self, key_id: str) -> None:
        """Raises `NotFound`."""
        (rows,) = self.store.read(lambda pipe: pipe.hgetall(rediskeys.APIKEYS))
        digests = [digest for digest, row in rows.items() if json.loads(row)["id"] == key_id]
        if not digests:
            raise NotFound(f"there is no API key {key_id[:64]}")
        self.store.write(lambda pipe: pipe.hdel(rediskeys.APIKEYS, *digests))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
