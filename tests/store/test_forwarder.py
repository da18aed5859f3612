"""The forwarder against a real store and a real receiver."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import pytest
from standardwebhooks import Webhook

from schemas.predictions import Prediction
from schemas.states import DeliveryState
from service import rediskeys
from service.acceptance import Order
from service.addresses import Policy
from service.bootstrap import Service
from service.deliveries import Mailroom, delivery_id
from service.errors import NotFound
from service.logs import AttemptLog
from service.records import Delivery, Endpoint, Job
from service.sender import Sender
from service.signing import verify_v3
from service.store import CLAIM, OUTCOMES
from tests.store.cutter import Cutter
from tests.waiting import eventually
from workers.forwarder import Forwarder

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
LOOPBACK = (ip_network("127.0.0.0/8"),)
SOON = (0.0, 0.01, 0.01)


class Receiver(ThreadingHTTPServer):
    """Keeps what it gets; answers what ``statuses`` says, 200 when that is used up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.news = threading.Condition()
        self.answering = threading.Event()
        self.answering.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Answers wait until `let_go`, or the end of the block."""
        self.answering.clear()
        yield
        self.let_go()

    def let_go(self) -> None:
        self.answering.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def wait_for(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        with self.news:
            assert self.news.wait_for(lambda: len(self.got) >= count, 30), self.got
            return list(self.got)


class Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.news:
            status = self.server.statuses.pop(0) if self.server.statuses else 200
            self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.server.news.notify_all()
        self.server.answering.wait(10)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def forwarder(service: Service) -> Iterator[Forwarder]:
    with forwarding(service, Policy(LOOPBACK)) as made:
        yield made


@contextmanager
def forwarding(
    service: Service, policy: Policy, incarnation: str = "forwarder-test", **settings: Any
) -> Iterator[Forwarder]:
    mailroom = Mailroom(service.store, service.endpoints, time.time, "Hookreel/test")
    sender = Sender(policy, "Hookreel/test")
    made = Forwarder(
        service, sender, mailroom, incarnation, random.Random(1).random, AttemptLog("error"), **settings
    )
    thread = threading.Thread(target=made.run)
    with service.notices.following(made.hear):
        thread.start()
        try:
            yield made
        finally:
            made.stop()
            thread.join(10)
    assert not thread.is_alive()
    sender.close()


def subscribe(service: Service, url: str, **fields: object) -> tuple[Endpoint, str]:
    service.endpoints.policy = Policy(LOOPBACK)
    return service.endpoints.create("default", {"url": url, **fields})


def finished(service: Service, order: Order, word: Prediction) -> Job:
    job = service.acceptance.accept(order)
    admitted = service.jobs.admitted(job.id)
    assert admitted is not None
    token = service.token()
    service.jobs.begin(admitted, token, "worker-1")
    return service.jobs.settle(job.id, token, word)


def settled(service: Service, job: Job, endpoint: Endpoint, state: DeliveryState) -> Delivery:
    deadline = time.monotonic() + 30
    wanted = delivery_id(job.events[-1], endpoint.id)
    while True:
        try:
            found = service.deliveries.get("default", wanted)
        except NotFound:
            found = None
        if found and found.state is state and not found.claim:
            return found
        assert time.monotonic() < deadline, found
        threading.Event().wait(0.01)


def test_an_event_reaches_its_endpoint_signed(
    service: Service, order: Orders, word: Words, receiver: Receiver, forwarder: Forwarder
) -> None:
    endpoint, secret = subscribe(service, receiver.url)
    job = finished(service, order(), word())
    ((headers, body),) = receiver.wait_for(1)
    Webhook(secret).verify(body, headers)
    assert json.loads(body)["data"]["id"] == job.id
    delivery = settled(service, job, endpoint, DeliveryState.DELIVERED)
    assert [each.status for each in delivery.attempts] == [200]
    assert service.store.client.zcard(rediskeys.OPEN_EVENTS) == 0
    assert service.store.client.xlen(rediskeys.stream("default")) == 0
    assert service.store.client.zcard(rediskeys.FLIGHT) == 0
    assert service.store.client.hget(rediskeys.event(job.events[-1]), "open") == b"0"


def test_a_jobs_own_webhook_is_called_in_the_vendors_format(
    service: Service, order: Orders, word: Words, receiver: Receiver, forwarder: Forwarder
) -> None:
    job = finished(service, order(webhook=receiver.url), word("failed"))
    ((headers, body),) = receiver.wait_for(1)
    verify_v3(service.workspace_secrets.of("default").newest, headers, body, time.time())
    told = json.loads(body)
    assert (told["id"], told["status"]) == (job.id, "failed")
    assert "metadata" not in told


def test_a_failed_attempt_is_repeated_until_the_schedule_ends(
    service: Service, order: Orders, word: Words, receiver: Receiver, forwarder: Forwarder
) -> None:
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=SOON)
    receiver.statuses = [500, 302, 404]
    job = finished(service, order(), word())
    delivery = settled(service, job, endpoint, DeliveryState.EXHAUSTED)
    assert [each.status for each in delivery.attempts] == [500, 302, 404]
    ids = {headers["webhook-id"] for headers, _ in receiver.got}
    assert ids == {job.events[-1]}


def test_a_gone_endpoint_is_disabled_and_its_delivery_held(
    service: Service, order: Orders, word: Words, receiver: Receiver, forwarder: Forwarder
) -> None:
    endpoint, _ = subscribe(service, receiver.url)
    receiver.statuses = [410]
    job = finished(service, order(), word())
    settled(service, job, endpoint, DeliveryState.HELD)
    assert eventually(lambda: not service.endpoints.get("default", endpoint.id).enabled)


def test_a_deleted_endpoints_delivery_is_cancelled(
    service: Service, order: Orders, word: Words, receiver: Receiver, forwarder: Forwarder
) -> None:
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=(0.0, 0.3))
    receiver.statuses = [500]
    job = finished(service, order(), word())
    receiver.wait_for(1)
    settled(service, job, endpoint, DeliveryState.RETRYING)
    service.endpoints.delete("default", endpoint.id)
    assert service.health.cancel_left(1) == 1
    settled(service, job, endpoint, DeliveryState.CANCELLED)
    assert len(receiver.got) == 1


def test_an_endpoint_made_after_an_event_does_not_hear_of_it(
    service: Service, order: Orders, word: Words, receiver: Receiver, forwarder: Forwarder
) -> None:
    early, _ = subscribe(service, receiver.url)
    first = finished(service, order(), word())
    settled(service, first, early, DeliveryState.DELIVERED)
    late, _ = subscribe(service, receiver.url + "/late")
    second = finished(service, order(), word())
    settled(service, second, late, DeliveryState.DELIVERED)
    fields = service.store.client.hkeys(rediskeys.event(first.events[-1]))
    assert late.id.encode() not in fields


def test_a_claim_whose_answer_was_lost_goes_back_uncounted_and_is_delivered_once(
    service: Service, behind: Service, cutter: Cutter, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url)
    job = finished(service, order(), word())
    cutter.lose_answers(3, CLAIM.sha.encode())
    with forwarding(behind, Policy(LOOPBACK)):
        delivery = settled(service, job, endpoint, DeliveryState.DELIVERED)
    assert cutter.lost == 3
    assert (len(receiver.got), delivery.attempt_count, len(delivery.attempts)) == (1, 1, 1)


def test_an_outcome_whose_answer_was_lost_is_recorded_once(
    service: Service, behind: Service, cutter: Cutter, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url)
    cutter.lose_answers(2, OUTCOMES.sha.encode())
    with forwarding(behind, Policy(LOOPBACK)):
        job = finished(service, order(), word())
        assert eventually(lambda: cutter.lost == 2)
        delivery = settled(service, job, endpoint, DeliveryState.DELIVERED)
    assert (len(receiver.got), len(delivery.attempts)) == (1, 1)


def test_a_forwarder_that_is_told_to_stop_ends_as_soon_as_nothing_is_in_flight(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url)
    skipped = 0.0
    with (
        receiver.held(),
        forwarding(service, Policy(LOOPBACK), monotonic=lambda: time.monotonic() + skipped) as forwarder,
    ):
        job = finished(service, order(), word())
        receiver.wait_for(1)
        forwarder.stop()
        skipped = 5.0  # whatever it meant to look at next is long due
        receiver.let_go()
    settled(service, job, endpoint, DeliveryState.DELIVERED)


SPELLINGS = (
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "017700000001",
    "0177.0.0.1",
    "localhost",
    "localhost.",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "0.0.0.0",  # noqa: S104 - an address that is refused
)


def test_every_spelling_of_a_refused_address_is_recorded_as_such(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    port = receiver.server_port
    everything = Policy(tuple(ip_network(each) for each in ("0.0.0.0/0", "::/0", "169.254.169.254/32")))
    service.endpoints.policy = everything
    urls = [f"{scheme}://{host}:{port}/" for host in SPELLINGS for scheme in ("https", "http")]
    made = [service.endpoints.create("default", {"url": url, "retry_schedule": (0.0,)})[0] for url in urls]
    with forwarding(service, Policy(())):
        job = finished(service, order(), word())
        for endpoint in made:
            (attempt,) = settled(service, job, endpoint, DeliveryState.EXHAUSTED).attempts
            assert (endpoint.url, attempt.error, attempt.status) == (endpoint.url, "blocked_address", None)
            assert "HOOKREEL_EGRESS_ALLOW" in attempt.detail
    assert receiver.got == []


def test_an_address_that_is_refused_is_recorded_as_such(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=(0.0,))
    with forwarding(service, Policy(())):
        job = finished(service, order(), word())
        (attempt,) = settled(service, job, endpoint, DeliveryState.EXHAUSTED).attempts
    assert attempt.error == "blocked_address"
    assert "127.0.0.1" in attempt.detail
    assert "HOOKREEL_EGRESS_ALLOW" in attempt.detail
    assert receiver.got == []
