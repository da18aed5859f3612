"""Connections to the store: by every kind of URL, and none that sends a command twice."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError  # noqa: A004 - the store's, not the builtins
from redis.retry import Retry
from redis.sentinel import Sentinel

LOST = (ConnectionError, TimeoutError, OSError)
"""What redis-py raises when a connection is lost; it says nothing about whether the command was applied."""
SOCKET_TIMEOUT = 10
FRESH = 0.1
"""Seconds for which a connection that has just been used is not asked whether it is still there."""


def connect(url: str, **options: Any) -> redis.Redis:
    """A client that never sends a command twice. ``url``: redis, rediss, unix or sentinel://h1,h2/name/0."""
    once = {
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "socket_connect_timeout": 5,
        "socket_timeout": SOCKET_TIMEOUT,
        **options,
    }
    if url.startswith("sentinel://"):
        return _through_sentinel(url, once)
    if url.startswith("unix://"):
        once.pop("socket_connect_timeout")
    return redis.Redis.from_url(url, **once)


def _through_sentinel(url: str, options: dict[str, Any]) -> redis.Redis:
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    addresses = [(host.partition(":")[0], int(host.partition(":")[2] or 26379)) for host in hosts]
    name, _, db = parts.path.strip("/").partition("/")
    login = {
        key: unquote(value)
        for key, value in (("username", parts.username), ("password", parts.password))
        if value
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        addresses, sentinel_kwargs={"socket_timeout": 2, **login}
    )
    client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        name, db=int(db or 0), **login, **options
    )
    return client


class Idle:
    """Connections for one command after another, the last used first.

    redis-py's own pool makes them, but taking one from it and giving it back costs as much as a command.
    """

    def __init__(self, pool: redis.ConnectionPool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._waiting: list[tuple[Any, float]] = []
        self._lost = 0.0

    def take(self) -> Any:
        """One that is connected. Raises what is in ``LOST``."""
        try:
            connection, since = self._waiting.pop()
        except IndexError:
            return _blocking(self._pool.get_connection())
        if max(self._lost, self._monotonic() - FRESH) > since and is_readable(connection):
            connection.disconnect()
        if connection._sock is not None:  # noqa: SLF001 - redis-py shows it nowhere else
            return connection
        try:
            connection.connect()
        except BaseException:
            self.give(connection)
            raise
        return _blocking(connection)

    def give(self, connection: Any) -> None:
        """Take it back, connected or not, with every answer read."""
        now = self._monotonic()
        if connection._sock is None:  # noqa: SLF001
            # Where one was lost, the others may be.
            self._lost = now
        self._waiting.append((connection, now))


def _blocking(connection: Any) -> Any:
    """Leave the time limit to the kernel: Python's own asks before each call whether it would block.

    Each of these questions also lets go of the interpreter, which another thread then takes.
    """
    opened, limit = connection._sock, struct.pack("ll", SOCKET_TIMEOUT, 0)  # noqa: SLF001
    opened.settimeout(None)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    return connection


def is_readable(connection: Any) -> bool:
    """Whether something has come, or the other end has closed it; so must be given up if nothing is due."""
    open_socket = connection._sock  # noqa: SLF001 - redis-py shows it nowhere else
    if open_socket is None:
        return False
    poller = select.poll()
    poller.register(open_socket, select.POLLIN)
    return bool(poller.poll(0))
