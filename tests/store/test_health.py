"""Endpoints that only fail are disabled, and whoever wants to know is told once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from standardwebhooks import Webhook

from schemas.eventtypes import DELIVERY_EXHAUSTED, ENDPOINT_DISABLED, ENDPOINT_RECOVERED, FAILED, TYPES
from schemas.states import DeliveryState
from service import rediskeys
from service.addresses import Policy
from service.bootstrap import Service
from service.errors import StoreUnavailable, Unavailable
from service.events import body_of
from service.health import EXHAUSTED, FAILING, GONE
from service.records import Endpoint
from tests.store.crowds import (
    Gate,
    claim,
    fan_out,
    gate,
    happen,
    is_at_rest,
    pass_time,
    record,
    runtime,
    states,
)
from tests.store.test_forwarder import LOOPBACK, forwarding, subscribe
from tests.waiting import eventually
from workers.clock import Clock

POLICY = Policy(LOOPBACK)
NOWHERE = "http://127.0.0.1:9/"
DAY = 86_400
TOLD = (ENDPOINT_DISABLED, ENDPOINT_RECOVERED, DELIVERY_EXHAUSTED)
BAD = '[1790000000000,503,null,41,[1,2,3,4],"a detail"]\nupstream is away'


@pytest.fixture
def receiver() -> Iterator[Gate]:
    with gate() as made:
        yield made


@pytest.fixture
def endpoint(service: Service) -> Endpoint:
    return subscribe(service, NOWHERE, description="the billing service")[0]


def one_attempt(service: Service, endpoint: Endpoint, verdict: str, item: str = BAD) -> str:
    """Of a new event, or of the next that waits."""
    claimed = claim(service, 1)
    if not claimed:
        happen(service)
        fan_out(service)
        claimed = claim(service, 1)
    record(service, endpoint, claimed[0], verdict, item)
    return claimed[0]


def written(service: Service) -> list[dict[str, Any]]:
    """What is told of endpoints, in the order of the events."""
    (ids,) = service.store.read(lambda pipe: pipe.zrange(rediskeys.events("default"), 0, -1))
    keys = [rediskeys.event(each.decode()) for each in ids]
    bodies = [
        json.loads(body_of(doc))
        for doc in service.store.read(lambda pipe: [pipe.hget(key, "doc") for key in keys])
    ]
    return [each for each in bodies if each["type"] in TOLD]


# -- disabled ---------------------------------------------------------------------------------------------


def enabled(service: Service, endpoint: Endpoint) -> bool:
    service.health.tell()
    service.health.disable_failing()
    return service.endpoints.get("default", endpoint.id).enabled


def test_five_days_of_nothing_but_failure_disable_an_endpoint(service: Service, endpoint: Endpoint) -> None:
    for _ in range(5):
        one_attempt(service, endpoint, "r0")
        assert enabled(service, endpoint)
        pass_time(service, DAY - 60)
    one_attempt(service, endpoint, "r0")
    assert enabled(service, endpoint)
    pass_time(service, 360)
    event = one_attempt(service, endpoint, "r0")
    assert not enabled(service, endpoint)
    assert service.endpoints.get("default", endpoint.id).disabled_reason == FAILING
    assert states(service, endpoint, [event]) == {DeliveryState.HELD}
    pass_time(service, DAY)
    assert claim(service) == []


def test_a_success_in_between_begins_the_days_anew(service: Service, endpoint: Endpoint) -> None:
    for verdict in ("r0", "r0", "d", "r0", "r0"):
        one_attempt(service, endpoint, verdict)
        assert enabled(service, endpoint)
        pass_time(service, 2 * DAY)


def test_one_failure_of_five_days_ago_without_another_disables_nobody(
    service: Service, endpoint: Endpoint
) -> None:
    one_attempt(service, endpoint, "r0")
    pass_time(service, 6 * DAY)
    assert enabled(service, endpoint)


def test_an_endpoint_that_was_enabled_again_has_its_five_days_before_it(
    service: Service, endpoint: Endpoint
) -> None:
    one_attempt(service, endpoint, "r0")
    pass_time(service, 6 * DAY)
    one_attempt(service, endpoint, "r0")
    assert not enabled(service, endpoint)
    # As if the clock had died before it could forget what it had found.
    service.store.client.zadd(rediskeys.FAILING, {endpoint.id: 6 * DAY * 1000})
    service.endpoints.update("default", endpoint.id, {"enabled": True})
    assert enabled(service, endpoint)
    one_attempt(service, endpoint, "r0")
    assert enabled(service, endpoint)


def test_who_has_delivered_between_the_look_and_the_write_is_not_disabled(
    service: Service, endpoint: Endpoint
) -> None:
    one_attempt(service, endpoint, "r0")
    pass_time(service, 6 * DAY)
    one_attempt(service, endpoint, "r0")
    find = service.endpoints.find

    def and_then_it_delivers(endpoint_id: str) -> Endpoint | None:
        found = find(endpoint_id)
        one_attempt(service, endpoint, "d")
        return found

    service.endpoints.find = and_then_it_delivers  # type: ignore[method-assign]
    service.health.disable_failing()
    assert service.endpoints.get("default", endpoint.id).enabled


def test_a_410_disables_at_once_and_what_is_enabled_afterwards_stays_so(
    service: Service, endpoint: Endpoint
) -> None:
    happen(service, 6)
    fan_out(service)
    first, *others = claim(service)
    record(service, endpoint, first, "g", BAD)
    (note,) = service.store.read(lambda pipe: pipe.lrange(rediskeys.NOTES, 0, -1))
    assert claim(service) == []
    assert not enabled(service, endpoint)
    for each in others:
        record(service, endpoint, each, "g", BAD)
    service.endpoints.update("default", endpoint.id, {"enabled": True})
    # Those that were under way had nothing new to tell, nor has a note that was told before.
    service.store.client.rpush(rediskeys.NOTES, *note)
    assert enabled(service, endpoint)
    assert len(claim(service)) > 0


# -- told -------------------------------------------------------------------------------------------------


def has_failed(service: Service, endpoint: Endpoint, times: str) -> bool:
    return runtime(service, endpoint, "fails") == times


def test_whoever_subscribes_is_told_signed_and_as_documented(service: Service, receiver: Gate) -> None:
    _, secret = subscribe(service, receiver.url("told"), event_types=TOLD)
    endpoint, _ = subscribe(service, receiver.url(), retry_schedule=(0.0,), description="the billing service")
    receiver.statuses = [503] * 5
    clock = Clock.of(service, lambda: 0.0)
    with forwarding(service, POLICY) as forwarder:
        for failed in range(1, 6):
            happen(service)
            assert eventually(partial(has_failed, service, endpoint, str(failed)))
        clock.tell()
        receiver.wait_for(5, "told")
        pass_time(service, 1, forwarder)
        happen(service)
        assert eventually(partial(has_failed, service, endpoint, ""))
        clock.tell()
        receiver.wait_for(6, "told")
        receiver.statuses = [410]
        happen(service, kind=FAILED)
        ids = receiver.wait_for(7, "told")
        assert eventually(lambda: not service.store.client.exists(rediskeys.FLIGHT))
    told = []
    for each in ids:
        headers, body = receiver.bodies[each]
        told.append(Webhook(secret).verify(body, headers))
        Draft202012Validator(TYPES[told[-1]["type"]].schema).validate(told[-1])
    kinds = [each["type"] for each in told]
    assert sorted(kinds[:5]) == [DELIVERY_EXHAUSTED] * 5
    assert kinds[5:] == [ENDPOINT_RECOVERED, ENDPOINT_DISABLED]
    shown = {"id": endpoint.id, "url": endpoint.url, "description": "the billing service"}
    assert [each["data"]["endpoint"] for each in told] == [shown] * 7
    assert [each["data"]["reason"] for each in told] == [EXHAUSTED] * 5 + [None, GONE]
    assert [each["data"]["last_attempt"]["status"] for each in told] == [503] * 5 + [200, 410]
    assert told[0]["data"]["delivery"]["attempt_count"] == 1


def test_what_tells_of_deliveries_raises_nothing_itself(service: Service) -> None:
    endpoint, _ = subscribe(service, NOWHERE, event_types=(*TOLD, FAILED))
    happen(service, kind=FAILED)
    fan_out(service)
    record(service, endpoint, claim(service)[0], "x", BAD)
    assert service.health.tell() == 1
    fan_out(service)
    (told,) = claim(service)
    record(service, endpoint, told, "x", BAD)
    assert service.health.tell() == 1
    assert [each["id"] for each in written(service)] == [told]
    assert claim(service) == []
    assert is_at_rest(service)


def test_nothing_is_written_where_nobody_subscribes(service: Service, endpoint: Endpoint) -> None:
    service.apikeys.create("elsewhere")
    service.endpoints.create("elsewhere", {"url": NOWHERE, "event_types": TOLD})
    for verdict in ("x", "x", "r0", "r0", "r0"):
        one_attempt(service, endpoint, verdict)
    pass_time(service, 1)
    one_attempt(service, endpoint, "d")
    one_attempt(service, endpoint, "g")
    assert service.health.tell() == 4
    assert written(service) == []
    assert not service.store.client.exists(rediskeys.NOTES)


def test_it_is_told_once_although_two_clocks_tell_it_and_one_dies_in_between(
    service: Service, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(service, NOWHERE, event_types=TOLD)
    for _ in range(4):
        one_attempt(service, endpoint, "x")
    one_attempt(service, endpoint, "g")
    (notes,) = service.store.read(lambda pipe: pipe.lrange(rediskeys.NOTES, 0, -1))

    def dies(_: object) -> list[Any]:
        raise StoreUnavailable("the store cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "write", dies)
        with pytest.raises(StoreUnavailable):
            service.health.tell()
    with ThreadPoolExecutor(2) as clocks:
        assert max(clocks.map(lambda _: service.health.tell(), range(2))) == 5
    service.store.client.rpush(rediskeys.NOTES, *notes)
    assert service.health.tell() == 5
    kinds = sorted(each["type"] for each in written(service))
    assert kinds == [DELIVERY_EXHAUSTED] * 4 + [ENDPOINT_DISABLED]


def test_a_note_about_an_endpoint_of_a_later_release_keeps_no_other_waiting(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(service, NOWHERE, event_types=TOLD)
    later, known = (subscribe(service, NOWHERE)[0] for _ in range(2))
    (event,) = happen(service)
    fan_out(service)
    claim(service)
    for each in (later, known):
        record(service, each, event, "x", BAD)
    find = service.endpoints.find

    def refuses(endpoint_id: str) -> Endpoint | None:
        if endpoint_id == later.id:
            raise Unavailable("this release cannot read an endpoint that a later one has written")
        return find(endpoint_id)

    with monkeypatch.context() as patch:
        patch.setattr(service.endpoints, "find", refuses)
        assert [service.health.tell(), service.health.tell()] == [1, 0]
    assert [each["data"]["endpoint"]["id"] for each in written(service)] == [known.id]
    assert service.health.tell() == 1
    assert [each["data"]["endpoint"]["id"] for each in written(service)] == [known.id, later.id]
