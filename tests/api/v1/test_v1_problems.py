"""Errors under ``/v1``: each has its status, its code and the one shape."""

from __future__ import annotations

import re

import pytest
from werkzeug.exceptions import ServiceUnavailable

from service.api import create_app, problems
from service.bootstrap import Service
from service.errors import OutcomeUnknown, StoreFull

PATHS = [
    "/v1/endpoints",
    "/v1/endpoints/ep_1",
    "/v1/endpoints/ep_1/secret",
    "/v1/jobs",
    "/v1/jobs/1",
    "/v1/events",
    "/v1/events/evt_1",
    "/v1/deliveries",
    "/v1/deliveries/dlv_1_1",
    "/v1/stream",
    "/v1/keys",
]


def problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert (answer.json["type"], answer.json["status"]) == (f"urn:hookreel:{code}", status)
    assert answer.json["title"]
    assert answer.json["detail"]
    return answer.json


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}])
def test_without_a_good_key_every_path_is_closed(app, path, headers):
    answer = app.test_client().get(path, headers=headers)
    problem(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_revoked_key_opens_nothing(call, service):
    (key,) = service.apikeys.list()
    assert call("GET", "/v1/jobs").status_code == 200
    service.apikeys.revoke(key.id)
    problem(call("GET", "/v1/jobs"), 401, "unauthorized")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/1",
        "/v1/events/evt_1",
        "/v1/deliveries/dlv_1_1",
        "/v1/deliveries/nonsense",
        "/v1/nothing",
        "/v1",
    ],
)
def test_what_is_not_there_is_a_404(call, path):
    problem(call("GET", path), 404, "not_found")


def test_a_method_that_a_path_does_not_know_is_a_405_with_those_it_does(call):
    answer = call("PUT", "/v1/endpoints", json={})
    problem(answer, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_that_is_not_told_to_be_json_is_a_415(call, content_type):
    problem(
        call("POST", "/v1/endpoints", data=b"{}", content_type=content_type), 415, "unsupported_media_type"
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"url": NaN}', b'{"url": "\xff"}', b'{"a": 1, "a": 2}']
)
def test_a_body_that_is_no_json_object_is_a_400(call, body):
    answer = call("POST", "/v1/endpoints", data=body, content_type="application/json")
    assert problem(answer, 400, "invalid_input")["errors"][0]["pointer"] == ""


def test_a_body_over_a_megabyte_is_a_413(call):
    answer = call("POST", "/v1/endpoints", data=b" " * 1024 * 1024 + b"{}", content_type="application/json")
    problem(answer, 413, "too_large")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("limit=x", "/limit"),
        ("cursor=x", "/cursor"),
        ("page=2", "/page"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/endpoints", "/v1/deliveries"])
def test_a_bad_query_is_a_400_that_names_the_parameter(call, path, query, pointer):
    (fault,) = problem(call("GET", f"{path}?{query}"), 400, "invalid_input")["errors"]
    assert fault["pointer"] == pointer
    assert fault["allowed"]


def test_a_parameter_that_a_path_does_not_take_is_refused_everywhere(operator, app):
    for path, operations in app.test_client().get("/openapi.json").json["paths"].items():
        for method in operations.keys() - {"parameters"}:
            url = re.sub("{.*?}", "1", path) + "?nonsense=1"
            (fault,) = problem(operator(method.upper(), url, json={}), 400, "invalid_input")["errors"]
            assert fault["pointer"] == "/nonsense", url
            assert fault["allowed"], url


def test_a_cursor_of_another_list_is_refused(call, endpoint):
    endpoint()
    endpoint()
    cursor = call.get("/v1/endpoints?limit=1")["next"]
    (fault,) = problem(call("GET", f"/v1/jobs?cursor={cursor}"), 400, "invalid_input")["errors"]
    assert fault["pointer"] == "/cursor"


def test_a_store_that_is_away_is_a_503_that_says_when_to_come_again(service, tmp_path):
    away = Service(service.settings, f"unix://{tmp_path}/none.sock", "web", "web-1")
    answer = create_app(away).test_client().get("/v1/jobs", headers={"Authorization": "Bearer hrk_x"})
    problem(answer, 503, "store_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    away.close()


def test_a_write_of_unknown_outcome_names_the_job_that_may_exist():
    answer = problems.answer(OutcomeUnknown("who knows", "9f" * 16))
    assert problem(answer, 503, "outcome_unknown")["prediction_id"] == "9f" * 16


def test_every_503_says_when_to_come_again():
    assert problems.answer(StoreFull("full", retry_after=30)).headers["Retry-After"] == "30"
    assert problems.answer(ServiceUnavailable()).headers["Retry-After"]


def test_an_error_of_our_own_tells_nothing_of_itself(caplog):
    answer = problems.answer(ZeroDivisionError("secret"))
    assert "secret" not in problem(answer, 500, "internal")["detail"]
    assert "request.failed" in caplog.text
