"""``enable_sync_mode``: the request stays open until the vendor has called back."""

from __future__ import annotations

import threading
import time
from typing import Any

from service.api import create_app
from service.notices import Notices
from service.waiters import Waiters
from tests.api.conftest import SECRET
from tests.api.vendorside import VIDEO, Vendor, accept, told
from tests.waiting import eventually

FAST = "/api/v3/minimax/hailuo-02/fast"
BODY = {"image": "https://a.example/a.jpg", "enable_sync_mode": True}


class Waiting(threading.Thread):
    """A submission in sync mode, under way."""

    def __init__(self, client, auth, **headers):
        super().__init__()
        self.client, self.headers, self.response = client, {**auth, **headers}, None
        self.start()

    def run(self):
        self.response = self.client.post(FAST, headers=self.headers, json=BODY)


def only_job(client, auth) -> str:
    def items():
        return client.post("/api/v3/predictions", headers=auth, json={}).json["data"]["items"]

    assert eventually(items)
    return items()[0]["id"]


def test_a_waiter_is_answered_by_the_callback(app, auth, service):
    waiting = Waiting(app.test_client(), auth)
    client = app.test_client()
    job_id = only_job(client, auth)
    assert "enable_sync_mode" not in service.jobs.get(job_id).input
    vendor = Vendor(client, SECRET, int(time.time()))
    assert vendor.calls(job_id, accept(service, job_id)).status_code == 200
    waiting.join(10)
    data = waiting.response.json["data"]
    assert (data["id"], data["status"], data["outputs"]) == (job_id, "completed", [VIDEO])


def test_a_waiter_hears_of_a_failure_with_http_200(app, auth, service):
    waiting = Waiting(app.test_client(), auth)
    client = app.test_client()
    job_id = only_job(client, auth)
    Vendor(client, SECRET, int(time.time())).calls(job_id, accept(service, job_id), told("failed", code=1403))
    waiting.join(10)
    assert waiting.response.status_code == 200
    assert (waiting.response.json["data"]["status"], waiting.response.json["data"]["code"]) == (
        "failed",
        1403,
    )


def test_a_wait_that_runs_out_is_the_vendors_5004(service, auth):
    waiters = Waiters(service.jobs.get, service.notices, seconds=0.05)
    client: Any = create_app(service, waiters).test_client()
    response = client.post(FAST, headers=auth, json=BODY)
    assert (response.status_code, response.json["code"]) == (200, 200)
    data = response.json["data"]
    assert list(data) == ["id", "status", "code", "error", "urls"]
    assert (data["status"], data["code"]) == ("processing", 5004)
    assert data["error"].startswith("Sync mode timed out after 0.05 seconds. ")
    assert data["urls"]["get"].endswith(f"/api/v3/predictions/{data['id']}/result")


def test_no_more_than_so_many_wait_and_the_next_is_answered_at_once(service, auth):
    waiters = Waiters(service.jobs.get, service.notices, most=2)
    app = create_app(service, waiters)
    first = [Waiting(app.test_client(), auth) for _ in range(2)]
    client: Any = app.test_client()
    assert eventually(lambda: waiters._places._value == 0)
    started = time.monotonic()
    data = client.post(FAST, headers=auth, json=BODY).json["data"]
    assert time.monotonic() - started < 5
    assert data["code"] == 5004
    assert data["error"].startswith("Sync mode timed out after 0 seconds. 2 requests wait already. ")
    for item in client.post("/api/v3/predictions", headers=auth, json={}).json["data"]["items"]:
        service.jobs.give_up_on(item["id"], "over")
    for waiting in first:
        waiting.join(10)
        assert waiting.response.json["data"]["status"] == "failed"
    assert waiters._places._value == 2


def test_a_replay_waits_as_well_and_gets_the_same_end(app, auth, service):
    first = Waiting(app.test_client(), auth, **{"Idempotency-Key": "a"})
    client = app.test_client()
    job_id = only_job(client, auth)
    second = Waiting(app.test_client(), auth, **{"Idempotency-Key": "a"})
    Vendor(client, SECRET, int(time.time())).calls(job_id, accept(service, job_id))
    for waiting in (first, second):
        waiting.join(10)
        assert (waiting.response.json["data"]["id"], waiting.response.json["data"]["status"]) == (
            job_id,
            "completed",
        )
    third = client.post(FAST, headers={**auth, "Idempotency-Key": "a"}, json=BODY)
    assert third.json["data"]["status"] == "completed"


def test_nobody_polls_while_waiting(client, auth, service):
    job_id = client.post(FAST, headers=auth, json={**BODY, "enable_sync_mode": False}).json["data"]["id"]
    looks = []

    def get(wanted):
        looks.append(wanted)
        return service.jobs.get(wanted)

    notices: Notices = service.notices
    job, waited = Waiters(get, notices, seconds=0.3).wait(service.jobs.get(job_id))
    assert (job.id, waited) == (job_id, 0.3)
    # One look at the beginning, and one for the subscription's own bell where that comes later.
    assert 1 <= len(looks) <= 2
