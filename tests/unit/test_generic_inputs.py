"""Models beyond the table: a JSON object, checked by what the vendor says of the model."""

from __future__ import annotations

import math

import pytest
from marshmallow import ValidationError

from schemas import catalogue, inputs
from schemas.faults import flatten
from schemas.models import MODELS


def faults(call, *arguments):
    with pytest.raises(ValidationError) as caught:
        call(*arguments)
    return flatten(caught.value.normalized_messages())


SCHEMA = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "maxLength": 5},
        "size": {"type": "string", "enum": ["small", "large"]},
        "steps": {"type": "integer", "minimum": 1, "maximum": 50},
        "seed": {"type": "integer", "nullable": True},
        "loras": {"type": "array", "maxItems": 1, "items": {"type": "object", "required": ["path"]}},
    },
    "required": ["prompt"],
}
WRAPPED = [
    SCHEMA,
    [SCHEMA],
    {"api_schemas": [{"type": "model_run", "request_schema": SCHEMA}]},
    {"openapi": "3.0.0", "components": {"schemas": {"Response": {}, "Request": SCHEMA}}},
    {"request_schema": SCHEMA},
]


@pytest.mark.parametrize("api_schema", WRAPPED)
def test_another_models_body_is_checked_by_what_the_vendor_says(api_schema):
    body = {"size": "huge", "steps": 0, "loras": [{}, 1], "seed": None}
    told = sorted(str(fault) for fault in faults(inputs.parse_generic, "a/b", body, api_schema))
    assert told == [
        "loras.0.path: is required",
        "loras.1: 1 is not of type object",
        "loras: a list has more items than 1",
        "prompt: is required",
        'size: "huge" is not one of "small", "large"',
        "steps: 0 is less than 1",
    ]


@pytest.mark.parametrize("api_schema", WRAPPED)
def test_another_models_good_body_passes_as_it_is(api_schema):
    body = {"prompt": "hello", "steps": 50, "seed": None, "new": 1, "image": "data:image/png;base64,xx"}
    assert inputs.parse_generic("a/b", body, api_schema) == inputs.Input("a/b", body, {})


@pytest.mark.parametrize(
    "api_schema",
    [
        None, {}, [], "x", 7, {"properties": 7}, {"api_schemas": [None, {}]},
        {"properties": {}, "type": "nope"},
        {"properties": {"prompt": {"required": True}}}, {"properties": {}, "$ref": "https://example.com/x"},
        {"properties": {}, "$ref": "#"}, {"properties": {}, "$ref": "#/nowhere"},
        {"properties": {"prompt": {"pattern": "("}}},
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_used_refuses_nothing(api_schema):
    assert inputs.parse_generic("a/b", {"prompt": 7}, api_schema).fields == {"prompt": 7}


def test_a_schema_that_forbids_what_it_does_not_know_is_obeyed():
    schema = SCHEMA | {"additionalProperties": False}
    (fault,) = faults(inputs.parse_generic, "a/b", {"prompt": "x", "extra": 1}, schema)
    assert str(fault) == "extra: is not a parameter of this model; prompt, size, steps, seed, loras"


def test_no_more_than_twenty_faults_are_told():
    schema = {"properties": {}, "additionalProperties": False}
    assert len(faults(inputs.parse_generic, "a/b", {str(n): n for n in range(100)}, schema)) == 20


def test_our_own_catalogue_refuses_what_our_schemas_refuse():
    model = MODELS["minimax/hailuo-02/fast"]
    body = {"duration": 7, "go_fast": 1, "x": 1}
    told = {fault.field for fault in faults(inputs.parse_generic, "a/b", body, model.api_schema)}
    assert told == {"image", "duration", "go_fast", "x"}


def nested(levels):
    value: dict[str, object] = {}
    for _ in range(levels):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (None, "type"),
        ([], "type"),
        ({"a": math.nan}, "invalid_json"),
        ({"a": [math.inf]}, "invalid_json"),
        ({"a": "\udfff"}, "invalid_unicode"),
        ({"\ud800": 1}, "invalid_unicode"),
        (nested(40), "too_deep"),
        (nested(5000), "too_deep"),
        ({"a": "x" * 1024 * 1024}, "too_large"),
        ({"a": "é" * 600_000}, "too_large"),
    ],
)
def test_another_models_body_is_a_json_object_of_at_most_a_megabyte(body, code):
    (fault,) = faults(inputs.parse_generic, "a/b", body)
    assert (fault.pointer, fault.code) == ("", code)


def test_a_megabyte_is_measured_on_compact_json():
    assert inputs.parse_generic("a/b", {"a": "x" * (1024 * 1024 - 8)}).fields


@pytest.mark.parametrize("model_id", ["flux", "../x", "predictions/delete", ""])
def test_a_model_id_that_is_none_is_refused(model_id):
    (fault,) = faults(inputs.parse_generic, model_id, {})
    assert (fault.pointer, fault.code) == ("/model", "invalid_model")


def test_a_number_that_no_float_holds_is_refused_by_no_rule_about_fractions():
    schema = {"type": "object", "properties": {"g": {"type": "number", "multipleOf": 0.1}}}
    catalogue.check({"g": 10**400}, schema)


def test_a_parameter_may_have_any_name():
    schema = {"type": "object", "properties": {}, "additionalProperties": False, "minProperties": 3}
    found = faults(catalogue.check, {"_schema": 1, "b": 2}, schema)
    assert {each.pointer for each in found} == {"", "/b"}
