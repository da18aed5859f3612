"""Models, secrets, money and uploads: what the vendor knows, and what it refuses."""

from __future__ import annotations

import io

import pytest
import requests

from schemas.models import MODELS
from service import signing
from tests.api.conftest import bearer, client_of, message
from tests.vendor.rawserver import reply, says

FAST = "minimax/hailuo-02/fast"
IMAGE = {"image": "https://a.example/a.jpg"}


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
