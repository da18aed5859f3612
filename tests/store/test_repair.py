"""A store that was set back to a backup: what was done since is not known, and nothing is paid for twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet

from schemas.outcomes import Observation, classify
from schemas.predictions import Prediction
from schemas.states import JobState, Reason
from service import embedded, rediskeys
from service.acceptance import Order
from service.bootstrap import Service
from service.cli.main import cli
from service.settings import Settings

Orders = Callable[..., Order]
UPSTREAM = "a" * 32
ACCEPTED = classify(
    Observation(sent=True, status=200, body=json.dumps({"code": 200, "data": {"id": UPSTREAM}}).encode())
)


@pytest.fixture
def environ(data_dir: Path) -> dict[str, str]:
    return {"HOOKREEL_DATA_DIR": str(data_dir), "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode()}


def opened(environ: dict[str, str], url: str) -> Service:
    return Service(Settings.from_env(environ), url, "test", f"test-{os.getpid()}")


def begin(service: Service, job_id: str, token: str) -> None:
    job = service.jobs.admitted(job_id)
    assert job is not None
    assert service.jobs.begin(job, token, "worker-1") is not None


def repaired(environ: dict[str, str], *words: str) -> str:
    done = CliRunner().invoke(cli, ["repair", *words], env=environ)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_a_backup_says_is_unfinished_is_submitted_by_nobody(
    data_dir: Path, environ: dict[str, str], order: Orders, tmp_path: Path
) -> None:
    with embedded.running(data_dir) as url:
        service = opened(environ, url)
        service.apikeys.create("default")
        queued, begun, taken, done = (service.acceptance.accept(order()).id for _ in range(4))
        for number, job_id in enumerate((begun, taken, done)):
            begin(service, job_id, str(number) * 32)
        service.jobs.conclude(taken, "1" * 32, ACCEPTED)
        service.jobs.settle(done, "2" * 32, Prediction(id="d" * 32, status="completed"))
        service.close()
    shutil.copytree(data_dir / "store", tmp_path / "backup")
    with embedded.running(data_dir) as url:
        service = opened(environ, url)
        begin(service, queued, "9" * 32)  # after the backup, and paid for
        service.close()
    shutil.rmtree(data_dir / "store")
    shutil.copytree(tmp_path / "backup", data_dir / "store")
    told = repaired(environ, "--yes")
    assert "uncertain: 2 (" in told
    assert "processing: 1 (" in told
    with embedded.running(data_dir) as url:
        service = opened(environ, url)
        states = [service.jobs.get(each).state for each in (queued, begun, taken, done)]
        assert states == [
            JobState.UNCERTAIN,
            JobState.UNCERTAIN,
            JobState.PROCESSING,
            JobState.COMPLETED,
        ]
        assert [service.jobs.admitted(each) for each in (queued, begun)] == [None, None]
        assert service.store.client.zrange(rediskeys.WINDOW, 0, -1) == [taken.encode()]
        assert service.store.client.zscore(rediskeys.SILENT, taken) <= service.time()
        service.close()


def test_repairing_twice_changes_nothing_more(data_dir: Path, environ: dict[str, str], order: Orders) -> None:
    with embedded.running(data_dir) as url:
        service = opened(environ, url)
        service.apikeys.create("default")
        job = service.acceptance.accept(order())
        service.close()
    assert "uncertain: 1 (" in repaired(environ, "--yes")
    assert "uncertain: 1 (" in repaired(environ, "--yes")
    with embedded.running(data_dir) as url:
        service = opened(environ, url)
        found = service.jobs.get(job.id)
        assert (found.state, len(found.submissions)) == (JobState.UNCERTAIN, 1)
        service.close()


def test_the_operator_and_time_decide_about_a_doubted_job_as_about_any_other(
    service: Service, order: Orders
) -> None:
    first, second, third = (service.acceptance.accept(order()).id for _ in range(3))
    for each in (first, second, third):
        service.jobs.doubt(each)
    assert service.inquiry.dismiss(first).state is JobState.QUEUED
    assert service.jobs.was_made(second, Prediction(UPSTREAM, "completed")).state is JobState.COMPLETED
    assert service.jobs.presume_unknown(third).reason is Reason.OUTCOME_UNKNOWN


def test_without_consent_nothing_is_touched(data_dir: Path, environ: dict[str, str], order: Orders) -> None:
    refused = CliRunner().invoke(cli, ["repair"], env=environ, input="n\n")
    assert refused.exit_code == 1
    assert not (data_dir / "store").exists()


def test_a_store_that_is_in_use_is_not_repaired(data_dir: Path, environ: dict[str, str]) -> None:
    with embedded.running(data_dir):
        refused = CliRunner().invoke(cli, ["repair", "--yes"], env=environ)
    assert refused.exit_code == 1
    assert f"{data_dir} is in use by another Hookreel" in refused.output
