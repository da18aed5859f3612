"""What callers may ask with."""

from __future__ import annotations

import datetime as dt

import pytest
from marshmallow import ValidationError

from schemas.faults import flatten
from schemas.queries import (
    DeleteBody,
    DeliveriesQuery,
    EventsQuery,
    PageQuery,
    PredictionsBody,
    PriceBody,
    SubmitQuery,
    UploadBody,
    check_idempotency_key,
)


def faults(schema, body):
    with pytest.raises(ValidationError) as caught:
        schema().load(body)
    found = flatten(caught.value.normalized_messages())
    assert all(fault.code != "invalid" for fault in found), found
    return found


@pytest.mark.parametrize("schema", [PageQuery, DeliveriesQuery])
def test_a_page_has_its_defaults(schema):
    found = schema().load({})
    assert (found["limit"], found["cursor"]) == (20, None)
    assert schema().load({"limit": "100", "cursor": "a.b=_-"})["limit"] == 100


@pytest.mark.parametrize("schema", [PageQuery, DeliveriesQuery, EventsQuery])
@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "1.5", "+5", " 5", "5_0", "\u0665", "9" * 30])
def test_a_limit_is_a_number_from_1_to_100(schema, limit):
    (fault,) = faults(schema, {"limit": limit})
    assert (fault.pointer, fault.allowed) == ("/limit", "an integer from 1 to 100")


def test_deliveries_are_filtered():
    query = {"endpoint": "ep_1", "event": "evt_1", "job": "0" * 32, "state": "exhausted"}
    assert DeliveriesQuery().load(query) == query | {"limit": 20, "cursor": None}
    (fault,) = faults(DeliveriesQuery, {"state": "lost"})
    assert fault.detail == '"lost" is not one of pending, retrying, delivered, exhausted, held, cancelled'


@pytest.mark.parametrize("name", ["endpoint", "event", "job"])
@pytest.mark.parametrize("value", ["", "a b", "a\n", "a:b", "*", "a" * 129])
def test_an_id_in_a_filter_is_a_word(name, value):
    assert faults(DeliveriesQuery, {name: value})[0].field == name


@pytest.mark.parametrize("name", ["stat", "after"])
def test_a_misspelled_filter_is_refused(name):
    assert faults(DeliveriesQuery, {name: "x"})[0].code == "unknown"


def test_events_are_read_from_the_start_or_after_one():
    assert EventsQuery().load({}) == {"after": "0", "limit": 20}
    assert EventsQuery().load({"after": "evt_01abc", "limit": "5"}) == {"after": "evt_01abc", "limit": 5}


def test_a_submission_may_carry_a_webhook_a_channel_and_metadata():
    query = {
        "webhook": "http://127.0.0.1:1/a?b=c",
        "channel": "video",
        "metadata": '{"a": [1, null]}',
        "utm": "x",
    }
    assert SubmitQuery().load(query) == {
        "webhook": "http://127.0.0.1:1/a?b=c",
        "channel": "video",
        "metadata": {"a": [1, None]},
    }
    assert SubmitQuery().load({}) == {"webhook": None, "channel": None, "metadata": None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook", ""),
        ("webhook", "example.com"),
        ("webhook", "ftp://example.com"),
        ("webhook", "https://u:p@example.com"),
        ("channel", ""),
        ("channel", "A"),
        ("metadata", ""),
        ("metadata", "[]"),
        ("metadata", "{"),
        ("metadata", '{"a": NaN}'),
        ("metadata", '{"a": 1, "a": 2}'),
        ("metadata", '{"a": "\\ud800"}'),
        ("metadata", '{"a": "\ud800"}'),
        ("metadata", '{"a": "' + "x" * 2048 + '"}'),
        ("metadata", '{"a": "' + "é" * 1024 + '"}'),
        ("metadata", '{"a":' * 70 + "1" + "}" * 70),
    ],
)
def test_a_bad_submit_query_is_refused_by_its_name(name, value):
    assert {fault.field for fault in faults(SubmitQuery, {name: value})} == {name}


def test_an_idempotency_key_is_visible_ascii():
    assert check_idempotency_key("a" * 255)
    for key in ("", "a" * 256, "a b", "é", "a\n", "\x00"):
        with pytest.raises(ValidationError):
            check_idempotency_key(key)


def test_the_vendors_list_has_its_defaults_and_filters():
    assert PredictionsBody().load({}) == {
        "page": 1,
        "page_size": 20,
        "model": None,
        "status": None,
        "created_after": None,
        "created_before": None,
    }
    found = PredictionsBody().load(
        {
            "page": 2,
            "page_size": 100,
            "model": "a/b",
            "status": "completed",
            "created_after": "2026-11-22T05:28:00.123456789Z",
            "created_before": "2026-11-22t05:28:00+01:30",
            "unknown": 1,
        }
    )
    assert found["created_after"] == dt.datetime(2026, 11, 22, 5, 28, 0, 123456, dt.UTC)
    assert found["created_before"].utcoffset() == dt.timedelta(minutes=90)


@pytest.mark.parametrize(
    ("schema", "body", "name"),
    [
        *((PredictionsBody, {"page": value}, "page") for value in (0, "1", 1.0, True, 10**9)),
        *((PredictionsBody, {"page_size": value}, "page_size") for value in (0, 101, "20")),
        *((PredictionsBody, {"status": value}, "status") for value in ("done", 7, "")),
        *(
            (PredictionsBody, {"created_after": value}, "created_after")
            for value in ("yesterday", "2026-11-22", "2026-11-22T05:28:00", "2026-13-01T00:00:00Z", 7, "")
        ),
        (DeleteBody, {}, "ids"),
        *((DeleteBody, {"ids": ids}, "ids") for ids in ([], "a", ["a"] * 101)),
        *((DeleteBody, {"ids": [value]}, "ids") for value in ("", 7, None, "a" * 129)),
        (PriceBody, {}, "model_id"),
        (PriceBody, {"model_id": "a/b", "inputs": []}, "inputs"),
        (UploadBody, {"size": 1}, "filename"),
        *((UploadBody, {"size": 1, "filename": name}, "filename") for name in ("", 7, "a\nb", "a" * 256)),
        *(
            (UploadBody, {"filename": "a", "size": size}, "size")
            for size in (0, -1, 200 * 1024 * 1024 + 1, "1", 1.0, None)
        ),
        *(
            (UploadBody, {"filename": "a", "size": 1, "content_type": t}, "content_type")
            for t in ("x", 7, "a/b\r\n")
        ),
    ],
)
def test_a_bad_body_of_the_vendors_small_calls_is_refused_by_its_name(schema, body, name):
    assert {fault.pointer.split("/")[1] for fault in faults(schema, body)} == {name}


def test_the_vendors_small_bodies_are_taken():
    assert DeleteBody().load({"ids": ["a", "b"]}) == {"ids": ("a", "b")}
    assert PriceBody().load({"model_id": "a/b"}) == {"model_id": "a/b", "inputs": {}}
    assert UploadBody().load({"filename": "ä.jpg", "size": 200 * 1024 * 1024}) == {
        "filename": "ä.jpg",
        "size": 200 * 1024 * 1024,
        "content_type": None,
    }
    assert UploadBody().load({"filename": "a", "size": 1, "content_type": "text/plain; charset=utf-8"})[
        "content_type"
    ]


@pytest.mark.parametrize("schema", [DeleteBody, PriceBody, UploadBody])
@pytest.mark.parametrize("body", [None, [], "x", 7])
def test_a_body_that_is_no_object_is_refused(schema, body):
    (fault,) = faults(schema, body)
    assert (fault.pointer, fault.code) == ("", "type")
