"""What may be set on an endpoint, and what is shown of it."""

from __future__ import annotations

import base64
import json
import math

import pytest
from marshmallow import ValidationError

from schemas.endpoints import (
    EndpointPatchSchema,
    EndpointSchema,
    EndpointView,
    NewEndpointView,
    check_together,
)
from schemas.eventtypes import EVENT_TYPES
from schemas.faults import flatten

URL = "https://example.com/hook"


def whsec(size):
    return "whsec_" + base64.b64encode(bytes(size)).decode()


def faults(schema, body):
    with pytest.raises(ValidationError) as caught:
        schema().load(body)
    found = flatten(caught.value.normalized_messages())
    assert all(fault.code != "invalid" for fault in found), found
    return found


def test_a_url_is_enough_and_the_rest_has_its_defaults():
    assert EndpointSchema().load({"url": URL}) == {
        "url": URL,
        "event_types": ("prediction.completed", "prediction.failed"),
        "format": "standard",
        "channels": (),
        "headers": {},
        "timeout": 15.0,
        "retry_schedule": None,
        "description": "",
        "metadata": {},
        "include_input": True,
        "paused": False,
        "rate": None,
        "ordered": False,
        "on_exhausted": "stop",
        "secret": None,
    }


def test_everything_that_is_set_is_taken():
    body = {
        "url": "http://127.0.0.1:9000/hook?a=b",
        "event_types": ["prediction.processing", "prediction.completed"],
        "format": "standard",
        "channels": ["a", "a.b_c-9"],
        "headers": {"Authorization": "Bearer abc def", "X-Team": "video"},
        "timeout": 30,
        "retry_schedule": [0, 0.5, 172_800],
        "description": "Für alle",
        "metadata": {"team": {"name": "vidéo"}, "tags": ["a", 1, None]},
        "include_input": False,
        "paused": True,
        "rate": 0.5,
        "ordered": True,
        "on_exhausted": "skip",
        "secret": whsec(24),
    }
    lists = {name: tuple(body[name]) for name in ("event_types", "channels", "retry_schedule")}
    assert EndpointSchema().load(body) == body | lists


SETTINGS = [
    ("url", None), ("url", 7), ("url", ""), ("url", "ftp://example.com"), ("url", "https://u:p@example.com/"),
    ("url", "https://token@example.com/"), ("url", "https://:@example.com/"), ("url", f"{URL}#top"),
    ("url", f"{URL}#"), ("url", "//example.com/hook"), ("url", "file:///etc/passwd"),
    ("url", "gopher://example.com/"), ("url", "javascript:alert(1)"), ("url", f"{URL}\r\nx: y"),
    ("url", "https://bücher.example/"), ("url", URL + "a" * 2048), ("url", "http://"),
    ("event_types", None), ("event_types", []), ("event_types", "prediction.completed"),
    ("event_types", ["prediction.started"]), ("event_types", ["prediction.failed", "prediction.failed"]),
    ("event_types", [7]), ("event_types", [None]),
    ("format", "cloudevent"), ("format", "CloudEvents"), ("format", 7), ("format", None),
    ("channels", ["A"]), ("channels", [""]), ("channels", ["a" * 65]), ("channels", ["a", "a"]),
    ("channels", "a"),
    ("channels", [str(n) for n in range(11)]), ("channels", ["a\n"]), ("channels", [7]), ("channels", None),
    ("headers", []), ("headers", None), ("headers", {f"x-{n}": "1" for n in range(21)}),
    ("headers", {"X-A": "1", "x-a": "2"}),
    *(("headers", {name: "1"}) for name in (
        "Content-Type", "content-length", "Host", "user-agent", "Webhook-Id", "webhook-signature",
        "webhook-timestamp", "webhook-anything",
        "Connection", "Transfer-Encoding", "TE", "Trailer", "trailers", "Upgrade", "Keep-Alive",
        "Proxy-Authorization", "proxy-authenticate", "Proxy-Connection", "HTTP2-Settings", "Expect",
        "", "a b", "a:b", ":authority", "a\r\nb", "a\n", "\ra", "a\0", "é", "x" * 65,
    )),
    *(("headers", {"x-a": value}) for value in (
        7, None, "", " a", "a ", "a\r\nhost: b", "a\nb", "a\r", "\na", "a\0b",
        "a\tb", "é", "\x7f", "a" * 1025, ["a"],
    )),
    ("timeout", 0), ("timeout", 0.9), ("timeout", 30.1), ("timeout", "5"), ("timeout", True),
    ("timeout", None), ("timeout", math.nan), ("timeout", math.inf), ("timeout", 10**400),
    ("retry_schedule", []), ("retry_schedule", [1] * 21), ("retry_schedule", [-1]), ("retry_schedule", ["1"]),
    ("retry_schedule", [172_801]), ("retry_schedule", [True]), ("retry_schedule", 5),
    ("retry_schedule", [math.nan]),
    ("metadata", None), ("metadata", []), ("metadata", "{}"), ("metadata", {"a": "b" * 2041}),
    ("metadata", {"a": math.nan}), ("metadata", {"a": "\ud800"}),
    ("description", "a" * 201), ("description", 7), ("description", "\ud800"), ("description", None),
    ("paused", 1), ("rate", 0), ("rate", 10_001), ("rate", "5"), ("ordered", "yes"), ("ordered", None),
    ("on_exhausted", "go on"), ("on_exhausted", None), ("paused", None),
    ("include_input", 1), ("include_input", "true"), ("include_input", None),
]  # fmt: skip
SECRETS = [
    "",
    "whsec_",
    "abc",
    whsec(23),
    whsec(65),
    whsec(24)[:-1],
    whsec(24) + "\n",
    7,
    "whsec_ü",
    whsec(24)[6:],
]


@pytest.mark.parametrize(("name", "value"), [*SETTINGS, *(("secret", value) for value in SECRETS)])
def test_a_bad_setting_is_refused_by_its_name(name, value):
    found = faults(EndpointSchema, {"url": URL} | {name: value})
    assert {fault.pointer.split("/")[1] for fault in found} == {name}
    assert all(fault.allowed for fault in found), found


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_a_bad_change_is_refused_by_its_name(name, value):
    assert {fault.pointer.split("/")[1] for fault in faults(EndpointPatchSchema, {name: value})} == {name}


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_holds_24_to_64_bytes(size):
    assert EndpointSchema().load({"url": URL, "secret": whsec(size)})["secret"] == whsec(size)


def test_a_fault_names_the_item_and_what_is_allowed():
    (fault,) = faults(
        EndpointSchema, {"url": URL, "event_types": ["prediction.completed", "prediction.started"]}
    )
    assert (fault.pointer, fault.code) == ("/event_types/1", "choice")
    allowed = ", ".join(EVENT_TYPES)
    assert str(fault) == f'event_types.1: "prediction.started" is not one of {allowed}'
    (fault,) = faults(EndpointSchema, {"url": URL, "headers": {"Host": "a"}})
    assert str(fault) == "headers.Host: is a header that the sender sets; leave it out"


def test_no_fault_shows_a_secret():
    body = {
        "url": "https://u:hidden@example.com",
        "secret": "hidden",
        "headers": {"authorization": "hidden\n", "x-key": ["hidden"]},
    }
    told = "".join(f"{fault} {fault.allowed}" for fault in faults(EndpointSchema, body))
    assert "hidden" not in told


@pytest.mark.parametrize("body", [{"x": 1}, {"enabled": True}, {"id": "ep_1"}])
def test_an_unknown_setting_is_refused_by_its_name(body):
    (fault,) = faults(EndpointSchema, {"url": URL} | body)
    assert (fault.field, fault.code) == (next(iter(body)), "unknown")
    assert "retry_schedule" in fault.allowed


def test_the_url_is_needed_to_make_one_and_not_to_change_one():
    (fault,) = faults(EndpointSchema, {})
    assert (fault.pointer, fault.code) == ("/url", "required")
    assert EndpointPatchSchema().load({}) == {}
    assert EndpointPatchSchema().load({"enabled": False, "retry_schedule": None}) == {
        "enabled": False,
        "retry_schedule": None,
    }


def test_the_secret_is_not_changed_in_passing():
    (fault,) = faults(EndpointPatchSchema, {"secret": whsec(24)})
    assert fault.code == "unknown"


def test_the_vendors_format_carries_final_events_only():
    body = {"url": URL, "format": "wavespeed"}
    assert EndpointSchema().load(body)["format"] == "wavespeed"
    (fault,) = faults(EndpointSchema, body | {"event_types": ["prediction.processing"]})
    assert fault.pointer == "/event_types"
    with pytest.raises(ValidationError):
        check_together({"format": "wavespeed", "event_types": ("prediction.processing",)})


def test_an_endpoint_is_shown_without_its_secret():
    endpoint = EndpointSchema().load({"url": URL, "secret": whsec(24), "retry_schedule": [1]})
    endpoint |= {"id": "ep_1", "enabled": True, "created_at": "2026-11-22T05:28:00.123Z"}
    shown = EndpointView().dump(endpoint)
    assert set(shown) == set(endpoint) - {"secret"}
    assert shown["retry_schedule"] == [1]
    assert NewEndpointView().dump(endpoint) == json.loads(json.dumps(endpoint))


@pytest.mark.parametrize("schema", [EndpointSchema, EndpointPatchSchema])
@pytest.mark.parametrize("body", [None, [], "x", 7])
def test_settings_that_are_no_object_are_refused(schema, body):
    (fault,) = faults(schema, body)
    assert (fault.pointer, fault.code) == ("", "type")
