"""Results and lists of predictions."""

from __future__ import annotations

import pytest

from schemas.states import Reason
from tests.api.conftest import bearer, client_of, listed, message
from tests.api.vendorside import begin, settle

FAST = "minimax/hailuo-02/fast"
IMAGE = {"image": "https://a.example/a.jpg"}
DAY = 24 * 3600 * 1000


@pytest.fixture
def submit(client, auth):
    """``submit(model)``: the id of a new job."""

    def make(model: str = FAST, **headers: str) -> str:
        body = {"prompt": "a cat"} if "t2v" in model else IMAGE
        answer = client.post(f"/api/v3/{model}", headers={**auth, **headers}, json=body)
        return str(answer.json["data"]["id"])

    return make


def test_both_result_paths_tell_the_same(client, auth, submit, service):
    job_id = submit()
    begin(service, job_id)
    long, short = (client.get(f"/api/v3/predictions/{job_id}{end}", headers=auth) for end in ("/result", ""))
    assert long.json == short.json
    assert long.json["data"]["status"] == "created"
    assert "input" not in long.json["data"]


@pytest.mark.parametrize(
    ("reason", "code", "status"),
    [(Reason.OUTCOME_UNKNOWN, 9001, "timeout"), (Reason.REFUSED, 9003, "failed")],
)
def test_a_failure_of_our_own_has_our_code_and_may_be_billed_or_not(
    client, auth, submit, service, reason, code, status
):
    job_id = submit()
    if reason is Reason.REFUSED:
        service.jobs.give_up_on(job_id, "no such image")
    else:
        service.jobs.lose(job_id, begin(service, job_id))
        service.jobs.presume_unknown(job_id)
    data = client.get(f"/api/v3/predictions/{job_id}/result", headers=auth).json["data"]
    assert (data["status"], data["code"]) == (status, code)
    assert data.get("maybe_billed", False) is (status == "timeout")
    assert "HTTP 5" not in data["error"]


def test_another_workspaces_prediction_is_not_there(client, service, submit):
    job_id = submit()
    other = bearer(service, "other")
    response = client.get(f"/api/v3/predictions/{job_id}/result", headers=other)
    assert (response.status_code, message(response)) == (404, f"there is no prediction {job_id}")
    assert listed(client, other) == []
    deleted = client.post("/api/v3/predictions/delete", headers=other, json={"ids": [job_id]})
    assert deleted.json["data"] == {"deleted_count": 0}


@pytest.mark.parametrize("path", ["predictions/nope/result", "predictions/%ff", "predictions/x:y"])
def test_an_unknown_prediction_is_404(client, auth, path):
    assert client.get(f"/api/v3/{path}", headers=auth).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path) for path in ("predictions/x/result", "models", "webhook/secret", "balance")),
        *(("POST", path) for path in ("predictions", "predictions/delete", "model/price", "media/uploads")),
        ("POST", "media/upload/binary"),
    ],
)
def test_every_path_wants_a_key(client, method, path):
    assert client.open(f"/api/v3/{path}", method=method).status_code == 401


@pytest.mark.parametrize("path", ["predictions", "predictions/delete", "model/price", "media/uploads"])
def test_every_body_is_json_of_at_most_1_mb(client, auth, path):
    url = f"/api/v3/{path}"
    large = {"data": b"[", "environ_overrides": {"CONTENT_LENGTH": str(1024 * 1024 + 1)}}
    assert client.post(url, headers=auth, **large).status_code == 413
    assert client.post(url, headers=auth, data=b"{}").status_code == 415
    headers = {**auth, "Content-Type": "application/json"}
    assert client.post(url, headers=headers, data=b"{").status_code == 400
    assert message(client.post(url, headers=headers, data=b"[]")) == "a list is not an object; a JSON object"


def test_the_newest_come_first_a_page_at_a_time(client, auth, submit):
    ids = [submit() for _ in range(5)][::-1]
    assert listed(client, auth) == ids
    assert listed(client, auth, page=1, page_size=2) == ids[:2]
    assert listed(client, auth, page=3, page_size=2) == ids[4:]
    assert listed(client, auth, page=4, page_size=2) == []


def test_a_page_looks_as_the_vendors(client, auth, submit):
    job_id = submit()
    data = client.post("/api/v3/predictions", headers=auth, json={"page": 1, "page_size": 100}).json["data"]
    assert list(data) == ["page", "items"]
    one = client.get(f"/api/v3/predictions/{job_id}/result", headers=auth).json["data"]
    assert (data["page"], data["items"]) == (1, [one])


def test_a_page_can_be_of_one_model_or_one_status(client, auth, submit, service):
    text, open_, done = submit("minimax/hailuo-02/t2v-pro"), submit(), submit()
    settle(service, done)
    assert listed(client, auth, model="minimax/hailuo-02/t2v-pro") == [text]
    assert listed(client, auth, status="completed") == [done]
    assert listed(client, auth, status="created", model=FAST) == [open_]
    assert listed(client, auth, status="failed") == []


def test_a_page_is_of_the_last_seven_days(build):
    service = build()
    client, auth = client_of(service), bearer(service)
    now = [1_800_000_000_000]
    service.clock = lambda: now[0]
    client = client_of(service)
    post = lambda: client.post(f"/api/v3/{FAST}", headers=auth, json=IMAGE).json["data"]  # noqa: E731
    old = post()
    now[0] += 6 * DAY
    new = post()
    assert listed(client, auth) == [new["id"], old["id"]]
    assert listed(client, auth, created_after=new["created_at"]) == [new["id"]]
    assert listed(client, auth, created_before=old["created_at"]) == [old["id"]]
    assert listed(client, auth, created_after="2020-01-01T00:00:00Z") == [new["id"], old["id"]]
    now[0] += DAY + 1
    assert listed(client, auth) == [new["id"]]


def test_a_long_list_is_read_to_its_end(client, auth, submit, service):
    ids = [submit() for _ in range(205)][::-1]
    settle(service, ids[-1])
    assert listed(client, auth, status="completed") == [ids[-1]]
    assert listed(client, auth, page=3, page_size=100) == ids[200:]


@pytest.mark.parametrize(
    ("body", "told_of"),
    [
        ({"page": 0}, "page: 0 is out of range; an integer from 1 to 1000000"),
        ({"page_size": 101}, "page_size: 101 is out of range; an integer from 1 to 100"),
        ({"status": "done"}, 'status: "done" is not one of created, processing'),
        ({"created_after": "now"}, 'created_after: "now" is not of this form; a date and time like 2026-'),
    ],
)
def test_a_page_that_cannot_be_is_400(client, auth, body, told_of):
    response = client.post("/api/v3/predictions", headers=auth, json=body)
    assert response.status_code == 400
    assert message(response).startswith(told_of)
