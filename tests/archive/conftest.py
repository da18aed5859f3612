"""A service that archives, a real origin of films, and time that can be moved."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from schemas.inputs import Input
from schemas.predictions import Prediction
from service.acceptance import Order
from service.archive.archivist import Archivist
from service.archive.download import Downloads
from service.bootstrap import Service
from service.listing import START, Lists
from service.presence import Watch
from service.records import Job
from service.sender import trusted_authorities
from service.settings import Settings
from tests.archive.origin import Origin, serving
from workers.clock import Clock

Complete = Callable[..., Job]


class Time:
    """A clock that goes on, and can be moved; both the observer's (s) and the records' (ms)."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def ms(self) -> int:
        return int((time.time() + self.ahead) * 1000)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with serving() as server:
        yield server


@pytest.fixture
def at() -> Time:
    return Time()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def environ(store_url: str, folder: Path) -> dict[str, str]:
    return {
        "REDIS_URL": store_url,
        "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode(),
        "HOOKREEL_ARCHIVE": str(folder),
        "HOOKREEL_DATA_DIR": str(folder.parent),
        "HOOKREEL_API_URL": "http://hookreel.test",
    }


@pytest.fixture
def build(environ: dict[str, str], at: Time) -> Iterator[Callable[..., Service]]:
    """``build(HOOKREEL_ARCHIVE="none")``: a service with these settings besides."""
    made: list[Service] = []

    def make(**settings: str) -> Service:
        service = Service(
            Settings.from_env({**environ, **settings}),
            environ["REDIS_URL"],
            "test",
            f"worker-{os.getpid()}",
            at.ms,
        )
        service.time = at.ms
        service.time = at.ms
        made.append(service)
        return service

    yield make
    for service in made:
        service.close()


@pytest.fixture
def service(build: Callable[..., Service]) -> Service:
    made = build()
    made.apikeys.create("default")
    return made


@pytest.fixture
def complete(service: Service) -> Complete:
    """``complete(url, ...)``: a job that the vendor has just completed with these outputs."""

    def make(*outputs: Any, by: Service = service) -> Job:
        return completed(by, *outputs)

    return make


def completed(service: Service, *outputs: Any) -> Job:
    order = Order("default", Input("minimax/hailuo-02/fast", {"image": "https://example.com/a.jpg"}, {}))
    job = service.acceptance.accept(order)
    token = service.token()
    admitted = service.jobs.admitted(job.id)
    assert admitted is not None
    assert service.jobs.begin(admitted, token, "worker-0") is not None
    return service.jobs.settle(job.id, token, Prediction(token, "completed", outputs=outputs))


def archivist(service: Service, incarnation: str = "worker-1", **limits: Any) -> Archivist:
    """An archivist as a worker process has it; ``limits`` of its downloads."""
    assert service.depot is not None
    downloads = Downloads(service.policy, "Hookreel/test", trusted_authorities(), **limits)
    return Archivist(service.jobs, service.depot, downloads, incarnation)


@pytest.fixture
def copier(service: Service) -> Archivist:
    return archivist(service)


@pytest.fixture
def clock(service: Service, at: Time) -> Clock:
    return Clock(service, Watch(service.store, at.monotonic), at.monotonic)


def happened(service: Service) -> list[dict[str, Any]]:
    """Every event of the workspace, oldest first."""
    lists = Lists(service.store, service.endpoints, service.deliveries)
    found, _ = lists.events("default", START, 100)
    return [json.loads(each.body) for each in found]


def whole(folder: Path) -> list[str]:
    """Every file in the archive, hidden ones too, as ``job/name``."""
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
