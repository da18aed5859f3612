"""Submissions: the captured answer, and every way in which one can go wrong."""

from __future__ import annotations

import re

import pytest
import requests

from schemas.models import MODELS
from tests.sandbox.client import FAST, T2V, Client

CUT = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)


def test_a_submission_is_answered_exactly_as_it_was_captured(client):
    response = client.submit()
    data = response.json()["data"]
    assert response.headers["Content-Type"].startswith("application/json")
    assert re.fullmatch(r"[0-9a-f]{32}", data["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", data["created_at"])
    get = f"{client.url}/api/v3/predictions/{data['id']}/result"
    assert response.text == (
        f'{{"code":200,"message":"success","data":{{"id":"{data["id"]}","model":"{T2V}","outputs":[],'
        f'"urls":{{"get":"{get}"}},"has_nsfw_contents":[],"status":"created",'
        f'"created_at":"{data["created_at"]}","error":"","executionTime":0,"timings":{{"inference":0}}}}}}'
    )


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "Basic eA=="}])
def test_no_key_is_401(client, headers):
    response = client.call("POST", f"/api/v3/{T2V}", json={"prompt": "a cat"}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, 401)


@pytest.mark.parametrize("status", [401, 403])
def test_keys_can_be_made_wrong(client, status):
    client.switch(auth=status)
    assert client.submit().status_code == status
    assert client.call("GET", "/api/v3/balance").status_code == status
    assert client.counts()["unauthorized"] == 2
    client.switch(auth="any")
    assert client.submit().status_code == 200


@pytest.mark.parametrize("model", ["alibaba/wan-2.5/text-to-image", "nothing"])
def test_another_model_is_404_with_the_list_of_models(client, model):
    response = client.submit(model)
    assert response.status_code == 404
    assert all(each in response.json()["message"] for each in MODELS)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": "hi", "image": ""}, "image"),
        ({"prompt": "hi", "image": "https://example.com/a.jpg", "duration": 7}, "duration"),
        ({"prompt": "hi", "image": "https://example.com/a.jpg", "seed": 7}, "seed"),
        ({"prompt": "hi"}, "image"),
        ({"prompt": "hi", "image": "data:image/jpeg;base64,AAAA"}, "image"),
        ({"prompt": "hi", "image": "https://example.com/a.jpg", "enable_sync_mode": 1}, "enable_sync_mode"),
    ],
)
def test_a_bad_parameter_is_400_and_named(client, body, said):
    response = client.submit(FAST, **body)
    assert response.status_code == 400
    assert response.json()["message"].startswith(f"{said}: ")
    assert client.counts()["tasks_created"] == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"prompt": "[sandbox: \\ud800=1]"}', b'{"a": NaN}']
)
def test_a_body_that_is_no_json_object_is_400(client, body):
    assert client.call("POST", f"/api/v3/{T2V}", data=body).status_code == 400


def test_a_webhook_that_is_no_url_is_400(client):
    assert "webhook" in client.submit(webhook="nowhere").json()["message"]


def test_a_webhook_with_base64_output_is_refused_in_the_vendors_words(client):
    response = client.submit(webhook="https://example.com/", enable_base64_output=True)
    assert response.status_code == 400
    assert response.json()["error"].startswith("webhook callback does not support base64 output, ")


def test_a_balance_below_the_price_is_the_vendors_400(client):
    client.switch(balance=0.48)
    response = client.submit()
    assert response.status_code == 400
    assert response.json() == {"code": 400, "message": "Insufficient credits. Please top up."}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 429, 500, 503])
def test_a_submission_can_be_answered_with_a_status(client, status):
    client.next(submit=status)
    response = client.submit()
    assert (response.status_code, response.json()["code"]) == (status, status)
    assert "Retry-After" not in response.headers
    assert client.counts()["tasks_created"] == 0
    assert client.submit().status_code == 200


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_answers_in_plain_text(client, status):
    client.next(submit=status)
    response = client.submit()
    assert (response.status_code, response.text) == (status, f"error code: {status}")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_retry_after_comes_only_when_switched_on(client, status):
    client.next(submit=status, retry_after=7)
    assert client.submit().headers["Retry-After"] == "7"


def test_a_redirect_leads_to_a_second_submission(client):
    client.next(submit=307)
    response = client.submit()
    assert response.status_code == 307
    followed = client.call(
        "POST", response.headers["Location"].removeprefix(client.url), json={"prompt": "x"}
    )
    assert followed.status_code == 200
    assert [entry["status"] for entry in client.log("submit")] == [307, 200]


def test_insufficient_credits_can_be_claimed(client):
    client.next(submit="insufficient_credits")
    assert client.submit().json() == {"code": 400, "message": "Insufficient credits. Please top up."}


def test_an_envelope_can_say_500_in_an_http_200(client):
    client.next(submit="envelope_500")
    response = client.submit()
    assert (response.status_code, response.json()["code"]) == (200, 500)


def test_an_answer_can_be_of_no_use(client):
    client.next(submit="not_json")
    assert client.submit().text.startswith("<html>")
    client.next(submit="no_id")
    assert "id" not in client.submit().json()["data"]
    client.next(submit="null_data")
    assert client.submit().json()["data"] is None
    client.next(submit="empty")
    assert client.submit().content == b""
    assert client.counts()["tasks_created"] == 0


@pytest.mark.parametrize(("how", "created"), [("cut_before", 0), ("cut_after", 1), ("cut_midway", 1)])
def test_a_connection_can_be_cut_before_and_after_the_task_is_created(client, how, created):
    client.next(submit=how)
    with pytest.raises(CUT):
        client.submit()
    assert client.counts()["tasks_created"] == created
    assert client.log("submit", 1)[0]["status"] == (200 if how == "cut_midway" else None)


@pytest.mark.parametrize("how", ["502", "408", "not_json", "no_id", "empty", "null_data", "cut_before"])
def test_the_task_can_be_created_all_the_same(client, receiver, how):
    client.next(submit=how, created=True)
    if how == "cut_before":
        with pytest.raises(CUT):
            client.submit(webhook=receiver.url)
    else:
        client.submit(webhook=receiver.url)
    task_id = receiver.wait()[0].json["id"]
    assert client.get(task_id)["status"] == "completed"


def test_a_webhook_that_never_comes_holds_up_no_answer(client, receiver):
    client.next(callback="before_answer", outcome="cancelled")
    assert client.submit(webhook=receiver.url).status_code == 200


def test_a_task_can_be_missing_although_its_submission_was_accepted(client):
    client.next(created=False)
    assert client.submit().status_code == 200
    assert client.counts()["tasks_created"] == 0


def test_an_answer_can_be_slower_than_any_timeout_with_the_task_created(client, receiver):
    client.next(answer_delay=3600)
    with pytest.raises(requests.exceptions.Timeout):
        client.call(
            "POST", f"/api/v3/{T2V}", params={"webhook": receiver.url}, json={"prompt": "x"}, timeout=0.5
        )
    assert receiver.wait()[0].json["status"] == "completed"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("code_message", {"code": 400, "message": "Bad request"}),
        ("error", {"error": "Bad request"}),
        ("message_error_code", {"message": "Bad request", "error_code": 400}),
        ("data_error", {"code": 400, "message": "Bad request", "data": {"error": "Bad request"}}),
        ("text", None),
    ],
)
def test_errors_come_in_every_shape_that_was_seen(client, shape, expected):
    client.switch(error_shape=shape, submit=400)
    response = client.submit()
    if expected is None:
        assert (response.text, response.headers["Content-Type"][:10]) == ("Bad request", "text/plain")
    else:
        assert response.json() == expected


def test_every_refusal_has_the_switched_shape(client):
    client.switch(error_shape="error")
    assert list(client.submit(FAST, prompt="x").json()) == ["error"]


def test_sync_mode_answers_with_the_result(client):
    data = client.submit(enable_sync_mode=True).json()["data"]
    assert (data["status"], len(data["outputs"])) == ("completed", 1)


def test_sync_mode_runs_out_with_the_documented_5004(client):
    client.next(sync_seconds=0.05, delay=3600)
    response = client.submit(enable_sync_mode=True)
    data = response.json()["data"]
    assert (response.status_code, response.json()["code"]) == (200, 200)
    assert (data["status"], data["code"]) == ("processing", 5004)
    assert data["error"].startswith("Sync mode timed out after 0.05 seconds.")
    assert data["urls"]["get"].endswith(f"{data['id']}/result")


def test_over_the_limit_a_task_waits_until_another_ends(client):
    client.switch(max_tasks=1, over_limit="wait")
    client.next(delay=0.3)
    first, second = client.created(), client.created()
    assert [entry["id"] for entry in client.log("ended", 2)] == [first, second]


def test_a_deleted_task_makes_room_for_one_that_waits(client):
    client.switch(max_tasks=1)
    client.next(delay=3600)
    first, second = client.created(), client.created()
    assert client.get(second)["status"] == "created"
    client.call("POST", "/api/v3/predictions/delete", json={"ids": [first]})
    assert client.ended(second)["status"] == "completed"


def test_over_the_limit_a_submission_can_be_refused(client):
    client.switch(max_tasks=0, over_limit=429)
    assert client.submit().status_code == 429


def test_tasks_a_minute_can_be_limited(client):
    client.switch(max_per_minute=2)
    assert [client.submit().status_code for _ in range(3)] == [200, 200, 429]


def test_a_body_over_the_limit_is_413(client):
    body = b'{"prompt": "' + b"x" * (65 * 1024 * 1024) + b'"}'
    assert client.call("POST", f"/api/v3/{T2V}", data=body).status_code == 413


def test_each_key_is_an_account_of_its_own(client):
    other = Client(client.url, "another")
    task_id = client.created()
    assert other.call("GET", f"/api/v3/predictions/{task_id}").status_code == 404
    assert other.secret() != client.secret()
