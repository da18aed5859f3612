"""The vendor's prediction object, read and written."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from marshmallow import ValidationError

from schemas.faults import flatten
from schemas.predictions import (
    Prediction,
    envelope,
    error_body,
    prediction_object,
    read_prediction,
    rfc3339,
)

# As the vendor answered a submission.
SUBMITTED = json.loads(
    '{"code":200,"message":"success","data":{"id":"6488c2754f6f4dfea924382fa14d11bd","model":"alibaba/wan-2.5/'
    'text-to-image","outputs":[],"urls":{"get":"https://api.wavespeed.ai/api/v3/predictions/'
    '6488c2754f6f4dfea924382fa14d11bd/result"},"has_nsfw_contents":[],"status":"created",'
    '"created_at":"2025-09-29T23:09:43.027Z","error":"","executionTime":0,"timings":{"inference":0}}}'
)
LEAST = {"id": "a", "status": "created"}


def test_what_the_vendor_answered_is_written_again_to_the_letter():
    data = SUBMITTED["data"]
    made = prediction_object(
        id=data["id"],
        model=data["model"],
        status="created",
        created_at=1759187383.027,
        url=data["urls"]["get"],
    )
    assert json.dumps(envelope(made)) == json.dumps(SUBMITTED)


def test_what_the_vendor_answered_is_read():
    assert read_prediction(SUBMITTED["data"]) == Prediction(
        id="6488c2754f6f4dfea924382fa14d11bd",
        status="created",
        model="alibaba/wan-2.5/text-to-image",
        urls=SUBMITTED["data"]["urls"],
        created_at="2025-09-29T23:09:43.027Z",
        timings={"inference": 0},
    )


def test_a_whole_prediction_is_written_and_read():
    made = prediction_object(
        id="x" * 32,
        model="a/b",
        status="failed",
        created_at=0,
        url="http://127.0.0.1/x",
        outputs=["http://127.0.0.1/a.mp4"],
        has_nsfw_contents=[False],
        error="moderation",
        code=1200,
        execution_time=6710,
        input={"prompt": "x"},
    )
    assert list(made) == [
        "id", "model", "outputs", "urls", "has_nsfw_contents", "status", "created_at", "error",
        "executionTime", "timings", "code", "input",
    ]  # fmt: skip
    read = read_prediction(made)
    assert (read.code, read.error, read.execution_time, read.outputs) == (
        1200,
        "moderation",
        6710,
        tuple(made["outputs"]),
    )
    assert (read.timings, read.input, read.has_nsfw_contents) == (
        {"inference": 6710},
        {"prompt": "x"},
        (False,),
    )


@pytest.mark.parametrize("empty", [{}, dict.fromkeys(
    ["model", "outputs", "urls", "has_nsfw_contents", "created_at", "error", "code", "executionTime",
     "timings", "input"]
)])  # fmt: skip
def test_what_is_absent_or_null_is_empty(empty):
    assert read_prediction(LEAST | empty) == Prediction(id="a", status="created")


def test_what_is_unknown_is_passed_over():
    assert read_prediction(LEAST | {"queue": 7, "webhook": None}) == Prediction(id="a", status="created")


def test_nanoseconds_and_nulls_within_are_taken():
    told = {
        "created_at": "2025-09-25T09:12:48.239112031Z",
        "has_nsfw_contents": [None, True],
        "urls": {"get": None},
    }
    read = read_prediction(LEAST | told)
    assert (read.created_at, read.has_nsfw_contents, read.urls) == (told["created_at"], (False, True), {})


def test_a_model_may_answer_with_objects():
    assert read_prediction(LEAST | {"outputs": [{"text": "hi"}, "https://a.b/c"]}).outputs == (
        {"text": "hi"},
        "https://a.b/c",
    )


@pytest.mark.parametrize(
    ("status", "completed", "failed"),
    [("completed", True, False)]
    + [(word, False, True) for word in ("failed", "cancelled", "timeout", "deleted")]
    + [
        (word, False, False)
        for word in ("created", "processing", "queued", "Completed", "succeeded", "canceled")
    ],
)
def test_any_word_but_the_final_ones_means_still_running(status, completed, failed):
    read = read_prediction({"id": "a", "status": status})
    assert (read.completed, read.failed, read.final, read.status) == (
        completed,
        failed,
        completed or failed,
        status,
    )


@pytest.mark.parametrize("id_", ["a", "a-b_C9", "0" * 128])
def test_the_vendors_id_may_be_any_short_word(id_):
    assert read_prediction(LEAST | {"id": id_}).id == id_


def test_a_very_long_error_is_cut():
    assert len(read_prediction(LEAST | {"error": "x" * 100_000}).error) == 4000


WRONG: dict[str, list[Any]] = {
    "id": [None, 7, "", "a" * 129, "a/b", "a b", "é", "a\n", "\ud800", ["a"]],
    "status": [None, 7, "", "x" * 65, True, []],
    "outputs": [[1], [None], [["a"]], [True], 7, "\ud800", ["\ud800"], [{"a": math.nan}], ["a"] * 10_001],
}
SPARED: dict[str, list[Any]] = {
    "urls": [[], "x", 7, {"get": "\ud800"}],
    "has_nsfw_contents": ["x", [1], ["true"], {}, True],
    "error": [{}, 7, [], "\ud800", True],
    "code": ["1200", 1.5, True, 10**30],
    "executionTime": ["1", math.nan, math.inf, -1, True, 10**400],
    "timings": [[], 7, "x"],
    "model": [7, "x" * 257],
    "created_at": [7, {}],
    "input": ["x", []],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_a_wrong_shape_is_refused_by_its_field(field, value):
    with pytest.raises(ValidationError) as caught:
        read_prediction(LEAST | {field: value})
    assert {fault.pointer.split("/")[1] for fault in flatten(caught.value.normalized_messages())} == {field}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in SPARED for value in SPARED[field]])
def test_a_field_that_nobody_needs_costs_no_result(field, value):
    told = LEAST | {"status": "completed", "outputs": ["https://a.b/c.mp4"]}
    assert read_prediction(told | {field: value}) == read_prediction(told)


@pytest.mark.parametrize(
    ("outputs", "read"),
    [
        ("https://a.b/c", ("https://a.b/c",)),
        ({"text": "hi"}, ({"text": "hi"},)),
        (["https://a.b/c", None, 7, "\ud800"], ("https://a.b/c",)),
        ([], ()),
    ],
)
def test_of_several_outputs_those_that_can_be_read_are_taken(outputs, read):
    assert read_prediction(LEAST | {"outputs": outputs}).outputs == read


@pytest.mark.parametrize("obj", [None, [], "x", 7, True, {}, {"id": "a"}, {"status": "x"}, {"data": LEAST}])
def test_what_is_no_prediction_is_refused(obj):
    with pytest.raises(ValidationError):
        read_prediction(obj)


def test_an_error_carries_no_data():
    assert error_body(404, "no such prediction") == {"code": 404, "message": "no such prediction"}


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1758798328, "2025-09-25T11:05:28.000Z"),
        (1759187383.027, "2025-09-29T23:09:43.027Z"),
        (1759187383.9999, "2025-09-29T23:09:44.000Z"),
    ],
)
def test_a_time_is_told_in_utc_with_milliseconds(at, text):
    assert rfc3339(at) == text
