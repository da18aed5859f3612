"""Signing secrets that follow each other, as the receivers of their deliveries see it."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix.webhooks

from schemas.predictions import Prediction
from service.acceptance import Order
from service.addresses import Policy
from service.bootstrap import Service, now_ms
from service.errors import Conflict, SignatureInvalid
from service.signing import verify_v3
from service.signingsecrets import MOST_LIVE, Secrets
from tests.store.cutter import Cutter
from tests.store.test_forwarder import (
    LOOPBACK,
    Receiver,
    finished,
    forwarding,
    receiver,  # noqa: F401 - a fixture
    subscribe,
)
from workers.forwarder import Forwarder

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
Got = tuple[dict[str, str], bytes]
HOUR, DAY = 3600, 86_400
OWN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_plJ3nmyCDGBKInavdOK15jsl"


@pytest.fixture
def forwarder(service: Service):
    with forwarding(service, Policy(LOOPBACK)) as made:
        yield made


@pytest.fixture
def heard(service: Service, order: Orders, word: Words, receiver: Receiver):  # noqa: F811
    """What the receiver gets of a job that ends now."""

    def hear(**changes: str) -> Got:
        before = len(receiver.got)
        finished(service, order(**changes), word())
        return receiver.wait_for(before + 1)[-1]

    return hear


def verifies(secret: str, got: Got) -> bool:
    """Whether both libraries that receivers use say that it is signed with ``secret``."""
    said = set()
    for library in (standardwebhooks, svix.webhooks):
        try:
            library.Webhook(secret).verify(got[1], got[0])
            said.add(True)
        except library.WebhookVerificationError:
            said.add(False)
    (agreed,) = said
    return agreed


def signers(secrets: list[str], got: Got) -> list[str]:
    """Those of the secrets with which it is signed, in the order of the signatures, whenever that was."""
    headers, body = got
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    made = {
        standardwebhooks.Webhook(each).sign(headers["webhook-id"], at, body.decode()): each
        for each in secrets
    }
    return [made[each] for each in headers["webhook-signature"].split(" ")]


def verifies_as_the_vendor_documents(secret: str, got: Got) -> bool:
    headers, body = got
    version, *rest = headers["webhook-signature"].split(",")
    if version != "v3" or len(rest) != 1:
        return False
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    made = hmac.new(secret.removeprefix("whsec_").encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(made, rest[0])


def verifies_v3(secret: str, got: Got) -> bool:
    try:
        verify_v3(secret, *got, time.time())
    except SignatureInvalid:
        return False
    return True


def test_during_an_overlap_a_receiver_verifies_with_the_secret_that_it_has(
    service: Service,
    heard,
    receiver: Receiver,  # noqa: F811
    forwarder: Forwarder,
) -> None:
    endpoint, first = subscribe(service, receiver.url)
    assert verifies(first, heard())
    rotated = service.endpoints.rotate("default", endpoint.id)
    got = heard()
    assert verifies(first, got)
    assert verifies(rotated.newest, got)
    assert not verifies(OTHER, got)
    assert signers([first, rotated.newest], got) == [rotated.newest, first]
    assert rotated.previous[0][1] == pytest.approx(now_ms() + DAY * 1000, abs=10_000)


def test_after_its_overlap_only_the_new_secret_verifies(
    service: Service,
    heard,
    receiver: Receiver,  # noqa: F811
    forwarder: Forwarder,
) -> None:
    endpoint, first = subscribe(service, receiver.url)
    service.endpoints.clock = lambda: now_ms() - 2 * HOUR * 1000
    rotated = service.endpoints.rotate("default", endpoint.id, overlap=HOUR)
    got = heard()
    assert verifies(rotated.newest, got)
    assert not verifies(first, got)


def test_an_overlap_ends_between_two_attempts_by_the_senders_clock_alone(
    service: Service,
    heard,
    receiver: Receiver,  # noqa: F811
    forwarder: Forwarder,
) -> None:
    endpoint, first = subscribe(service, receiver.url)
    second = service.endpoints.rotate("default", endpoint.id, overlap=7 * DAY)
    third = service.endpoints.rotate("default", endpoint.id, overlap=HOUR)
    ends = {secret: ends_at / 1000 for secret, ends_at in third.previous}
    secrets = [first, second.newest, third.newest]
    for at, expected in (
        (ends[second.newest] - 0.001, [third.newest, second.newest, first]),
        (ends[second.newest], [third.newest, first]),
        (ends[first], [third.newest]),
    ):
        forwarder.mailroom.clock = lambda at=at: at  # type: ignore[misc]
        assert signers(secrets, heard()) == expected


def test_without_an_overlap_the_old_secret_ends_at_once(
    service: Service,
    heard,
    receiver: Receiver,  # noqa: F811
    forwarder: Forwarder,
) -> None:
    endpoint, first = subscribe(service, receiver.url)
    assert verifies(first, heard())
    assert service.endpoints.rotate("default", endpoint.id, OWN, 0) == Secrets(OWN)
    got = heard()
    assert verifies(OWN, got)
    assert not verifies(first, got)


def test_a_retry_is_signed_with_what_is_live_then(
    service: Service,
    heard,
    receiver: Receiver,  # noqa: F811
    forwarder: Forwarder,
) -> None:
    endpoint, first = subscribe(service, receiver.url, retry_schedule=(0.0, 0.2))
    receiver.statuses = [500]
    heard()
    service.endpoints.rotate("default", endpoint.id, OWN, 0)
    before, after = receiver.wait_for(2)
    assert before[0]["webhook-id"] == after[0]["webhook-id"]
    assert (verifies(first, before), verifies(OWN, after), verifies(first, after)) == (True, True, False)


def test_an_endpoint_in_the_vendors_format_keeps_to_one_signature_unless_asked(
    service: Service,
    heard,
    receiver: Receiver,  # noqa: F811
    forwarder: Forwarder,
) -> None:
    endpoint, first = subscribe(service, receiver.url, format="wavespeed")
    assert verifies_as_the_vendor_documents(first, heard())
    second = service.endpoints.rotate("default", endpoint.id).newest
    assert verifies_as_the_vendor_documents(second, heard())
    service.endpoints.rotate("default", endpoint.id, OWN, HOUR)
    got = heard()
    assert [verifies_v3(each, got) for each in (OWN, second, first)] == [True, True, False]
    assert got[0]["webhook-signature"].count("v3,") == 2


def test_the_secret_of_jobs_own_webhooks_is_rotated_likewise(
    service: Service,
    heard,
    receiver: Receiver,  # noqa: F811
    forwarder: Forwarder,
) -> None:
    service.endpoints.policy = Policy(LOOPBACK)
    first = service.workspace_secrets.of("default").newest
    assert verifies_as_the_vendor_documents(first, heard(webhook=receiver.url))
    second = service.workspace_secrets.rotate("default").newest
    assert verifies_as_the_vendor_documents(second, heard(webhook=receiver.url))
    assert service.workspace_secrets.rotate("default", OWN, HOUR).previous[0][0] == second
    got = heard(webhook=receiver.url)
    assert [verifies_v3(each, got) for each in (OWN, second, first)] == [True, True, False]
    service.apikeys.create("other")
    assert service.workspace_secrets.of("other").newest not in (OWN, first, second)


@pytest.mark.parametrize("whose", ["endpoint", "workspace"])
def test_an_eleventh_live_secret_is_refused_in_words_that_say_when_there_is_room(
    service: Service, whose: str
) -> None:
    now = 1_790_000_000_000
    service.endpoints.clock = service.workspace_secrets.clock = lambda: now
    endpoint, _ = service.endpoints.create("default", {"url": "https://example.com/"})

    def rotate(overlap: float) -> Secrets:
        if whose == "endpoint":
            return service.endpoints.rotate("default", endpoint.id, overlap=overlap)
        return service.workspace_secrets.rotate("default", overlap=overlap)

    for number in range(1, MOST_LIVE):
        assert len(rotate(number * HOUR).live(now)) == number + 1
    with pytest.raises(Conflict, match=r"10 secrets are live.* ends at 2026-09-21T15:13:20\.000Z"):
        rotate(HOUR)
    assert len(rotate(0).live(now)) == MOST_LIVE
    now += HOUR * 1000
    assert len(rotate(HOUR).live(now)) == MOST_LIVE


def test_the_secret_that_signs_already_changes_nothing_and_none_signs_twice(service: Service) -> None:
    endpoint, first = service.endpoints.create("default", {"url": "https://example.com/"})
    rotated = service.endpoints.rotate("default", endpoint.id, OWN, HOUR)
    assert service.endpoints.rotate("default", endpoint.id, OWN, 0) == rotated
    back = service.endpoints.rotate("default", endpoint.id, first, HOUR)
    assert back.live(0) == [first, OWN]


def test_a_secret_that_has_ended_leaves_the_record_with_the_next_change(service: Service) -> None:
    endpoint, first = service.endpoints.create("default", {"url": "https://example.com/"})
    service.endpoints.clock = lambda: now_ms() - 2 * HOUR * 1000
    service.endpoints.rotate("default", endpoint.id, overlap=HOUR)
    kept = service.endpoints.get("default", endpoint.id)
    assert [service.sealer.open(each) for each, _ in kept.old_secrets] == [first]
    service.endpoints.clock = now_ms
    assert service.endpoints.secrets(kept).previous == ()
    assert service.endpoints.update("default", endpoint.id, {"timeout": 5}).old_secrets == ()


def test_a_rotation_whose_answer_was_lost_happens_once(
    service: Service, behind: Service, cutter: Cutter
) -> None:
    endpoint, first = service.endpoints.create("default", {"url": "https://example.com/"})
    cutter.lose_answers(1, b"HINCRBY")
    rotated = behind.endpoints.rotate("default", endpoint.id)
    assert cutter.lost == 1
    assert rotated.live(0) == [rotated.newest, first]
    assert service.endpoints.secrets(service.endpoints.get("default", endpoint.id)) == rotated


def test_rotations_at_the_same_moment_lose_none(service: Service) -> None:
    endpoint, first = service.endpoints.create("default", {"url": "https://example.com/"})
    meant = service.endpoints.get

    def overtaken(workspace: str, endpoint_id: str):
        found = meant(workspace, endpoint_id)
        service.endpoints.get = meant  # type: ignore[method-assign]
        service.endpoints.rotate("default", endpoint.id, OTHER)
        return found

    service.endpoints.get = overtaken  # type: ignore[method-assign]
    assert service.endpoints.rotate("default", endpoint.id, OWN).live(0) == [OWN, OTHER, first]


def test_no_secret_is_shown_by_what_holds_it_or_says_why_it_cannot(
    service: Service,
    heard,
    receiver: Receiver,  # noqa: F811
    forwarder: Forwarder,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint, first = subscribe(service, receiver.url)
    rotated = service.endpoints.rotate("default", endpoint.id)
    heard()
    kept = service.endpoints.get("default", endpoint.id)
    shown = [
        repr(each) for each in (rotated, kept, service.endpoints.secrets(kept), service.workspace_secrets)
    ]
    for _ in range(MOST_LIVE - 2):
        service.endpoints.rotate("default", endpoint.id)
    with pytest.raises(Conflict) as refused:
        service.endpoints.rotate("default", endpoint.id)
    shown += [str(refused.value), repr(refused.value), caplog.text, *capfd.readouterr()]
    hidden = [first, rotated.newest, kept.secret, kept.old_secrets[0][0]]
    assert not [each for each in hidden if any(each in text for text in shown)]
