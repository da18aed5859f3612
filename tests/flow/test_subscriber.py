from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
import requests
from standardwebhooks import Webhook

from service.cli.subscriber import Subscriber

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"id":"evt_1"}'


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    with closing(Subscriber("subscriber 1")) as subscriber:
        subscriber.secret = SECRET
        yield subscriber


def signed(secret: str) -> dict[str, str]:
    at = datetime.now(UTC)
    signature = Webhook(secret).sign("evt_1", at, BODY)
    timestamp = str(int(at.timestamp()))
    return {"webhook-id": "evt_1", "webhook-timestamp": timestamp, "webhook-signature": signature}


def post(subscriber: Subscriber, headers: dict[str, str]) -> int:
    return requests.post(subscriber.url, data=BODY, headers=headers, timeout=5).status_code


def test_a_subscriber_keeps_what_verifies(subscriber: Subscriber):
    assert post(subscriber, signed(SECRET)) == 204
    assert subscriber.wait(time.monotonic())
    assert [each.event for each in subscriber.events] == [{"id": "evt_1"}]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed("whsec_plJ3nmyCDGBKInavdOK15jsl"),
        {**signed(SECRET), "webhook-timestamp": "1614265330"},
        {**signed(SECRET), "webhook-signature": "v1"},
        {**signed(SECRET), "webhook-signature": "v1,not base64"},
    ],
)
def test_a_subscriber_refuses_what_does_not(subscriber: Subscriber, headers: dict[str, str]):
    assert post(subscriber, headers) == 401
    assert not subscriber.wait(time.monotonic())
    assert subscriber.received[0].refusal


def test_who_waits_at_a_subscriber_that_is_closed_is_let_go(subscriber: Subscriber):
    subscriber.close()
    assert not subscriber.wait(time.monotonic() + 60)
