"""``/v1/endpoints``."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from schemas.eventtypes import EVENT_TYPES
from tests.ups import T2V


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
        "metadata": {},
        "include_input": True,
        "paused": False,
        "rate": None,
        "ordered": False,
        "on_exhausted": "stop",
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


def test_two_changes_at_once_do_not_add_up_to_what_does_not_go_together(call, service, endpoint, monkeypatch):
    made = endpoint()
    path = f"/v1/endpoints/{made['id']}"
    types = ["prediction.completed", "prediction.processing"]

    def get_and_meanwhile(workspace, endpoint_id):
        monkeypatch.undo()
        found = service.endpoints.get(workspace, endpoint_id)
        assert call("PATCH", path, json={"event_types": types}).status_code == 200
        return found

    monkeypatch.setattr(service.endpoints, "get", get_and_meanwhile)
    assert call("PATCH", path, json={"format": "wavespeed"}).status_code == 400
    kept = call.get(path)
    assert (kept["format"], kept["event_types"]) == ("standard", types)


def test_metadata_is_replaced_whole(call, endpoint):
    made = endpoint(metadata={"team": "video", "tags": ["a", {"b": None}]})
    assert made["metadata"] == {"team": "video", "tags": ["a", {"b": None}]}
    path = f"/v1/endpoints/{made['id']}"
    assert call("PATCH", path, json={"timeout": 7}).json["metadata"] == made["metadata"]
    assert call("PATCH", path, json={"metadata": {"shard": 1}}).json["metadata"] == {"shard": 1}
    assert call.get(path)["metadata"] == {"shard": 1}
    answer = call("PATCH", path, json={"metadata": {"a": "b" * 2041}})
    (fault,) = answer.json["errors"]
    assert (fault["pointer"], fault["code"], fault["allowed"]) == (
        "/metadata",
        "too_large",
        "a JSON object of at most 2048 bytes",
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hidden@example.com/",
        "https://hidden@example.com/",
        "https://example.com/#hidden",
        "ftp://example.com/hidden",
        "gopher://example.com/hidden",
    ],
)
def test_a_url_that_could_never_be_called_is_refused_and_not_repeated(call, endpoint, url):
    kept = f"/v1/endpoints/{endpoint()['id']}"
    for answer in (
        call("POST", "/v1/endpoints", json={"url": url}),
        call("PATCH", kept, json={"url": url}),
        call("POST", f"/api/v3/{T2V}?webhook={quote(url, safe='')}", json={"prompt": "a"}),
    ):
        assert answer.status_code == 400
        assert "webhook" in answer.text or answer.json["errors"][0]["pointer"] == "/url"
        assert "hidden" not in answer.text
    assert call.get(kept)["url"] == "https://example.com/hooks"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("Host", "example.org", "reserved"),
        ("connection", "close", "reserved"),
        ("Transfer-Encoding", "chunked", "reserved"),
        ("Webhook-Signature", "v1,x", "reserved"),
        ("x-team", "video\r\nwebhook-id: x", "format"),
        ("x-team\r\nhost", "example.org", "format"),
    ],
)
def test_a_header_that_would_change_the_message_is_refused(call, endpoint, name, value, code):
    kept = f"/v1/endpoints/{endpoint()['id']}"
    for method, path in (("POST", "/v1/endpoints"), ("PATCH", kept)):
        answer = call(method, path, json={"url": "https://example.com/hooks", "headers": {name: value}})
        (fault,) = answer.json["errors"]
        assert answer.status_code == 400
        assert fault["pointer"].startswith("/headers/")
        assert fault["code"] == code
    assert call.get(kept)["headers"] == {}


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
    assert faults["/event_types/0"]["allowed"] == ", ".join(EVENT_TYPES)
    assert all(set(each) == {"pointer", "code", "detail", "allowed"} for each in faults.values())
    assert all(each["detail"] in problem["detail"] for each in faults.values())


def test_an_address_that_is_never_called_is_refused_with_the_setting_that_allows_it(call):
    answer = call("POST", "/v1/endpoints", json={"url": "https://10.0.0.1/hooks"})
    (fault,) = answer.json["errors"]
    assert (fault["pointer"], fault["code"]) == ("/url", "blocked_address")
    assert "HOOKREEL_EGRESS_ALLOW" in fault["detail"]
    assert fault["allowed"] == "a public address, or one in HOOKREEL_EGRESS_ALLOW"


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
