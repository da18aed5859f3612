"""An endpoint for which very many deliveries wait costs the others nothing, and is deleted at once."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from schemas.states import DeliveryState
from service import rediskeys
from service.bootstrap import Service
from service.records import Endpoint
from service.store import CANCEL, CLAIM, Script
from tests.store.crowds import claim, fan_out, happen, is_at_rest, record, states
from tests.store.test_forwarder import subscribe

MANY = 100_000
NOWHERE = "http://127.0.0.1:9/"
FILL = """
local ep, ws = ARGV[1], 'default'
local rest = {'doc', '{}', 'ws', ws, 'job', '', 'open', 1, ep, 'p|0||'}
for number = ARGV[2], ARGV[3] do
  local event = string.format('evt_%022d', number)
  redis.call('HSET', 'hr:event:' .. event, 'seq', number, unpack(rest))
  redis.call('ZADD', 'hr:open-events', number, event)
  redis.call('ZADD', KEYS[1], number, event)
end
redis.call('ZADD', 'hr:due:' .. ws, 1, ep)
redis.call('ZADD', 'hr:turns', 1, ws)
"""


def fill(service: Service, endpoint: Endpoint) -> None:
    for start in range(0, MANY, 10_000):
        words = (endpoint.id, start, start + 9_999)
        service.store.client.eval(FILL, 1, rediskeys.wait(endpoint.id), *words)


@pytest.fixture
def quick_disk(service: Service) -> Iterator[None]:
    """What is written is not what is measured."""
    service.store.client.config_set("appendfsync", "no")
    yield
    service.store.client.config_set("appendfsync", "always")


class Slowlog:
    """How long the store was held by each command, in ms."""

    def __init__(self, service: Service) -> None:
        self.client = service.store.client

    @contextmanager
    def kept(self) -> Iterator[None]:
        # What a script does is told as well; to tell all of it takes longer than the script.
        self.client.config_set("slowlog-log-slower-than", 20)
        self.client.config_set("slowlog-max-len", 20_000)
        self.client.slowlog_reset()
        yield
        self.client.config_set("slowlog-log-slower-than", 10_000)

    def held(self, script: Script | None = None) -> list[float]:
        """By one script, or by every command."""
        told = self.client.slowlog_get(20_000)
        return [
            each["duration"] / 1000
            for each in told
            if script is None or script.sha.encode() in each["command"] or b"EVAL " in each["command"]
        ]


def claiming(service: Service, slowlog: Slowlog, endpoint: Endpoint) -> float:
    """What the claim of one delivery takes, in ms: the median of many."""
    held = []
    for _ in range(25):
        happen(service)
        fan_out(service)
        with slowlog.kept():
            (event,) = claim(service)
        held += slowlog.held(CLAIM)
        record(service, endpoint, event, "d")
    return statistics.median(held)


def test_a_hundred_thousand_that_wait_cost_the_others_nothing_and_go_with_their_endpoint(
    service: Service, quick_disk: None
) -> None:
    slowlog = Slowlog(service)
    small, _ = subscribe(service, NOWHERE)
    alone = claiming(service, slowlog, small)
    large, _ = subscribe(service, NOWHERE, event_types=("prediction.failed",))
    fill(service, large)
    under_way = claim(service)
    assert len(under_way) == 8
    beside = claiming(service, slowlog, small)
    assert beside < 2 * alone + 0.1

    with slowlog.kept():
        service.endpoints.delete("default", large.id)
    assert max(slowlog.held(), default=0) < 5
    for event in under_way:
        record(service, large, event, "r0")
    service.mender.mend_some()
    assert claim(service) == []
    with slowlog.kept():
        cancelled = service.health.cancel_left(60)
    assert cancelled == MANY - len(under_way)
    assert statistics.quantiles(slowlog.held(CANCEL), n=10)[7] < 5
    assert not service.store.client.exists(rediskeys.LEAVING)
    assert is_at_rest(service)
    sample = [f"evt_{number:022}" for number in range(0, MANY, 9_999)]
    assert states(service, large, sample) == {DeliveryState.CANCELLED}
    opened = service.store.read(lambda pipe: [pipe.hget(rediskeys.event(each), "open") for each in sample])
    assert set(opened) == {b"0"}
