from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
import standardwebhooks
import svix.webhooks

from tests.sandbox.client import Received, Receiver
from tests.ups import Up

TOLERANCE = 300
OTHER_SECRET = "whsec_plJ3nmyCDGBKInavdOK15jsl"


@dataclass(frozen=True)
class Message:
    """What a receiver got, and the secret that it knows."""

    secret: str
    headers: Mapping[str, str]
    body: bytes


Verify = Callable[[Message], None]


class Refused(Exception):
    """The vendor's documented algorithm says no."""


def with_standardwebhooks(message: Message) -> None:
    standardwebhooks.Webhook(message.secret).verify(message.body, dict(message.headers))


def with_svix(message: Message) -> None:
    svix.webhooks.Webhook(message.secret).verify(message.body, dict(message.headers))


def as_documented(message: Message) -> None:
    """The vendor's page on webhooks: v3, hex, the secret's text after ``whsec_`` as the key, 300 s."""
    headers = message.headers
    version, _, given = headers["webhook-signature"].partition(",")
    if version != "v3" or abs(time.time() - int(headers["webhook-timestamp"])) > TOLERANCE:
        raise Refused
    if not hmac.compare_digest(v3(message, headers["webhook-timestamp"]), given):
        raise Refused


def v3(message: Message, timestamp: str) -> str:
    key = message.secret.removeprefix("whsec_").encode()
    signed = b"%s.%s.%s" % (message.headers["webhook-id"].encode(), timestamp.encode(), message.body)
    return hmac.new(key, signed, hashlib.sha256).hexdigest()


def v1(message: Message, at: datetime) -> str:
    webhook = standardwebhooks.Webhook(message.secret)
    return webhook.sign(message.headers["webhook-id"], at, message.body.decode())


WAYS = [
    ("standard", with_standardwebhooks, standardwebhooks.WebhookVerificationError),
    ("standard", with_svix, svix.webhooks.WebhookVerificationError),
    ("wavespeed", as_documented, Refused),
    ("job's own", as_documented, Refused),
]
ways = pytest.mark.parametrize(("kind", "verify", "refusal"), WAYS)


@pytest.fixture(scope="module")
def sent(quick: Up, receivers: tuple[Receiver, ...]) -> dict[str, Message]:
    """The webhooks of one job: to an endpoint of each format, and to the job's own URL."""
    standard, bare, own = receivers
    endpoints = [subscribed(quick, standard, "standard"), subscribed(quick, bare, "wavespeed")]
    quick.submit(query=f"?webhook={quote(own.url + '/own?a=1', safe='')}")
    got = [each.wait()[0] for each in receivers]
    for each in endpoints:
        quick.call("DELETE", f"/v1/endpoints/{each['id']}")
    secret = quick.call("GET", "/api/v3/webhook/secret")["data"]["secret"]
    secrets = [*(each["secret"] for each in endpoints), secret]
    assert got[2].path == "/own?a=1"
    return dict(zip(("standard", "wavespeed", "job's own"), map(message, secrets, got), strict=True))


def subscribed(up: Up, receiver: Receiver, kind: str) -> dict[str, str]:
    return dict(up.call("POST", "/v1/endpoints", json={"url": receiver.url, "format": kind}))


def message(secret: str, received: Received) -> Message:
    return Message(secret, received.headers, received.body)


@ways
def test_what_is_received_verifies(
    sent: dict[str, Message], kind: str, verify: Verify, refusal: type[Exception]
):
    verify(sent[kind])


@ways
def test_a_tampered_body_is_refused(
    sent: dict[str, Message], kind: str, verify: Verify, refusal: type[Exception]
):
    with pytest.raises(refusal):
        verify(replace(sent[kind], body=sent[kind].body.replace(b"completed", b"Completed")))


@ways
def test_another_secret_is_refused(
    sent: dict[str, Message], kind: str, verify: Verify, refusal: type[Exception]
):
    with pytest.raises(refusal):
        verify(replace(sent[kind], secret=OTHER_SECRET))


@ways
def test_an_old_message_is_refused_though_it_is_well_signed(
    sent: dict[str, Message], kind: str, verify: Verify, refusal: type[Exception]
):
    verify(signed_at(sent[kind], 0))
    with pytest.raises(refusal):
        verify(signed_at(sent[kind], TOLERANCE + 10))


def signed_at(message: Message, seconds_ago: int) -> Message:
    """The same message, signed so long ago."""
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    timestamp = str(int(at.timestamp()))
    is_v3 = message.headers["webhook-signature"].startswith("v3,")
    signature = f"v3,{v3(message, timestamp)}" if is_v3 else v1(message, at)
    headers = {**message.headers, "webhook-timestamp": timestamp, "webhook-signature": signature}
    return replace(message, headers=headers)


def test_the_vendors_format_is_the_bare_prediction_under_our_id(sent: dict[str, Message]):
    bodies = [json.loads(sent[kind].body) for kind in ("wavespeed", "job's own")]
    assert bodies[0] == bodies[1]
    assert bodies[0]["status"] == "completed"
    assert bodies[0]["id"] == json.loads(sent["standard"].body)["data"]["id"]
    assert not {"data", "type", "metadata", "channel"} & set(bodies[0])


def test_the_standard_format_carries_the_events_id_in_header_and_body(sent: dict[str, Message]):
    standard = sent["standard"]
    assert standard.headers["webhook-id"] == json.loads(standard.body)["id"]
