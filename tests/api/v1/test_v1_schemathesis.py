"""What the document promises holds for whatever is sent: 2xx or 4xx, in the shape that it describes."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.records import Attempt

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 15
# A stream has no end that a client could wait for.
ENDLESS = "/v1/stream"


@pytest.fixture
def schema(app):
    return schemathesis.openapi.from_wsgi("/openapi.json", app).exclude(path=ENDLESS)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_keeps_the_documents_promises(schema, operator, mode):
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) > 12
    seen = set()
    for operation in operations:
        seen |= attack(operation, {"Authorization": f"Bearer {operator.key}"}, mode)
    assert seen >= ({200, 201} if mode is GenerationMode.POSITIVE else {400, 404})


def attack(operation, headers, mode):
    seen = set()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case):
        seen.add(case.call_and_validate(headers=headers, checks=CHECKS).status_code)

    run()
    return seen


def test_what_there_is_has_the_shape_that_the_document_describes(schema, operator, story, endpoint):
    made = endpoint(retry_schedule=[0, 5], channels=["eu"], headers={"x-team": "a"})
    job = story.completed(channel="eu", metadata={"order": 42})
    event = story.fanned_out(job, made["id"])
    story.attempted("r0", Attempt(1_790_000_000_000, None, "connect", 12, detail="refused"))
    found = {
        "endpoints": made["id"],
        "jobs": job.id,
        "events": event,
        "deliveries": operator.get("/v1/deliveries")["data"][0]["id"],
    }
    for kind, wanted in found.items():
        name = f"{kind.removesuffix('s').replace('deliverie', 'delivery')}_id"
        for path, parameters in ((f"/v1/{kind}", {}), (f"/v1/{kind}/{{{name}}}", {name: wanted})):
            case = schema[path]["GET"].Case(path_parameters=parameters)
            answer = case.call_and_validate(
                headers={"Authorization": f"Bearer {operator.key}"}, checks=CHECKS
            )
            assert answer.status_code == 200
