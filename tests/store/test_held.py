"""Deliveries for an endpoint that is paused or disabled are held, and nothing of them vanishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
    states,
)
from tests.store.test_forwarder import LOOPBACK, finished, forwarding, settled, subscribe
from tests.waiting import eventually
from workers import clock
from workers.clock import Clock

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
POLICY = Policy(LOOPBACK)
NOWHERE = "http://127.0.0.1:9/"
DAY = 86_400
HELD = {DeliveryState.HELD}


@pytest.fixture
def receiver() -> Iterator[Gate]:
    with gate() as made:
        yield made


@pytest.fixture(params=[False, True], ids=["", "ordered"])
def endpoint(service: Service, receiver: Gate, request: pytest.FixtureRequest) -> Endpoint:
    """Of either kind."""
    return subscribe(service, receiver.url(), ordered=request.param, retry_schedule=(0.0, 60.0))[0]


def change(service: Service, endpoint: Endpoint, **fields: object) -> None:
    service.endpoints.update("default", endpoint.id, fields)


@pytest.mark.parametrize("switch", [{"paused": True}, {"enabled": False}], ids=["paused", "disabled"])
def test_what_waits_and_what_is_new_is_held_until_it_is_resumed_and_then_sent(
    service: Service, receiver: Gate, endpoint: Endpoint, switch: dict[str, bool]
) -> None:
    receiver.statuses = [500]
    with forwarding(service, POLICY) as forwarder:
        (failed,) = happen(service)
        receiver.wait_for(1)
        assert eventually(lambda: delivery(service, endpoint, failed).state is DeliveryState.RETRYING)
        change(service, endpoint, **switch)
        new = happen(service, 20)
        assert eventually(lambda: states(service, endpoint, [failed, *new]) == HELD)
        witness, _ = subscribe(service, receiver.url("witness"))
        pass_time(service, 600, forwarder)
        (seen,) = happen(service)
        receiver.wait_for(1, "witness")
        assert eventually(lambda: states(service, witness, [seen]) == {DeliveryState.DELIVERED})
        assert receiver.ids("hook") == [failed]
        change(service, endpoint, **{name: not value for name, value in switch.items()})
        forwarder.ring()
        assert eventually(lambda: is_at_rest(service))
    assert sorted(receiver.ids("hook")) == sorted([failed, failed, *new, seen])
    assert delivery(service, endpoint, failed).attempt_count == 2


def test_what_is_under_way_when_its_endpoint_is_paused_ends_and_a_failure_is_held(
    service: Service, receiver: Gate, endpoint: Endpoint
) -> None:
    receiver.statuses = [500]
    with forwarding(service, POLICY) as forwarder:
        with receiver.shut():
            (event,) = happen(service)
            receiver.wait_for(1)
            change(service, endpoint, paused=True)
            assert delivery(service, endpoint, event).state is not DeliveryState.HELD
        assert eventually(lambda: states(service, endpoint, [event]) == HELD)
        change(service, endpoint, paused=False)
        pass_time(service, 100, forwarder)
        receiver.wait_for(2)
        assert eventually(lambda: is_at_rest(service))


def test_what_was_claimed_just_before_a_pause_goes_back_uncounted(
    service: Service, endpoint: Endpoint
) -> None:
    (event,) = happen(service)
    fan_out(service)
    assert claim(service) == [event]
    change(service, endpoint, paused=True)
    record(service, endpoint, event, "u")
    held = delivery(service, endpoint, event)
    assert (held.state, held.attempt_count) == (DeliveryState.HELD, 0)
    assert claim(service) == []
    change(service, endpoint, paused=False)
    assert claim(service) == [event]


def test_what_is_held_is_cancelled_after_its_retention(service: Service, endpoint: Endpoint) -> None:
    change(service, endpoint, paused=True)
    old = happen(service, 3)
    fan_out(service)
    pass_time(service, 15 * DAY)
    young = happen(service, 2)
    fan_out(service)
    pass_time(service, 15 * DAY - 60)
    assert service.health.cancel_held(now(service), 1) == 0
    pass_time(service, 120)
    assert service.health.cancel_held(now(service), 1) == 3
    assert states(service, endpoint, old) == {DeliveryState.CANCELLED}
    assert states(service, endpoint, young) == HELD
    change(service, endpoint, paused=False)
    claimed = claim(service)
    for event in claimed:
        record(service, endpoint, event, "d")
    claimed += claim(service)
    assert sorted(claimed) == sorted(young)


def test_what_is_not_held_is_never_too_old(service: Service, endpoint: Endpoint) -> None:
    ids = happen(service, 3)
    fan_out(service)
    pass_time(service, 100 * DAY)
    assert service.health.cancel_held(now(service), 1) == 0
    assert service.health.cancel_left(1) == 0
    assert states(service, endpoint, ids) == {DeliveryState.PENDING}


def test_what_no_index_tells_the_age_of_is_not_taken_for_old(service: Service, endpoint: Endpoint) -> None:
    change(service, endpoint, paused=True)
    ids = happen(service, 2)
    fan_out(service)
    service.store.client.delete(rediskeys.OPEN_EVENTS)
    assert service.health.cancel_held(now(service), 1) == 0
    assert states(service, endpoint, ids) == HELD


def test_what_is_under_way_is_not_cancelled_with_what_is_held(service: Service, endpoint: Endpoint) -> None:
    (event,) = happen(service)
    fan_out(service)
    pass_time(service, 40 * DAY)
    assert claim(service) == [event]
    change(service, endpoint, paused=True)
    assert service.health.cancel_held(now(service), 1) == 0
    record(service, endpoint, event, "r0")
    assert states(service, endpoint, [event]) == HELD
    change(service, endpoint, paused=False)
    assert claim(service) == [event]


# -- deleted, and gone ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["r0", "g", "s", "x", "b0", "u", "d"])
def test_what_is_under_way_to_an_endpoint_that_is_deleted_leaves_nothing_behind(
    service: Service, endpoint: Endpoint, verdict: str
) -> None:
    happen(service, 3)
    fan_out(service)
    (first,) = claim(service, 1)
    service.endpoints.delete("default", endpoint.id)
    assert service.health.cancel_left(1) == 2
    record(service, endpoint, first, verdict)
    assert claim(service) == []
    assert is_at_rest(service)
    expected = DeliveryState.DELIVERED if verdict == "d" else DeliveryState.CANCELLED
    assert states(service, endpoint, [first]) == {expected}
    left = (rediskeys.endpoint, rediskeys.wait, rediskeys.late, rediskeys.line)
    assert not any(service.store.client.exists(key(endpoint.id)) for key in left)


def test_what_is_fanned_out_to_an_endpoint_that_was_just_deleted_is_cancelled(
    service: Service, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = happen(service, 3)
    directory = service.endpoints.directory("default")
    service.endpoints.delete("default", endpoint.id)
    service.health.cancel_left(1)
    with monkeypatch.context() as patch:
        patch.setattr(service.endpoints, "directory", lambda _: directory)
        fan_out(service)
    assert claim(service) == []
    assert service.health.cancel_left(1) == 3
    assert states(service, endpoint, ids) == {DeliveryState.CANCELLED}
    assert is_at_rest(service)


def test_a_jobs_own_webhook_that_is_gone_is_given_up(
    service: Service, receiver: Gate, order: Orders, word: Words
) -> None:
    service.endpoints.policy = POLICY
    receiver.status = 410
    with forwarding(service, POLICY):
        job = finished(service, order(webhook=receiver.url()), word())
        own = service.endpoints.find(job.own_endpoint)
        assert own is not None
        settled(service, job, own, DeliveryState.EXHAUSTED)
    assert is_at_rest(service)


# -- and pruning ------------------------------------------------------------------------------------------


def test_a_job_of_which_a_delivery_is_held_is_kept_and_keeps_no_other(
    service: Service, order: Orders, word: Words, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "DUE_AT_ONCE", 2)
    service.settings.__dict__["retention"] = 0
    change(service, endpoint, paused=True)
    held = [finished(service, order(), word()).id for _ in range(3)]
    fan_out(service)
    service.endpoints.delete("default", subscribe(service, NOWHERE)[0].id)
    change(service, endpoint, event_types=("prediction.failed",))
    free = [finished(service, order(), word()).id for _ in range(3)]
    fan_out(service)
    pass_time(service, 1)
    passes = Clock.of(service, lambda: 0.0)
    for _ in range(6):
        passes.prune()
    assert [job and job.id for job in service.jobs.get_all([*held, *free])] == [*held, None, None, None]
