"""``POST /api/v3/predictions/delete``: here and at the vendor, all of them or none."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import bearer, client_of, listed, message
from tests.api.vendorside import UPSTREAM, settle
from tests.vendor.rawserver import reply, says

FAST = "minimax/hailuo-02/fast"
IMAGE = {"image": "https://a.example/a.jpg"}


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
