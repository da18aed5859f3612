"""``/livez`` and ``/readyz``."""

from __future__ import annotations

import pytest

from service.presence import Presence
from tests.api.conftest import client_of

ROLES = ("worker", "forwarder", "clock")


def test_a_process_is_alive_without_anything(client):
    assert (client.get("/livez").status_code, client.get("/livez").json) == (200, {"live": True})


def test_it_is_ready_while_it_reaches_its_store_whoever_else_is_missing(client):
    response = client.get("/readyz")
    assert (response.status_code, response.json["ready"]) == (200, True)
    checks = response.json["checks"]
    assert list(checks) == ["store", "durability", *ROLES, "vendor_secret"]
    assert all(check.keys() == {"ok", "detail"} for check in checks.values())
    assert checks["store"]["ok"]
    assert not any(checks[role]["ok"] for role in ROLES)
    assert checks["worker"]["detail"] == "0 running"


def test_every_check_is_ok_once_all_of_them_run(client, service):
    for role in ROLES:
        Presence(service.store, f"{role}-1-abcd").beat()
    Presence(service.store, "worker-2-abcd").beat()
    checks = client.get("/readyz").json["checks"]
    assert all(check["ok"] for check in checks.values())
    assert checks["worker"]["detail"] == "2 running"


def test_a_worker_that_said_goodbye_is_not_counted(client, service):
    presence = Presence(service.store, "worker-1-abcd")
    presence.beat()
    presence.stop()
    assert not client.get("/readyz").json["checks"]["worker"]["ok"]


def test_what_the_store_may_forget_is_a_warning(build):
    service = build(HOOKREEL_ALLOW_VOLATILE_STORE="yes")
    client = service.store.client
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        check = client_of(service).get("/readyz").json["checks"]["durability"]
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert check["ok"]
    assert check["detail"].startswith("warning: the store throws records away when it is full")


def test_a_secret_that_is_not_known_is_told(build):
    service = build(WAVESPEED_WEBHOOK_SECRET="")
    check = client_of(service).get("/readyz").json["checks"]["vendor_secret"]
    assert check == {"ok": False, "detail": "not known yet; callbacks are answered with 503"}


def test_without_its_store_it_is_not_ready(build):
    service = build()
    service.url = "unix:///nowhere/at/all.sock"
    client = client_of(service)
    response = client.get("/readyz")
    assert (response.status_code, response.json["ready"]) == (503, False)
    assert response.json["checks"] == {"store": {"ok": False, "detail": "the store cannot be reached"}}
    assert int(response.headers["Retry-After"]) > 0
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_nobody_needs_a_key_for_it(client, path):
    assert client.get(path).status_code == 200
