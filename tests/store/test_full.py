"""A store that takes no writes for a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from schemas.states import DeliveryState
from service.acceptance import Order
from service.addresses import Policy
from service.bootstrap import Service
from service.errors import Unavailable
from tests.store.crowds import happen, states
from tests.store.test_forwarder import LOOPBACK, forwarding, subscribe
from tests.store.test_forwarder import receiver as receiver  # noqa: PLC0414 - a fixture
from tests.waiting import eventually
from workers import tasks
from workers.streams import Streams
from workers.worker import LOOK_FOR_STOP, StoppableQueue, make

POLICY = Policy(LOOPBACK)
DELIVERED = {DeliveryState.DELIVERED}


@pytest.fixture
def full(service):
    """``full()``: it is, until the test is over or ``full(False)``."""

    def limit(is_full: bool = True) -> None:
        service.store.client.config_set("maxmemory", "1" if is_full else "0")

    yield limit
    limit(False)


@pytest.fixture
def refused(caplog):
    """``refused()``: the forwarder has met it."""
    caplog.set_level(logging.WARNING)
    return lambda: "forwarder.store_away" in caplog.text


@pytest.mark.parametrize("group", [True, False])
def test_what_cannot_be_fanned_out_is_when_there_is_room(service, receiver, full, refused, group):
    endpoint, _ = subscribe(service, receiver.url)
    if group:
        Streams(service, "forwarder-1", time.monotonic).look_around()
    (event,) = happen(service)
    full()
    with forwarding(service, POLICY):
        assert eventually(refused)
        full(False)
        assert eventually(lambda: states(service, endpoint, [event]) == DELIVERED)


def test_what_is_in_flight_meanwhile_is_delivered_once(service, receiver, full, refused, monkeypatch):
    endpoint, _ = subscribe(service, receiver.url)
    with receiver.held(), forwarding(service, POLICY) as forwarder:
        (first,) = happen(service)
        receiver.wait_for(1)
        with monkeypatch.context() as patched:
            patched.setattr(forwarder._streams, "expansions", list)
            (second,) = happen(service)
            full()
        forwarder.ring()
        assert eventually(refused)
        receiver.let_go()
        full(False)
        assert eventually(lambda: states(service, endpoint, [first, second]) == DELIVERED)
    assert len(receiver.got) == 2


@pytest.mark.parametrize("setting", ["min-replicas-to-write", "maxmemory"])
def test_a_worker_waits_until_the_store_takes_writes_again(
    service: Service, order: Callable[..., Order], monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setattr(StoppableQueue, "stopping", False)
    monkeypatch.setattr(tasks, "hands", [])
    monkeypatch.setattr("workers.worker.BEAT_EVERY", 0.0)
    worker, client = make(service)[0], service.store.client
    usual = client.config_get(setting)[setting]
    working = threading.Thread(target=worker.work, kwargs={"logging_level": "ERROR"}, daemon=True)
    working.start()
    try:
        assert eventually(lambda: client.exists(worker.key) == 1)
        client.config_set(setting, 1)
        with pytest.raises(Unavailable):
            service.acceptance.accept(order())
        working.join(3 * LOOK_FOR_STOP)
        assert working.is_alive()
    finally:
        client.config_set(setting, usual or "0")
    service.doorbells.ring(["1" * 32])
    assert eventually(lambda: client.llen("rq:queue:vendor") == 0)
    StoppableQueue.stop()
    working.join(5)
    assert not working.is_alive()
