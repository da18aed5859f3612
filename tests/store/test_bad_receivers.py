"""Receivers that misbehave: each attempt ends in time, is recorded as what it was, and breaks nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.eventtypes import DELIVERY_EXHAUSTED
from schemas.predictions import Prediction
from schemas.states import DeliveryState
from service import rediskeys
from service.acceptance import Order
from service.addresses import Policy
from service.api import create_app
from service.bootstrap import Service
from service.deliveries import Claim, delivery_id, judge
from service.logs import AttemptLog
from service.records import Attempt, Endpoint, Job
from service.sender import Outcome
from service.store import EXPAND, OUTCOMES
from tests.sender.receivers import Behaviour, Connection, answering
from tests.sender.test_outcomes import (
    CHUNKED,
    dripping,
    dripping_headers,
    endless,
    hanging_up,
    header_bomb,
    interim_bomb,
    late,
    resetting,
)
from tests.sender.test_tls import certificate
from tests.store.test_forwarder import LOOPBACK, SOON, Receiver, finished, forwarding, settled, subscribe
from tests.store.test_forwarder import receiver as receiver  # noqa: PLC0414 - a fixture
from tests.waiting import eventually

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
Serve = Callable[..., str]
Show = Callable[[Job, Endpoint], dict[str, Any]]
KB = 1024
BOMB = gzip.compress(b"\0" * 10_000_000)
NASTY = b'\0\x1b[2J\x1b]0;x\x07|r|0||\n\r\n"],[1,2]}{"event":"x"}\xff\xfe\xed\xa0\x80\xe2\x80\xa8\xf0\x9f'
AT = 1_790_000_000_000


def raw(status: str, body: bytes = b"", *headers: bytes) -> bytes:
    """An answer with this status line and body."""
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((b"HTTP/1.1 " + status.encode("latin-1"), length, *headers, b"", body))


def saying(data: bytes) -> Behaviour:
    """Says this, whatever it was asked, and hangs up."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.answer(data)

    return behave


def endless_refusal(connection: Connection) -> None:
    connection.read_request()
    connection.answer(CHUNKED.replace(b"200 OK", b"500 No"))
    while True:
        connection.answer(b"1000\r\n" + b"x" * 4096 + b"\r\n")


def waiting_for_more(connection: Connection) -> None:
    connection.read_request()
    connection.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.receiver.released.wait(30)


def not_listening(_: Connection) -> None:
    return


class Bad(NamedTuple):
    """How it behaves, and how each of its attempts is to be recorded; several errors where it is a race."""

    behaviour: Behaviour
    status: int | None
    errors: tuple[str | None, ...] = (None,)
    timeout: float = 10.0


RECEIVERS = {
    "an answer without an end": Bad(endless, 200, ("too_large",)),
    "a refusal without an end": Bad(endless_refusal, 500),
    "a huge answer": Bad(
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"), 200, ("too_large",)
    ),
    "a byte now and then": Bad(dripping, 200, ("timeout",), 0.2),
    "a header a byte now and then": Bad(dripping_headers, 200, ("timeout",), 0.2),
    "silence": Bad(late, None, ("timeout",), 0.2),
    "continue, and silence": Bad(waiting_for_more, None, ("timeout",), 0.2),
    "headers without an end": Bad(header_bomb, 200, ("too_large",)),
    "continue without an end": Bad(interim_bomb, None, ("protocol",)),
    "a compressed bomb": Bad(answering(raw("500 No", BOMB, b"Content-Encoding: gzip")), 500),
    "a bomb on the way": Bad(answering(raw("200 OK", BOMB, b"Transfer-Encoding: gzip")), 200, ("protocol",)),
    "no HTTP": Bad(saying(b"220 mail.example ESMTP\r\n" + NASTY), None, ("protocol",)),
    "nothing": Bad(hanging_up, None, ("protocol",)),
    "not even listening": Bad(not_listening, None, ("protocol", "connect")),
    "a reset": Bad(resetting, None, ("connect",)),
    "chunks that are none": Bad(saying(CHUNKED + NASTY), 200, ("protocol",)),
    "half of it": Bad(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), 200, ("protocol",)),
    "status 999": Bad(answering(raw("999 No", b"never heard of")), 999),
    "status 000": Bad(saying(raw("000 No", b"ok")), None, ("protocol",)),
    "status 101": Bad(saying(raw("101 No", b"ok")), None, ("protocol",)),
    "a nasty status line": Bad(answering(raw("500 \x1b[31m\xff|", b"no")), 500),
    "a nasty header": Bad(answering(raw("500 No", b"", b'X: \x1b[31m\xff|\t"]}')), 500),
    "a nasty length": Bad(saying(b"HTTP/1.1 200 OK\r\nContent-Length: \xff|\r\n\r\n"), 200, ("protocol",)),
    "a nasty coding": Bad(
        saying(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: x\x1b[31m\xff|"]\r\n\r\n'), 200, ("protocol",)
    ),
    "a nasty body": Bad(answering(raw("500 No", NASTY)), 500),
    "a long nasty body": Bad(answering(raw("500 No", b"\xff" * 2000)), 500),
    "JSON": Bad(answering(raw("422 No", b'{"error": "no", "line": "d|1||[]"}')), 422),
    "204 with a body": Bad(saying(raw("204 Fine", NASTY)), 204),
    "205 with a body": Bad(saying(raw("205 Fine", NASTY)), 205),
    "a compressed bomb that is fine": Bad(answering(raw("200 OK", BOMB, b"Content-Encoding: gzip")), 200),
    "a nasty body that is fine": Bad(answering(raw("200 OK", NASTY)), 200),
}


@pytest.fixture
def show(service: Service) -> Show:
    """``show(job, endpoint)``: that delivery as ``GET /v1/deliveries/{id}`` has it."""
    client: FlaskClient = create_app(service).test_client()
    headers = {"Authorization": f"Bearer {service.apikeys.create('default')[1]}"}

    def shown(job: Job, endpoint: Endpoint) -> dict[str, Any]:
        answer = client.get(f"/v1/deliveries/{delivery_id(job.events[-1], endpoint.id)}", headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = json.loads(answer.data)
        return found

    return shown


def kept(service: Service, job: Job, endpoint: Endpoint) -> set[str]:
    """Which of the delivery's answers are in the store."""
    names = service.store.client.hkeys(rediskeys.event(job.events[-1]))
    return {each.decode().removesuffix(f":{endpoint.id}") for each in names if b":" in each}


def test_each_attempt_ends_in_time_and_is_recorded_as_what_it_was_and_made_again(
    service: Service, order: Orders, word: Words, receiver: Receiver, serve: Serve, show: Show
) -> None:
    subscribe(service, receiver.url, event_types=[DELIVERY_EXHAUSTED])
    made = {
        name: subscribe(service, serve(bad.behaviour), retry_schedule=SOON, timeout=bad.timeout)[0]
        for name, bad in RECEIVERS.items()
    }
    log = StringIO()
    with forwarding(service, Policy(LOOPBACK)) as forwarder:
        forwarder.attempts = AttemptLog("info", log)
        job = finished(service, order(), word())
        for name, endpoint in made.items():
            bad, delivered = RECEIVERS[name], RECEIVERS[name] in FINE
            settled(service, job, endpoint, DeliveryState.DELIVERED if delivered else DeliveryState.EXHAUSTED)
            attempts = show(job, endpoint)["attempts"]
            assert len(attempts) == (1 if delivered else len(SOON)), name
            for each in attempts:
                assert (each["status"], each["error"] in bad.errors) == (bad.status, True), (name, each)
                assert each["duration_ms"] < 1000 * bad.timeout + 2000, name
                assert each.get("detail", "").isprintable(), name
                assert len(each.get("answer", "").encode()) <= KB, name
        exhausted = len(RECEIVERS) - len(FINE)
        assert eventually(lambda: not service.health.tell())
        told = [json.loads(body)["data"]["last_attempt"] for _, body in receiver.wait_for(exhausted)]
    assert all(len((each["answer"] or "").encode()) <= KB for each in told)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert len(lines) == len(FINE) + len(SOON) * exhausted + exhausted
    assert {line["event"] for line in lines} == {"delivery.attempt"}
    assert log.getvalue().isascii()


FINE = [each for each in RECEIVERS.values() if each.status in {200, 204, 205} and each.errors == (None,)]


def in_turn(*answers: bytes) -> Behaviour:
    """Each request gets the next of them."""
    left = list(answers)

    def behave(connection: Connection) -> None:
        while connection.read_request():
            connection.answer(left.pop(0))

    return behave


def test_the_first_answer_and_the_last_are_shown_until_it_is_delivered(
    service: Service, order: Orders, word: Words, serve: Serve, show: Show
) -> None:
    refusals = [raw("500 No", body) for body in (b"", b"one", b"two", b"", b"three" * 1000)]
    url = serve(in_turn(*refusals, raw("200 OK", b"fine")))
    endpoint, _ = subscribe(service, url, retry_schedule=(0.0, *[0.01] * 4, 60.0))
    with forwarding(service, Policy(LOOPBACK)) as forwarder:
        job = finished(service, order(), word())
        settled(service, job, endpoint, DeliveryState.RETRYING)
        assert eventually(lambda: len(show(job, endpoint)["attempts"]) == 5)
        settled(service, job, endpoint, DeliveryState.RETRYING)
        told = [each.get("answer") for each in show(job, endpoint)["attempts"]]
        assert told == [None, "one", None, None, ("three" * 1000)[:KB]]
        assert kept(service, job, endpoint) == {"first", "last"}
        service.store.client.hincrby(rediskeys.SERVICE, "shift", 80_000)
        forwarder.ring()
        settled(service, job, endpoint, DeliveryState.DELIVERED)
    assert [each.get("answer") for each in show(job, endpoint)["attempts"]] == [None] * 6
    assert kept(service, job, endpoint) == set()


@dataclass
class Recorder:
    """A delivery of which outcomes are recorded as a forwarder does it, without any being sent."""

    service: Service
    job: Job
    endpoint: Endpoint
    made: int = 0

    @property
    def _key(self) -> str:
        return rediskeys.event(self.job.events[-1])

    def _line(self) -> list[str]:
        line = self.service.store.client.hget(self._key, self.endpoint.id)
        assert isinstance(line, bytes)
        return line.decode().split("|", 3)

    def __call__(self, answer: bytes, status: int, detail: str = "") -> None:
        client, endpoint = self.service.store.client, self.endpoint.id
        _, attempts, _, log = self._line()
        claim = Claim(
            "default", endpoint, self.job.events[-1], "token", int(attempts) + 1, AT + 1000 * self.made
        )
        client.hset(self._key, endpoint, f"r|{claim.attempt}|token|{log}")
        outcome = Outcome(claim, status, None, detail, 12, 1, 2, 3, 4, None, answer[:KB])
        verdict = judge(outcome, claim, (0.0,) * 100, now_ms=AT, jitter=0)
        words = claim.outcome(verdict.word, verdict.attempt, verdict.answer)
        assert self.service.store.run(OUTCOMES, words) == 1
        self.made += 1

    def begin_anew(self) -> None:
        """As a retry by hand does: attempts are counted anew, those that were made stay known."""
        self.service.store.client.hset(self._key, self.endpoint.id, f"r|0||{self._line()[3]}")

    def forget(self) -> None:
        """Back to before its first attempt."""
        client, endpoint = self.service.store.client, self.endpoint.id
        client.hset(self._key, endpoint, "p|0||")
        client.hdel(self._key, f"first:{endpoint}", f"last:{endpoint}")
        self.made = 0


@pytest.fixture
def record(service: Service, order: Orders, word: Words) -> Recorder:
    endpoint, _ = subscribe(service, "http://127.0.0.1:1/")
    job = finished(service, order(), word())
    service.store.run(EXPAND, ["default", job.events[-1], "0-0", 1, endpoint.id])
    return Recorder(service, job, endpoint)


def test_the_answers_of_a_delivery_that_began_anew_are_dropped_once_it_is_delivered(
    service: Service, record: Recorder, show: Show
) -> None:
    record(b"one", 500)
    record(b"two", 500)
    record.begin_anew()
    record(b"three", 500)
    told = [each.get("answer") for each in show(record.job, record.endpoint)["attempts"]]
    assert told == ["one", None, "three"]
    record.begin_anew()
    record(b"fine", 200)
    assert kept(service, record.job, record.endpoint) == set()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.binary(max_size=2 * KB), st.text(max_size=80)), min_size=1, max_size=4))
@example([(NASTY, "|r|0||\n[1,2]\0"), (b"\n\n", ""), (b"\xff" * KB, '"],["'), ("€".encode() * KB, "")])
def test_whatever_is_said_comes_back_as_it_was(
    record: Recorder, show: Show, said: list[tuple[bytes, str]]
) -> None:
    record.forget()
    for answer, detail in said:
        record(answer, 500, detail)
    attempts = show(record.job, record.endpoint)["attempts"]
    assert [each.get("detail", "") for each in attempts] == [detail for _, detail in said]
    spoken = [number for number, (answer, _) in enumerate(said) if answer]
    for number, each in enumerate(attempts):
        if number not in {*spoken[:1], *spoken[-1:]}:
            assert "answer" not in each
            continue
        whole = said[number][0][:KB].decode("utf-8", "replace")
        assert whole.startswith(each["answer"])
        assert min(KB - 3, len(whole.encode())) <= len(each["answer"].encode()) <= KB


def test_what_a_receiver_said_moves_no_attempt_whose_place_was_lost(
    service: Service, record: Recorder
) -> None:
    at, client, endpoint = service.clock(), service.store.client, record.endpoint.id
    item = Attempt(at, 200, "protocol", 12, (0, 0, 0, 0), "found [1000000000000,").item()
    client.hset(rediskeys.event(record.job.events[-1]), endpoint, f"r|1||{item}")
    client.delete(rediskeys.wait(endpoint), rediskeys.due("default"))
    service.mender.everything()
    assert client.zscore(rediskeys.late(endpoint), record.job.events[-1]) == at + 5000


def test_how_long_each_phase_took_is_shown(
    service: Service,
    order: Orders,
    word: Words,
    serve: Serve,
    show: Show,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.receiver.released.wait(0.1)
        connection.answer(raw("500 No", b"slow"))

    pem = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    made = [subscribe(service, url, retry_schedule=(0.0,))[0] for url in (serve(behave), serve(behave, pem))]
    with forwarding(service, Policy(LOOPBACK)):
        job = finished(service, order(), word())
        for endpoint in made:
            settled(service, job, endpoint, DeliveryState.EXHAUSTED)
    for endpoint in made:
        (attempt,) = show(job, endpoint)["attempts"]
        assert (attempt["status"], attempt["answer"]) == (500, "slow")
        assert attempt["first_byte_ms"] >= 95
        phases = [attempt[f"{name}_ms"] for name in ("dns", "connect", "tls", "first_byte")]
        assert all(each >= 0 for each in phases)
        assert sum(phases) <= attempt["duration_ms"]
        assert attempt["tls_ms"] == 0 or endpoint.url.startswith("https:")
