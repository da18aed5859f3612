"""Another key for stored secrets, while everything runs: added, put to use, and the old one dropped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from cryptography.fernet import Fernet
from standardwebhooks import Webhook, WebhookVerificationError

from schemas.predictions import Prediction
from service import rediskeys
from service.acceptance import Order
from service.addresses import Policy
from service.bootstrap import Service
from service.errors import Conflict
from service.presence import Watch
from service.resealing import Resealer, Tally
from service.sealing import Sealer, UnreadableSecret
from service.settings import Settings
from service.signing import verify_v3
from service.vendorsecret import VendorSecret
from tests.store.test_forwarder import (
    LOOPBACK,
    Receiver,
    finished,
    forwarding,
    receiver,  # noqa: F401 - a fixture
)

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
URL = {"url": "https://example.com/"}
OTHERS = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def having(store_url: str) -> Iterator[Callable[..., Service]]:
    """``having(NEW, OLD)``: a process on the store that has these keys."""
    made: list[Service] = []

    def start(*keys: str) -> Service:
        settings = Settings.from_env({"REDIS_URL": store_url, "HOOKREEL_SECRET_KEY": ",".join(keys)})
        made.append(Service(settings, store_url, "test", f"test-{os.getpid()}-{len(made)}"))
        made[-1].endpoints.policy = Policy(LOOPBACK)
        return made[-1]

    yield start
    for service in made:
        service.close()


def resealer(service: Service) -> Resealer:
    return Resealer(service.store, service.sealer, clock=service.clock, token=service.token)


def vendor_secret(service: Service) -> VendorSecret:
    return VendorSecret(service.store, service.sealer, lambda: OTHERS, clock=service.clock)


def is_opened(key: str, sealed: str) -> bool:
    try:
        Sealer([key]).open(sealed)
    except UnreadableSecret:
        return False
    return True


@contextmanager
def alive(*services: Service) -> Iterator[None]:
    for each in services:
        each.presence.beat()
    yield
    for each in services:
        each.presence.stop()


def test_deliveries_verify_throughout_a_change_of_the_key(
    having,
    order: Orders,
    word: Words,
    receiver: Receiver,  # noqa: F811
) -> None:
    known: dict[str, list[str]] = {}

    def subscribe(service: Service) -> None:
        endpoint, secret = service.endpoints.create("default", {"url": receiver.url})
        rotated = service.endpoints.rotate("default", endpoint.id)
        known[endpoint.id] = [secret, rotated.newest]

    def deliver(service: Service) -> None:
        """Every endpoint's event carries signatures of both of its secrets."""
        before = len(receiver.got)
        finished(service, order(webhook=receiver.url), word())
        got = receiver.wait_for(before + len(known) + 1)[before:]
        signed = [each for each in got if each[0]["webhook-signature"].startswith("v1,")]
        for secrets in known.values():
            assert [each for each in signed if all(_signs(secret, each) for secret in secrets)]
        (own,) = [each for each in got if each not in signed]
        verify_v3(service.workspace_secrets.of("default").newest, *own, service.clock() / 1000)

    old, both, new = having(OLD), having(NEW, OLD), having(NEW)
    old.apikeys.create("default")
    vendor_secret(old).current()
    with alive(old), forwarding(old, Policy(LOOPBACK)):
        subscribe(old)
        deliver(old)
        # One after the other gets the new key in front; who has not yet is not broken by what the others do.
        with alive(both):
            subscribe(both)
            deliver(old)
            with pytest.raises(Conflict, match=old.incarnation):
                resealer(both).everything()
    with alive(both), forwarding(both, Policy(LOOPBACK)):
        deliver(both)
        assert resealer(both).everything() == Tally(resealed=6)
        assert resealer(both).everything() == Tally(already=6)
        subscribe(both)
        deliver(both)
    with alive(new), forwarding(new, Policy(LOOPBACK)):
        assert vendor_secret(new).current() == OTHERS
        subscribe(new)
        deliver(new)


def _signs(secret: str, got: tuple[dict[str, str], bytes]) -> bool:
    try:
        Webhook(secret).verify(got[1], got[0])
    except WebhookVerificationError:
        return False
    return True


def test_a_new_key_seals_nothing_until_everybody_who_is_alive_has_it(having) -> None:
    old, both = having(OLD), having(NEW, OLD)
    assert is_opened(NEW, both.sealer.seal("text"))
    with alive(old, both):
        assert old.sealer.open(both.sealer.seal("text")) == "text"
    assert is_opened(NEW, both.sealer.seal("text"))
    both.store.client.hset(rediskeys.BEATS, "web-of-the-release-before", "17 1")
    assert is_opened(OLD, both.sealer.seal("text"))


def test_the_names_of_keys_go_with_the_beat_and_hold_nothing_of_the_keys(having) -> None:
    both = having(NEW, OLD)
    with alive(both):
        (told,) = both.store.client.hvals(rediskeys.KEYRINGS)
        assert tuple(told.decode().split()) == both.sealer.ring == Sealer([NEW, OLD]).ring
        assert not [key for key in (NEW, OLD) if key[:8].encode() in told]
    Watch(both.store, lambda: 0.0).forget(both.incarnation)
    assert both.store.client.exists(rediskeys.KEYRINGS) == 0


def test_whoever_reseals_with_an_old_list_of_keys_is_refused(having) -> None:
    with alive(having(NEW, OLD)), pytest.raises(Conflict, match="HOOKREEL_SECRET_KEY"):
        resealer(having(OLD)).everything()


def test_a_change_that_comes_first_is_not_undone(having) -> None:
    old, both = having(OLD), having(NEW, OLD)
    endpoint, _ = old.endpoints.create("default", URL)
    old.workspace_secrets.of("default")
    vendor_secret(old).current()
    resealing = resealer(both)
    read, changed = resealing._read, []

    def overtaken(keys, fields):
        found = read(keys, fields)
        if not changed:
            changed.append(old.endpoints.rotate("default", endpoint.id, OTHERS, 60))
        elif len(changed) == 1:
            changed.append(old.workspace_secrets.rotate("default", OTHERS, 60))
        elif len(changed) == 2:
            changed.append(vendor_secret(old)._keep("whsec_of_the_vendor"))
        return found

    resealing._read = overtaken  # type: ignore[method-assign]
    assert resealing.everything() == Tally(resealed=5)
    new = having(NEW)
    assert new.endpoints.secrets(new.endpoints.get("default", endpoint.id)) == changed[0]
    assert new.workspace_secrets.of("default") == changed[1]
    assert vendor_secret(new).current() == "whsec_of_the_vendor"


def test_what_no_key_opens_is_named_and_the_rest_is_done(having) -> None:
    lost, old, both = having(Fernet.generate_key().decode()), having(OLD), having(NEW, OLD)
    unreadable, _ = lost.endpoints.create("default", URL)
    old.endpoints.create("default", URL)
    assert resealer(both).everything() == Tally(resealed=1, left=[f"endpoint:{unreadable.id}"])


def test_a_secret_that_has_ended_is_not_kept_for_its_key(having) -> None:
    old, both = having(OLD), having(NEW, OLD)
    endpoint, _ = old.endpoints.create("default", URL)
    old.endpoints.rotate("default", endpoint.id, overlap=60)
    later = Resealer(both.store, both.sealer, clock=lambda: both.clock() + 61_000, token=both.token)
    assert later.everything() == Tally(resealed=1)
    assert both.endpoints.get("default", endpoint.id).old_secrets == ()
    assert later.everything() == Tally(already=1)
