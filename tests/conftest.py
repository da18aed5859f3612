"""What every test stands on: no settings of the caller's, no network but loopback, a real store."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from service import embedded
from service.environment import clean_environment
from tests import installed
from tests.ups import Up, running

_CLEAN = clean_environment(os.environ)
for _name in set(os.environ) - set(_CLEAN):
    del os.environ[_name]
os.environ.update(_CLEAN)
# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _stay_on_loopback(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple) and not _is_local(arguments[1][0]):
        raise RuntimeError(f"a test may not connect to {arguments[1][0]}")
    if event == "socket.getaddrinfo" and arguments[0] and not _is_local(arguments[0]):
        raise socket.gaierror(socket.EAI_NONAME, f"a test may not look up {arguments[0]}")


def _is_local(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name in {"", "localhost"}
    return address.is_loopback or address.is_unspecified


sys.addaudithook(_stay_on_loopback)


@pytest.fixture(scope="session")
def session_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One embedded store for the whole session; ``store_url`` is what a test asks for."""
    with embedded.running(tmp_path_factory.mktemp("store")) as url:
        yield url


@pytest.fixture
def store_url(session_store: str) -> str:
    """The URL of an empty store."""
    with redis.Redis.from_url(session_store) as client:
        client.flushall()
    return session_store


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One `hookreel up` for the whole session; unknown outcomes are presumed failed after 2 s."""
    with running(tmp_path_factory.mktemp("up") / "data", HOOKREEL_UNCERTAIN_AFTER="2") as up:
        yield up


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "hookreel-data"


@pytest.fixture
def requires() -> Callable[[str], str]:
    """``requires("redis-server")`` is its path; without it the test is skipped, but fails where CI=true."""
    return installed.program
