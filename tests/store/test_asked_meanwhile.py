"""Somebody asks for a delivery again while an outcome is on its way."""

from __future__ import annotations

import pytest

from schemas.states import DeliveryState
from service.addresses import Policy
from service.store import OUTCOMES
from tests.store.crowds import claim, delivery, fan_out, happen, record
from tests.store.test_forwarder import LOOPBACK, forwarding, subscribe
from tests.store.test_forwarder import receiver as receiver  # noqa: PLC0414 - a fixture
from tests.waiting import eventually

NOWHERE = "http://127.0.0.1:9/"


def test_an_outcome_that_is_told_twice_is_not_that_of_a_replay_in_between(service):
    endpoint, _ = subscribe(service, NOWHERE)
    (event,) = happen(service)
    fan_out(service)
    assert claim(service) == [event]
    item = "[1700000000000,200,null,12,[0,0,0,0]]"
    record(service, endpoint, event, "d", item)
    service.replays.replay("default", event, endpoint.id)
    record(service, endpoint, event, "d", item)
    assert claim(service) == [event]


def test_a_success_that_comes_late_is_not_that_of_a_replay_after_another_success(service):
    endpoint, _ = subscribe(service, NOWHERE)
    (event,) = happen(service)
    fan_out(service)
    assert claim(service, by="forwarder-1.0") == [event]
    record(service, endpoint, event, "b0", by="forwarder-1.0")
    assert claim(service, by="forwarder-2.0") == [event]
    record(service, endpoint, event, "d", "[1700000009000,200,null,12,[0,0,0,0]]", by="forwarder-2.0")
    service.replays.replay("default", event, endpoint.id)
    record(service, endpoint, event, "d", "[1700000000000,204,null,7,[0,0,0,0]]", by="forwarder-1.0")
    assert claim(service, by="forwarder-2.1") == [event]


@pytest.mark.parametrize(
    "failed",
    [
        "[1700000000000,500,null,912,[3,245,300,360]]",
        '[1700000000000,null,"timeout",912,[0,210,0,0]]',
        '[1700000000000,200,"too_large",912,[3,5,0,60]]',
        "[1700000000000,503,null,12,[0,0,0,0]]",
    ],
)
def test_a_success_that_comes_late_counts_whatever_the_attempts_before_it_came_to(service, failed):
    endpoint, _ = subscribe(service, NOWHERE)
    (event,) = happen(service)
    fan_out(service)
    assert claim(service, by="forwarder-1.0") == [event]
    record(service, endpoint, event, "r0", failed, by="forwarder-1.0")
    assert claim(service, by="forwarder-2.0") == [event]
    record(service, endpoint, event, "b0", by="forwarder-2.0")
    record(service, endpoint, event, "d", "[1700000009000,204,null,7,[0,0,0,0]]", by="forwarder-2.0")
    assert delivery(service, endpoint, event).state is DeliveryState.DELIVERED


def test_a_replay_is_sent_although_the_outcome_before_it_is_told_again(service, behind, cutter, receiver):
    endpoint, _ = subscribe(service, receiver.url)
    cutter.lose_answers(1, OUTCOMES.sha.encode())
    with forwarding(behind, Policy(LOOPBACK)):
        (event,) = happen(service)
        assert eventually(lambda: cutter.lost == 1)
        assert service.replays.replay("default", event, endpoint.id) == (1, 0)
        receiver.wait_for(2)


def test_a_replay_to_an_ordered_endpoint_does_not_wait_for_what_failed_meanwhile(service):
    endpoint, _ = subscribe(service, NOWHERE, ordered=True, retry_schedule=(0.0, 3600.0))
    first, second = happen(service, 2)
    fan_out(service)
    assert claim(service) == [first]
    record(service, endpoint, first, "d")
    assert claim(service) == [second]
    service.replays.replay("default", first, endpoint.id)
    record(service, endpoint, second, "r3600000")
    assert claim(service) == [first]
