"""``POST /callbacks/wavespeed/<job>/<token>``: the vendor's word, and everything that is not."""

from __future__ import annotations

import json
import time

import pytest

from schemas.states import JobState
from tests.api.conftest import SECRET, client_of, message
from tests.api.vendorside import UPSTREAM, VIDEO, Vendor, accept, begin, told

FAST = "/api/v3/minimax/hailuo-02/fast"
UNVERIFIED = "no v3 signature in webhook-signature verifies this body"
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def submit(client, auth):
    """The id of a new job."""
    return lambda: client.post(FAST, headers=auth, json={"image": "https://a.example/a.jpg"}).json["data"][
        "id"
    ]


@pytest.fixture
def vendor(client):
    return Vendor(client, SECRET, int(time.time()))


def test_a_callback_completes_the_job(submit, service, vendor, client, auth):
    job_id = submit()
    response = vendor.calls(job_id, accept(service, job_id))
    assert (response.status_code, response.json) == (200, {"code": 200, "message": "success"})
    data = client.get(f"/api/v3/predictions/{job_id}/result", headers=auth).json["data"]
    assert (data["status"], data["outputs"], data["has_nsfw_contents"]) == ("completed", [VIDEO], [False])
    assert (data["executionTime"], data["id"]) == (25729, job_id)
    assert len(service.jobs.get(job_id).events) == 1


def test_a_callback_may_overtake_the_submission(submit, service, vendor):
    job_id = submit()
    assert vendor.calls(job_id, begin(service, job_id)).status_code == 200
    assert service.jobs.get(job_id).state is JobState.COMPLETED


def test_a_doubled_callback_answers_200_and_changes_nothing(submit, service, vendor):
    job_id = submit()
    token = accept(service, job_id)
    assert vendor.calls(job_id, token).status_code == 200
    before = service.jobs.get(job_id)
    assert vendor.calls(job_id, token).status_code == 200
    assert vendor.calls(job_id, token, told("failed")).status_code == 200
    assert service.jobs.get(job_id) == before


def test_a_failure_is_shown_with_the_vendors_code_and_http_200(submit, service, vendor, client, auth):
    job_id = submit()
    vendor.calls(job_id, accept(service, job_id), told("failed", code=1200))
    response = client.get(f"/api/v3/predictions/{job_id}", headers=auth)
    data = response.json["data"]
    assert (response.status_code, data["status"], data["code"]) == (200, "failed", 1200)
    assert (data["error"], data["outputs"]) == ("it did not work", [])


def test_a_word_that_is_not_final_is_taken_and_changes_nothing(submit, service, vendor):
    job_id = submit()
    assert vendor.calls(job_id, accept(service, job_id), told("processing")).status_code == 200
    assert service.jobs.get(job_id).state is JobState.PROCESSING


def test_an_unknown_job_and_a_wrong_token_are_answered_alike(submit, service, vendor):
    job_id = submit()
    token = accept(service, job_id)
    other = submit()
    tries = [("0" * 32, token), (job_id, "0" * 32), (job_id, token[:-1]), (other, token), (other, "x")]
    answers = {(each.status_code, each.data) for each in (vendor.calls(*pair) for pair in tries)}
    assert answers == {(404, b'{"code":404,"message":"there is no such submission"}')}
    good = f"wavespeed/{job_id}/{token}"
    for path in ("", "x", f"wavespeed/{job_id}", f"{good}/", f"{good}x", f"/{good}"):
        assert vendor.client.post(f"/callbacks/{path}").status_code == 404


def test_the_token_is_looked_at_before_the_signature(submit, vendor):
    response = vendor.calls(submit(), "0" * 32, headers={"webhook-signature": None})
    assert response.status_code == 404


def test_another_method_is_405(submit, service, client):
    job_id = submit()
    response = client.get(f"/callbacks/wavespeed/{job_id}/{accept(service, job_id)}")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("changes", "told_of"),
    [
        ({"headers": {"webhook-signature": None}}, "the header webhook-signature is missing"),
        ({"headers": {"webhook-id": None}}, "the header webhook-id is missing"),
        ({"headers": {"webhook-timestamp": None}}, "the header webhook-timestamp is missing"),
        ({"headers": {"webhook-timestamp": "now"}}, "webhook-timestamp is not a number of unix seconds"),
        ({"headers": {"webhook-timestamp": "9" * 40}}, "webhook-timestamp is not a number of unix seconds"),
        ({"headers": {"webhook-id": "\xff"}}, "the header webhook-id is not plain ASCII"),
        (
            {"headers": {"webhook-signature": "v1,abc"}},
            UNVERIFIED,
        ),
        ({"headers": {"webhook-id": "other"}}, UNVERIFIED),
    ],
)
def test_what_is_not_signed_by_the_vendor_is_401(submit, service, vendor, changes, told_of):
    job_id = submit()
    response = vendor.calls(job_id, accept(service, job_id), **changes)
    assert (response.status_code, message(response)) == (401, told_of)
    assert service.jobs.get(job_id).state is JobState.PROCESSING


@pytest.mark.parametrize(("seconds", "status"), [(-280, 200), (280, 200), (-400, 401), (400, 401)])
def test_a_timestamp_is_good_for_five_minutes_either_way(submit, service, vendor, seconds, status):
    job_id = submit()
    response = vendor.calls(job_id, accept(service, job_id), at=vendor.now + seconds)
    assert response.status_code == status


def test_another_secrets_signature_is_401(submit, service, client):
    job_id = submit()
    response = Vendor(client, OTHER, int(time.time())).calls(job_id, accept(service, job_id))
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("body", "told_of"),
    [
        (b"", "is not JSON: Expecting value (line 1, column 1)"),
        (b"\xff", "is not UTF-8; JSON in UTF-8"),
        (b"[]", "a list is not an object; a JSON object"),
        (b'{"id": "a"}', "status: is required; text of 1 to 64 characters"),
        (
            json.dumps(told(outputs=7)).encode(),
            "outputs: 7 holds neither; a list of at most 10000 URLs or objects",
        ),
    ],
)
def test_a_signed_body_of_the_wrong_shape_is_400(submit, service, vendor, body, told_of):
    job_id = submit()
    response = vendor.calls(job_id, accept(service, job_id), body=body)
    assert (response.status_code, message(response)) == (400, told_of)


def test_a_body_over_1_mb_is_413_before_anything_else(vendor):
    response = vendor.calls("0" * 32, "x", body=b"x" * (1024 * 1024 + 1))
    assert (response.status_code, message(response)) == (413, "the body is too large; at most 1048576 bytes")
    assert vendor.calls("0" * 32, "x", body=b"x" * 1024 * 1024).status_code == 404


def test_another_tasks_prediction_is_409(submit, service, vendor):
    job_id = submit()
    response = vendor.calls(job_id, accept(service, job_id), told(upstream_id="f" * 32))
    assert response.status_code == 409
    assert UPSTREAM in message(response)


def test_a_store_that_is_away_is_503(environ, build):
    service = build()
    service.url = "unix:///nowhere/at/all.sock"
    service.store.patience = 0.1
    client = client_of(service)
    response = Vendor(client, SECRET, int(time.time())).calls("0" * 32, "0" * 32)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
