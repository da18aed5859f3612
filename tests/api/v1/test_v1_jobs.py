"""``/v1/jobs``."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from schemas.outcomes import WORKER_DIED, classify
from tests.api.v1.conftest import Caller
from tests.store.test_inquiry import Vendor


def test_a_job_is_shown_with_its_way_and_without_its_tokens(call, story):
    job = story.completed(channel="eu", metadata={"order": 42})
    shown = call.get(f"/v1/jobs/{job.id}")
    assert (shown["prediction_id"], shown["state"], shown["status"]) == (job.id, "completed", "completed")
    assert shown["upstream_id"] == job.upstream_id
    assert shown["input"] == {"image": "https://example.com/a.jpg", "prompt": "She smiles.", "duration": 6}
    assert shown["outputs"] == ["https://cdn.example.com/a.mp4"]
    assert (shown["channel"], shown["metadata"]) == ("eu", {"order": 42})
    assert [each["what"] for each in shown["timeline"]] == [
        "accepted",
        "submitting",
        "processing",
        "completed",
    ]
    assert all(each["at"].endswith("Z") for each in shown["timeline"])
    (submission,) = shown["submissions"]
    assert set(submission) == {"at", "outcome", "upstream_id", "status"}
    assert shown["events"] == list(job.events)
    assert (shown["error"], shown["code"], shown["reason"], shown["maybe_billed"]) == (
        None,
        None,
        None,
        False,
    )


def test_a_job_that_may_have_been_billed_says_so(call, story, service):
    job = story.accepted()
    story.begun(job, "token")
    service.jobs.conclude(job.id, "token", classify(WORKER_DIED))
    service.jobs.presume_unknown(job.id)
    shown = call.get(f"/v1/jobs/{job.id}")
    assert (shown["state"], shown["status"], shown["reason"]) == ("failed", "timeout", "outcome_unknown")
    assert (shown["code"], shown["maybe_billed"]) == (9001, True)


def test_another_workspaces_job_does_not_exist(stranger, story):
    job = story.accepted()
    assert stranger("GET", f"/v1/jobs/{job.id}").status_code == 404
    assert stranger.get("/v1/jobs")["data"] == []


def test_a_deleted_job_is_in_no_list(call, story, service):
    job, other = story.completed(), story.completed()
    service.jobs.mark_deleted(job.id)
    assert call("GET", f"/v1/jobs/{job.id}").status_code == 404
    assert [each["prediction_id"] for each in call.get("/v1/jobs")["data"]] == [other.id]


def test_pages_of_jobs_stand_still_while_new_ones_come(call, story):
    for _ in range(7):
        story.accepted()
    ids = [each["prediction_id"] for each in call.get("/v1/jobs")["data"]]
    seen, cursor = [], ""
    while cursor is not None:
        page = call.get(f"/v1/jobs?limit=3{cursor and '&cursor='}{cursor}")
        seen += [each["prediction_id"] for each in page["data"]]
        cursor = page["next"]
        story.accepted()
    assert seen == ids


def test_jobs_of_the_same_millisecond_are_all_listed_once(call, story, service):
    service.clock = lambda: 1_790_000_000_000
    made = {story.accepted().id for _ in range(120)}
    seen, cursor = [], ""
    while cursor is not None:
        page = call.get(f"/v1/jobs?limit=50{cursor and '&cursor='}{cursor}")
        seen += [each["prediction_id"] for each in page["data"]]
        cursor = page["next"]
    assert len(seen) == 120
    assert set(seen) == made


# -- resolve ----------------------------------------------------------------------------------------------

TASK = "b" * 32


@pytest.fixture
def vendor(service) -> Iterator[Vendor]:
    with Vendor() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        service.settings.__dict__["vendor_base_url"] = f"http://127.0.0.1:{server.server_port}"
        service.__dict__.pop("vendor", None)
        yield server
        server.shutdown()


@pytest.fixture
def uncertain(story, service):
    job = story.accepted()
    story.begun(job, "token")
    return service.jobs.conclude(job.id, "token", classify(WORKER_DIED))


def test_an_operator_says_which_prediction_an_uncertain_job_is(operator, uncertain, vendor):
    vendor.shows("processing", id=TASK)
    path, body = f"/v1/jobs/{uncertain.id}/resolve", {"submitted": True, "upstream_id": TASK}
    answer = operator("POST", path, json=body)
    assert (answer.status_code, answer.json["state"], answer.json["upstream_id"]) == (200, "processing", TASK)
    assert operator("POST", path, json=body).json["state"] == "processing"


def test_an_operator_says_that_no_task_was_made(operator, uncertain, service):
    answer = operator("POST", f"/v1/jobs/{uncertain.id}/resolve", json={"submitted": False})
    assert (answer.status_code, answer.json["state"]) == (200, "queued")
    assert service.jobs.admitted(uncertain.id) is not None


def test_a_prediction_of_another_model_is_not_the_jobs(operator, uncertain, vendor):
    vendor.shows("completed", id=TASK, model="minimax/hailuo-02/pro")
    answer = operator(
        "POST", f"/v1/jobs/{uncertain.id}/resolve", json={"submitted": True, "upstream_id": TASK}
    )
    assert (answer.status_code, answer.json["type"]) == (409, "urn:hookreel:conflict")


def test_only_an_uncertain_job_can_be_resolved(operator, story, vendor):
    job = story.completed()
    vendor.shows("completed", id=TASK)
    for body in ({"submitted": False}, {"submitted": True, "upstream_id": TASK}):
        answer = operator("POST", f"/v1/jobs/{job.id}/resolve", json=body)
        assert answer.status_code == 409
        assert "completed" in answer.json["detail"]


def test_a_prediction_that_the_vendor_does_not_know_resolves_nothing(operator, uncertain, vendor):
    answer = operator(
        "POST", f"/v1/jobs/{uncertain.id}/resolve", json={"submitted": True, "upstream_id": TASK}
    )
    assert answer.status_code == 404
    assert TASK in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/submitted"),
        ({"submitted": "no"}, "/submitted"),
        ({"submitted": True}, "/upstream_id"),
        ({"submitted": True, "upstream_id": "a b"}, "/upstream_id"),
        ({"submitted": False, "upstream_id": TASK}, "/upstream_id"),
    ],
)
def test_a_resolution_that_says_too_little_or_too_much_is_refused(operator, uncertain, body, pointer):
    answer = operator("POST", f"/v1/jobs/{uncertain.id}/resolve", json=body)
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (400, pointer)


def test_any_other_key_may_resolve_nothing(call, uncertain):
    answer = call("POST", f"/v1/jobs/{uncertain.id}/resolve", json={"submitted": False})
    assert (answer.status_code, answer.json["type"]) == (403, "urn:hookreel:forbidden")


def test_an_operator_of_another_workspace_does_not_see_the_job(app, service, uncertain):
    other = Caller(app, "other", service.apikeys.create("other", operator=True)[1])
    assert other("POST", f"/v1/jobs/{uncertain.id}/resolve", json={"submitted": False}).status_code == 404
