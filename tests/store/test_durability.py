"""A store that may forget what it has acknowledged is refused, in words that say what to set."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from cryptography.fernet import Fernet

from service.durability import _too_old, check
from service.errors import SettingsError, StoreUnavailable
from service.store import Store
from tests.store.servers import valkey

LASTING = {"appendonly": "yes"}
FORGETTING = {"save": "", "appendonly": "no"}
EVICTING = {**LASTING, "maxmemory": "100mb", "maxmemory-policy": "volatile-lru"}
Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(settings: dict[str, str]) -> str:
            directory = tmp_path / "other"
            directory.mkdir()
            return stack.enter_context(valkey(directory, settings))

        yield begin


def environment(url: str, **more: str) -> dict[str, str]:
    made = {
        "REDIS_URL": url,
        "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode(),
        "PYTHONPATH": str(Path.cwd()),
    }
    return {**os.environ, **made, **more}


def test_the_embedded_store_is_good(store_url: str) -> None:
    assert check(Store(store_url), allow_volatile=False) == ()


def test_an_append_only_file_without_a_limit_of_memory_is_good(start: Start) -> None:
    assert check(Store(start({**LASTING, "maxmemory-policy": "allkeys-lru"})), allow_volatile=False) == ()


@pytest.mark.parametrize(("settings", "wanted"), [(FORGETTING, "appendonly yes"), (EVICTING, "noeviction")])
def test_a_store_that_may_forget_is_refused_unless_that_is_allowed(
    start: Start, settings: dict[str, str], wanted: str
) -> None:
    store = Store(start(settings))
    with pytest.raises(SettingsError) as raised:
        check(store, allow_volatile=False)
    (problem,) = raised.value.problems
    assert problem.startswith("REDIS_URL: ")
    assert wanted in problem
    assert "HOOKREEL_ALLOW_VOLATILE_STORE" in problem
    (warning,) = check(store, allow_volatile=True)
    assert wanted in warning


def test_info_is_enough_where_config_is_denied(start: Start) -> None:
    url = start(FORGETTING)
    with redis.Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "default", "-config")
        with pytest.raises(SettingsError, match="append-only"):
            check(Store(url), allow_volatile=False)
        client.execute_command("ACL", "SETUSER", "default", "-info")
        with pytest.raises(SettingsError, match="INFO"):
            check(Store(url), allow_volatile=False)


def test_an_old_redis_is_refused_whatever_is_allowed() -> None:
    (problem,) = _too_old({"redis_version": "6.2.14"})
    assert "6.2.14" in problem
    assert "Redis 7" in problem
    assert _too_old({"redis_version": "7.0.15"}) == _too_old({"redis_version": "10.1"}) == []


def test_a_store_that_is_away_is_neither_good_nor_bad(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        check(Store(f"unix://{tmp_path}/nowhere"), allow_volatile=False)


@pytest.mark.parametrize(
    "words",
    [
        ("workers.worker",),
        ("workers.forwarder",),
        ("workers.clock",),
        ("service.cli.main", "serve", "--port", "18999"),
        ("service.cli.main", "up", "--port", "0"),
    ],
)
def test_no_process_begins_with_a_store_that_may_forget(
    start: Start, tmp_path: Path, words: tuple[str, ...]
) -> None:
    url = start(FORGETTING)
    ended = subprocess.run(
        [sys.executable, "-m", *words],
        env=environment(url, HOOKREEL_DATA_DIR=str(tmp_path / "data")),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: REDIS_URL: the store keeps no append-only file")


def test_a_process_that_began_without_its_store_ends_when_that_turns_out_to_forget(tmp_path: Path) -> None:
    directory = tmp_path / "other"
    directory.mkdir()
    script = (
        "import signal; from service.bootstrap import begin; begin('web'); print('began'); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", script],
        env=environment(f"unix://{directory}/socket"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "began\n"
        with valkey(directory, FORGETTING):
            assert process.wait(20) == -signal.SIGTERM
        assert "store.refused" in process.stderr.read()
