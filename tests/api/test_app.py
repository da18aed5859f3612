"""The app around the views: errors in the shape of their surface, proxies, and what is connected to when."""

from __future__ import annotations

import pytest
from flask import Flask
from redis.exceptions import ConnectionError as StoreLost
from redis.exceptions import ResponseError
from werkzeug.test import run_wsgi_app

from service.api.proxies import TrustedProxies
from service.errors import OutcomeUnknown, StoreFull
from service.settings import Settings
from tests.api.conftest import bearer, client_of

FAST = "/api/v3/minimax/hailuo-02/fast"
IMAGE = {"image": "https://a.example/a.jpg"}


@pytest.fixture
def raising(app: Flask):
    """``raising(error)``: the answers under /api/v3 and under /v1 when a view raises it."""

    def ask(error: Exception):
        def fail():
            raise error

        app.add_url_rule("/api/v3/fails", "fails", fail)
        app.add_url_rule("/v1/fails", "fails v1", fail)
        client = app.test_client()
        return client.get("/api/v3/fails"), client.get("/v1/fails")

    return ask


def test_each_surface_has_its_own_shape_for_errors(client):
    ours, management = client.get("/api/v3/predictions"), client.get("/v1/nothing")
    assert (ours.status_code, ours.json["code"]) == (405, 405)
    assert set(ours.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert management.status_code == 404
    assert management.content_type == "application/problem+json"
    assert client.get("/api/v3/a/b/c").json == {
        "code": 405,
        "message": "this path does not know the method; the header Allow lists those it knows",
    }
    assert client.get("/api/v3").json == {"code": 404, "message": "there is nothing at this path"}


def test_an_error_of_our_own_is_logged_and_told_without_details(raising, caplog):
    ours, management = raising(ZeroDivisionError("the secret is 42"))
    assert (ours.status_code, management.status_code) == (500, 500)
    assert ours.json == {"code": 500, "message": "an error of our own; it has been logged"}
    assert "42" not in ours.text + management.text
    assert any(record.exc_info and record.msg == "request.failed" for record in caplog.records)


@pytest.mark.parametrize("error", [StoreLost("gone"), ResponseError("MISCONF no disk")])
def test_a_stores_error_that_slips_through_is_503(raising, error):
    for response in raising(error):
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0


def test_an_unknown_outcome_names_the_prediction_that_may_exist(raising):
    ours, _ = raising(OutcomeUnknown("the store did not say whether this was kept", "a" * 32))
    assert (ours.status_code, ours.headers["Retry-After"]) == (503, "5")
    assert ours.json["message"] == (
        "the store did not say whether this was kept: the job may exist as prediction "
        f"{'a' * 32}; look before you repeat it"
    )


def test_a_full_store_says_when_to_come_again(raising):
    ours, _ = raising(StoreFull("the store is full", retry_after=30))
    assert (ours.status_code, ours.headers["Retry-After"]) == (503, "30")


def test_nothing_redirects_so_that_nobody_posts_twice(client, auth):
    for path in ("/api/v3//minimax/hailuo-02/fast", f"{FAST}/", "/api/v3/predictions/"):
        assert client.post(path, headers=auth, json=IMAGE).status_code == 404


def test_nothing_is_connected_to_before_the_first_request(environ, build):
    service = build()
    service.url = "unix:///nowhere/at/all.sock"
    client = client_of(service)
    response = client.post(FAST, headers={"Authorization": "Bearer hrk_x"}, json=IMAGE)
    assert response.status_code == 503
    assert response.json == {"code": 503, "message": "the store cannot be reached"}
    assert int(response.headers["Retry-After"]) > 0


def origin(build, address: str, trusted: str) -> str:
    """Where the answer's URL leads when the connection comes from ``address``."""
    service = build(HOOKREEL_TRUSTED_PROXIES=trusted)
    headers = {
        **bearer(service),
        "X-Forwarded-For": "198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "hooks.example.com",
    }
    client = client_of(service)
    response = client.post(FAST, headers=headers, json=IMAGE, environ_overrides={"REMOTE_ADDR": address})
    return str(response.json["data"]["urls"]["get"]).partition("/api/")[0]


@pytest.mark.parametrize(
    ("address", "trusted", "expected"),
    [
        ("10.1.2.3", "10.0.0.0/8", "https://hooks.example.com"),
        ("::ffff:10.1.2.3", "10.0.0.0/8", "https://hooks.example.com"),
        ("fd00::1", "10.0.0.0/8,fd00::/8", "https://hooks.example.com"),
        ("192.0.2.1", "10.0.0.0/8", "http://localhost"),
        ("", "10.0.0.0/8", "http://localhost"),
        ("10.1.2.3", "none", "http://localhost"),
        ("10.1.2.3", "", "http://localhost"),
    ],
)
def test_forwarded_headers_count_from_trusted_proxies_alone(build, address, trusted, expected):
    assert origin(build, address, trusted) == expected


def test_the_callers_address_is_the_one_that_the_trusted_proxy_saw():
    seen = []

    def app(environ, start_response):
        start_response("200 OK", [])
        seen.append(environ["REMOTE_ADDR"])
        return [b""]

    networks = Settings.from_env({"HOOKREEL_TRUSTED_PROXIES": "10.0.0.0/8"}).trusted_proxies
    middleware = TrustedProxies(app, networks)
    for address in ("10.1.2.3", "192.0.2.9"):
        environ = {"REMOTE_ADDR": address, "HTTP_X_FORWARDED_FOR": "203.0.113.5, 198.51.100.7"}
        run_wsgi_app(middleware, environ)
    assert seen == ["198.51.100.7", "192.0.2.9"]


@pytest.mark.parametrize("host", ["a b", "\xff\xfe", "x/y", "@", ""])
def test_a_hostile_host_header_is_no_error_of_ours(client, auth, host):
    response = client.post(FAST, headers={**auth, "Host": host}, json=IMAGE)
    assert response.status_code in {200, 400}
