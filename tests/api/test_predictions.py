"""Results, lists, deletion, and what only the vendor knows."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import requests

from schemas.callbacks import read_callback
from schemas.models import MODELS
from schemas.states import Reason
from service import signing
from tests.api.conftest import bearer, client_of
from tests.api.vendorside import UPSTREAM, accept, begin, told
from tests.vendor.rawserver import reply, says

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


def settle(service, job_id: str, status: str = "completed", upstream_id: str = UPSTREAM) -> str:
    token = accept(service, job_id, upstream_id)
    word = read_callback(json.dumps(told(status, upstream_id)).encode())
    service.jobs.settle(job_id, token, word)
    return job_id


def message(response: Any) -> str:
    assert response.json.keys() == {"code", "message"}
    assert response.json["code"] == response.status_code
    return str(response.json["message"])


def listed(client, auth, **body: Any) -> list[str]:
    response = client.post("/api/v3/predictions", headers=auth, json=body)
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json["data"]["items"]]


# -- results ------------------------------------------------------------------------------------------


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


# -- lists --------------------------------------------------------------------------------------------


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


# -- deletion -----------------------------------------------------------------------------------------


@pytest.fixture
def deleting(build, raw_vendor):
    """``deleting(answers...)``: (client, auth, service, the vendor's server)."""

    def start(*answers: bytes):
        server = raw_vendor(says(*answers))
        service = build(WAVESPEED_BASE_URL=server.url)
        return client_of(service), bearer(service), service, server

    return start


def deleted(count: int) -> bytes:
    return reply(200, {"code": 200, "message": "success", "data": {"deleted_count": count}})


def new(client, auth) -> str:
    return str(client.post(f"/api/v3/{FAST}", headers=auth, json=IMAGE).json["data"]["id"])


def test_a_finished_prediction_is_deleted_here_and_at_the_vendor(deleting):
    client, auth, service, server = deleting(deleted(1))
    job_id = settle(service, new(client, auth))
    body = {"ids": [job_id, job_id, "unknown"]}
    response = client.post("/api/v3/predictions/delete", headers=auth, json=body)
    assert response.json["data"] == {"deleted_count": 1}
    assert json.loads(server.requests[0].body) == {"ids": [UPSTREAM]}
    assert client.get(f"/api/v3/predictions/{job_id}/result", headers=auth).status_code == 404
    assert listed(client, auth) == []
    again = client.post("/api/v3/predictions/delete", headers=auth, json=body)
    assert again.json["data"] == {"deleted_count": 0}
    assert len(server.requests) == 1


def test_an_open_prediction_keeps_all_of_them(deleting):
    client, auth, service, server = deleting(deleted(1))
    done, waiting = settle(service, new(client, auth)), new(client, auth)
    response = client.post("/api/v3/predictions/delete", headers=auth, json={"ids": [done, waiting]})
    assert response.status_code == 409
    assert message(response) == f"prediction {waiting} is queued; only a finished one can be deleted"
    assert server.requests == []
    assert listed(client, auth) == [waiting, done]


def test_a_vendor_in_trouble_keeps_all_of_them(deleting):
    client, auth, service, _ = deleting(reply(502, b"error code: 502"))
    done = settle(service, new(client, auth))
    response = client.post("/api/v3/predictions/delete", headers=auth, json={"ids": [done]})
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert listed(client, auth) == [done]


def test_what_the_vendor_has_no_more_does_not_keep_the_others(deleting):
    missing = reply(404, {"code": 404, "message": "not found"})
    client, auth, service, server = deleting(missing, missing, deleted(1))
    ids = [settle(service, new(client, auth), upstream_id=letter * 32) for letter in "ab"]
    response = client.post("/api/v3/predictions/delete", headers=auth, json={"ids": ids})
    assert response.json["data"] == {"deleted_count": 2}
    asked = [json.loads(each.body)["ids"] for each in server.requests]
    assert asked == [["a" * 32, "b" * 32], ["a" * 32], ["b" * 32]]


def test_a_job_that_never_reached_the_vendor_is_deleted_here_alone(deleting):
    client, auth, service, server = deleting(deleted(1))
    job_id = new(client, auth)
    service.jobs.give_up_on(job_id, "no such image")
    response = client.post("/api/v3/predictions/delete", headers=auth, json={"ids": [job_id]})
    assert (response.json["data"], server.requests) == ({"deleted_count": 1}, [])


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": "x"}, {"ids": [1]}, {"ids": ["x"] * 101}])
def test_a_deletion_needs_ids(client, auth, body):
    response = client.post("/api/v3/predictions/delete", headers=auth, json=body)
    assert response.status_code == 400
    assert message(response).startswith("ids")


# -- what only the vendor knows -----------------------------------------------------------------------


@pytest.fixture
def sandboxed(build, sandbox_url):
    """(client, auth) of a service whose vendor is a real sandbox."""
    service = build(WAVESPEED_BASE_URL=sandbox_url, WAVESPEED_WEBHOOK_SECRET="")
    return client_of(service), bearer(service)


def test_the_sandboxes_models_are_the_family(client, auth, build):
    rows = client.get("/api/v3/models", headers=auth).json["data"]
    assert [row["model_id"] for row in rows] == list(MODELS)
    fields = {"model_id", "name", "base_price", "description", "type", "api_schema"}
    assert all(row.keys() == fields for row in rows)
    few = build(HOOKREEL_MODELS=f"{FAST},other/model")
    rows = client_of(few).get("/api/v3/models", headers=bearer(few)).json["data"]
    assert [row["model_id"] for row in rows] == [FAST]


def test_a_real_vendors_models_are_its_own(build, raw_vendor):
    rows = [{"model_id": "a/b", "name": "B"}, {"model_id": "c/d", "name": "D"}]
    server = raw_vendor(says(reply(200, {"code": 200, "message": "success", "data": rows})))
    service = build(WAVESPEED_API_KEY="wsk", WAVESPEED_BASE_URL=server.url, HOOKREEL_MODELS="c/d")
    client = client_of(service)
    assert client.get("/api/v3/models", headers=bearer(service)).json["data"] == rows[1:]


def test_each_workspace_has_a_secret_of_its_own(client, auth, service):
    secret = client.get("/api/v3/webhook/secret", headers=auth).json["data"]["secret"]
    signing.check_secret(secret)
    assert client.get("/api/v3/webhook/secret", headers=auth).json["data"]["secret"] == secret
    other = client.get("/api/v3/webhook/secret", headers=bearer(service, "other")).json["data"]["secret"]
    assert other != secret


def test_balance_and_price_are_the_vendors(sandboxed):
    client, auth = sandboxed
    assert isinstance(client.get("/api/v3/balance", headers=auth).json["data"]["balance"], int | float)
    body = {"model_id": FAST, "inputs": {**IMAGE, "duration": 6}}
    assert client.post("/api/v3/model/price", headers=auth, json=body).json["data"] == {"price": 0.1}


def test_an_upload_goes_to_the_vendors_storage_by_its_own_ticket(sandboxed):
    client, auth = sandboxed
    body = {"filename": "a.txt", "size": 5, "content_type": "text/plain"}
    response = client.post("/api/v3/media/uploads", headers=auth, json=body)
    assert response.json["code"] == 200
    ticket = response.json["data"]
    upload = ticket["upload"]
    put = requests.request(
        upload["method"], upload["url"], headers=upload["headers"], data=b"bytes", timeout=10
    )
    assert put.ok
    assert requests.get(ticket["download_url"], timeout=10).content == b"bytes"


def test_the_old_upload_takes_a_form(sandboxed):
    client, auth = sandboxed
    form = {"file": (io.BytesIO(b"bytes"), "a.txt", "text/plain")}
    data = client.post("/api/v3/media/upload/binary", headers=auth, data=form).json["data"]
    assert (data["type"], data["filename"], data["size"]) == ("text/plain", "a.txt", 5)
    assert requests.get(data["download_url"], timeout=10).content == b"bytes"
    response = client.post("/api/v3/media/upload/binary", headers=auth, data={"other": "x"})
    assert (response.status_code, message(response)) == (400, "file: is required; a file in a multipart form")


@pytest.mark.parametrize(
    ("body", "told_of"),
    [
        ({"filename": "a", "size": 0}, "size: 0 is out of range"),
        ({"size": 1}, "filename: is required"),
        ({"filename": "a", "size": 201 * 1024 * 1024}, "size: 210763776 is out of range"),
    ],
)
def test_an_upload_that_cannot_be_is_400(client, auth, body, told_of):
    response = client.post("/api/v3/media/uploads", headers=auth, json=body)
    assert response.status_code == 400
    assert message(response).startswith(told_of)


def test_a_vendor_that_is_away_is_503(client, auth):
    for path in ("balance",):
        response = client.get(f"/api/v3/{path}", headers=auth)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert message(response).startswith("the vendor did not answer")


@pytest.mark.parametrize(
    ("status", "ours", "told_of"),
    [
        (400, 400, "Insufficient credits. Please top up."),
        (403, 403, "no"),
        (401, 503, "the vendor does not accept WAVESPEED_API_KEY: no"),
        (500, 503, "the vendor answered with status 500: no"),
    ],
)
def test_what_the_vendor_refuses_is_told_in_its_words(build, raw_vendor, status, ours, told_of):
    said = told_of if status == 400 else "no"
    server = raw_vendor(says(reply(status, {"code": status, "message": said})))
    service = build(WAVESPEED_BASE_URL=server.url)
    response = client_of(service).get("/api/v3/balance", headers=bearer(service))
    assert (response.status_code, message(response)) == (ours, told_of)
