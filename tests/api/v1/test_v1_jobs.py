"""``/v1/jobs``."""

from __future__ import annotations

from schemas.outcomes import WORKER_DIED, classify


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
