"""How an endpoint is doing: counts, latency, the last failure, and what waits for it."""

from __future__ import annotations

import pytest

from service import rediskeys
from service.bootstrap import Service
from service.records import Attempt, Endpoint
from tests.store.crowds import claim, fan_out, happen, pass_time, record
from tests.store.test_forwarder import subscribe

BAD = '[1790000000000,503,null,41,[1,2,3,4],"a detail"]'
DAY = 86_400


@pytest.fixture(params=[False, True], ids=["", "ordered"])
def endpoint(service: Service, request: pytest.FixtureRequest) -> Endpoint:
    return subscribe(service, "http://127.0.0.1:9/", ordered=request.param)[0]


def made(ms: int) -> str:
    return Attempt(1_790_000_000_000, 200, None, ms, (0, 1, 0, 2)).item()


def attempt(service: Service, endpoint: Endpoint, *verdicts: tuple[str, str]) -> None:
    """One after the other."""
    for verdict, item in verdicts:
        (event,) = claim(service, 1)
        record(service, endpoint, event, verdict, item)


def test_the_statistics_are_right_within_a_fifth(service: Service, endpoint: Endpoint) -> None:
    happen(service, 54)
    fan_out(service)
    attempt(service, endpoint, *(("d", made(10 * number)) for number in range(1, 51)))
    attempt(service, endpoint, ("x", BAD), ("r60000", BAD))
    told = service.health.statistics(endpoint)
    assert (told.delivered, told.failed, told.exhausted) == (50, 2, 1)
    assert told.success_rate == pytest.approx(50 / 52)
    assert told.p50 == pytest.approx(250, rel=0.2)
    assert told.p95 == pytest.approx(475, rel=0.2)
    assert (told.backlog, told.in_flight, told.failures_in_a_row) == (3, 0, 2)
    assert told.last_failure == Attempt(1_790_000_000_000, 503, None, 41, (1, 2, 3, 4), "a detail")
    pass_time(service, 60)
    claim(service, 1)
    told = service.health.statistics(endpoint)
    assert (told.backlog, told.in_flight) == (2, 1)


def test_what_is_longer_ago_than_seven_days_is_counted_no_more(service: Service, endpoint: Endpoint) -> None:
    happen(service, 2)
    fan_out(service)
    attempt(service, endpoint, ("d", made(5)))
    now = service.clock()
    for days, delivered in ((0, 1), (6, 1), (7, 0)):
        service.health.__dict__["clock"] = lambda days=days: now + days * DAY * 1000
        assert service.health.statistics(endpoint).delivered == delivered


def test_an_endpoint_that_was_never_tried_has_no_latency(service: Service, endpoint: Endpoint) -> None:
    told = service.health.statistics(endpoint)
    assert (told.success_rate, told.p50, told.p95, told.last_failure) == (None, None, None, None)


def test_nothing_is_counted_for_an_endpoint_that_is_deleted(service: Service, endpoint: Endpoint) -> None:
    (event,) = happen(service)
    fan_out(service)
    claim(service)
    service.endpoints.delete("default", endpoint.id)
    record(service, endpoint, event, "d", made(5))
    assert not list(service.store.client.scan_iter(rediskeys.tally("*")))
