"""A forwarder that cannot read one endpoint leaves that alone, and goes on with everybody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from schemas.states import DeliveryState
from service import rediskeys
from service.addresses import Policy
from service.records import Endpoint, pack, unpack
from tests.store.crowds import delivery, fan_out, happen, pass_time, states
from tests.store.test_forwarder import LOOPBACK, finished, forwarding, subscribe
from tests.store.test_forwarder import receiver as receiver  # noqa: PLC0414 - a fixture
from tests.waiting import eventually

POLICY = Policy(LOOPBACK)
DELIVERED = {DeliveryState.DELIVERED}


@contextmanager
def unreadable(service, endpoint: Endpoint) -> Iterator[None]:
    """As a later release has written it, until the end of the block."""
    client, key = service.store.client, rediskeys.endpoint(endpoint.id)
    kept = client.hget(key, "doc")
    client.hset(key, "doc", pack({**unpack(kept), "v": 99}))
    yield
    client.hset(key, "doc", kept)


@pytest.fixture
def other(service, receiver) -> Endpoint:
    """Somebody else's endpoint."""
    service.apikeys.create("other")
    return service.endpoints.create("other", {"url": receiver.url})[0]


def test_its_events_wait_for_their_fan_out(service, receiver, other, monkeypatch, caplog):
    monkeypatch.setattr("workers.streams.STALE_MS", 100)
    mine, _ = subscribe(service, receiver.url)
    with unreadable(service, other), forwarding(service, POLICY):
        (held,) = happen(service, workspace="other")
        assert eventually(lambda: "stream.waits" in caplog.text)
        (event,) = happen(service)
        assert eventually(lambda: states(service, mine, [event]) == DELIVERED)
        assert len(receiver.got) == 1
    with forwarding(service, POLICY, "forwarder-2"):
        assert eventually(lambda: states(service, other, [held]) == DELIVERED)


def test_what_is_fanned_out_to_it_goes_back_uncounted(service, receiver, other):
    (held,) = happen(service, workspace="other")
    fan_out(service, "other")
    mine, _ = subscribe(service, receiver.url)
    with unreadable(service, other), forwarding(service, POLICY):
        (event,) = happen(service)
        assert eventually(lambda: states(service, mine, [event]) == DELIVERED)
    with forwarding(service, POLICY, "forwarder-2") as later:
        pass_time(service, 11, later)
        assert eventually(lambda: states(service, other, [held]) == DELIVERED)
    assert delivery(service, other, held).attempt_count == 1


def test_neither_does_a_jobs_own_webhook(service, receiver, order, word):
    job = finished(service, order(webhook=receiver.url), word())
    mine, _ = subscribe(service, receiver.url)
    own = service.endpoints.find(job.own_endpoint)
    with forwarding(service, POLICY) as forwarder:
        with unreadable(service, own):
            forwarder.ring()
            (event,) = happen(service)
            assert eventually(lambda: states(service, mine, [event]) == DELIVERED)
        pass_time(service, 11, forwarder)
        assert eventually(lambda: states(service, own, [job.events[-1]]) == DELIVERED)
