"""Nobody who is slow, dead, flooded or very many takes anything from the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from schemas.predictions import Prediction
from service import rediskeys
from service.acceptance import Order
from service.addresses import Policy
from service.bootstrap import Service
from service.records import Endpoint
from tests.store.crowds import (
    Gate,
    claim,
    fan_out,
    gate,
    happen,
    is_at_rest,
    record,
    runtime,
)
from tests.store.test_forwarder import LOOPBACK, finished, forwarding, subscribe
from tests.waiting import eventually
from workers.hosts import Hosts

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
POLICY = Policy(LOOPBACK)


@pytest.fixture
def receiver() -> Iterator[Gate]:
    with gate() as made:
        yield made


@pytest.fixture
def other() -> Iterator[Gate]:
    """A receiver at another host, as far as a port makes one."""
    with gate() as made:
        yield made


def at_its_limit(service: Service, endpoint: Endpoint) -> bool:
    return service.store.client.zscore(rediskeys.due("default"), endpoint.id) == float("inf")


# -- at one endpoint --------------------------------------------------------------------------------------


def test_a_receiver_that_hangs_holds_few_and_one_that_delivers_gets_more_and_more(
    service: Service, receiver: Gate
) -> None:
    endpoint, _ = subscribe(service, receiver.url())
    with forwarding(service, POLICY):
        with receiver.shut():
            happen(service, 100)
            receiver.wait_for(8)
            assert eventually(lambda: at_its_limit(service, endpoint))
            assert receiver.inside == 8
        receiver.wait_for(100)
        assert eventually(lambda: is_at_rest(service))
        assert runtime(service, endpoint, "at_once") == "64"
        with receiver.shut():
            happen(service, 150)
            receiver.wait_for(100 + 64)
            assert eventually(lambda: at_its_limit(service, endpoint))
            assert receiver.inside == 64
        receiver.wait_for(250)
    assert receiver.most == 64
    assert len(set(receiver.got)) == len(receiver.got) == 250


def test_a_failure_halves_what_is_sent_at_once(service: Service, receiver: Gate) -> None:
    endpoint, _ = subscribe(service, receiver.url(), retry_schedule=(0.0, 3600.0))
    happen(service, 5)
    fan_out(service)
    ids = claim(service)
    for event, verdict, at_once in zip(ids, "drrrr", ("9", "4", "2", "1", "1"), strict=True):
        record(service, endpoint, event, verdict)
        assert runtime(service, endpoint, "at_once") == at_once


@pytest.mark.parametrize("at_once", [1, 64])
def test_a_thousand_overdue_retries_do_not_keep_first_attempts_waiting(
    service: Service, receiver: Gate, at_once: int
) -> None:
    endpoint, _ = subscribe(service, receiver.url())
    happen(service, 1000)
    fan_out(service)
    service.store.client.eval(
        OVERDUE, 2, rediskeys.wait(endpoint.id), rediskeys.late(endpoint.id), endpoint.id
    )
    service.store.client.hset(rediskeys.endpoint(endpoint.id), "at_once", at_once)
    with forwarding(service, POLICY, per_endpoint=at_once):
        receiver.wait_for(1)
        fresh = set(happen(service, 20))
        assert eventually(lambda: fresh <= set(receiver.ids()))
    last = max(number for number, event in enumerate(receiver.ids()) if event in fresh)
    assert last < 400
    retried = sum(event not in fresh for event in receiver.ids()[: last + 1])
    assert retried > 0


OVERDUE = """
for _, event in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('HSET', 'hr:event:' .. event, ARGV[1], 'r|1||')
  redis.call('ZADD', KEYS[2], 1, event)
end
redis.call('DEL', KEYS[1])
"""


# -- at one host ------------------------------------------------------------------------------------------


def test_many_endpoints_at_a_host_that_hangs_share_its_bound_and_starve_no_other_host(
    service: Service, order: Orders, word: Words, receiver: Gate, other: Gate
) -> None:
    service.endpoints.policy = POLICY
    with forwarding(service, POLICY) as forwarder:
        forwarder._hosts.most = 10
        with receiver.shut():
            jobs = [finished(service, order(webhook=receiver.url(f"own/{n}")), word()) for n in range(40)]
            receiver.wait_for(10)
            subscribe(service, other.url())
            happen(service, 30)
            other.wait_for(30)
            assert receiver.inside == 10
        receiver.wait_for(40)
        assert eventually(lambda: is_at_rest(service))
    assert receiver.most == 10
    assert sorted(receiver.ids()) == sorted(job.events[-1] for job in jobs)


def test_who_is_turned_away_at_a_host_comes_back_one_after_the_other() -> None:
    now = 100.0
    hosts = Hosts(1, lambda: now)
    assert hosts.wait("a:1") == 0
    hosts.enter("a:1")
    assert hosts.wait("b:1") == 0
    waits = [hosts.wait("a:1") for _ in range(1025)]
    assert waits[0] == 250
    assert waits == sorted(waits)
    assert waits[-1] == 2250
    now += 10
    assert hosts.wait("a:1") == 250
    hosts.leave("a:1")
    assert hosts.wait("a:1") == 0


def test_a_forwarder_that_is_full_does_not_ask_for_claims_until_there_is_room(
    service: Service, receiver: Gate
) -> None:
    subscribe(service, receiver.url())
    with forwarding(service, POLICY, most_in_flight=2) as forwarder:
        with receiver.shut():
            happen(service, 5)
            receiver.wait_for(2)
            assert eventually(lambda: forwarder._turn is None)
            asked = next(forwarder._turns)
            assert not eventually(lambda: next(forwarder._turns) > asked + 30, timeout=0.3)
        receiver.wait_for(5)
    assert receiver.most == 2


# -- in turn ----------------------------------------------------------------------------------------------


def test_a_flood_in_one_workspace_leaves_its_turn_to_the_other(
    service: Service, receiver: Gate, other: Gate
) -> None:
    service.apikeys.create("flooded")
    service.endpoints.policy = POLICY
    service.endpoints.create("flooded", {"url": receiver.url()})
    subscribe(service, other.url())
    happen(service, 5000, workspace="flooded")
    fan_out(service, "flooded")
    with forwarding(service, POLICY, most_in_flight=4):
        receiver.wait_for(50)
        before = len(receiver.got)
        happen(service)
        other.wait_for(1)
    assert len(receiver.got) - before < 100


def test_endpoints_of_one_workspace_take_turns(service: Service, receiver: Gate, other: Gate) -> None:
    for number in range(8):
        subscribe(service, receiver.url(f"{number}"))
    happen(service, 200)
    fan_out(service)
    subscribe(service, other.url())
    with forwarding(service, POLICY, most_in_flight=4):
        receiver.wait_for(50)
        before = len(receiver.got)
        happen(service)
        other.wait_for(1)
    assert len(receiver.got) - before < 100


def test_endpoints_that_cannot_be_tried_are_looked_at_a_few_hundred_at_a_time_and_once(
    service: Service,
) -> None:
    resting = [subscribe(service, "http://127.0.0.1:9/")[0].id for _ in range(257)]
    happen(service)
    fan_out(service)
    rest = {"fails": 5, "probe": 2**50}
    service.store.write(lambda pipe: [pipe.hset(rediskeys.endpoint(each), mapping=rest) for each in resting])
    subscribe(service, "http://127.0.0.1:9/")
    for expected in ([], happen(service)):
        fan_out(service)
        assert claim(service) == expected
    # What else happens is no reason to look at them again.
    happen(service)
    fan_out(service)
    assert service.store.client.zcount(rediskeys.due("default"), "-inf", service.time() + 1000) == 1
