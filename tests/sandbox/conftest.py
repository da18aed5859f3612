"""One sandbox for all of these tests; every test is another account."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.client import Client, Process, Receiver


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(str(tmp_path_factory.mktemp("sandbox")))
    yield process
    assert process.end() == 0


@pytest.fixture
def client(sandbox: Process) -> Client:
    client = Client(sandbox.url, secrets.token_hex(8))
    client.switch()
    return client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def rocket() -> Path:
    return Path(__file__).parent.parent / "data" / "rocket.jpg"


@pytest.fixture(scope="session")
def rocket_uri(rocket: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(rocket.read_bytes()).decode()
