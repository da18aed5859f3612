"""The secret that callbacks are signed with: fetched, kept, rotated."""

from __future__ import annotations

import time

import pytest

from service import rediskeys
from service.api import SECRET as VENDOR_SECRET
from service.errors import SignatureInvalid, Unavailable, VendorUnavailable
from service.signing import sign_v3
from service.vendorsecret import VendorSecret
from tests.api.conftest import SECRET, client_of, message
from tests.api.vendorside import Vendor, new_job
from tests.vendor.rawserver import reply, says

OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def fetching(build, raw_vendor):
    """``fetching(answers...)``: (client, service, server) whose secret is asked for at the vendor."""

    def start(*answers: bytes):
        server = raw_vendor(says(*answers))
        service = build(WAVESPEED_WEBHOOK_SECRET="", WAVESPEED_BASE_URL=server.url)
        return client_of(service), service, server

    return start


def secret_answer(secret: str) -> bytes:
    return reply(200, {"code": 200, "message": "success", "data": {"secret": secret}})


def test_the_secret_is_fetched_once_and_kept_sealed(fetching, build):
    client, service, server = fetching(secret_answer(SECRET))
    vendor = Vendor(client, SECRET, int(time.time()))
    for _ in range(3):
        assert vendor.calls(*new_job(service, client)).status_code == 200
    assert len(server.requests) == 1
    assert SECRET.encode() not in service.store.client.hget(rediskeys.VENDOR, "secret")
    restarted = build(WAVESPEED_WEBHOOK_SECRET="")
    client = client_of(restarted)
    vendor = Vendor(client, SECRET, int(time.time()))
    assert vendor.calls(*new_job(restarted, client)).status_code == 200


def test_a_secret_that_is_not_known_yet_is_503_so_that_the_vendor_tries_again(fetching):
    client, service, server = fetching(reply(500), reply(500), reply(500), secret_answer(SECRET))
    now = [0.0]
    known = client.application.extensions[VENDOR_SECRET]
    known.monotonic = lambda: now[0]
    vendor = Vendor(client, SECRET, int(time.time()))
    job = new_job(service, client)
    for _ in range(2):
        response = vendor.calls(*job)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert "secret" in message(response) or "vendor" in message(response)
    # Three tries of one question; the second callback came too soon for another.
    assert len(server.requests) == 3
    now[0] = 6.0
    assert vendor.calls(*job).status_code == 200


def test_a_vendor_that_refuses_its_secret_is_503_too(fetching):
    client, service, _ = fetching(reply(403, {"code": 403, "message": "no"}))
    response = Vendor(client, SECRET, int(time.time())).calls(*new_job(service, client))
    assert response.status_code == 503


def test_a_rotated_secret_is_fetched_again_at_most_once_a_minute(fetching):
    client, service, server = fetching(secret_answer(OTHER), secret_answer(OTHER), secret_answer(SECRET))
    now = [1000.0]
    client.application.extensions[VENDOR_SECRET].monotonic = lambda: now[0]
    vendor = Vendor(client, SECRET, int(time.time()))
    job = new_job(service, client)
    assert vendor.calls(*job).status_code == 401
    assert vendor.calls(*job).status_code == 401
    assert len(server.requests) == 2
    now[0] += 61
    assert vendor.calls(*job).status_code == 200
    assert len(server.requests) == 3


def test_a_secret_set_by_the_operator_is_never_asked_for(build, raw_vendor):
    server = raw_vendor(says(secret_answer(OTHER)))
    service = build(WAVESPEED_BASE_URL=server.url)
    client = client_of(service)
    assert Vendor(client, OTHER, int(time.time())).calls(*new_job(service, client)).status_code == 401
    assert server.requests == []


def test_a_secret_that_cannot_be_opened_any_more_is_fetched(fetching):
    client, service, server = fetching(secret_answer(SECRET))
    service.store.client.hset(rediskeys.VENDOR, "secret", "of another HOOKREEL_SECRET_KEY")
    vendor = Vendor(client, SECRET, int(time.time()))
    assert vendor.calls(*new_job(service, client)).status_code == 200
    assert len(server.requests) == 1


def test_nobody_reads_the_secret_from_its_keeper(app):
    assert repr(app.extensions[VENDOR_SECRET]) == "<VendorSecret known>"
    assert isinstance(app.extensions[VENDOR_SECRET], VendorSecret)


def asked(service, fetch):
    made = VendorSecret(service.store, service.sealer, fetch, clock=service.clock)
    made._keep(SECRET)
    made._secret = SECRET
    return made


def signed(service, secret):
    at = service.clock() // 1000
    signature = sign_v3(secret, "m", at, b"{}")
    return {"webhook-id": "m", "webhook-timestamp": str(at), "webhook-signature": signature}


def test_what_was_signed_before_a_rotation_is_believed_for_a_while(service):
    secret, now = asked(service, lambda: OTHER), [0.0]
    secret.monotonic = lambda: now[0]
    secret.verify(signed(service, OTHER), b"{}")
    secret.verify(signed(service, SECRET), b"{}")
    now[0] += 601
    with pytest.raises(SignatureInvalid):
        secret.verify(signed(service, SECRET), b"{}")


def test_while_the_vendor_does_not_say_it_is_to_come_again(service):
    def away():
        raise VendorUnavailable("down")

    with pytest.raises(Unavailable):
        asked(service, away).verify(signed(service, OTHER), b"{}")


def test_what_another_process_has_asked_need_not_be_asked_again(service):
    def away():
        raise VendorUnavailable("down")

    secret = asked(service, away)
    asked(service, lambda: OTHER).verify(signed(service, OTHER), b"{}")
    secret.verify(signed(service, OTHER), b"{}")
