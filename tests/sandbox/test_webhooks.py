"""Webhooks: what is sent, how it is signed, when, and how often."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from service.errors import SignatureInvalid
from service.sandbox.switches import CODES
from service.signing import verify_v3
from tests.sandbox.client import T2V, Received

DEAD_ENDS = ["cancelled", "timeout", "deleted"]


def verified(secret: str, got: Received) -> None:
    verify_v3(secret, got.headers, got.body, time.time())


def test_the_webhook_is_the_bare_prediction_signed_with_the_accounts_secret(client, receiver):
    task_id = client.created(receiver.url + "/hook?a=1&b=%2F")
    got = receiver.wait()[0]
    verified(client.secret(), got)
    assert got.path == "/hook?a=1&b=%2F"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == task_id
    assert got.json == client.get(task_id)
    assert list(got.json)[:7] == [
        *("id", "model", "outputs", "urls", "has_nsfw_contents", "status", "created_at")
    ]
    assert client.log("callback", 1)[0] | {"url": "", "at": "", "n": 0} == {
        "n": 0,
        "at": "",
        "kind": "callback",
        "account": client.log("submit")[0]["account"],
        "id": task_id,
        "model": T2V,
        "prediction_status": "completed",
        "webhook_id": task_id,
        "attempt": 1,
        "url": "",
        "status": 200,
        "error": None,
        "done": True,
    }


def test_it_is_retried_three_times_with_a_fresh_signature_and_the_same_id(client, receiver):
    receiver.answers = [500, 302, 404, 200]
    client.switch(callback_retries=[0, 0.01, 0.02])
    client.created(receiver.url)
    entries = client.log("callback", 4)
    assert [entry["status"] for entry in entries] == [500, 302, 404, 200]
    assert [entry["attempt"] for entry in entries] == [1, 2, 3, 4]
    for got in receiver.got:
        verified(client.secret(), got)
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


def test_a_redirect_is_not_followed(client, receiver):
    receiver.answers, receiver.location = [307, 200], receiver.url + "/elsewhere"
    client.switch(callback_retries=[])
    client.created(receiver.url + "/hook")
    assert client.log("callback", 1)[0]["status"] == 307
    assert [got.path for got in receiver.got] == ["/hook"]


def test_a_silent_receiver_is_given_up(client, receiver):
    client.switch(callback_timeout=0.1, callback_retries=[])
    receiver.changed.acquire()
    client.created(receiver.url)
    entry = client.log("callback", 1)[0]
    receiver.changed.release()
    assert entry["status"] is None
    assert "timed out" in entry["error"]


def test_no_webhook_is_sent_when_none_was_asked_for_or_it_is_switched_off(client, receiver):
    client.ended(client.created())
    client.next(callback="none")
    client.ended(client.created(receiver.url + "/none"))
    client.created(receiver.url + "/one")
    assert [got.path for got in receiver.wait()] == ["/one"]
    assert client.counts()["callback"] == 1


def test_it_can_come_late(client, receiver):
    client.next(callback_delay=0.2)
    client.created(receiver.url)
    ended, called = (
        datetime.fromisoformat(client.log(kind, 1)[0]["at"]).timestamp() for kind in ("ended", "callback")
    )
    assert called - ended >= 0.19


def test_it_can_come_twice(client, receiver):
    client.next(callback="twice")
    client.created(receiver.url)
    first, second = receiver.wait(2)
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


@pytest.mark.parametrize(
    ("callback", "order"),
    [("processing_first", ["processing", "completed"]), ("processing_last", ["completed", "processing"])],
)
def test_it_can_come_out_of_order(client, receiver, callback, order):
    client.next(callback=callback)
    client.created(receiver.url)
    assert sorted(got.json["status"] for got in receiver.wait(2)) == sorted(order)
    if callback == "processing_last":
        assert [got.json["status"] for got in receiver.got] == order
        assert receiver.got[1].json["outputs"] == []


def test_it_can_overtake_the_answer_to_the_submission(client, receiver):
    client.next(callback="before_answer")
    task_id = client.created(receiver.url)
    assert [got.json["id"] for got in receiver.got] == [task_id]


def test_it_can_be_held_until_it_is_released(client, receiver):
    client.next(callback="held")
    task_id = client.created(receiver.url)
    assert client.log("callback_held", 1)[0]["id"] == task_id
    assert receiver.got == []
    assert client.call("POST", "/sandbox/release").json() == {"released": 1}
    assert receiver.wait()[0].json["id"] == task_id


def test_it_can_go_where_nobody_listens(client, receiver):
    client.next(callback_to="nobody")
    client.created(receiver.url)
    entries = client.log("callback", 3)
    assert [entry["status"] for entry in entries] == [None, None, None]
    assert all(entry["error"] for entry in entries)
    assert receiver.got == []


@pytest.mark.parametrize("how", ["wrong", "old_secret", "tampered", "other_version", "missing"])
def test_its_signature_can_be_bad(client, receiver, how):
    client.next(callback_signature=how)
    client.created(receiver.url)
    got = receiver.wait()[0]
    with pytest.raises(SignatureInvalid):
        verified(client.secret(), got)
    assert ("webhook-signature" in got.headers) == (how != "missing")


def test_it_can_be_signed_with_the_secret_before_the_last_rotation(client, receiver):
    old = client.secret()
    rotated = client.call("POST", "/sandbox/rotate-secret").json()["secret"]
    assert old != rotated == client.secret()
    client.created(receiver.url)
    verified(rotated, receiver.wait()[0])
    client.next(callback_signature="old_secret")
    client.created(receiver.url)
    verified(old, receiver.wait(2)[1])


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_its_timestamp_can_be_stale_or_of_the_future(client, receiver, seconds):
    client.next(callback_timestamp=seconds)
    client.created(receiver.url)
    got = receiver.wait()[0]
    assert abs(int(got.headers["webhook-timestamp"]) - time.time() - seconds) < 60
    verify_v3(client.secret(), got.headers, got.body, time.time() + seconds)
    with pytest.raises(SignatureInvalid, match="300 s"):
        verified(client.secret(), got)


@pytest.mark.parametrize(("how", "different"), [("random", 1), ("fresh", 2)])
def test_its_id_can_be_another_than_the_predictions(client, receiver, how, different):
    receiver.answers = [500]
    client.next(callback_id=how)
    task_id = client.created(receiver.url)
    ids = {got.headers["webhook-id"] for got in receiver.wait(2)}
    assert len(ids) == different
    assert task_id not in ids


def test_it_can_carry_the_input(client, receiver):
    client.next(callback_input=True)
    client.created(receiver.url)
    assert receiver.wait()[0].json["input"] == {"prompt": "a cat", "enable_prompt_expansion": True}


@pytest.mark.parametrize("how", ["enveloped", "no_id", "other_id", "not_json", "huge"])
def test_its_body_can_be_of_no_use_and_is_signed_all_the_same(client, receiver, how):
    client.next(callback_body=how)
    task_id = client.created(receiver.url)
    got = receiver.wait()[0]
    verified(client.secret(), got)
    right = {
        "enveloped": lambda: got.json["data"]["id"] == task_id,
        "no_id": lambda: "id" not in got.json,
        "other_id": lambda: got.json["id"] != task_id,
        "not_json": lambda: got.body.startswith(b"<html>"),
        "huge": lambda: len(got.body) > 1024 * 1024,
    }
    assert right[how]()


@pytest.mark.parametrize("code", CODES)
def test_a_task_can_fail_with_each_code(client, receiver, code):
    client.next(outcome="failed", code=code)
    task_id = client.created(receiver.url)
    document = receiver.wait()[0].json
    assert (document["status"], document["code"], document["outputs"]) == ("failed", code, [])
    assert document["error"]
    answer = client.call("GET", f"/api/v3/predictions/{task_id}")
    assert (answer.status_code, answer.json()["code"], answer.json()["data"]) == (200, 200, document)


@pytest.mark.parametrize("outcome", DEAD_ENDS)
def test_the_other_ends_send_a_webhook_only_when_switched_on(client, receiver, outcome):
    client.next(outcome=outcome, error="that was it")
    silent = client.created(receiver.url)
    assert client.ended(silent)["status"] == outcome
    client.next(outcome=outcome, callback_statuses=[outcome])
    loud = client.created(receiver.url)
    assert [(got.json["id"], got.json["status"]) for got in receiver.wait()] == [(loud, outcome)]
    assert client.get(silent)["error"] == "that was it"


def test_a_webhook_reaches_no_metadata_service(client):
    client.next(callback_retries=[])
    client.created("http://169.254.169.254/latest")
    assert "169.254.169.254 is not called" in client.log("callback", 1)[0]["error"]
