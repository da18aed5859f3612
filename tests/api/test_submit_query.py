"""The query of a submission, and its ``Idempotency-Key``."""

from __future__ import annotations

import json

import pytest

from schemas.callbacks import read_callback
from tests.api.conftest import bearer, message
from tests.api.vendorside import accept, told

FAST = "/api/v3/minimax/hailuo-02/fast"
IMAGE = {"image": "https://example.com/a.jpg"}


@pytest.mark.parametrize(
    ("query", "url"),
    [
        (
            "webhook=http%3A%2F%2F127.0.0.1%3A9%2Fhook%3Fjob%3D1%26kind%3Da",
            "http://127.0.0.1:9/hook?job=1&kind=a",
        ),
        ("webhook=http://127.0.0.1:9/hook?job=1&kind=a", "http://127.0.0.1:9/hook?job=1&kind=a"),
        ("webhook=http://127.0.0.1:9/hook?job=1&kind=a&channel=b", "http://127.0.0.1:9/hook?job=1&kind=a"),
        ("channel=b&webhook=http://127.0.0.1:9/hook?a=%2B&b=c", "http://127.0.0.1:9/hook?a=%2B&b=c"),
        ("webhook=http://127.0.0.1:9/a%20b", "http://127.0.0.1:9/a%20b"),
        ("webhook=http://127.0.0.1:9/hook%3Fa=1", "http://127.0.0.1:9/hook?a=1"),
        ("webhook=http%3A//127.0.0.1%3A9/hook&other=1", "http://127.0.0.1:9/hook"),
        ("webhook=http://127.0.0.1:9/hook&channel=b", "http://127.0.0.1:9/hook"),
    ],
)
def test_a_webhook_is_understood_encoded_or_not(client, auth, service, query, url):
    response = client.post(f"{FAST}?{query}", headers=auth, json=IMAGE)
    job = service.jobs.get(response.json["data"]["id"])
    endpoint = service.endpoints.find(job.own_endpoint)
    assert (endpoint.url, endpoint.format, endpoint.job) == (url, "wavespeed", job.id)
    assert job.channel == ("b" if "channel=b" in query else "")


def test_channel_and_metadata_go_with_the_job(client, auth, service):
    query = {"channel": "news.de", "metadata": json.dumps({"order": 7})}
    response = client.post(FAST, headers=auth, json=IMAGE, query_string=query)
    job = service.jobs.get(response.json["data"]["id"])
    assert (job.channel, job.metadata) == ("news.de", {"order": 7})


@pytest.mark.parametrize(
    ("query", "told_of"),
    [
        ("webhook=ftp://x.example/", "webhook: has the scheme 'ftp'"),
        ("webhook=", "webhook: is not a URL"),
        ("webhook=http%3A%2F%2F10.0.0.1%2F", "webhook: 10.0.0.1 is not called"),
        ("webhook=https%3A%2F%2Fuser%3Apw%40x.example%2F", "webhook: holds a user or a password"),
        ("webhook=%ff%fe", "webhook: "),
        ("channel=A", 'channel: "A" is not of this form; 1 to 64 of a-z 0-9 . _ -'),
        ("metadata=[1]", "metadata: a list is not an object; a JSON object of at most 2048 bytes"),
        ("metadata=%ff", "metadata: holds a lone surrogate"),
        ("metadata={", "metadata: is not JSON"),
    ],
)
def test_a_bad_query_is_400_and_names_the_parameter(client, auth, query, told_of):
    response = client.post(f"{FAST}?{query}", headers=auth, json=IMAGE)
    assert response.status_code == 400
    assert message(response).startswith(told_of)


def test_the_same_request_under_a_key_is_one_job_and_one_answer(client, auth, service):
    headers = {**auth, "Idempotency-Key": "order-7"}
    first = client.post(f"{FAST}?channel=a", headers=headers, json=IMAGE)
    token = accept(service, first.json["data"]["id"])
    service.jobs.settle(first.json["data"]["id"], token, read_callback(json.dumps(told()).encode()))
    again = client.post(f"{FAST}?channel=a", headers=headers, json=dict(IMAGE))
    assert (again.status_code, again.data) == (200, first.data)
    for other in ({"query_string": {"channel": "b"}}, {"json": {**IMAGE, "duration": 10}}):
        given = {"query_string": {"channel": "a"}, "json": IMAGE, **other}
        response = client.post(FAST, headers=headers, **given)
        assert response.status_code == 422
        assert message(response).startswith("Idempotency-Key: ")
    other_workspace = {**bearer(service, "other"), "Idempotency-Key": "order-7"}
    assert (
        client.post(FAST, headers=other_workspace, json=IMAGE).json["data"]["id"] != first.json["data"]["id"]
    )


def test_a_refused_submission_is_not_remembered(client, auth):
    headers = {**auth, "Idempotency-Key": "order-8"}
    assert client.post(FAST, headers=headers, json={}).status_code == 400
    assert client.post(FAST, headers=headers, json=IMAGE).status_code == 200


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\xe9"])
def test_a_bad_idempotency_key_is_400(client, auth, key):
    response = client.post(FAST, headers={**auth, "Idempotency-Key": key}, json=IMAGE)
    assert response.status_code == 400
    assert message(response).endswith("is no Idempotency-Key; 1 to 255 visible ASCII characters")
