"""Nothing is POSTed under a token that only a store has which may fail over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from schemas.outcomes import Observation, SubmissionOutcome, classify
from schemas.states import JobState
from service.acceptance import Order
from service.bootstrap import Service, boottime
from service.settings import Settings
from service.submission import Submitter
from tests.ports import free_port
from tests.store.servers import valkey
from tests.waiting import eventually

TOKEN = "c" * 32


class Vendor:
    """Takes every task."""

    posts = 0

    def submit(self, *_: object) -> SubmissionOutcome:
        self.posts += 1
        body = json.dumps({"code": 200, "data": {"id": "a" * 32}}).encode()
        return classify(Observation(sent=True, status=200, body=body))

    def upload(self, *_: object) -> str:
        raise AssertionError


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def master(tmp_path: Path, port: int) -> Iterator[Service]:
    (tmp_path / "master").mkdir()
    settings = {"appendonly": "yes", "port": str(port), "bind": "127.0.0.1", "repl-diskless-sync-delay": "0"}
    with valkey(tmp_path / "master", settings) as url:
        environ = {"REDIS_URL": url, "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode()}
        made = Service(Settings.from_env(environ), url, "test", "test-1")
        made.apikeys.create("default")
        yield made
        made.close()


def submitted(service: Service, order: Order, vendor: Any) -> JobState:
    job = service.acceptance.accept(order)
    Submitter(
        service.jobs, vendor, "worker-1", lambda: TOKEN, boottime, lambda *_: "http://x", replicas=1
    ).submit(job.id)
    return service.jobs.get(job.id).state


def test_without_a_replica_that_has_the_token_nothing_goes_out(
    master: Service, order: Callable[..., Order]
) -> None:
    vendor = Vendor()
    assert submitted(master, order(), vendor) is JobState.QUEUED
    assert vendor.posts == 0


def test_with_a_replica_that_has_the_token_the_post_goes_out(
    master: Service, order: Callable[..., Order], tmp_path: Path, port: int
) -> None:
    (tmp_path / "replica").mkdir()
    with valkey(tmp_path / "replica", {"replicaof": f"127.0.0.1 {port}"}):
        assert eventually(lambda: master.store.client.info("replication")["connected_slaves"] == 1)
        assert eventually(lambda: master.store.is_replicated(1))
        vendor = Vendor()
        assert submitted(master, order(), vendor) is JobState.PROCESSING
    assert vendor.posts == 1
