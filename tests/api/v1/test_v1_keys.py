"""``/v1/keys``: operators' own."""

from __future__ import annotations

import pytest


def test_an_operator_makes_a_key_that_works_at_once_and_is_shown_once(app, operator):
    answer = operator("POST", "/v1/keys", json={"workspace": "billing", "name": "ci"})
    assert answer.status_code == 201
    made = answer.json
    assert set(made) == {"id", "workspace", "name", "operator", "hint", "created_at", "key"}
    assert (made["workspace"], made["name"], made["operator"]) == ("billing", "ci", False)
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert app.test_client().get("/v1/jobs", headers=headers).status_code == 200
    listed = operator.get("/v1/keys")["data"]
    assert made["id"] in [each["id"] for each in listed]
    assert all("key" not in each for each in listed)


def test_a_revoked_key_is_refused_from_then_on(app, operator):
    made = operator("POST", "/v1/keys", json={"workspace": "billing"}).json
    assert operator("DELETE", f"/v1/keys/{made['id']}").status_code == 204
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert app.test_client().get("/v1/jobs", headers=headers).status_code == 401
    assert operator("DELETE", f"/v1/keys/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/keys"), ("POST", "/v1/keys"), ("DELETE", "/v1/keys/key_1")]
)
def test_any_other_key_may_not(call, method, path):
    answer = call(method, path, json={"workspace": "billing"} if method == "POST" else None)
    assert (answer.status_code, answer.json["type"]) == (403, "urn:hookreel:forbidden")


@pytest.mark.parametrize("workspace", ["", "-a", "Upper", "a b", "a" * 64, None, 7])
def test_a_workspace_has_a_plain_name(operator, workspace):
    answer = operator("POST", "/v1/keys", json={"workspace": workspace})
    assert answer.status_code == 400
    assert answer.json["errors"][0]["pointer"] == "/workspace"
