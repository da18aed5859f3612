"""Replays of many events: little by little, by whichever clock is alive, none twice and none left out."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from standardwebhooks import Webhook

from schemas.eventtypes import EVENT_TYPES, FINAL_TYPES, TYPES
from schemas.states import DeliveryState
from service import events, rediskeys, replays
from service.addresses import Policy
from service.bootstrap import Service
from service.deliveries import delivery_id
from service.errors import Conflict, InvalidInput, NotFound, StoreUnavailable
from service.ids import made_at
from service.records import Endpoint, Replay
from service.signing import verify_v3
from service.store import ADVANCE, Change
from tests.store.test_again import claimed, later, places, recorded, state, told
from tests.store.test_forwarder import (  # noqa: F401 - fixtures
    LOOPBACK,
    Receiver,
    finished,
    forwarder,
    forwarding,
    receiver,
    subscribe,
)
from tests.waiting import eventually
from workers.clock import Clock

URL = "http://127.0.0.1:9/hook"
LONG_AGO = 0


def happened(
    service: Service, count: int, *endpoints: Endpoint, state: str = "", channel: str = ""
) -> list[str]:
    """Events about no job in particular, written as forwarders leave them; oldest first."""
    ids = []
    for _ in range(count):
        event_id = service.event_id()
        data = {"id": "x", "model": "m", "status": "completed", "created_at": "", "channel": channel or None}
        event = events.without_job(event_id, "prediction.completed", service.clock(), data)
        change = Change(rediskeys.event(event_id), 0, event_id, (event.op_in("default"),))
        service.store.commit(change)
        ids.append(event_id)
    pipe: Any
    with service.store.client.pipeline(transaction=False) as pipe:
        for each in ids:
            pipe.hdel(rediskeys.event(each), "entry").hset(rediskeys.event(each), "open", 0)
            pipe.zrem(rediskeys.unfanned("default"), each).zrem(rediskeys.OPEN_EVENTS, each)
            for endpoint in endpoints:
                pipe.hset(rediskeys.event(each), endpoint.id, f"{state}|10||")
        pipe.delete(rediskeys.stream("default"))
        pipe.execute()
    return ids


def passes(service: Service, replay: Replay, most: int = 50) -> Replay:
    """Clocks of a second each, until it has ended."""
    for _ in range(most):
        service.replays.advance(1.0)
        later(service, 1000)
        found = service.replays.get("default", replay.id)
        if found.state != "running":
            return found
    raise AssertionError(found)


@pytest.fixture
def endpoint(service: Service) -> Endpoint:
    return subscribe(service, URL)[0]


def test_what_is_exhausted_is_recovered_though_the_clock_dies_in_the_middle(service, receiver, monkeypatch):  # noqa: F811
    monkeypatch.setattr(replays, "AT_ONCE", 40)
    endpoint, secret = subscribe(service, receiver.url)
    ids = happened(service, 300, endpoint, state="x")
    begun = service.replays.recover("default", endpoint.id, LONG_AGO, None)
    assert (begun.state, begun.total, begun.revived) == ("running", 300, 0)
    # Its last pass had time for a single step.
    replace(service.replays, monotonic=iter([0.0, 0.0, 9.0]).__next__).advance(1.0)
    stopped = service.replays.get("default", begun.id)
    assert (stopped.examined, stopped.revived) == (40, 40)
    other = Service(service.settings, service.url, "clock", "clock-2")
    clock = Clock.of(other, time.monotonic)

    def ended():
        clock.tick()
        return service.replays.get("default", begun.id).state == "done"

    with forwarding(service, Policy(LOOPBACK)) as running:
        assert eventually(ended)
        running.ring()
        assert eventually(lambda: service.store.client.zcard(rediskeys.OPEN_EVENTS) == 0)
    other.close()
    assert sorted(headers["webhook-id"] for headers, _ in receiver.got) == sorted(ids)
    assert {state(service, each, endpoint) for each in ids} == {DeliveryState.DELIVERED}
    Webhook(secret).verify(receiver.got[-1][1], receiver.got[-1][0])
    found = service.replays.get("default", begun.id)
    assert (found.examined, found.revived, found.total) == (300, 300, 300)
    assert found.ended_at > 0


def test_two_clocks_neither_skip_nor_double(service, endpoint, monkeypatch):
    monkeypatch.setattr(replays, "AT_ONCE", 7)
    ids = happened(service, 30, endpoint, state="x")
    begun = service.replays.recover("default", endpoint.id, LONG_AGO, None)
    step, real, other = service.replays._step, service.store.run, [True]

    def run_after_another(script, *words):
        if script is ADVANCE and other.pop():
            # Between the look at the record and the write, another clock makes the same step.
            other.append(False)
            step(begun.id)
            other[:] = [True]
        elif script is ADVANCE:
            other.append(True)
        return real(script, *words)

    monkeypatch.setattr(service.store, "run", run_after_another)
    ended = passes(service, begun)
    assert (ended.examined, ended.revived) == (30, 30)
    assert sorted(places(service, endpoint)) == sorted(each.encode() for each in ids)


def test_a_step_whose_answer_was_lost_is_not_made_twice(service, behind, cutter, endpoint):
    happened(service, 5, endpoint, state="x")
    begun = service.replays.recover("default", endpoint.id, LONG_AGO, None)
    behind.replays.advance(0)
    cutter.lose_answers(1, ADVANCE.sha.encode())
    for _ in range(3):
        with contextlib.suppress(StoreUnavailable):
            behind.replays.advance(1.0)
    found = service.replays.get("default", begun.id)
    assert (found.state, found.examined, found.revived) == ("done", 5, 5)


def test_only_what_was_given_up_since_then_and_until_then_is_recovered(service, endpoint):
    real, ahead = service.clock, 0
    service.clock = lambda: real() + ahead
    found: dict[str, list[str]] = {}
    marks = []
    for name, letter in (("early", "x"), ("meant", "x"), ("dropped", "c"), ("good", "d"), ("late", "x")):
        marks.append(service.clock())
        found[name] = happened(service, 3, endpoint, state=letter)
        ahead += 3_600_000
    since, until = marks[1], marks[3] + 1000
    begun = service.replays.recover("default", endpoint.id, since, until)
    assert (begun.since, begun.until) == (since, until)
    assert passes(service, begun).revived == 6
    wanted = found["meant"] + found["dropped"]
    assert sorted(places(service, endpoint)) == sorted(each.encode() for each in wanted)


def test_an_endpoint_made_later_gets_what_it_missed_only_when_earlier_events_are_asked_for(service, receiver):  # noqa: F811
    before = happened(service, 3)
    endpoint, secret = subscribe(service, receiver.url)
    missed = happened(service, 2)
    happened(service, 2, endpoint, state="d")

    def replayed(*, earlier: bool) -> tuple[int, int]:
        begun = service.replays.replay_missing("default", endpoint.id, None, None, earlier=earlier)
        return begun.total, passes(service, begun).revived

    with forwarding(service, Policy(LOOPBACK)) as running:
        assert replayed(earlier=False) == (4, 2)
        running.ring()
        assert sorted(headers["webhook-id"] for headers, _ in receiver.wait_for(2)) == sorted(missed)
        assert replayed(earlier=True) == (7, 3)
        running.ring()
        got = receiver.wait_for(5)
        assert sorted(headers["webhook-id"] for headers, _ in got) == sorted(before + missed)
        assert replayed(earlier=True) == (7, 0)
    Webhook(secret).verify(got[-1][1], got[-1][0])


def test_nothing_is_missing_that_an_endpoint_would_not_hear_of(service, endpoint):
    europe, _ = subscribe(service, URL, channels=["eu"])
    wanted = happened(service, 2, channel="eu")
    happened(service, 2, channel="us")
    service.samples.send("default", endpoint.id, "prediction.completed")
    service.events.redact("default", wanted[0])
    begun = service.replays.replay_missing("default", europe.id, None, None, earlier=True)
    assert passes(service, begun).revived == 2
    assert sorted(places(service, europe)) == sorted(each.encode() for each in wanted)
    anyone, _ = subscribe(service, URL)
    begun = service.replays.replay_missing("default", anyone.id, None, None, earlier=True)
    assert (begun.total, passes(service, begun).revived) == (5, 4)


def test_what_is_fanned_out_after_it_was_found_missing_is_delivered_once(service, order, word, endpoint):
    job = finished(service, order(), word())
    begun = service.replays.replay_missing("default", endpoint.id, None, None, earlier=True)
    passes(service, begun)
    told(service, job, endpoint)
    rows = claimed(service)
    assert len(rows) == 1
    recorded(service, rows, "d")
    assert (claimed(service), service.store.client.zcard(rediskeys.OPEN_EVENTS)) == ([], 0)


def test_recovered_events_of_an_ordered_endpoint_come_in_their_order(service):
    ordered, _ = subscribe(service, URL, ordered=True)
    ids = happened(service, 5, ordered, state="x")
    passes(service, service.replays.recover("default", ordered.id, LONG_AGO, None))
    came = []
    for _ in ids:
        rows = claimed(service)
        came += [event.decode() for _, _, event, _ in rows]
        recorded(service, rows, "d")
    assert came == ids


def test_all_replays_together_make_no_more_wait_in_a_second_than_they_may(service, endpoint, monkeypatch):
    monkeypatch.setattr(replays, "RATE", 20)
    monkeypatch.setattr(replays, "AT_ONCE", 10)
    other, _ = subscribe(service, URL)
    happened(service, 60, endpoint, other, state="x")
    begun = [service.replays.recover("default", each.id, LONG_AGO, None) for each in (endpoint, other)]
    made = []
    for _ in range(6):
        for _ in range(3):
            service.replays.advance(1.0)
        found = [service.replays.get("default", each.id).revived for each in begun]
        made.append(sum(found))
        assert abs(found[0] - found[1]) <= 10, "they take turns"
        later(service, 1000)
    assert made[0] <= 20
    assert all(after - before <= 20 + 10 for before, after in itertools.pairwise(made))
    assert made[-1] == pytest.approx(120, abs=20)


def test_a_replay_that_is_stopped_adds_nothing_more(service, endpoint, monkeypatch):
    monkeypatch.setattr(replays, "AT_ONCE", 10)
    happened(service, 30, endpoint, state="x")
    begun = service.replays.recover("default", endpoint.id, LONG_AGO, None)
    replace(service.replays, monotonic=iter([0.0, 0.0, 9.0]).__next__).advance(1.0)
    stopped = service.replays.stop("default", begun.id)
    assert (stopped.state, stopped.revived) == ("cancelled", 10)
    assert stopped.ended_at
    assert service.replays.advance(1.0) == 0
    assert len(places(service, endpoint)) == 10
    assert service.replays.stop("default", begun.id) == stopped


def test_a_deleted_endpoints_replay_ends(service, endpoint):
    happened(service, 3, endpoint, state="x")
    begun = service.replays.recover("default", endpoint.id, LONG_AGO, None)
    service.endpoints.delete("default", endpoint.id)
    assert (passes(service, begun).state, places(service, endpoint)) == ("cancelled", [])


def test_only_so_many_replays_of_a_workspace_run_at_a_time(service, endpoint):
    happened(service, 1, endpoint, state="x")
    begun = [
        service.replays.recover("default", endpoint.id, LONG_AGO, None) for _ in range(replays.MOST_RUNNING)
    ]
    with pytest.raises(Conflict, match="10 replays are running"):
        service.replays.recover("default", endpoint.id, LONG_AGO, None)
    stranger, _ = service.endpoints.create("other", {"url": URL})
    service.replays.recover("other", stranger.id, LONG_AGO, None)
    service.replays.stop("default", begun[0].id)
    service.replays.recover("default", endpoint.id, LONG_AGO, None)


def test_a_replay_that_has_ended_is_kept_for_as_long_as_jobs_are(service, endpoint):
    begun = service.replays.recover("default", endpoint.id, LONG_AGO, None)
    running = service.replays.recover("default", endpoint.id, LONG_AGO, None)
    service.replays.advance(0)
    passes(service, begun)
    service.store.client.hset(rediskeys.replay(running.id), "state", "running")
    now = service.store.client.zscore(rediskeys.REPLAYED, begun.id)
    kept = service.settings.retention * 1000
    service.store.client.zrem(rediskeys.REPLAYED, running.id)
    assert service.replays.forget(int(now + kept) - 1) == 0
    assert service.replays.forget(int(now + kept) + 1) == 1
    with pytest.raises(NotFound):
        service.replays.get("default", begun.id)
    assert service.store.client.zrange(rediskeys.replays("default"), 0, -1) == [running.id.encode()]


def test_the_lists_of_replays_are_made_again_from_their_records(service, endpoint):
    happened(service, 1, endpoint, state="x")
    ended = service.replays.recover("default", endpoint.id, LONG_AGO, None)
    passes(service, ended)
    begun = service.replays.recover("default", endpoint.id, LONG_AGO, None)
    lists = (rediskeys.REPLAYING, rediskeys.REPLAYED, rediskeys.replays("default"))
    before = [service.store.client.zrange(each, 0, -1) for each in lists]
    service.store.client.delete(*lists)
    service.mender.everything()
    assert [service.store.client.zrange(each, 0, -1) for each in lists] == before
    assert passes(service, begun).state == "done"


def test_a_walk_begins_where_its_time_does(service, endpoint):
    real, ahead = service.clock, -100 * 3_600_000
    service.clock = lambda: real() + ahead
    for _ in range(40):
        happened(service, 1, endpoint, state="x")
        ahead += 3_600_000
    since = service.clock() - 10 * 3_600_000 - 1
    begun = service.replays.recover("default", endpoint.id, since, None)
    assert (begun.total, passes(service, begun).revived) == (10, 10)


def test_an_id_tells_when_it_was_made(service):
    before = service.clock()
    assert before <= made_at(service.event_id()) <= service.clock()
    assert [made_at(each) for each in ("evt_1", "", "evt_UUUUUUUUUUUUU")] == [0, 0, 0]


# -- samples --------------------------------------------------------------------------------------------

FORMATS = ("standard", "cloudevents", "wavespeed")


@pytest.mark.parametrize("form", FORMATS)
def test_a_sample_of_each_type_comes_signed_and_keeps_its_schema(service, receiver, forwarder, form):  # noqa: F811
    endpoint, secret = subscribe(service, receiver.url, format=form, channels=["nobody"])
    subscribe(service, receiver.url + "/other")
    kinds = FINAL_TYPES if form == "wavespeed" else EVENT_TYPES
    sent = {service.samples.send("default", endpoint.id, each): each for each in kinds}
    forwarder.ring()
    for headers, body in receiver.wait_for(len(sent)):
        kind = sent.pop(headers["webhook-id"])
        if form == "wavespeed":
            verify_v3(secret, headers, body, time.time())
            assert json.loads(body)["test"] is True
            continue
        came = Webhook(secret).verify(body, headers)
        assert (came["type"], came["data"]["test"]) == (kind, True)
        assert came["id"] == headers["webhook-id"]
        if form == "standard":
            assert list(Draft202012Validator(TYPES[kind].schema).iter_errors(came)) == []
    assert sent == {}
    assert eventually(lambda: service.store.client.zcard(rediskeys.OPEN_EVENTS) == 0)
    assert len(receiver.got) == len(kinds)
    assert state(service, receiver.got[0][0]["webhook-id"], endpoint) is DeliveryState.DELIVERED


def test_the_vendors_format_has_samples_of_the_final_types_only(service):
    endpoint, _ = subscribe(service, URL, format="wavespeed")
    with pytest.raises(InvalidInput) as refused:
        service.samples.send("default", endpoint.id, "prediction.processing")
    (fault,) = refused.value.faults
    assert (fault.pointer, fault.allowed) == ("/type", "prediction.completed, prediction.failed")


def test_a_sample_is_pruned_like_any_event_about_no_job(service, endpoint):
    event = service.samples.send("default", endpoint.id, "prediction.failed")
    recorded(service, claimed(service), "d")
    assert service.health.forget_odd(service.time() + int(service.settings.retention * 1000) + 1000) == 1
    assert not service.store.client.exists(rediskeys.event(event))
    with pytest.raises(NotFound):
        service.deliveries.get("default", delivery_id(event, endpoint.id))
