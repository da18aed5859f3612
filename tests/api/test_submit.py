"""``POST /api/v3/{model}``: what is taken, what is refused, and in which order."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from schemas.models import MODELS
from service import rediskeys
from tests.api.conftest import bearer, client_of, message
from tests.vendor.rawserver import reply, says

FAST = "/api/v3/minimax/hailuo-02/fast"
IMAGE = {"image": "https://example.com/a.jpg"}


def test_a_submission_is_answered_as_the_vendor_answers(client, auth, service):
    response = client.post(FAST, headers=auth, json=IMAGE)
    assert response.status_code == 200
    data = response.json["data"]
    assert response.json == {"code": 200, "message": "success", "data": data}
    assert list(data) == [
        *("id", "model", "outputs", "urls", "has_nsfw_contents"),
        *("status", "created_at", "error", "executionTime", "timings"),
    ]
    assert re.fullmatch(r"[0-9a-f]{32}", data["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", data["created_at"])
    assert (data["status"], data["outputs"], data["error"]) == ("created", [], "")
    assert data["urls"] == {"get": f"http://localhost/api/v3/predictions/{data['id']}/result"}
    assert service.jobs.get(data["id"]).input == {
        **IMAGE,
        "duration": 6,
        "enable_prompt_expansion": True,
        "go_fast": True,
    }


def test_the_answer_is_compact_and_in_the_vendors_order(client, auth):
    text = client.post(FAST, headers=auth, json=IMAGE).text
    assert text.startswith('{"code":200,"message":"success","data":{"id":"')


def test_urls_lead_to_the_api_url_where_one_is_set(build):
    service = build(HOOKREEL_API_URL="https://hooks.example.com/")
    client = client_of(service)
    data = client.post(FAST, headers=bearer(service), json=IMAGE).json["data"]
    assert data["urls"]["get"] == f"https://hooks.example.com/api/v3/predictions/{data['id']}/result"


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer hrk_unknown", "Basic aGk6aG8=", "hrk_x", "Bearer \xff\xfe"],
)
def test_without_a_key_of_ours_it_is_401(client, service, header):
    service.apikeys.create("default")
    response = client.post(FAST, headers={"Authorization": header} if header is not None else {}, json=IMAGE)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "API key" in message(response)


def test_a_revoked_key_is_401_at_once(client, service):
    key, text = service.apikeys.create("default")
    auth = {"Authorization": f"bearer {text}"}
    assert client.post(FAST, headers=auth, json=IMAGE).status_code == 200
    service.apikeys.revoke(key.id)
    assert message(client.post(FAST, headers=auth, json=IMAGE)) == "this API key is unknown or revoked"


def test_the_refusals_come_in_their_order(client, auth):
    plain = {"Content-Type": "text/plain"}
    large = {"data": b"[", "environ_overrides": {"CONTENT_LENGTH": "57000001"}}
    assert client.post(FAST, headers=plain, **large).status_code == 401
    response = client.post(FAST, headers={**auth, **plain}, **large)
    assert response.status_code == 413
    assert message(response) == "the body is too large; at most 57000000 bytes"
    response = client.post(FAST, data=b"[", headers={**auth, "Content-Type": "text/plain"})
    assert response.status_code == 415
    assert message(response) == "Content-Type: 'text/plain' is not accepted; application/json"
    response = client.post(FAST, data=b"[", headers={**auth, "Content-Type": "application/json"})
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("body", "told_of"),
    [
        (b"", "the body is not JSON: Expecting value (line 1, column 1)"),
        (b'{"image": }', "the body is not JSON: Expecting value (line 1, column 11)"),
        (b'{"a": 1, "a": 2}', 'the body is not JSON: the name "a" stands twice in one object'),
        (b'{"duration": NaN}', "the body is not JSON: NaN is no JSON value"),
        (b"\xff\xfe", "the body is not UTF-8; JSON in UTF-8"),
        (b"[" * 100 + b"]" * 100, "the body is nested too deeply; at most 64 levels"),
        (b"[1]", "a list is not an object; a JSON object"),
        (b"null", "null is not an object; a JSON object"),
    ],
)
def test_a_body_that_is_no_json_object_is_400_and_says_where(client, auth, body, told_of):
    headers = {**auth, "Content-Type": "application/json; charset=utf-8"}
    response = client.post(FAST, data=body, headers=headers)
    assert response.status_code == 400
    assert message(response) == told_of


@pytest.mark.parametrize(
    ("body", "told_of"),
    [
        # The vendor's own example for this model leaves out the image that it requires.
        (
            {"duration": 6, "enable_prompt_expansion": True, "go_fast": True},
            "image: is required; a public URL or a data:image/...;base64 URI of a JPEG or PNG",
        ),
        ({**IMAGE, "duration": 7}, "duration: 7 is not one of 6, 10"),
        ({**IMAGE, "duration": "6"}, 'duration: "6" is not an integer; one of 6, 10'),
        ({**IMAGE, "go_fast": 1}, "go_fast: 1 is not a boolean; true or false"),
        ({**IMAGE, "enable_sync_mode": "yes"}, 'enable_sync_mode: "yes" is not a boolean; true or false'),
        ({**IMAGE, "enable_base64_output": 1}, "enable_base64_output: 1 is not a boolean; true or false"),
    ],
)
def test_a_bad_field_is_named_with_what_is_allowed(client, auth, body, told_of):
    response = client.post(FAST, headers=auth, json=body)
    assert response.status_code == 400
    assert message(response) == told_of


def test_every_bad_field_is_told_at_once(client, auth):
    text = message(client.post(FAST, headers=auth, json={"duration": 7, "go_fast": 1}))
    assert [part.partition(":")[0] for part in text.split("; ") if ": " in part][:3] == [
        *("image", "duration", "go_fast"),
    ]


def test_base64_output_is_refused_with_the_vendors_text(client, auth):
    response = client.post(FAST, headers=auth, json={**IMAGE, "enable_base64_output": True})
    assert response.status_code == 400
    assert message(response) == (
        "webhook callback does not support base64 output, please use the normal API to use base64 output"
    )
    assert client.post(FAST, headers=auth, json={**IMAGE, "enable_base64_output": False}).status_code == 200


def test_an_image_waits_as_bytes_and_is_shown_by_its_digest(client, auth, service):
    data = (Path(__file__).parent.parent / "data" / "rocket.jpg").read_bytes()
    uri = f"data:image/jpeg; base64,{base64.b64encode(data).decode()}"
    job_id = client.post(FAST, headers=auth, json={"image": uri}).json["data"]["id"]
    job = service.jobs.get(job_id)
    assert job.blobs == {"image": len(data)}
    assert job.input["image"].keys() == {"media_type", "bytes", "sha256"}
    assert service.store.client.get(rediskeys.blob(job_id, "image")) == data


def test_the_sandbox_knows_the_family_alone_and_lists_it(client, auth):
    response = client.post("/api/v3/alibaba/wan-2.5/text-to-image", headers=auth, json={"prompt": "x"})
    assert response.status_code == 404
    assert all(model in message(response) for model in MODELS)
    for path in ("nope", "predictions/x/y", "balance", "a/../b"):
        assert client.post(f"/api/v3/{path}", headers=auth, json={}).status_code == 404


def test_only_the_models_of_the_setting_are_taken(build):
    service = build(HOOKREEL_MODELS="minimax/hailuo-2.3/fast, alibaba/wan", WAVESPEED_API_KEY="wsk")
    client, auth = client_of(service), bearer(service)
    response = client.post(FAST, headers=auth, json=IMAGE)
    assert response.status_code == 404
    assert message(response) == (
        "there is no model 'minimax/hailuo-02/fast' here; the models are minimax/hailuo-2.3/fast, alibaba/wan"
    )
    assert client.post("/api/v3/minimax/hailuo-2.3/fast", headers=auth, json=IMAGE).status_code == 200


def test_any_other_model_is_checked_by_the_vendors_own_schema(build, raw_vendor):
    schema = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
    row = {"model_id": "alibaba/wan", "api_schema": {"api_schemas": [{"request_schema": schema}]}}
    vendor = raw_vendor(says(reply(200, {"code": 200, "message": "success", "data": [row]})))
    service = build(WAVESPEED_API_KEY="wsk", WAVESPEED_BASE_URL=vendor.url)
    client, auth = client_of(service), bearer(service)
    response = client.post("/api/v3/alibaba/wan", headers=auth, json={"size": "large"})
    assert response.status_code == 400
    assert message(response) == 'size: "large" is not of type integer'
    response = client.post("/api/v3/alibaba/wan", headers=auth, json={"size": 1, "new": {"a": []}})
    assert service.jobs.get(response.json["data"]["id"]).input == {"size": 1, "new": {"a": []}}
    assert client.post("/api/v3/unheard/of", headers=auth, json={}).status_code == 200
    assert len(vendor.requests) == 1


def test_any_other_model_passes_while_the_vendor_cannot_be_asked(build):
    service = build(WAVESPEED_API_KEY="wsk")
    client, auth = client_of(service), bearer(service)
    assert client.post("/api/v3/alibaba/wan", headers=auth, json={"size": "large"}).status_code == 200
    response = client.post("/api/v3/nomodel", headers=auth, json={})
    assert response.status_code == 404
    assert message(response) == "there is no model 'nomodel'; a model is like minimax/hailuo-02/fast"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "[::1]", "169.254.169.254", "10.0.0.8", "localhost"]
)
def test_a_real_vendor_is_not_sent_to_addresses_that_are_not_public(build, host):
    body = {"image": f"http://{host}/a.jpg"}
    for_real = build(WAVESPEED_API_KEY="wsk")
    client = client_of(for_real)
    response = client.post(FAST, headers=bearer(for_real), json=body)
    assert response.status_code == 400
    assert "public internet" in message(response)
    assert message(response).startswith("image: ")
    sandboxed = build()
    response = client_of(sandboxed).post(FAST, headers=bearer(sandboxed), json=body)
    assert response.status_code == 200


def test_plain_http_images_are_the_vendors_business(build):
    service = build(WAVESPEED_API_KEY="wsk")
    body = {"image": "http://example.com/a.jpg"}
    client = client_of(service)
    assert client.post(FAST, headers=bearer(service), json=body).status_code == 200


def test_the_images_that_wait_are_bounded(build):
    service = build(HOOKREEL_MAX_PENDING_BYTES="1000000")
    data = (Path(__file__).parent.parent / "data" / "rocket.jpg").read_bytes()
    uri = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    client, auth = client_of(service), bearer(service)
    service.store.client.set(rediskeys.PENDING_BYTES, 999_999)
    response = client.post(FAST, headers=auth, json={"image": uri})
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "HOOKREEL_MAX_PENDING_BYTES" in message(response)
    assert client.post("/api/v3/predictions", headers=auth, json={}).json["data"]["items"] == []
