"""``hookreel jobs``."""

from __future__ import annotations

import threading

import pytest
from PIL import Image

from schemas.outcomes import WORKER_DIED, Outcome, SubmissionOutcome, classify
from schemas.predictions import Prediction
from tests.store.test_inquiry import Vendor
from tests.waiting import eventually

MODEL = "minimax/hailuo-02/fast"
SUBMIT = ("jobs", "submit", MODEL, "--prompt", "She smiles.", "--duration", "6")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (400, 400), "navy").save(path)
    return str(path)


def test_a_file_is_submitted_with_everything_that_was_given(shell, photo, service):
    (job,) = shell.json(
        *SUBMIT,
        *("--image", photo, "--set", "go_fast=true", "--channel", "eu", "--metadata", '{"order": 42}'),
        *("--webhook", "http://127.0.0.1:9/x?a=1&b=2", "--idempotency-key", "order-42"),
    )
    assert (job["model"], job["channel"], job["metadata"]) == (MODEL, "eu", {"order": 42})
    assert job["input"]["image"]["media_type"] == "image/png"
    assert (job["input"]["duration"], job["input"]["go_fast"]) == (6, True)
    kept = service.jobs.get(job["prediction_id"])
    assert service.endpoints.find(kept.own_endpoint).url == "http://127.0.0.1:9/x?a=1&b=2"


def test_the_same_idempotency_key_makes_no_second_job(shell):
    words = (*SUBMIT, "--image", "https://example.com/a.jpg", "--idempotency-key", "k")
    first, second = shell.json(*words), shell.json(*words)
    assert first == second
    assert len(shell.json("jobs", "list")) == 1


def test_a_job_that_is_refused_is_told_in_a_line(shell):
    result = shell("jobs", "submit", MODEL, "--image", "https://example.com/a.jpg", "--duration", "7")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "duration" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(("option", "value"), [("--image", "none.jpg"), ("--set", "nonsense")])
def test_what_cannot_be_sent_is_a_matter_of_usage(shell, option, value):
    result = shell("jobs", "submit", MODEL, option, value)
    assert result.exit_code == 2
    assert value in result.stderr


@pytest.mark.parametrize(("status", "exit_code"), [("completed", 0), ("failed", 1)])
def test_waiting_ends_with_the_job(shell, service, story, status, exit_code):
    def settle():
        assert eventually(lambda: service.store.client.zcard("hr:window"))
        (job_id,) = service.store.client.zrange("hr:window", 0, -1)
        job = service.jobs.get(job_id.decode())
        story.begun(job, "token")
        service.jobs.conclude(job.id, "token", SubmissionOutcome(Outcome.ACCEPTED, "", upstream_id="a" * 32))
        service.jobs.settle(
            job.id, "token", Prediction(id="a" * 32, status=status, outputs=("https://x/a.mp4",))
        )

    worker = threading.Thread(target=settle)
    worker.start()
    result = shell(*SUBMIT, "--image", "https://example.com/a.jpg", "--wait")
    worker.join()
    assert result.exit_code == exit_code, result.output
    assert ["state", status] in [line.split() for line in result.stdout.splitlines()]


def test_a_job_is_shown_with_its_timeline(shell, story):
    job = story.completed()
    result = shell("jobs", "show", job.id)
    assert result.exit_code == 0
    assert job.upstream_id in result.stdout
    assert [line.split()[1] for line in result.stdout.splitlines()[-4:]] == [
        "accepted",
        "submitting",
        "processing",
        "completed",
    ]
    (shown,) = shell.json("jobs", "show", job.id)
    assert shown["prediction_id"] == job.id


def test_the_newest_jobs_are_listed(shell, story):
    ids = {story.accepted().id for _ in range(3)}
    assert {each["prediction_id"] for each in shell.json("jobs", "list")} == ids
    assert len(shell.json("jobs", "list", "--limit", "2")) == 2
    assert all(each in shell("jobs", "list").stdout for each in ids)


@pytest.fixture
def uncertain(service, story):
    job = story.accepted()
    story.begun(job, "token")
    return service.jobs.conclude(job.id, "token", classify(WORKER_DIED)).id


def test_an_uncertain_job_is_submitted_again_on_the_operators_word(shell, uncertain):
    (job,) = shell.json("jobs", "resolve", uncertain, "--not-submitted")
    assert (job["prediction_id"], job["state"]) == (uncertain, "queued")


def test_an_uncertain_job_is_what_the_operator_has_found(shell, service, uncertain):
    with Vendor() as vendor:
        threading.Thread(target=vendor.serve_forever, args=(0.01,), daemon=True).start()
        service.settings.__dict__["vendor_base_url"] = f"http://127.0.0.1:{vendor.server_port}"
        service.__dict__.pop("vendor", None)
        vendor.shows("completed", id="b" * 32)
        (job,) = shell.json("jobs", "resolve", uncertain, "--submitted", "b" * 32)
        vendor.shutdown()
    assert (job["state"], job["upstream_id"]) == ("completed", "b" * 32)


@pytest.mark.parametrize("words", [(), ("--not-submitted", "--submitted", "b")])
def test_a_resolution_is_one_or_the_other(shell, uncertain, words):
    result = shell("jobs", "resolve", uncertain, *words)
    assert result.exit_code == 2
    assert "either --submitted PREDICTION_ID or --not-submitted" in result.stderr
