"""An ordered endpoint gets its events strictly in their order, one at a time, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.states import DeliveryState
from service import rediskeys
from service.addresses import Policy
from service.bootstrap import Service
from service.deliveries import delivery_id
from service.health import STOPPED
from service.records import Endpoint
from service.store import EXPAND, FORGET
from tests.store.crowds import (
    Gate,
    claim,
    delivery,
    fan_out,
    gate,
    happen,
    is_at_rest,
    pass_time,
    record,
    runtime,
    states,
    wait_of_claim,
)
from tests.store.test_forwarder import LOOPBACK, forwarding, subscribe
from tests.waiting import eventually
from workers.clock import Clock

POLICY = Policy(LOOPBACK)
NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture
def receiver() -> Iterator[Gate]:
    with gate() as made:
        yield made


@pytest.fixture
def endpoint(service: Service, receiver: Gate) -> Endpoint:
    return subscribe(service, receiver.url(), ordered=True, retry_schedule=(0.0, 60.0))[0]


def in_turn(service: Service, endpoint: Endpoint, most: int = 20) -> list[str]:
    """What is claimed and delivered, one after the other, until nothing is."""
    done: list[str] = []
    while len(done) < most and (claimed := claim(service)):
        assert len(claimed) == 1
        record(service, endpoint, claimed[0], "d")
        done += claimed
    return done


def mend(service: Service) -> None:
    service.mender._next_recount = 0.0
    service.mender.everything()


# -- in order ---------------------------------------------------------------------------------------------


def test_everything_arrives_in_order_one_at_a_time_from_two_forwarders(
    service: Service, receiver: Gate, endpoint: Endpoint
) -> None:
    with forwarding(service, POLICY), forwarding(service, POLICY, incarnation="forwarder-other"):
        ids = [event for _ in range(20) for event in happen(service, 4)]
        assert receiver.wait_for(80) == ids
        assert eventually(lambda: is_at_rest(service))
    assert receiver.most == 1
    assert states(service, endpoint, ids) == {DeliveryState.DELIVERED}


def test_what_is_fanned_out_too_early_waits_for_what_happened_before(
    service: Service, endpoint: Endpoint
) -> None:
    first, second, third = happen(service, 3)
    fan_out(service, but=(first, second))
    assert claim(service) == []
    fan_out(service, but=(second,))
    pass_time(service, 1)
    assert in_turn(service, endpoint) == [first]
    assert states(service, endpoint, [third]) == {DeliveryState.PENDING}
    fan_out(service)
    pass_time(service, 1)
    assert in_turn(service, endpoint) == [second, third]


def test_it_waits_for_the_fan_out_even_of_what_is_not_its_own(service: Service, endpoint: Endpoint) -> None:
    (other,) = happen(service, kind="prediction.processing")
    (event,) = happen(service)
    fan_out(service, but=(other,))
    assert claim(service) == []
    fan_out(service)
    pass_time(service, 1)
    assert in_turn(service, endpoint) == [event]


def test_very_many_that_wait_for_a_fan_out_look_again_less_and_less_often(service: Service) -> None:
    for _ in range(3):
        subscribe(service, NOWHERE, ordered=True)
    first, _ = happen(service, 2)
    fan_out(service, but=(first,))
    waits = []
    for _ in range(8):
        waits.append(wait_of_claim(service))
        pass_time(service, waits[-1] / 1000)
    assert 0 < waits[0] <= 30
    assert waits[-1] > 900
    fan_out(service)
    pass_time(service, 1)
    assert claim(service) == [first] * 3


def test_other_endpoints_do_not_wait_for_an_ordered_one(service: Service, endpoint: Endpoint) -> None:
    plain, _ = subscribe(service, NOWHERE)
    first, second = happen(service, 2)
    fan_out(service, but=(first,))
    assert claim(service) == [second]
    assert states(service, plain, [second]) == {DeliveryState.RETRYING}


# -- failures ---------------------------------------------------------------------------------------------


def test_a_failure_holds_back_what_comes_after_it(
    service: Service, receiver: Gate, endpoint: Endpoint
) -> None:
    receiver.statuses = [200, 500]
    with forwarding(service, POLICY) as forwarder:
        ids = happen(service, 5)
        receiver.wait_for(2)
        assert eventually(lambda: runtime(service, endpoint, "next"))
        assert eventually(lambda: states(service, endpoint, ids[2:]) == {DeliveryState.PENDING})
        pass_time(service, 100, forwarder)
        assert receiver.wait_for(6) == [ids[0], ids[1], *ids[1:]]
        assert eventually(lambda: is_at_rest(service))


def test_an_endpoint_that_skips_goes_on_with_the_next_when_a_schedule_is_over(
    service: Service, receiver: Gate
) -> None:
    endpoint, _ = subscribe(
        service, receiver.url(), ordered=True, on_exhausted="skip", retry_schedule=(0.0, 0.0)
    )
    receiver.statuses = [200, 500, 500]
    with forwarding(service, POLICY):
        ids = happen(service, 4)
        assert receiver.wait_for(5) == [ids[0], ids[1], *ids[1:]]
        assert eventually(lambda: is_at_rest(service))
    assert states(service, endpoint, [ids[1]]) == {DeliveryState.EXHAUSTED}
    assert service.endpoints.get("default", endpoint.id).enabled


def test_an_endpoint_that_stops_is_disabled_and_goes_on_with_the_same_when_it_is_enabled(
    service: Service, receiver: Gate
) -> None:
    endpoint, _ = subscribe(service, receiver.url(), ordered=True, retry_schedule=(0.0, 0.0))
    receiver.statuses = [200, 500, 500]
    with forwarding(service, POLICY) as forwarder:
        ids = happen(service, 4)
        assert eventually(lambda: not service.endpoints.get("default", endpoint.id).enabled)
        assert service.endpoints.get("default", endpoint.id).disabled_reason == STOPPED.format(
            delivery_id(ids[1], endpoint.id)
        )
        assert receiver.ids() == [ids[0], ids[1], ids[1]]
        assert eventually(lambda: states(service, endpoint, ids[1:]) == {DeliveryState.HELD})
        later = happen(service)
        service.endpoints.update("default", endpoint.id, {"enabled": True})
        forwarder.ring()
        assert receiver.wait_for(7)[3:] == [*ids[1:], *later]
        assert eventually(lambda: is_at_rest(service))
    assert delivery(service, endpoint, ids[1]).attempt_count == 3


def test_what_was_under_way_to_a_forwarder_that_was_killed_comes_first(
    service: Service, receiver: Gate, endpoint: Endpoint
) -> None:
    ids = happen(service, 5)
    fan_out(service)
    assert claim(service, by="forwarder-killed.7") == ids[:1]
    seconds = 0.0
    clock = Clock.of(service, lambda: seconds)
    with forwarding(service, POLICY) as forwarder:
        plain, _ = subscribe(service, receiver.url("witness"))
        (witness,) = happen(service)
        receiver.wait_for(1, "witness")
        assert receiver.ids("hook") == []
        clock.free_the_forgotten()
        seconds += 5
        service.presence.incarnation = "forwarder-test"
        service.presence.beat()
        clock.free_the_forgotten()
        forwarder.ring()
        assert receiver.wait_for(6, "hook") == [*ids, witness]
    assert delivery(service, endpoint, ids[0]).attempt_count == 2
    assert plain.id != endpoint.id


def test_a_success_that_comes_late_lets_the_next_go(service: Service, endpoint: Endpoint) -> None:
    first, second = happen(service, 2)
    fan_out(service)
    claim(service, by="forwarder-1.0")
    record(service, endpoint, first, "b60000", by="forwarder-1.0")
    record(service, endpoint, first, "d", by="forwarder-1.0")
    assert in_turn(service, endpoint) == [second]
    assert is_at_rest(service)


def test_a_success_that_comes_late_leaves_the_one_under_way_alone(
    service: Service, endpoint: Endpoint
) -> None:
    first, second = happen(service, 2)
    fan_out(service)
    claim(service, by="forwarder-1.0")
    record(service, endpoint, first, "b0", by="forwarder-1.0")
    assert claim(service, by="forwarder-2.0") == [first]
    record(service, endpoint, first, "d", by="forwarder-1.0")
    assert claim(service) == []
    record(service, endpoint, first, "r60000", by="forwarder-2.0")
    assert in_turn(service, endpoint) == [second]
    assert is_at_rest(service)


# -- lost indexes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["line", "unfanned", "due", "TURNS"])
def test_whatever_index_is_deleted_the_order_is_kept_once_it_is_mended(
    service: Service, endpoint: Endpoint, key: str
) -> None:
    ids = happen(service, 4)
    fan_out(service, but=(ids[1],))
    name = getattr(rediskeys, key)
    argument = endpoint.id if key == "line" else "default"
    service.store.client.delete(name if isinstance(name, str) else name(argument))
    mend(service)
    assert in_turn(service, endpoint) == ids[:1]
    assert states(service, endpoint, ids[2:]) == {DeliveryState.PENDING}
    fan_out(service)
    pass_time(service, 1)
    assert in_turn(service, endpoint) == ids[1:]
    assert is_at_rest(service)


def test_an_event_of_many_deliveries_keeps_the_later_ones_back_once_it_is_mended(
    service: Service, endpoint: Endpoint
) -> None:
    first, second = happen(service, 2)
    many = [f"ep_{number:022}" for number in range(600)]
    entry = service.store.client.hget(rediskeys.event(first), "entry")
    assert isinstance(entry, bytes)
    service.store.run(EXPAND, ["default", first, entry, 0, *many])
    fan_out(service, but=(first,))
    service.store.client.delete(rediskeys.unfanned("default"))
    mend(service)
    assert in_turn(service, endpoint) == []
    fan_out(service)
    pass_time(service, 1)
    assert in_turn(service, endpoint) == [first, second]


def test_retries_that_lost_their_place_do_not_stand_in_a_line(service: Service) -> None:
    plain, _ = subscribe(service, NOWHERE)
    (event,) = happen(service)
    fan_out(service)
    claim(service)
    record(service, plain, event, "r0")
    service.store.client.delete(rediskeys.late(plain.id))
    mend(service)
    assert not service.store.client.exists(rediskeys.line(plain.id))
    assert in_turn(service, plain) == [event]


@pytest.mark.parametrize("ordered", [False, True])
def test_what_is_under_way_and_not_counted_any_more_is_not_sent_twice(
    service: Service, ordered: bool
) -> None:
    endpoint, _ = subscribe(service, NOWHERE, ordered=ordered)
    (event,) = happen(service)
    fan_out(service)
    assert claim(service) == [event]
    service.store.client.delete(rediskeys.running("default"))
    assert claim(service, by="forwarder-2.0") == []
    mend(service)
    assert service.store.client.hget(rediskeys.running("default"), endpoint.id) == b"1"
    record(service, endpoint, event, "d")
    assert claim(service) == []
    assert is_at_rest(service)


def test_a_claim_whose_event_is_gone_with_its_forwarder_stops_nobody_for_ever(
    service: Service, endpoint: Endpoint
) -> None:
    first, second = happen(service, 2)
    fan_out(service)
    assert claim(service, by="forwarder-killed.0") == [first]
    assert service.store.run(FORGET, [first, 1]) == 1
    mend(service)
    assert claim(service) == []
    pass_time(service, 601)
    mend(service)
    assert in_turn(service, endpoint) == [second]
    assert is_at_rest(service)
