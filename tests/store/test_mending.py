"""Indexes deleted by hand: everything that is open is found again by the records alone."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

from schemas.outcomes import Observation, classify
from schemas.predictions import Prediction
from service import rediskeys
from service.acceptance import Order
from service.bootstrap import Service
from service.mending import AT_ONCE
from service.records import Endpoint, Job
from service.store import CLAIM, EXPAND
from workers.forwarder import free

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
ACCEPTED = classify(Observation(sent=True, status=200, body=b'{"code":200,"data":{"id":"abc"}}'))
UNKNOWN = classify(Observation(sent=True, trouble="cut"))
REFUSED = classify(Observation(sent=False, trouble="refused"))
RECORDS = ("hr:job:", "hr:event:", "hr:endpoint:", "hr:ws:", "hr:apikeys", "hr:vendor", "hr:blob:")


def mend(service: Service) -> dict[str, int]:
    service.mender._next_recount = 0.0
    return service.mender.everything()


def begun(service: Service, order: Order) -> tuple[Job, str]:
    job = service.acceptance.accept(order)
    token = service.token()
    admitted = service.jobs.admitted(job.id)
    assert admitted is not None
    assert service.jobs.begin(admitted, token, "worker-1") is not None
    return job, token


def in_every_state(service: Service, order: Orders, word: Words) -> dict[str, str]:
    """A job of each kind, by what it is."""
    jobs = {}
    for name, found in (("processing", ACCEPTED), ("uncertain", UNKNOWN), ("refused", REFUSED)):
        job, token = begun(service, order())
        service.jobs.conclude(job.id, token, found)
        jobs[name] = job.id
    jobs["submitting"] = begun(service, order())[0].id
    jobs["admitted"] = service.acceptance.accept(order()).id
    done, token = begun(service, order())
    service.jobs.settle(done.id, token, word())
    jobs["completed"] = done.id
    service.jobs.context.__dict__["max_in_flight"] = 1
    jobs["queued"] = service.acceptance.accept(order()).id
    return jobs


def members(service: Service, key: str) -> set[str]:
    (ids,) = service.store.read(lambda pipe: pipe.zrange(key, 0, -1))
    return {each.decode() for each in ids}


def places(service: Service, jobs: dict[str, str]) -> dict[str, set[str]]:
    """The indexes that know each job; a queued job is as good in one that lets it wait as in another."""
    keys = {
        "window": rediskeys.WINDOW,
        "silent": rediskeys.SILENT,
        "uncertain": rediskeys.UNCERTAIN,
        "waiting": rediskeys.waiting("default"),
        "later": rediskeys.LATER,
        "open": rediskeys.OPEN_JOBS,
        "final": rediskeys.FINAL,
        "listed": rediskeys.jobs("default"),
    }
    known = {name: members(service, key) for name, key in keys.items()}
    return {what: {name for name, ids in known.items() if job in ids} for what, job in jobs.items()}


def forget_everything_but_records(service: Service) -> None:
    (keys,) = service.store.read(lambda pipe: pipe.keys("*"))
    gone = [key for key in keys if not key.decode().startswith(RECORDS)]
    service.store.write(lambda pipe: pipe.delete(*gone))


def test_jobs_are_in_their_indexes_and_mending_finds_nothing_to_do(
    service: Service, order: Orders, word: Words
) -> None:
    jobs = in_every_state(service, order, word)
    before = places(service, jobs)
    assert mend(service) == {"lists": 0, "jobs": 0, "events": 0}
    assert places(service, jobs) == before


@pytest.mark.parametrize(
    "key",
    [
        "WINDOW",
        "SILENT",
        "UNCERTAIN",
        "LATER",
        "WAITING",
        "OPEN_JOBS",
        "FINAL",
        "waiting",
        "jobs",
        "everything",
    ],
)
def test_whatever_index_of_jobs_is_deleted_every_job_is_in_its_place_again(
    service: Service, order: Orders, word: Words, key: str
) -> None:
    jobs = in_every_state(service, order, word)
    if key == "everything":
        forget_everything_but_records(service)
    else:
        name = getattr(rediskeys, key)
        service.store.client.delete(name if isinstance(name, str) else name("default"))
    mend(service)
    found = places(service, jobs)
    listed = {"open", "listed"}
    assert found["processing"] == {"window", "silent"} | listed
    assert found["uncertain"] == {"uncertain"} | listed
    assert found["submitting"] == {"window"} | listed
    assert found["completed"] == {"final", "listed"}
    for waits in ("queued", "refused", "admitted"):
        assert len(found[waits] - listed) == 1
        assert found[waits] - listed < {"waiting", "later", "window"}
    assert members(service, rediskeys.WAITING) == {"default"}
    assert mend(service) == {"lists": 0, "jobs": 0, "events": 0}


def test_a_queued_job_that_was_in_no_index_is_let_in_at_its_old_place(
    service: Service, order: Orders
) -> None:
    service.jobs.context.__dict__["max_in_flight"] = 1
    ids = [service.acceptance.accept(order()).id for _ in range(4)]
    service.store.client.delete(rediskeys.WAITING, rediskeys.waiting("default"), rediskeys.WINDOW)
    mend(service)
    (waiting,) = service.store.read(lambda pipe: pipe.zrange(rediskeys.waiting("default"), 0, -1))
    assert [each.decode() for each in waiting] == ids
    service.jobs.let_in()
    assert service.jobs.admitted(ids[0]) is not None


def test_a_record_that_does_not_tell_its_state_is_written_anew(service: Service, order: Orders) -> None:
    job = service.acceptance.accept(order())
    service.store.client.hdel(rediskeys.job(job.id), "state")
    service.store.client.delete(rediskeys.WINDOW, rediskeys.waiting("default"))
    mend(service)
    mend(service)
    assert service.store.client.hget(rediskeys.job(job.id), "state") == b"queued default"
    assert members(service, rediskeys.waiting("default")) == {job.id}


# -- events -----------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint(service: Service) -> Endpoint:
    made, _ = service.endpoints.create("default", {"url": "https://example.com/"})
    return made


def finished(service: Service, order: Order, word: Prediction) -> str:
    """The id of its event."""
    job, token = begun(service, order)
    return service.jobs.settle(job.id, token, word).events[-1]


def fan_out(service: Service, *endpoints: str) -> None:
    (rows,) = service.store.read(lambda pipe: pipe.xrange(rediskeys.stream("default")))
    for entry, fields in rows:
        service.store.run(EXPAND, ["default", fields[b"e"], entry, 1, *endpoints])


def claim(service: Service) -> list[tuple[str, str]]:
    _, _, *rows = service.store.run(CLAIM, ["forwarder-1.0", 100, 64, 0])
    return [(rows[at + 1].decode(), rows[at + 2].decode()) for at in range(0, len(rows), 4)]


@pytest.mark.parametrize("key", ["due", "TURNS", "wait", "OPEN_EVENTS", "events", "WORKSPACES", "everything"])
def test_whatever_index_of_deliveries_is_deleted_they_can_be_claimed_again(
    service: Service, order: Orders, word: Words, endpoint: Endpoint, key: str
) -> None:
    event = finished(service, order(), word())
    fan_out(service, endpoint.id)
    if key == "everything":
        forget_everything_but_records(service)
    else:
        name = getattr(rediskeys, key)
        argument = endpoint.id if key == "wait" else "default"
        service.store.client.delete(name if isinstance(name, str) else name(argument))
    mend(service)
    assert claim(service) == [(endpoint.id, event)]
    assert members(service, rediskeys.OPEN_EVENTS) == {event}
    assert service.store.client.zscore(rediskeys.events("default"), event) == 1


def test_a_retry_that_lost_its_place_is_due_as_the_schedule_has_it(
    service: Service, order: Orders, word: Words, endpoint: Endpoint
) -> None:
    event = finished(service, order(), word())
    fan_out(service, endpoint.id)
    claim(service)
    at = service.time()
    free(service, "forwarder-1", lambda _: "r86400000", f'[{at},500,null,12,"[1,2]"]')
    service.store.client.delete(rediskeys.late(endpoint.id), rediskeys.due("default"), rediskeys.TURNS)
    mend(service)
    assert claim(service) == []
    score = service.store.client.zscore(rediskeys.late(endpoint.id), event)
    assert score == at + service.settings.retry_schedule[1] * 1000


@pytest.mark.parametrize("key", [rediskeys.FLIGHT, rediskeys.running("default")])
def test_claims_that_were_forgotten_are_freed_with_their_forwarder(
    service: Service, order: Orders, word: Words, endpoint: Endpoint, key: str
) -> None:
    event = finished(service, order(), word())
    fan_out(service, endpoint.id)
    claim(service)
    service.store.client.delete(key)
    mend(service)
    assert free(service, "forwarder-1", lambda _: "r0") == 1
    assert claim(service) == [(endpoint.id, event)]


def test_an_endpoint_at_its_limit_by_a_count_that_is_wrong_is_served_again(
    service: Service, order: Orders, word: Words, endpoint: Endpoint
) -> None:
    event = finished(service, order(), word())
    fan_out(service, endpoint.id)
    service.store.client.hset(rediskeys.running("default"), endpoint.id, 64)
    assert claim(service) == []
    mend(service)
    mend(service)
    assert claim(service) == [(endpoint.id, event)]


def rows(service: Service) -> list[Any]:
    (found,) = service.store.read(lambda pipe: pipe.xrange(rediskeys.stream("default")))
    return list(found)


def stream_deleted(service: Service) -> None:
    service.store.client.delete(rediskeys.stream("default"))


def trimmed(service: Service) -> None:
    service.store.client.xtrim(rediskeys.stream("default"), maxlen=0, approximate=False)


def consumer_deleted(service: Service) -> None:
    service.store.client.xgroup_create(rediskeys.stream("default"), rediskeys.GROUP, "0")
    service.store.client.xreadgroup(rediskeys.GROUP, "one", {rediskeys.stream("default"): ">"})
    service.store.client.xgroup_delconsumer(rediskeys.stream("default"), rediskeys.GROUP, "one")


def group_made_too_late(service: Service) -> None:
    service.store.client.xgroup_create(rediskeys.stream("default"), rediskeys.GROUP, "$")


@pytest.mark.parametrize("fault", [stream_deleted, trimmed, consumer_deleted, group_made_too_late])
def test_an_event_that_no_forwarder_would_read_any_more_is_put_back_into_its_stream(
    service: Service, order: Orders, word: Words, endpoint: Endpoint, fault: Callable[[Service], None]
) -> None:
    event = finished(service, order(channel="a"), word())
    (before,) = service.store.read(lambda pipe: pipe.xrange(rediskeys.stream("default")))
    fault(service)
    mend(service)
    ((_, fields),) = rows(service)
    assert fields == before[0][1]
    assert mend(service)["events"] == 0
    fan_out(service, endpoint.id)
    assert claim(service) == [(endpoint.id, event)]


def test_an_event_that_waits_for_its_reader_is_left_alone(
    service: Service, order: Orders, word: Words
) -> None:
    finished(service, order(), word())
    stream = rediskeys.stream("default")
    (first,) = rows(service)
    assert mend(service)["events"] == 0
    service.store.client.xgroup_create(stream, rediskeys.GROUP, "0")
    assert mend(service)["events"] == 0
    service.store.client.xreadgroup(rediskeys.GROUP, "one", {stream: ">"})
    assert mend(service)["events"] == 0
    assert rows(service) == [first]


def test_an_event_for_very_many_endpoints_is_mended_in_parts(
    service: Service, order: Orders, word: Words
) -> None:
    event = finished(service, order(), word())
    many = [f"ep_{number:022}" for number in range(3 * AT_ONCE)]
    service.store.write(lambda pipe: [pipe.hset(rediskeys.endpoint(each), "rev", 1) for each in many])
    fan_out(service, *many)
    service.store.client.delete(*map(rediskeys.wait, many), rediskeys.due("default"), rediskeys.TURNS)
    assert mend(service)["events"] >= 2 * len(many)
    assert sum(len(claim(service)) for _ in range(8)) == len(many)
    assert members(service, rediskeys.OPEN_EVENTS) == {event}


def test_what_an_event_owes_is_counted_anew(
    service: Service, order: Orders, word: Words, endpoint: Endpoint
) -> None:
    event = finished(service, order(), word())
    fan_out(service, endpoint.id)
    service.store.client.hset(rediskeys.event(event), "open", 7)
    mend(service)
    assert service.store.client.hget(rediskeys.event(event), "open") == b"1"
    claim(service)
    free(service, "forwarder-1", lambda _: "d")
    assert members(service, rediskeys.OPEN_EVENTS) == set()


def test_an_endpoint_that_is_in_no_list_any_more_hears_again(
    service: Service, endpoint: Endpoint, order: Orders
) -> None:
    service.acceptance.accept(order(webhook="https://example.com/own"))
    service.store.client.delete(rediskeys.endpoints("default"))
    assert service.endpoints.list("default") == []
    mend(service)
    assert [each.id for each in service.endpoints.list("default")] == [endpoint.id]
    assert [each.id for each in service.endpoints.directory("default").endpoints] == [endpoint.id]


# -- what it costs ----------------------------------------------------------------------------------------

MANY = 20_000


FILL = """
local tomorrow, doc = ARGV[3], string.rep('z', 600)
for number = ARGV[1], ARGV[2] do
  local job, event = string.format('%032x', number), string.format('evt_%022d', number)
  redis.call('HSET', 'hr:job:' .. job, 'rev', 1, 'doc', doc, 'state', 'queued default')
  redis.call('HSET', 'hr:event:' .. event, 'doc', doc, 'ws', 'default', 'job', job, 'open', 2, 'seq', number,
    'ep_a', 'r|1||[1]', 'ep_b', 'p|0||')
  for _, key in ipairs({'hr:open-jobs', 'hr:waiting:default', 'hr:jobs:default'}) do
    redis.call('ZADD', key, number, job)
  end
  for _, key in ipairs({'hr:open-events', 'hr:events:default'}) do redis.call('ZADD', key, number, event) end
  for _, key in ipairs({'hr:late:ep_a', 'hr:wait:ep_b'}) do redis.call('ZADD', key, tomorrow, event) end
end
for _, ep in ipairs({'ep_a', 'ep_b'}) do
  redis.call('HSET', 'hr:endpoint:' .. ep, 'rev', 1)
  redis.call('ZADD', 'hr:due:default', tomorrow, ep)
end
redis.call('ZADD', 'hr:waiting', 1, 'default')
redis.call('ZADD', 'hr:turns', tomorrow, 'default')
"""


def fill(service: Service) -> None:
    """Very many jobs that wait, and as many events whose deliveries are due tomorrow."""
    client, tomorrow = service.store.client, service.time() + 86_400_000
    client.config_set("appendfsync", "no")
    for start in range(0, MANY, 5000):
        client.eval(FILL, 0, start, start + 4999, tomorrow)
    client.config_set("appendfsync", "always")


@pytest.fixture
def crowd(service: Service) -> Service:
    fill(service)
    service.mender._urgent = dict.fromkeys(service.mender._urgent, (0, 0.0))
    return service


def test_a_pass_over_very_many_that_are_not_due_is_short_and_holds_the_store_shortly(crowd: Service) -> None:
    client = crowd.store.client
    client.config_set("slowlog-log-slower-than", 0)
    client.config_set("slowlog-max-len", 20_000)
    client.slowlog_reset()
    passes = []
    try:
        for _ in range(20):
            begun = time.perf_counter()
            assert crowd.mender.mend_some() == 0
            passes.append(time.perf_counter() - begun)
        held = [each["duration"] / 1e6 for each in client.slowlog_get(20_000) if b"EVAL" in each["command"]]
    finally:
        client.config_set("slowlog-log-slower-than", 10_000)
        client.slowlog_reset()
    # 50 and 5 ms, on a machine that may be busy with something else.
    assert statistics.median(passes) < 0.1
    assert statistics.quantiles(held, n=4)[0] < 0.005


def test_very_many_that_lost_their_place_are_back_within_seconds(crowd: Service) -> None:
    client, ticks = crowd.store.client, itertools.count()
    # As if each script took 3 ms, however busy this machine is.
    crowd.mender.monotonic = lambda: next(ticks) * 0.003
    assert crowd.mender.mend_some() == 0
    client.delete(rediskeys.waiting("default"), rediskeys.late("ep_a"))
    passes = 0
    while client.zcard(rediskeys.waiting("default")) + client.zcard(rediskeys.late("ep_a")) < 2 * MANY:
        crowd.mender.mend_some()
        passes += 1
    # One a second; 100,000 of both take five times as long.
    assert passes < 15
