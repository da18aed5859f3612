"""Whether the store keeps what it has acknowledged; one that does not is refused at the start, in words.

``python -m service.durability`` asks the store of the environment; it exits with 2 when it is refused.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from redis.exceptions import ResponseError

from service.errors import HookreelError, SettingsError
from service.settings import Settings
from service.store import Store

OLDEST = 7
_INSTEAD = "or HOOKREEL_ALLOW_VOLATILE_STORE=yes, with which accepted and paid jobs may be lost"


def check(store: Store, *, allow_volatile: bool) -> tuple[str, ...]:
    """What the store may forget, as sentences, where that is allowed.

    Raises `SettingsError` where it is not, or when the store is too old; `StoreUnavailable`.
    """
    told = _info(store)
    too_old = _too_old(told)
    faults = _faults(told)
    if too_old or (faults and not allow_volatile):
        raise SettingsError([*too_old, *(f"REDIS_URL: {each}" for each in faults if not allow_volatile)])
    return tuple(faults)


def _info(store: Store) -> dict[str, Any] | None:
    """None where an access list denies the question."""
    try:
        sections = store.read(lambda pipe: [pipe.info(each) for each in ("server", "persistence", "memory")])
    except ResponseError:
        return None
    return {name: value for section in sections for name, value in section.items()}


def _too_old(told: dict[str, Any] | None) -> list[str]:
    version = str((told or {}).get("redis_version", OLDEST))
    major = re.match(r"\d+", version)
    if major is None or int(major[0]) >= OLDEST:
        return []
    return [f"REDIS_URL: the store is Redis {version}; allowed: Redis {OLDEST} or newer, or Valkey"]


def _faults(told: dict[str, Any] | None) -> list[str]:
    if told is None:
        return [f"the store does not tell how it keeps data; allowed: a user that may call INFO, {_INSTEAD}"]
    faults = []
    if not told.get("aof_enabled"):
        faults.append(
            "the store keeps no append-only file, and loses what it has acknowledged when it ends; "
            f"allowed: one with `appendonly yes`, best with `appendfsync always`, {_INSTEAD}"
        )
    policy = told.get("maxmemory_policy", "noeviction")
    if told.get("maxmemory") and policy != "noeviction":
        faults.append(
            f"the store throws records away when it is full (`maxmemory-policy {policy}`); "
            f"allowed: `maxmemory-policy noeviction`, {_INSTEAD}"
        )
    return faults


def main() -> int:
    """Ask the store of the environment; what is wrong is told on stderr."""
    try:
        settings = Settings.from_env(os.environ)
        if settings.redis_url is not None:
            check(Store(settings.redis_url), allow_volatile=settings.allow_volatile_store)
    except SettingsError as error:
        print("\n".join(f"Error: {each}" for each in error.problems), file=sys.stderr)  # noqa: T201
        return 2
    except HookreelError as error:
        print(f"Error: REDIS_URL: {error.detail}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
