from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from cloudevents.core.bindings import http as cloudevents

from tests.clients.verifiers import (
    NODE,
    TOLERANCE,
    Message,
    Node,
    Refused,
    as_documented,
    with_standardwebhooks,
    with_svix,
)
from tests.installed import lacking, program
from tests.sandbox.client import Received, Receiver
from tests.ups import Up

OTHER_SECRET = "whsec_plJ3nmyCDGBKInavdOK15jsl"
FORMATS = ("standard", "wavespeed", "cloudevents")
HERE = {"as documented": as_documented, "standardwebhooks": with_standardwebhooks, "svix": with_svix}
IN_NODE = {"standardwebhooks in Node": "standardwebhooks", "svix in Node": "svix"}
OFFICIAL = ("standardwebhooks", "svix", *IN_NODE)


@dataclass(frozen=True)
class Way:
    """A webhook that was really sent, and one way to verify it."""

    message: Message
    verify: Callable[[Message], Any]


@pytest.fixture(scope="module")
def sent(quick: Up, receivers: tuple[Receiver, ...]) -> dict[str, Message]:
    """The webhooks of one job: to an endpoint of each format, and to the job's own URL."""
    *others, own = receivers
    endpoints = [subscribed(quick, *each) for each in zip(others, FORMATS, strict=True)]
    metadata = quote(json.dumps({"name": "Zoë"}, ensure_ascii=False))
    quick.submit(query=f"?webhook={quote(own.url + '/own?a=1', safe='')}&metadata={metadata}")
    got = [each.wait()[0] for each in receivers]
    for each in endpoints:
        quick.call("DELETE", f"/v1/endpoints/{each['id']}")
    secret = quick.call("GET", "/api/v3/webhook/secret")["data"]["secret"]
    secrets = [*(each["secret"] for each in endpoints), secret]
    assert got[-1].path == "/own?a=1"
    return dict(zip((*FORMATS, "job's own"), map(message, secrets, got), strict=True))


def subscribed(up: Up, receiver: Receiver, kind: str) -> dict[str, str]:
    return dict(up.call("POST", "/v1/endpoints", json={"url": receiver.url, "format": kind}))


def message(secret: str, received: Received) -> Message:
    return Message(secret, received.headers, received.body)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    path = program("node")
    if not (NODE / "node_modules").is_dir():
        lacking("what is in tests/clients/node/package.json")
    made = Node(path)
    yield made
    made.close()


@pytest.fixture(
    params=[
        *((kind, name) for kind in ("standard", "cloudevents") for name in OFFICIAL),
        ("wavespeed", "as documented"),
        ("job's own", "as documented"),
    ],
    ids=" ".join,
)
def way(request: pytest.FixtureRequest, sent: dict[str, Message]) -> Way:
    kind, name = request.param
    if name in IN_NODE:
        return Way(sent[kind], partial(request.getfixturevalue("node").verify, IN_NODE[name]))
    return Way(sent[kind], HERE[name])


def test_what_is_received_verifies(way: Way):
    assert way.verify(way.message) == json.loads(way.message.body)


def test_a_tampered_body_is_refused(way: Way):
    tampered = way.message.body.replace(b"completed", b"Completed")
    with pytest.raises(Refused):
        way.verify(replace(way.message, body=tampered))


def test_another_secret_is_refused(way: Way):
    with pytest.raises(Refused):
        way.verify(replace(way.message, secret=OTHER_SECRET))


def test_another_events_id_is_refused(way: Way):
    headers = {**way.message.headers, "webhook-id": "evt_1s61mgnh4k3b9v8a7cqz2x"}
    with pytest.raises(Refused):
        way.verify(replace(way.message, headers=headers))


def test_an_old_message_is_refused_though_it_is_well_signed(way: Way):
    way.verify(signed_at(way.message, 0))
    with pytest.raises(Refused):
        way.verify(signed_at(way.message, TOLERANCE + 10))


def signed_at(message: Message, seconds_ago: int) -> Message:
    """The same message, signed so long ago."""
    timestamp = str(int(time.time()) - seconds_ago)
    is_v3 = message.headers["webhook-signature"].startswith("v3,")
    signature = message.v3(timestamp) if is_v3 else message.v1(timestamp)
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


def test_the_sdk_of_cloudevents_reads_the_third_format(sent: dict[str, Message]):
    headers, body = dict(sent["cloudevents"].headers), sent["cloudevents"].body
    event = cloudevents.from_http_event(cloudevents.HTTPMessage(headers, body))
    standard = json.loads(sent["standard"].body)
    assert headers["content-type"] == "application/cloudevents+json"
    assert (event.get_specversion(), event.get_type()) == ("1.0", "prediction.completed")
    assert event.get_id() == headers["webhook-id"] == standard["id"]
    assert (event.get_source(), event.get_subject()) == ("urn:hookreel:default", standard["data"]["id"])
    assert event.get_time().isoformat() == standard["timestamp"].replace("Z", "000+00:00")
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == standard["data"]


def test_a_format_other_than_cloudevents_is_plain_json(sent: dict[str, Message]):
    types = {kind: each.headers["content-type"] for kind, each in sent.items() if kind != "cloudevents"}
    assert set(types.values()) == {"application/json"}
