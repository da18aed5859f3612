"""The circuit of an endpoint that fails, and the rate of one that has set one, by the store's clock."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from schemas.predictions import Prediction
from schemas.states import DeliveryState
from service import rediskeys
from service.acceptance import Order
from service.addresses import Policy
from service.bootstrap import Service
from service.records import Endpoint
from tests.store.crowds import (
    Gate,
    claim,
    delivery,
    fan_out,
    gate,
    happen,
    is_at_rest,
    now,
    pass_time,
    record,
    runtime,
    states,
    wait_of_claim,
)
from tests.store.test_forwarder import LOOPBACK, forwarding, subscribe
from tests.waiting import eventually

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
POLICY = Policy(LOOPBACK)
NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture
def receiver() -> Iterator[Gate]:
    with gate() as made:
        yield made


def attempts(service: Service, endpoint: Endpoint, ids: list[str]) -> list[int]:
    return sorted(delivery(service, endpoint, each).attempt_count for each in ids)


def is_open(service: Service, endpoint: Endpoint, rest: int = 1000) -> bool:
    """Whether nothing is under way, and nothing is tried before the rest of so many ms is over."""
    if runtime(service, endpoint, "rest") != str(rest):
        return False
    due = service.store.client.zscore(rediskeys.due("default"), endpoint.id)
    return bool(due) and f"{due:.0f}" == runtime(service, endpoint, "probe")


# -- the circuit ------------------------------------------------------------------------------------------


def test_five_failures_in_a_row_open_the_circuit_and_a_success_lets_everything_through(
    service: Service, receiver: Gate
) -> None:
    endpoint, _ = subscribe(service, receiver.url(), retry_schedule=(0.0, 7200.0))
    receiver.status = 503
    with forwarding(service, POLICY) as forwarder:
        ids = happen(service, 30)
        # Those that were under way when it opened land as they land, and say nothing new.
        assert eventually(lambda: is_open(service, endpoint))
        tried = len(receiver.got)
        assert tried == int(runtime(service, endpoint, "fails")) < 16
        for probes, rest in enumerate((1000, 2000, 4000), start=1):
            waiting = 31 - tried - probes
            assert attempts(service, endpoint, ids) == [0] * waiting + [1] * (30 - waiting)
            pass_time(service, rest / 1000, forwarder)
            receiver.wait_for(tried + probes)
            assert eventually(partial(is_open, service, endpoint, rest=2 * rest))
        receiver.status = 200
        pass_time(service, 8, forwarder)
        receiver.wait_for(30)
        assert eventually(lambda: DeliveryState.PENDING not in states(service, endpoint, ids))
        assert runtime(service, endpoint, "fails") == ""
        pass_time(service, 9000, forwarder)
        assert eventually(lambda: is_at_rest(service))
    assert states(service, endpoint, ids) == {DeliveryState.DELIVERED}


def test_a_circuit_rests_a_minute_at_most(service: Service) -> None:
    endpoint, _ = subscribe(service, NOWHERE)
    happen(service, 40)
    fan_out(service)
    for event in claim(service, 5):
        record(service, endpoint, event, "r0")
    rests = []
    for _ in range(8):
        rests.append(int(runtime(service, endpoint, "rest")))
        assert claim(service) == []
        assert rests[-1] - 500 < wait_of_claim(service) <= rests[-1]
        pass_time(service, rests[-1] / 1000)
        (event,) = claim(service)
        assert wait_of_claim(service) == -1
        record(service, endpoint, event, "r0")
    assert rests == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]


def test_what_was_under_way_when_the_circuit_opened_does_not_lengthen_its_rest(service: Service) -> None:
    endpoint, _ = subscribe(service, NOWHERE)
    happen(service, 80)
    fan_out(service)
    service.store.client.hset(rediskeys.endpoint(endpoint.id), "at_once", 64)
    under_way = claim(service)
    assert len(under_way) == 64
    for event in under_way[:40]:
        record(service, endpoint, event, "r0")
    assert (runtime(service, endpoint, "fails"), runtime(service, endpoint, "rest")) == ("40", "1000")
    pass_time(service, 1.1)
    # They are under way yet, and there is one probe at a time.
    assert claim(service) == []
    for event in under_way[40:]:
        record(service, endpoint, event, "r0")
    assert runtime(service, endpoint, "rest") == "2000"
    pass_time(service, 2)
    assert len(claim(service)) == 1


def test_what_an_endpoint_is_not_to_blame_for_opens_no_circuit(service: Service) -> None:
    endpoint, _ = subscribe(service, NOWHERE)
    happen(service, 8)
    fan_out(service)
    for event in claim(service):
        record(service, endpoint, event, "b0")
    assert len(claim(service)) == 8
    assert runtime(service, endpoint, "fails") == ""


# -- the rate ---------------------------------------------------------------------------------------------


def claimed_at(service: Service, endpoint: Endpoint, seconds: float, step: Callable[[], float]) -> list[int]:
    """When each delivery was claimed by one of two forwarders that ask at odd moments."""
    begun, at = now(service), []
    for turn in itertools.cycle(("forwarder-1.0", "forwarder-2.0")):
        pass_time(service, step())
        asked = now(service)
        for event in claim(service, by=turn):
            record(service, endpoint, event, "d", by=turn)
            at.append(asked)
        if asked > begun + seconds * 1000:
            return at
    raise AssertionError


def most_in(window: int, at: list[int]) -> int:
    """Most of them in so many ms."""
    return max(sum(first <= each < first + window for each in at) for first in at)


@pytest.mark.parametrize(("rate", "burst"), [(5, 0), (0.5, 0), (40, 4)])
def test_no_more_go_out_in_any_second_than_the_rate_however_many_ask(
    service: Service, rate: float, burst: int
) -> None:
    endpoint, _ = subscribe(service, NOWHERE, rate=rate)
    happen(service, 20)
    fan_out(service)
    dice = random.Random(7)
    seconds = 12 / rate
    at = claimed_at(service, endpoint, seconds, lambda: dice.uniform(0, 0.4 / rate))
    # A claim is looked at a moment before it is made.
    assert most_in(int(1000 * max(1, 1 / rate)) - 15, at) <= max(1, rate) + burst
    assert 9 <= len(at) <= 13 + burst


def test_a_rate_holds_over_two_forwarders_and_everything_arrives_once(
    service: Service, receiver: Gate
) -> None:
    endpoint, _ = subscribe(service, receiver.url(), rate=20)
    with forwarding(service, POLICY), forwarding(service, POLICY, incarnation="forwarder-other"):
        ids = happen(service, 20)
        receiver.wait_for(20)
        assert eventually(lambda: is_at_rest(service))
    assert sorted(receiver.ids()) == sorted(ids)
    times = sorted(delivery(service, endpoint, each).attempts[0].at for each in ids)
    # 19 intervals of 50 ms; two may go at once after a silence.
    assert times[-1] - times[0] >= 850


def test_a_rate_that_is_changed_or_removed_counts_at_once(service: Service) -> None:
    endpoint, _ = subscribe(service, NOWHERE, rate=0.01)
    happen(service, 10)
    fan_out(service)
    assert len(claim(service)) == 1
    assert 99_000 < wait_of_claim(service) <= 100_000
    service.endpoints.update("default", endpoint.id, {"rate": 5})
    assert [len(claim(service)), len(claim(service))] == [1, 0]
    pass_time(service, 0.2)
    assert [len(claim(service)), len(claim(service))] == [1, 0]
    service.endpoints.update("default", endpoint.id, {"rate": 0})
    # Eight at once is what an endpoint begins with.
    assert len(claim(service)) == 5
