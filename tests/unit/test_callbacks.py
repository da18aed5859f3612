"""Callbacks: whatever the bytes are, a prediction or a ValidationError."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from schemas.callbacks import MAX_BYTES, read_callback
from schemas.faults import flatten
from schemas.predictions import Prediction

BODY = (Path(__file__).parent.parent / "data" / "upstream-webhook-body.json").read_bytes()


def fault(body):
    with pytest.raises(ValidationError) as caught:
        read_callback(body)
    return flatten(caught.value.normalized_messages())[0]


def test_the_vendors_documented_callback_is_read():
    read = read_callback(BODY)
    assert (read.id, read.status, read.completed) == ("45b392b22c3b449fa935bd4dc", "completed", True)
    assert len(read.outputs) == 1
    assert (read.has_nsfw_contents, read.execution_time) == ((False,), 6710)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"error code: 502", "invalid_json"),
        (b"\xff\xfe{\0}\0", "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b'{"id": "\xed\xa0\x80"}', "invalid_json"),
        (b"{} {}", "invalid_json"),
        (b'{"executionTime": NaN}', "invalid_json"),
        (b'{"executionTime": -Infinity}', "invalid_json"),
        (b'{"executionTime": 1e999}', "invalid_json"),
        (b'{"executionTime": ' + b"9" * 5000 + b"}", "invalid_json"),
        (b'{"id": "a", "id": "b", "status": "completed"}', "invalid_json"),
        (b'{"timings": {"a": 1, "a": 1}}', "invalid_json"),
        (b'{"error": "\\ud800"}', "required"),
        (b'{"\\udfff": 1}', "required"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
        (b"[" * 100 + b"]" * 100, "too_deep"),
        (b"[]", "type"),
        (b"null", "type"),
        (b'"completed"', "type"),
        (b"{}", "required"),
        (b'{"id": 5, "status": "completed"}', "type"),
        (BODY + b" " * MAX_BYTES, "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:30]),
)
def test_a_hostile_body_is_refused(body, code):
    assert fault(body).code == code


def test_a_body_of_a_megabyte_is_read():
    assert read_callback(BODY + b" " * (MAX_BYTES - len(BODY))).completed


def test_an_echo_that_was_cut_inside_a_character_costs_no_result():
    told = json.loads(BODY) | {"input": {"prompt": "cut \ud83d"}}
    read = read_callback(json.dumps(told).encode())
    assert (read.completed, read.outputs) == (True, read_callback(BODY).outputs)
    assert read.input == {"prompt": "cut ?"}


def test_what_is_wrong_with_the_json_is_told_with_its_place():
    assert str(fault(b'{"id": }')) == "is not JSON: Expecting value (line 1, column 8)"
    assert str(fault(b'{"id": 1, "id": 2}')) == 'is not JSON: the name "id" stands twice in one object'


def outcome(body):
    try:
        return read_callback(body)
    except ValidationError as error:
        return flatten(error.normalized_messages())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
fields = st.sampled_from(
    ["id", "status", "model", "outputs", "urls", "has_nsfw_contents", "created_at", "error", "code",
     "executionTime", "timings", "input", "_schema", "__class__"]
)  # fmt: skip


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_prediction_or_in_faults(body):
    assert outcome(body)


@given(st.dictionaries(fields, json_values))
def test_any_object_ends_in_a_prediction_or_in_faults(value):
    assert outcome(json.dumps(value).encode())


@given(fields, json_values)
def test_the_documented_callback_with_any_field_changed_ends_in_a_prediction_or_in_faults(name, value):
    found = outcome(json.dumps(json.loads(BODY) | {name: value}).encode())
    if isinstance(found, Prediction):
        assert json.dumps(found.outputs).encode()
        assert found.error.encode() is not None


@given(st.integers(0, len(BODY)), st.integers(0, 8), st.binary(max_size=8))
def test_the_documented_callback_with_any_bytes_changed_ends_in_a_prediction_or_in_faults(start, gone, new):
    assert outcome(BODY[:start] + new + BODY[start + gone :])
