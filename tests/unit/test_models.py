"""The Hailuo table and the catalogue made from it."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator
from marshmallow import ValidationError

from schemas.models import MODELS, check_model_id

PRICES = {
    "minimax/hailuo-02/fast": 0.10,
    "minimax/hailuo-02/standard": 0.23,
    "minimax/hailuo-02/pro": 0.48,
    "minimax/hailuo-02/i2v-standard": 0.23,
    "minimax/hailuo-02/i2v-pro": 0.49,
    "minimax/hailuo-02/t2v-standard": 0.23,
    "minimax/hailuo-02/t2v-pro": 0.48,
    "minimax/hailuo-2.3/fast": 0.19,
    "minimax/hailuo-2.3/fast-pro": 0.33,
    "minimax/hailuo-2.3/i2v-standard": 0.28,
    "minimax/hailuo-2.3/i2v-pro": 0.49,
    "minimax/hailuo-2.3/t2v-standard": 0.28,
    "minimax/hailuo-2.3/t2v-pro": 0.49,
}


def test_the_family_has_thirteen_models_at_the_vendors_prices():
    assert {id_: model.catalogue_entry["base_price"] for id_, model in MODELS.items()} == PRICES


@pytest.mark.parametrize("model_id", MODELS)
def test_a_catalogue_entry_has_the_vendors_shape_and_is_json(model_id):
    entry = MODELS[model_id].catalogue_entry
    assert set(entry) == {"model_id", "name", "base_price", "description", "type", "api_schema"}
    assert json.loads(json.dumps(entry)) == entry


@pytest.mark.parametrize("model_id", MODELS)
def test_the_request_in_the_catalogue_is_a_json_schema(model_id):
    run = MODELS[model_id].api_schema["api_schemas"][0]
    assert run["api_path"] == f"/api/v3/{model_id}"
    Draft202012Validator.check_schema(run["request_schema"])


def test_the_catalogue_tells_every_parameter_of_the_fast_model():
    schema = MODELS["minimax/hailuo-02/fast"].request_schema
    assert schema["required"] == ["image"]
    assert " ".join(schema["x-order-properties"]) == "image prompt duration enable_prompt_expansion go_fast"
    duration = schema["properties"]["duration"]
    assert (duration["type"], duration["default"], duration["enum"]) == ("integer", 6, [6, 10])
    assert schema["properties"]["go_fast"]["default"] is True


def test_a_model_is_named_by_its_id_and_typed_by_what_it_takes():
    assert MODELS["minimax/hailuo-02/i2v-pro"].name == "Minimax Hailuo 02 I2V Pro"
    assert MODELS["minimax/hailuo-02/fast"].type == "image-to-video"
    assert MODELS["minimax/hailuo-2.3/t2v-pro"].type == "text-to-video"
    assert MODELS["minimax/hailuo-02/fast"].resolution == "512p"


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        MODELS["minimax/hailuo-02/fast"] = None  # type: ignore[index]


@pytest.mark.parametrize("model_id", [*PRICES, "wavespeed-ai/flux-dev", "a/b"])
def test_a_model_id_has_two_parts_or_more(model_id):
    assert check_model_id(model_id) == model_id


@pytest.mark.parametrize(
    "text",
    ["", "flux", "../balance", "a/../b", "a//b", "/a/b", "a/b/", "a/b?c", "a/b#c", "a/%2e", "a b/c", "é/b",
     "predictions/delete", "media/uploads", "model/price", "webhook/secret", "x/" * 80 + "x"],
)  # fmt: skip
def test_no_model_id_leads_to_another_part_of_the_vendors_api(text):
    with pytest.raises(ValidationError):
        check_model_id(text)
