"""What is sent of an event, in the format that an endpoint has chosen."""

from __future__ import annotations

import json

import pytest

from schemas.eventtypes import COMPLETED, DELIVERY_EXHAUSTED, EVENT_TYPES, OPERATIONAL, example
from service.deliveries import Message
from service.records import Endpoint, squeeze


def endpoint(**settings):
    return Endpoint("ep_1", "video_team-1", "https://example.com/hooks", 0, **settings)


def message(kind):
    return Message(squeeze(json.dumps(example(kind), separators=(",", ":")).encode()))


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_a_cloud_event_has_the_events_attributes_and_its_data(kind):
    event = example(kind)
    told = json.loads(message(kind).body(endpoint(format="cloudevents")))
    subject = {} if kind in OPERATIONAL else {"subject": event["data"]["id"]}
    assert told == subject | {
        "specversion": "1.0",
        "id": event["id"],
        "source": "urn:hookreel:video_team-1",
        "type": kind,
        "time": event["timestamp"],
        "datacontenttype": "application/json",
        "data": event["data"],
    }


def test_an_endpoint_may_go_without_the_input_in_every_format_of_ours():
    sent = message(COMPLETED)
    for chosen in ("standard", "cloudevents", "standard", "cloudevents"):
        whole = json.loads(sent.body(endpoint(format=chosen)))
        bare = json.loads(sent.body(endpoint(format=chosen, include_input=False)))
        assert whole["data"].pop("input") == example(COMPLETED)["data"]["input"]
        assert bare == whole


def test_an_event_without_input_goes_out_as_it_is():
    for chosen in ("standard", "cloudevents"):
        sent = message(DELIVERY_EXHAUSTED).body(endpoint(format=chosen, include_input=False))
        assert json.loads(sent)["data"] == example(DELIVERY_EXHAUSTED)["data"]


def test_bodies_are_compact_json_in_utf_8():
    event = example(COMPLETED)
    event["data"]["metadata"] = {"name": "Zoë"}
    stored = squeeze(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode())
    body = Message(stored).body(endpoint(format="cloudevents"))
    assert '"metadata":{"name":"Zoë"}'.encode() in body
