"""The clock against a real store: what is due, overdue or left behind is found and moved on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_network
from threading import Thread
from typing import Any, ClassVar

import pytest

from schemas.outcomes import Observation, classify
from schemas.predictions import Prediction
from schemas.states import DeliveryState, JobState
from service import rediskeys
from service.acceptance import Order
from service.addresses import Policy
from service.bootstrap import Service
from service.deliveries import delivery_id
from service.errors import NotFound
from service.inquiry import FIRST_LOOK
from service.ledger import Decision
from service.presence import SILENT_AFTER, Presence, Watch
from service.records import FIRST_LINES, MOST_LINES, Job, changed
from service.store import CLAIM, EXPAND
from workers.clock import Clock
from workers.window import LONGEST_SUBMISSION, RING_AGAIN

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
ACCEPTED = classify(Observation(sent=True, status=200, body=b'{"code":200,"data":{"id":"abc"}}'))
UNKNOWN = classify(Observation(sent=True, trouble="cut"))
REFUSED = classify(Observation(sent=False, trouble="refused"))


class Time:
    """A clock that stands until it is moved; both the observer's (s) and the records' (ms)."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return 1000.0 + self.ahead

    def ms(self) -> int:
        return int((time.time() + self.ahead) * 1000)


@pytest.fixture
def at(service: Service) -> Time:
    moved = Time()
    service.clock = moved.ms
    service.time = moved.ms
    return moved


@pytest.fixture
def clock(service: Service, at: Time) -> Clock:
    return Clock(service, Watch(service.store, at.monotonic), at.monotonic)


NOT_SENT = classify(Observation(sent=False, trouble="refused"))


def begun(service: Service, order: Order, incarnation: str = "worker-1") -> tuple[Job, str]:
    job = service.acceptance.accept(order)
    token = service.token()
    admitted = service.jobs.admitted(job.id)
    assert admitted is not None
    assert service.jobs.begin(admitted, token, incarnation) is not None
    return job, token


def bells(service: Service) -> int:
    (count,) = service.store.read(lambda pipe: pipe.llen("rq:queue:vendor"))
    return int(count)


def first_entry(service: Service) -> str:
    (rows,) = service.store.read(lambda pipe: pipe.xrange(rediskeys.stream("default")))
    return str(rows[0][0].decode())


def test_a_refused_job_is_let_in_again_when_its_delay_is_over(
    service: Service, order: Orders, at: Time, clock: Clock
) -> None:
    job, token = begun(service, order())
    service.jobs.conclude(job.id, token, REFUSED)
    clock.tick()
    assert service.jobs.admitted(job.id) is None
    at.ahead += 5
    clock.tick()
    assert service.jobs.admitted(job.id) is not None


def test_a_lost_bell_is_rung_again(service: Service, order: Orders, at: Time, clock: Clock) -> None:
    service.acceptance.accept(order())
    service.store.client.delete("rq:queue:vendor")
    clock.tick()
    assert bells(service) == 0
    at.ahead += RING_AGAIN + 1
    clock.tick()
    assert bells(service) == 1


def test_a_submission_of_a_dead_worker_is_uncertain_and_never_repeated(
    service: Service, order: Orders, at: Time, clock: Clock
) -> None:
    Presence(service.store, "worker-1").beat()
    job, _ = begun(service, order())
    clock.tick()
    assert service.jobs.get(job.id).state is JobState.SUBMITTING
    at.ahead += SILENT_AFTER + 1
    clock.tick()
    assert service.jobs.get(job.id).state is JobState.UNCERTAIN
    assert service.jobs.admitted(job.id) is None


def test_a_worker_that_beats_keeps_its_submission(
    service: Service, order: Orders, at: Time, clock: Clock
) -> None:
    presence = Presence(service.store, "worker-1")
    presence.beat()
    job, _ = begun(service, order())
    for _ in range(4):
        clock.tick()
        at.ahead += SILENT_AFTER - 1
        presence.beat()
    clock.tick()
    assert service.jobs.get(job.id).state is JobState.SUBMITTING


def test_a_submission_that_outlives_every_deadline_is_uncertain(
    service: Service, order: Orders, at: Time, clock: Clock
) -> None:
    job, _ = begun(service, order())
    clock.tick()
    at.ahead += LONGEST_SUBMISSION + 1
    clock.tick()
    assert service.jobs.get(job.id).state is JobState.UNCERTAIN


def test_an_uncertain_job_is_decided_about_in_time(
    service: Service, order: Orders, at: Time, clock: Clock
) -> None:
    job, token = begun(service, order())
    service.jobs.conclude(job.id, token, UNKNOWN)
    service.store.client.delete("rq:queue:vendor")
    at.ahead += service.settings.uncertain_after - 1
    clock.tick()
    assert bells(service) == 0
    at.ahead += 2
    clock.tick()
    clock.tick()
    assert service.store.client.lrange("rq:queue:vendor", 0, -1) == [f"decide-{job.id}".encode()]


def test_a_silent_job_is_looked_up_in_time(service: Service, order: Orders, at: Time, clock: Clock) -> None:
    job, token = begun(service, order())
    service.jobs.conclude(job.id, token, ACCEPTED)
    service.store.client.delete("rq:queue:vendor")
    clock.tick()
    assert bells(service) == 0
    at.ahead += FIRST_LOOK + 1
    clock.tick()
    clock.tick()
    assert service.store.client.lrange("rq:queue:vendor", 0, -1) == [f"look_up-{job.id}".encode()]


def test_a_slot_that_nobody_needs_is_given_back(service: Service, order: Orders, clock: Clock) -> None:
    job, token = begun(service, order())
    service.jobs.conclude(job.id, token, UNKNOWN)
    service.store.client.zadd(rediskeys.WINDOW, {job.id: 1, "f" * 32: 1})
    clock.tick()
    assert service.store.client.zcard(rediskeys.WINDOW) == 0


def test_claims_of_a_dead_forwarder_count_as_failed_attempts(
    service: Service, order: Orders, word: Words, at: Time, clock: Clock
) -> None:
    service.endpoints.policy = Policy((ip_network("127.0.0.0/8"),))
    endpoint, _ = service.endpoints.create("default", {"url": "http://127.0.0.1:9/"})
    job, token = begun(service, order())
    done = service.jobs.settle(job.id, token, word())
    Presence(service.store, "forwarder-1").beat()
    entry = first_entry(service)
    service.store.run(EXPAND, ["default", done.events[0], entry, 1, endpoint.id])
    claimed = service.store.run(CLAIM, ["forwarder-1.0", 10, 10])
    assert len(claimed) == 2 + 4
    clock.tick()
    at.ahead += SILENT_AFTER + 1
    clock.tick()
    delivery = service.deliveries.get("default", delivery_id(done.events[0], endpoint.id))
    assert (delivery.state, delivery.claim) == (DeliveryState.RETRYING, "")
    assert [each.error for each in delivery.attempts] == ["interrupted"]
    assert service.store.client.zcard(rediskeys.FLIGHT) == 0
    assert service.store.client.hgetall(rediskeys.running("default")) == {}


def test_an_event_that_is_in_no_stream_any_more_is_put_back(
    service: Service, order: Orders, word: Words, at: Time, clock: Clock
) -> None:
    job, token = begun(service, order())
    service.jobs.settle(job.id, token, word())
    service.store.client.delete(rediskeys.stream("default"))
    clock.tick()
    assert service.store.client.xlen(rediskeys.stream("default")) == 1


def test_a_final_job_is_pruned_after_the_retention_unless_something_is_owed(
    service: Service, order: Orders, word: Words, at: Time, clock: Clock
) -> None:
    job, token = begun(service, order())
    done = service.jobs.settle(job.id, token, word())
    at.ahead += service.settings.retention + 1
    clock.prune()
    assert service.jobs.get(job.id).is_final
    entry = first_entry(service)
    service.store.run(EXPAND, ["default", done.events[0], entry, 1])
    clock.prune()
    with pytest.raises(NotFound):
        service.jobs.get(job.id)
    (keys,) = service.store.read(lambda pipe: pipe.keys("hr:*"))
    assert {key.decode() for key in keys} <= {
        *(rediskeys.APIKEYS, rediskeys.WORKSPACES, rediskeys.PENDING_BYTES, rediskeys.VENDOR, rediskeys.TURN),
        rediskeys.workspace("default"),
        rediskeys.stream("default"),
        rediskeys.took("minimax/hailuo-02/fast"),
    }


class Balance(BaseHTTPRequestHandler):
    data: ClassVar[dict[str, Any]] = {"balance": 1.0}

    def do_GET(self) -> None:
        body = json.dumps({"code": 200, "message": "success", "data": self.data}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def test_while_submissions_are_paused_one_job_passes_when_the_vendor_answers(
    service: Service, order: Orders, at: Time, clock: Clock
) -> None:
    for _ in range(3):
        job, token = begun(service, order())
        service.jobs.conclude(job.id, token, UNKNOWN)
    waiting = service.acceptance.accept(order())
    service.settings.__dict__["vendor_base_url"] = "http://127.0.0.1:9"
    clock.tick()
    assert service.jobs.admitted(waiting.id) is None
    with HTTPServer(("127.0.0.1", 0), Balance) as vendor:
        Thread(target=vendor.serve_forever, args=(0.01,), daemon=True).start()
        del service.vendor
        service.settings.__dict__["vendor_base_url"] = f"http://127.0.0.1:{vendor.server_port}"
        at.ahead += 60
        clock.tick()
        vendor.shutdown()
    assert service.jobs.admitted(waiting.id) is not None


def test_a_job_may_be_refused_for_as_long_as_the_setting_allows(
    service: Service, order: Orders, at: Time
) -> None:
    """At 48 to 72 s each there are 50,000 refusals in 30 days."""
    service.jobs.context.__dict__["submit_for"] = 30 * 86_400.0
    job, token = begun(service, order())
    for refusals in (0, 6, 1023, 1024, 50_000):
        decision = Decision(changed(service.jobs.get(job.id), refusals=refusals))
        service.jobs._commit(decision, rev=decision.job.rev)
        refused = service.jobs.conclude(job.id, token, NOT_SENT)
        assert (refused.state, refused.refusals) == (JobState.QUEUED, refusals + 1)
        due = service.store.client.zscore(rediskeys.LATER, job.id)
        assert due is not None
        assert 0 < due - at.ms() <= 72_000
        at.ahead += 73
        service.jobs.wait_again(job.id)
        admitted = service.jobs.admitted(job.id)
        assert admitted is not None
        token = service.token()
        assert service.jobs.begin(admitted, token, "worker-1") is not None


def test_a_timeline_keeps_its_beginning_and_its_end() -> None:
    job = Job("1" * 32, "default", "m", 0, {})
    for number in range(1000):
        job = job.noting(number, str(number))
    assert len(job.timeline) == MOST_LINES
    assert [at for at, _ in job.timeline[:FIRST_LINES]] == list(range(FIRST_LINES))
    assert [at for at, _ in job.timeline[FIRST_LINES:]] == list(range(1000 - MOST_LINES + FIRST_LINES, 1000))


class Odd(Balance):
    """Answers, but not as documented."""

    data: ClassVar[dict[str, Any]] = {"credits": "3"}


def test_a_clock_that_was_restarted_during_a_pause_lets_no_more_pass(
    service: Service, order: Orders, at: Time, clock: Clock
) -> None:
    for _ in range(3):
        job, token = begun(service, order())
        service.jobs.conclude(job.id, token, UNKNOWN)
    for _ in range(30):
        service.acceptance.accept(order())
    passed = 0
    with HTTPServer(("127.0.0.1", 0), Odd) as vendor:
        Thread(target=vendor.serve_forever, args=(0.01,), daemon=True).start()
        service.settings.__dict__["vendor_base_url"] = f"http://127.0.0.1:{vendor.server_port}"
        for _ in range(60):
            clock.probe()
            for job_id in service.store.client.zrange(rediskeys.WINDOW, 0, -1):
                admitted = service.jobs.admitted(job_id.decode())
                assert admitted is not None
                token = service.token()
                service.jobs.begin(admitted, token, "worker-1")
                service.jobs.conclude(admitted.id, token, UNKNOWN)
                passed += 1
            at.ahead += 1
        vendor.shutdown()
    assert 1 <= passed <= 4
