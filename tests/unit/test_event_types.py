"""The catalogue of event types: what is published of an event is what is sent."""

from __future__ import annotations

import copy
import json
from typing import get_args

import pytest
from jsonschema import Draft202012Validator

from schemas.endpoints import EndpointSchema
from schemas.eventtypes import (
    ARCHIVED,
    ATTEMPT_ERRORS,
    COMPLETED,
    DELIVERY_EXHAUSTED,
    EVENT_TYPES,
    FAILED,
    FINAL_TYPES,
    INTERRUPTED,
    OPERATIONAL,
    PROCESSING,
    TYPES,
    example,
)
from schemas.states import JobState, Reason
from service import events
from service.records import File, Job
from service.sender.transfers import Error

JOB = Job(
    id="9f2c4e6a8b0d1f3e5a7c9b1d3f5e7a90",
    workspace="default",
    model="minimax/hailuo-02/fast",
    created_at=1_790_000_000_000,
    input={"prompt": "She smiles.", "image": {"media_type": "image/jpeg", "bytes": 7, "sha256": "0" * 64}},
)
DONE = {
    "state": JobState.COMPLETED,
    "outputs": ("https://cdn.example.com/a.mp4", {"text": "b"}),
    "nsfw": (False, True),
    "execution_time": 31_204,
    "timings": {"inference": 31_204.5},
}
FILE = File(0, "a.mp4", 7, "0" * 64, "video/mp4", url="https://hooks.example.com/files/a.mp4")
EARLIER = "evt_1s61mgnh4k3b9v8a7cqz2x"


def job(**changes):
    return Job(**{**vars(JOB), **changes})


def failed(reason, **changes):
    return job(state=JobState.FAILED, reason=reason, error="It did not work.", **changes)


REAL = [
    (PROCESSING, job(state=JobState.PROCESSING), ""),
    (COMPLETED, job(**DONE), ""),
    (COMPLETED, job(state=JobState.COMPLETED, metadata={"order": [42]}, channel="eu"), EARLIER),
    (FAILED, failed(Reason.VENDOR, code=1200, vendor_status="failed"), ""),
    (FAILED, failed(Reason.VENDOR, vendor_status="cancelled"), EARLIER),
    (FAILED, failed(Reason.REFUSED), ""),
    (FAILED, failed(Reason.NEVER_SUBMITTED), ""),
    (FAILED, failed(Reason.OUTCOME_UNKNOWN), ""),
    (FAILED, failed(Reason.EXPIRED), ""),
    (ARCHIVED, job(**DONE, files=(FILE,)), ""),
]


def written(kind, subject, supersedes=""):
    return events.about(
        subject, EARLIER, kind, 1_790_000_000_123, "https://hooks.example.com", supersedes
    ).body


def faults(kind, body):
    return [each.message for each in Draft202012Validator(TYPES[kind].schema).iter_errors(body)]


def undescribed(schema, value, path=""):
    """What stands in ``value`` and not in the schema of an object that describes its properties."""
    found = []
    for name, inner in value.items() if isinstance(value, dict) and "properties" in schema else ():
        if name not in schema["properties"]:
            found.append(f"{path}/{name}")
        else:
            found += undescribed(schema["properties"][name], inner, f"{path}/{name}")
    return found


def needed(schema, path=()):
    for name in schema.get("required") or schema.get("anyOf", [{"required": ()}])[0]["required"]:
        yield (*path, name)
        yield from needed(schema["properties"][name], (*path, name))


@pytest.mark.parametrize(("kind", "subject", "supersedes"), REAL)
def test_an_event_as_it_is_written_keeps_its_schema(kind, subject, supersedes):
    body = written(kind, subject, supersedes)
    for sent in (body, events.without_input(body)):
        told = json.loads(sent)
        assert faults(kind, told) == []
        assert undescribed(TYPES[kind].schema, told) == []


@pytest.mark.parametrize(("kind", "subject", "supersedes"), REAL)
def test_what_is_left_of_a_redacted_event_keeps_its_schema(kind, subject, supersedes):
    told = json.loads(events.redacted(written(kind, subject, supersedes)))
    assert faults(kind, told) == []
    assert undescribed(TYPES[kind].schema, told) == []


@pytest.mark.parametrize("kind", sorted(OPERATIONAL))
def test_what_is_left_of_a_redacted_operational_event_keeps_its_schema(kind):
    sample = json.dumps(example(kind)).encode()
    assert faults(kind, json.loads(events.redacted(sample))) == []


@pytest.mark.parametrize(("kind", "subject", "supersedes"), REAL)
def test_an_event_of_one_type_is_none_of_another_even_under_its_name(kind, subject, supersedes):
    told = json.loads(written(kind, subject, supersedes))
    # What is archived is completed as well.
    others = set(EVENT_TYPES) - {kind, COMPLETED if kind == ARCHIVED else kind}
    assert all(faults(other, told | {"type": other}) for other in others)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_an_example_is_complete_and_keeps_its_schema(kind):
    Draft202012Validator.check_schema(TYPES[kind].schema)
    shown = example(kind)
    assert faults(kind, shown) == []
    assert shown["type"] == kind
    assert undescribed(TYPES[kind].schema, shown) == []
    assert set(TYPES[kind].data["properties"]) - set(shown["data"]) <= {"supersedes", "maybe_billed", "test"}


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_a_schema_misses_what_an_event_lacks(kind):
    paths = list(needed(TYPES[kind].schema))
    assert len(paths) > 12
    for path in paths:
        lacking = example(kind)
        holder = lacking
        for step in path[:-1]:
            holder = holder[step]
        del holder[path[-1]]
        assert faults(kind, lacking), path


def test_whoever_changes_an_example_changes_nobody_elses():
    kept = copy.deepcopy(example(COMPLETED))
    mine = example(COMPLETED)
    mine["data"]["input"]["image"]["bytes"] = -1
    mine["data"]["outputs"].append("x")
    assert example(COMPLETED) == kept


@pytest.mark.parametrize("kind", sorted(OPERATIONAL))
def test_an_operational_event_need_not_know_the_last_attempt_or_a_reason(kind):
    body = example(kind)
    body["data"].update(reason=None, last_attempt=None)
    assert faults(kind, body) == []


def test_only_an_exhausted_delivery_names_delivery_and_event():
    with_delivery = {kind for kind in OPERATIONAL if "delivery" in TYPES[kind].data["properties"]}
    assert with_delivery == {DELIVERY_EXHAUSTED}
    told = example(DELIVERY_EXHAUSTED)["data"]
    assert told["delivery"]["id"].startswith(f"dlv_{told['event']['id'].removeprefix('evt_')}_")


def test_operational_events_are_heard_of_only_where_they_are_asked_for():
    assert EndpointSchema().load({"url": "https://example.com"})["event_types"] == FINAL_TYPES
    asked = {"url": "https://example.com", "event_types": sorted(OPERATIONAL)}
    assert set(EndpointSchema().load(asked)["event_types"]) == OPERATIONAL


def test_every_error_of_an_attempt_is_published():
    assert {*get_args(Error), INTERRUPTED} == set(ATTEMPT_ERRORS)
