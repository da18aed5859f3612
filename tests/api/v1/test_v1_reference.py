"""``/openapi.json`` and ``/docs``."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from openapi_spec_validator import validate


@pytest.fixture
def document(app):
    return app.test_client().get("/openapi.json").json


def test_every_path_under_v1_is_described(app, document):
    rules = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule) for rule in app.url_map.iter_rules()}
    assert {each for each in rules if each.startswith("/v1/")} == set(document["paths"])
    assert document["openapi"] == "3.1.0"


def test_every_operation_says_what_it_does_and_every_field_what_it_is(document):
    for path in document["paths"].values():
        for method, operation in path.items():
            assert method == "parameters" or operation["summary"]
    for name, schema in document["components"]["schemas"].items():
        for field, told in schema["properties"].items():
            assert "$ref" in told or told.get("description"), f"{name}.{field}"


def test_it_is_valid_openapi_and_no_parameter_can_be_null(document):
    validate(document)
    for path in document["paths"].values():
        for operation in (each for name, each in path.items() if name != "parameters"):
            for parameter in operation.get("parameters", ()):
                assert "null" not in parameter["schema"].get("type", ""), parameter


def test_a_change_of_an_endpoint_has_no_defaults(document):
    fields = document["components"]["schemas"]["EndpointPatchBody"]["properties"]
    assert not [name for name, field in fields.items() if "default" in field]


def test_every_operation_has_a_name_for_generated_clients(document):
    names = [
        operation["operationId"]
        for path in document["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert len(set(names)) == len(names)
    assert {"endpoints_create", "endpoints_list", "event_types_get", "jobs_delete"} < set(names)


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, _tag, attrs):
        self.found += [value for name, value in attrs if name in {"src", "href"}]


def test_the_page_shows_every_operation_and_fetches_nothing(app, document):
    answer = app.test_client().get("/docs")
    assert answer.status_code == 200
    links = Links()
    links.feed(answer.text)
    assert all(each.startswith("#") or each == "/openapi.json" for each in links.found)
    assert "url(" not in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    for path, item in document["paths"].items():
        for method in item.keys() - {"parameters"}:
            assert f"#{method.upper()}{path}" in links.found


def test_the_page_in_the_documentation_names_every_resource_and_every_metric(document, app):
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    assert all(re.sub(r"/\{\w+_id\}", "/{id}", path) in page for path in document["paths"])
    names = re.findall(r"^# TYPE (hookreel_\w+)", app.test_client().get("/metrics").text, re.MULTILINE)
    assert len(names) > 10
    assert [name for name in names if name not in page] == []
