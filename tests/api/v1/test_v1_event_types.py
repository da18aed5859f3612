"""``/v1/event-types``."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from schemas.eventtypes import EVENT_TYPES


def test_every_type_is_listed_with_its_schema_and_an_example_of_it(call):
    page = call.get("/v1/event-types")
    assert page["next"] is None
    assert [each["name"] for each in page["data"]] == list(EVENT_TYPES)
    for each in page["data"]:
        assert set(each) == {"name", "group", "description", "schema", "example"}
        assert each["schema"]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        Draft202012Validator(each["schema"]).validate(each["example"])
        assert call.get(f"/v1/event-types/{each['name']}") == each


def test_what_an_endpoint_can_ask_for_is_what_is_listed(call, endpoint):
    names = [each["name"] for each in call.get("/v1/event-types")["data"]]
    assert endpoint(event_types=names)["event_types"] == names


def test_a_real_event_keeps_the_published_schema(call, story):
    (event,) = story.completed(channel="eu", metadata={"order": 42}).events
    told = call.get(f"/v1/events/{event}")
    Draft202012Validator(call.get(f"/v1/event-types/{told['type']}")["schema"]).validate(told)


@pytest.mark.parametrize("name", ["prediction.exploded", "prediction", "x" * 300, "Prediction.Completed"])
def test_a_type_that_there_is_not_is_not_found(call, name):
    answer = call("GET", f"/v1/event-types/{name}")
    assert (answer.status_code, answer.json["type"]) == (404, "urn:hookreel:not_found")


def test_the_catalogue_needs_a_key(app):
    assert app.test_client().get("/v1/event-types").status_code == 401
