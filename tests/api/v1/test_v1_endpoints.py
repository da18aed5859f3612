"""``/v1/endpoints``."""

from __future__ import annotations

import pytest


def test_a_new_endpoint_is_shown_with_its_secret_and_defaults(call):
    answer = call("POST", "/v1/endpoints", json={"url": "https://example.com/hooks"})
    assert answer.status_code == 201
    made = answer.json
    assert made.pop("id").startswith("ep_")
    assert made.pop("secret").startswith("whsec_")
    assert made.pop("created_at").endswith("Z")
    assert made == {
        "url": "https://example.com/hooks",
        "event_types": ["prediction.completed", "prediction.failed"],
        "format": "standard",
        "enabled": True,
        "disabled_reason": None,
        "channels": [],
        "headers": {},
        "timeout": 15.0,
        "retry_schedule": None,
        "description": "",
        "include_input": True,
    }


def test_the_secret_is_shown_only_where_it_is_asked_for(call, endpoint):
    made = endpoint(secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert made["secret"] == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert "secret" not in call.get(f"/v1/endpoints/{made['id']}")
    assert "secret" not in call.get("/v1/endpoints")["data"][0]
    assert call.get(f"/v1/endpoints/{made['id']}/secret") == {"secret": made["secret"], "previous": []}


def test_a_change_touches_what_it_names_alone(call, endpoint):
    made = endpoint(description="billing", retry_schedule=[0, 5])
    path = f"/v1/endpoints/{made['id']}"
    changed = call("PATCH", path, json={"enabled": False, "timeout": 10}).json
    assert changed["timeout"] == 10
    assert (changed["description"], changed["retry_schedule"]) == ("billing", [0, 5])
    assert (changed["enabled"], changed["disabled_reason"]) == (False, "it was disabled by request")
    again = call("PATCH", path, json={"enabled": True, "retry_schedule": None}).json
    assert (again["enabled"], again["disabled_reason"], again["retry_schedule"]) == (True, None, None)
    assert call.get(path) == again


def test_settings_that_do_not_go_together_are_refused_over_two_requests(call, endpoint):
    made = endpoint(format="wavespeed")
    answer = call("PATCH", f"/v1/endpoints/{made['id']}", json={"event_types": ["prediction.processing"]})
    assert answer.status_code == 400
    assert [each["pointer"] for each in answer.json["errors"]] == ["/event_types"]


def test_a_deleted_endpoint_is_gone(call, endpoint):
    path = f"/v1/endpoints/{endpoint()['id']}"
    answer = call("DELETE", path)
    assert (answer.status_code, answer.data) == (204, b"")
    assert call("GET", path).status_code == 404
    assert call("DELETE", path).status_code == 404


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/secret")])
def test_another_workspaces_endpoint_does_not_exist(endpoint, stranger, method, tail):
    path = f"/v1/endpoints/{endpoint()['id']}{tail}"
    answer = stranger(method, path, json={} if method == "PATCH" else None)
    assert answer.status_code == 404
    assert stranger.get("/v1/endpoints") == {"data": [], "next": None}


def test_every_fault_of_a_body_is_told_with_what_is_allowed(call):
    body = {"url": "ftp://example.com", "event_types": ["prediction.exploded"], "colour": 1}
    answer = call("POST", "/v1/endpoints", json=body)
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    problem = answer.json
    assert (problem["type"], problem["title"], problem["status"]) == (
        "urn:hookreel:invalid_input",
        "Bad Request",
        400,
    )
    faults = {each["pointer"]: each for each in problem["errors"]}
    assert set(faults) == {"/url", "/event_types/0", "/colour"}
    assert (
        faults["/event_types/0"]["allowed"]
        == "prediction.processing, prediction.completed, prediction.failed, prediction.archived"
    )
    assert all(set(each) == {"pointer", "code", "detail", "allowed"} for each in faults.values())
    assert all(each["detail"] in problem["detail"] for each in faults.values())


def test_an_address_that_is_never_called_is_refused_with_the_setting_that_allows_it(call):
    answer = call("POST", "/v1/endpoints", json={"url": "https://10.0.0.1/hooks"})
    (fault,) = answer.json["errors"]
    assert (fault["pointer"], fault["code"]) == ("/url", "blocked_address")
    assert "HOOKREEL_EGRESS_ALLOW" in fault["detail"]


def test_pages_of_endpoints_stand_still_while_others_come_and_go(call, endpoint):
    for _ in range(5):
        endpoint()
    ids = [each["id"] for each in call.get("/v1/endpoints")["data"]]
    first = call.get("/v1/endpoints?limit=2")
    endpoint()
    second = call.get(f"/v1/endpoints?limit=2&cursor={first['next']}")
    call("DELETE", f"/v1/endpoints/{ids[3]}")
    third = call.get(f"/v1/endpoints?limit=2&cursor={second['next']}")
    assert [each["id"] for page in (first, second, third) for each in page["data"]] == ids
    assert third["next"] is None
