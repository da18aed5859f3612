"""Connections to the store: by every kind of URL, and none that sends a command twice."""

from __future__ import annotations

import select
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError  # noqa: A004 - the store's, not the builtins
from redis.retry import Retry
from redis.sentinel import Sentinel

LOST = (ConnectionError, TimeoutError, OSError)
"""What redis-py raises when a connection is lost; it says nothing about whether the command was applied."""


def connect(url: str, **options: Any) -> redis.Redis:
    """A client that never sends a command twice. ``url``: redis, rediss, unix or sentinel://h1,h2/name/0."""
    once = {
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "socket_connect_timeout": 5,
        "socket_timeout": 10,
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

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._waiting: list[Any] = []

    def take(self) -> Any:
        """One that is connected. Raises what is in ``LOST``."""
        try:
            connection = self._waiting.pop()
        except IndexError:
            return self._pool.get_connection()
        if is_readable(connection):
            connection.disconnect()
        try:
            connection.connect()
        except BaseException:
            self.give(connection)
            raise
        return connection

    def give(self, connection: Any) -> None:
        """Take it back, connected or not, with every answer read."""
        self._waiting.append(connection)


def is_readable(connection: Any) -> bool:
    """Whether something has come, or the other end has closed it; so must be given up if nothing is due."""
    open_socket = connection._sock  # noqa: SLF001 - redis-py shows it nowhere else
    if open_socket is None:
        return False
    poller = select.poll()
    poller.register(open_socket, select.POLLIN)
    return bool(poller.poll(0))
