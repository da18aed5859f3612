"""Rotating the secrets of endpoints and of the workspace."""

from __future__ import annotations

import datetime as dt
import json
import logging

import pytest

OWN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WORKSPACES = "/v1/webhook-secret"


@pytest.fixture(params=["endpoint", "workspace"])
def path(request, endpoint):
    """Where the secret is shown; ``/rotate`` below it changes it."""
    return WORKSPACES if request.param == "workspace" else f"/v1/endpoints/{endpoint()['id']}/secret"


def seconds_from_now(at):
    return (dt.datetime.fromisoformat(at) - dt.datetime.now(dt.UTC)).total_seconds()


def test_a_rotated_secret_is_shown_with_those_that_still_sign(call, path):
    first = call.get(path)
    assert first["secret"].startswith("whsec_")
    assert first["previous"] == []
    answer = call("POST", f"{path}/rotate", json={"overlap": 3600})
    assert answer.status_code == 200, answer.text
    second = answer.json
    assert second["secret"].startswith("whsec_")
    assert second["secret"] != first["secret"]
    (ending,) = second["previous"]
    assert ending.keys() == {"expires_at"}
    assert seconds_from_now(ending["expires_at"]) == pytest.approx(3600, abs=10)
    third = call("POST", f"{path}/rotate", json={"overlap": 604_800, "secret": OWN}).json
    assert third["secret"] == OWN
    shown = call.get(path)
    assert [each["secret"] for each in shown["previous"]] == [second["secret"], first["secret"]]
    assert [each["expires_at"] for each in shown["previous"]] == [
        each["expires_at"] for each in third["previous"]
    ]


def test_the_usual_overlap_is_a_day_and_none_where_receivers_know_one_signature(call, endpoint):
    for body, seconds in (({"format": "standard"}, [86_400]), ({"format": "wavespeed"}, [])):
        path = f"/v1/endpoints/{endpoint(**body)['id']}/secret/rotate"
        previous = call("POST", path, json={}).json["previous"]
        assert [seconds_from_now(each["expires_at"]) for each in previous] == pytest.approx(seconds, abs=10)
    assert call("POST", f"{WORKSPACES}/rotate", json={}).json["previous"] == []


def test_the_vendors_path_shows_the_workspaces_newest_secret(call):
    made = call("POST", f"{WORKSPACES}/rotate", json={"overlap": 60}).json
    assert call.get("/api/v3/webhook/secret")["data"] == {"secret": made["secret"]}


def test_an_overlap_that_is_none_is_refused_with_what_is_allowed(call, path):
    before = call.get(path)
    for overlap in (-1, -0.001, 604_800.001, 1e300, 10**400, "86400", True, [], {}, "1 day"):
        answer = call("POST", f"{path}/rotate", json={"overlap": overlap})
        assert answer.status_code == 400, overlap
        (fault,) = answer.json["errors"]
        assert fault["pointer"] == "/overlap"
        assert fault["allowed"] == "a number from 0 to 604800 seconds"
    for overlap in ("NaN", "Infinity", "-Infinity", "1e999"):
        body, headers = f'{{"overlap": {overlap}}}', {"Content-Type": "application/json"}
        answer = call("POST", f"{path}/rotate", data=body, headers=headers)
        assert (answer.status_code, answer.json["type"]) == (400, "urn:hookreel:invalid_input")
    assert call.get(path) == before


def test_a_bad_secret_is_refused_and_never_repeated(call, path):
    allowed = "whsec_ and the base64 of 24 to 64 random bytes"
    for secret in ("whsec_c2hvcnQ=", "whsec_no base64", OWN[6:], f"whsec_{'QUJD' * 100}", "whsec_\u00e9"):
        answer = call("POST", f"{path}/rotate", json={"secret": secret})
        assert answer.status_code == 400
        (fault,) = answer.json["errors"]
        assert (fault["pointer"], fault["allowed"]) == ("/secret", allowed)
        assert secret.removeprefix("whsec_") not in answer.text
    assert call.get(path)["previous"] == []


def test_an_eleventh_is_a_conflict_that_says_when_the_next_one_ends(call, path):
    ends = [call("POST", f"{path}/rotate", json={"overlap": 3600}).json["previous"][0] for _ in range(9)]
    answer = call("POST", f"{path}/rotate", json={"overlap": 3600})
    assert answer.status_code == 409
    assert answer.json["type"] == "urn:hookreel:conflict"
    assert ends[0]["expires_at"] in answer.json["detail"]
    assert call("POST", f"{path}/rotate", json={"overlap": 0}).status_code == 200


def test_another_workspaces_secrets_are_not_touched(call, stranger, endpoint):
    path = f"/v1/endpoints/{endpoint()['id']}/secret"
    mine = call.get(WORKSPACES)
    assert stranger("POST", f"{path}/rotate", json={}).status_code == 404
    assert stranger("POST", f"{WORKSPACES}/rotate", json={}).status_code == 200
    assert (call.get(path)["previous"], call.get(WORKSPACES)) == ([], mine)


def test_no_secret_is_in_a_log_a_problem_or_another_answer(call, endpoint, caplog):
    caplog.set_level(logging.DEBUG)
    made = endpoint(secret=OWN)
    path = f"/v1/endpoints/{made['id']}"
    newest = call("POST", f"{path}/secret/rotate", json={}).json["secret"]
    others = [call.get(path), call.get("/v1/endpoints"), call("PATCH", path, json={"timeout": 5}).json]
    refused = [call("POST", f"{path}/secret/rotate", json={"overlap": 60}).text for _ in range(10)][-1]
    told = json.dumps(others) + refused + caplog.text
    assert not [each for each in (OWN, newest) if each.removeprefix("whsec_") in told]
