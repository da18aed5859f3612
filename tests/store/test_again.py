"""Delivered once more: by hand, beside the schedule, to one endpoint or to all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from standardwebhooks import Webhook

from schemas.states import DeliveryState
from service import rediskeys
from service.bootstrap import Service
from service.deliveries import delivery_id
from service.errors import Conflict, InvalidInput, NotFound
from service.records import Attempt, Endpoint, Job
from service.store import CLAIM, EXPAND, OUTCOMES, PRUNE, REVIVE
from tests.store.test_forwarder import (  # noqa: F401 - fixtures
    Receiver,
    finished,
    forwarder,
    receiver,
    settled,
    subscribe,
)
from tests.waiting import eventually

URL = "http://127.0.0.1:9/hook"
TOKEN = "forwarder-1.0"
AT = 1_790_000_000_000
LATER_MS = 300_000


def told(service: Service, job: Job, *endpoints: Endpoint) -> str:
    """The job's event, fanned out."""
    names = [f">{each.id}" if each.ordered else each.id for each in endpoints]
    entry: Any = service.store.client.hget(rediskeys.event(job.events[-1]), "entry")
    service.store.run(EXPAND, ["default", job.events[-1], entry, 1, *names])
    return job.events[-1]


def claimed(service: Service) -> list[Any]:
    """Everything that can be claimed now: workspace, endpoint, event, attempt."""
    _, _, *rows = service.store.run(CLAIM, [TOKEN, 1000, 64])
    return list(zip(*[iter(rows)] * 4, strict=True))


def recorded(service: Service, rows: list[Any], verdict: str, answer: str = "") -> None:
    """Each of them ends like that; the attempts are a second apart."""
    for workspace, endpoint, event, number in rows:
        item = Attempt(AT + 1000 * int(number), 200 if verdict == "d" else 500, None, 7).item()
        words = [workspace, endpoint, event, TOKEN, verdict, f"{item}\n{answer}"]
        service.store.run(OUTCOMES, words)


def later(service: Service, ms: int) -> None:
    service.store.client.hincrby(rediskeys.SERVICE, "shift", ms)


def places(service: Service, endpoint: Endpoint) -> list[Any]:
    """Every place in which something waits for it."""
    client: Any = service.store.client
    queues = (rediskeys.wait, rediskeys.late, rediskeys.line)
    return [each for queue in queues for each in client.zrange(queue(endpoint.id), 0, -1)]


def state(service: Service, event: str, endpoint: Endpoint) -> DeliveryState:
    return service.deliveries.get("default", delivery_id(event, endpoint.id)).state


@pytest.fixture
def endpoint(service: Service) -> Endpoint:
    return subscribe(service, URL)[0]


def test_a_manual_retry_takes_the_place_of_the_scheduled_one(service, order, word, endpoint):
    event = told(service, finished(service, order(), word()), endpoint)
    recorded(service, claimed(service), f"r{LATER_MS}")
    assert claimed(service) == []
    service.deliveries.retry("default", delivery_id(event, endpoint.id))
    assert places(service, endpoint) == [event.encode()]
    rows = claimed(service)
    assert [row[1:3] for row in rows] == [(endpoint.id.encode(), event.encode())]
    assert places(service, endpoint) == []
    later(service, 2 * LATER_MS)
    assert claimed(service) == []
    recorded(service, rows, "d")
    later(service, 2 * LATER_MS)
    assert claimed(service) == []
    assert state(service, event, endpoint) is DeliveryState.DELIVERED


def test_a_first_attempt_that_is_asked_for_sooner_is_made_once(service, order, word, endpoint):
    event = told(service, finished(service, order(), word()), endpoint)
    service.deliveries.retry("default", delivery_id(event, endpoint.id))
    assert places(service, endpoint) == [event.encode()]
    assert (len(claimed(service)), claimed(service)) == (1, [])


def test_a_retry_while_an_attempt_is_under_way_is_refused_and_changes_nothing(service, order, word, endpoint):
    event = told(service, finished(service, order(), word()), endpoint)
    rows = claimed(service)
    with pytest.raises(Conflict, match="under way just now"):
        service.deliveries.retry("default", delivery_id(event, endpoint.id))
    assert (places(service, endpoint), claimed(service)) == ([], [])
    recorded(service, rows, "d")
    assert state(service, event, endpoint) is DeliveryState.DELIVERED


@pytest.mark.parametrize("verdict", ["d", "x", "c", f"r{LATER_MS}"])
def test_whatever_became_of_it_a_retried_delivery_is_due_once_with_its_schedule_anew(
    service, order, word, endpoint, verdict
):
    event = told(service, finished(service, order(), word()), endpoint)
    wanted = delivery_id(event, endpoint.id)
    recorded(service, claimed(service), "r0")
    recorded(service, claimed(service), verdict)
    for _ in range(2):
        service.deliveries.retry("default", wanted)
    found = service.deliveries.get("default", wanted)
    assert (found.state, found.attempt_count, len(found.attempts)) == (DeliveryState.RETRYING, 2, 2)
    assert service.store.client.hget(rediskeys.event(event), "open") == b"1"
    (row,) = claimed(service)
    assert row[3] == 1
    assert service.deliveries.get("default", wanted).attempt_count == 3
    recorded(service, [row], "d")
    assert service.store.client.hget(rediskeys.event(event), "open") == b"0"
    assert service.store.client.zcard(rediskeys.OPEN_EVENTS) == 0


def test_answers_are_told_beside_the_attempts_that_they_belong_to_after_a_retry_too(
    service, order, word, endpoint
):
    event = told(service, finished(service, order(), word()), endpoint)
    for verdict, answer in (("r0", "first"), ("r0", "second"), ("x", "third")):
        recorded(service, claimed(service), verdict, answer)
    assert service.deliveries.answers(event, endpoint.id) == {AT + 1000: "first", AT + 3000: "third"}
    service.deliveries.retry("default", delivery_id(event, endpoint.id))
    rows = claimed(service)
    recorded(service, [(*row[:3], b"9") for row in rows], "r0", "again")
    assert service.deliveries.answers(event, endpoint.id) == {AT + 1000: "first", AT + 9000: "again"}
    recorded(service, claimed(service), "d")
    assert service.deliveries.answers(event, endpoint.id) == {}


def test_a_retried_delivery_that_could_not_be_sent_waits_among_the_retries(service, order, word, endpoint):
    event = told(service, finished(service, order(), word()), endpoint)
    recorded(service, claimed(service), "x")
    service.deliveries.retry("default", delivery_id(event, endpoint.id))
    ((workspace, ep, _, _),) = claimed(service)
    service.store.run(OUTCOMES, [workspace, ep, event, TOKEN, "u0", ""])
    assert state(service, event, endpoint) is DeliveryState.RETRYING
    assert service.store.client.zrange(rediskeys.late(endpoint.id), 0, -1) == [event.encode()]


def test_a_jobs_own_webhook_can_be_retried_and_replayed(service, order, word, receiver, forwarder):  # noqa: F811
    subscribe(service, URL)
    job = finished(service, order(webhook=receiver.url), word())
    own = service.endpoints.find(job.own_endpoint)
    settled(service, job, own, DeliveryState.DELIVERED)
    service.deliveries.retry("default", delivery_id(job.last_word, own.id))
    forwarder.ring()
    receiver.wait_for(2)
    settled(service, job, own, DeliveryState.DELIVERED)
    assert service.replays.replay("default", job.last_word, own.id) == (1, 0)
    forwarder.ring()
    got = receiver.wait_for(3)
    assert {headers["webhook-id"] for headers, _ in got} == {job.last_word}
    assert len({body for _, body in got}) == 1


def test_an_exhausted_delivery_that_is_retried_is_delivered(service, order, word, receiver, forwarder):  # noqa: F811
    endpoint, secret = subscribe(service, receiver.url, retry_schedule=(0.0,))
    receiver.statuses = [500]
    job = finished(service, order(), word())
    settled(service, job, endpoint, DeliveryState.EXHAUSTED)
    service.deliveries.retry("default", delivery_id(job.last_word, endpoint.id))
    forwarder.ring()
    found = settled(service, job, endpoint, DeliveryState.DELIVERED)
    assert [each.status for each in found.attempts] == [500, 200]
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [job.last_word] * 2
    for headers, body in receiver.got:
        Webhook(secret).verify(body, headers)


def test_a_retry_beside_the_scheduled_one_is_one_post(service, order, word, receiver, forwarder):  # noqa: F811
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=(0.0, 300.0))
    receiver.statuses = [500]
    job = finished(service, order(), word())
    settled(service, job, endpoint, DeliveryState.RETRYING)
    service.deliveries.retry("default", delivery_id(job.last_word, endpoint.id))
    # The scheduled one is due at the same moment.
    later(service, 2 * LATER_MS)
    forwarder.ring()
    settled(service, job, endpoint, DeliveryState.DELIVERED)
    second = finished(service, order(), word())
    settled(service, second, endpoint, DeliveryState.DELIVERED)
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [job.last_word] * 2 + [second.last_word]


def test_a_retry_by_hand_is_the_probe_of_an_open_circuit(service, order, word, endpoint):
    events = [told(service, finished(service, order(), word()), endpoint) for _ in range(6)]
    recorded(service, claimed(service), f"r{LATER_MS}")
    assert service.health.statistics(endpoint).circuit == "open"
    service.deliveries.retry("default", delivery_id(events[0], endpoint.id))
    service.deliveries.retry("default", delivery_id(events[1], endpoint.id))
    assert len(claimed(service)) == 1
    assert claimed(service) == []


def test_a_paused_endpoints_retried_delivery_is_held(service, order, word, endpoint):
    event = told(service, finished(service, order(), word()), endpoint)
    recorded(service, claimed(service), "x")
    service.endpoints.update("default", endpoint.id, {"paused": True})
    service.deliveries.retry("default", delivery_id(event, endpoint.id))
    assert state(service, event, endpoint) is DeliveryState.HELD
    assert claimed(service) == []
    service.endpoints.update("default", endpoint.id, {"paused": False})
    assert len(claimed(service)) == 1


def test_a_deleted_endpoints_delivery_is_not_retried(service, order, word, endpoint):
    event = told(service, finished(service, order(), word()), endpoint)
    recorded(service, claimed(service), "x")
    service.endpoints.delete("default", endpoint.id)
    with pytest.raises(Conflict, match="was deleted"):
        service.deliveries.retry("default", delivery_id(event, endpoint.id))
    assert (state(service, event, endpoint), places(service, endpoint)) == (DeliveryState.EXHAUSTED, [])


def test_nothing_of_another_workspace_is_retried_cancelled_or_replayed(service, order, word, endpoint):
    event = told(service, finished(service, order(), word()), endpoint)
    stranger, _ = service.endpoints.create("other", {"url": URL})
    wanted = delivery_id(event, endpoint.id)
    for refused in (
        lambda: service.deliveries.retry("other", wanted),
        lambda: service.deliveries.cancel("other", wanted),
        lambda: service.replays.replay("other", event),
        lambda: service.replays.replay("default", event, stranger.id),
        lambda: service.replays.recover("other", endpoint.id, 0, None),
    ):
        with pytest.raises(NotFound):
            refused()
    assert places(service, stranger) == []


def test_one_jobs_own_webhook_hears_nothing_of_another_job(service, order, word, endpoint):
    mine, other = (finished(service, order(webhook=URL), word(upstream_id=each * 32)) for each in "ab")
    with pytest.raises(NotFound):
        service.replays.replay("default", mine.last_word, other.own_endpoint)
    # Nor would the script let it.
    assert service.store.run(REVIVE, ["default", other.own_endpoint, "prdxc-", mine.last_word]) == [0, 0, 1]
    assert places(service, service.endpoints.find(other.own_endpoint)) == []


# -- cancelled by hand ----------------------------------------------------------------------------------


def test_a_cancelled_delivery_is_never_attempted(service, order, word, endpoint):
    event = told(service, finished(service, order(), word()), endpoint)
    wanted = delivery_id(event, endpoint.id)
    service.deliveries.cancel("default", wanted)
    assert (claimed(service), places(service, endpoint)) == ([], [])
    assert state(service, event, endpoint) is DeliveryState.CANCELLED
    assert service.store.client.zcard(rediskeys.OPEN_EVENTS) == 0
    with pytest.raises(Conflict, match="is cancelled; only one that waits"):
        service.deliveries.cancel("default", wanted)
    service.deliveries.retry("default", wanted)
    assert state(service, event, endpoint) is DeliveryState.PENDING
    claimed(service)
    with pytest.raises(Conflict, match="under way"):
        service.deliveries.cancel("default", wanted)


def stopped(service, order, word):
    """An ordered endpoint that has stopped at the first of three events."""
    endpoint, _ = subscribe(service, URL, ordered=True)
    events = [told(service, finished(service, order(), word()), endpoint) for _ in range(3)]
    recorded(service, claimed(service), "s")
    assert service.health.tell() > 0
    assert not service.endpoints.get("default", endpoint.id).enabled
    return endpoint, events


def test_cancelling_the_first_in_line_lets_a_stopped_ordered_endpoint_go_on_with_the_next(
    service, order, word
):
    endpoint, events = stopped(service, order, word)
    service.deliveries.cancel("default", delivery_id(events[0], endpoint.id))
    service.endpoints.update("default", endpoint.id, {"enabled": True})
    for event in events[1:]:
        rows = claimed(service)
        assert [row[2].decode() for row in rows] == [event]
        recorded(service, rows, "d")
    assert claimed(service) == []


def test_retrying_the_first_in_line_gives_a_stopped_ordered_endpoint_its_whole_schedule_again(
    service, order, word
):
    endpoint, events = stopped(service, order, word)
    service.deliveries.retry("default", delivery_id(events[0], endpoint.id))
    service.endpoints.update("default", endpoint.id, {"enabled": True})
    ((_, _, event, attempt),) = claimed(service)
    assert (event.decode(), attempt) == (events[0], 1)


def test_a_retry_of_one_further_back_leaves_an_ordered_endpoint_in_order_and_its_wait_as_it_is(
    service, order, word
):
    endpoint, _ = subscribe(service, URL, ordered=True)
    events = [told(service, finished(service, order(), word()), endpoint) for _ in range(2)]
    recorded(service, claimed(service), f"r{LATER_MS}")
    service.deliveries.retry("default", delivery_id(events[1], endpoint.id))
    assert claimed(service) == []
    service.deliveries.retry("default", delivery_id(events[0], endpoint.id))
    assert [row[2].decode() for row in claimed(service)] == [events[0]]


def test_cancelling_the_first_in_line_ends_the_wait_of_those_behind_it(service, order, word):
    endpoint, _ = subscribe(service, URL, ordered=True)
    events = [told(service, finished(service, order(), word()), endpoint) for _ in range(2)]
    recorded(service, claimed(service), f"r{LATER_MS}")
    service.deliveries.cancel("default", delivery_id(events[0], endpoint.id))
    assert [row[2].decode() for row in claimed(service)] == [events[1]]


# -- one event, to whom it is for -----------------------------------------------------------------------


def test_an_event_is_replayed_to_each_that_it_matches_whenever_that_was_made(service, order, word):
    before, _ = subscribe(service, URL)
    away, _ = subscribe(service, URL)
    elsewhere, _ = subscribe(service, URL, channels=["us"])
    failures, _ = subscribe(service, URL, event_types=("prediction.failed",))
    event = told(service, finished(service, order(channel="eu"), word()), before, away)
    rows = claimed(service)
    recorded(service, [row for row in rows if row[1].decode() == before.id], "d")
    after, _ = subscribe(service, URL)
    assert service.replays.replay("default", event) == (2, 1)
    assert state(service, event, after) is DeliveryState.PENDING
    assert places(service, elsewhere) == places(service, failures) == []
    assert {row[1].decode() for row in claimed(service)} == {before.id, after.id}


def test_an_event_is_replayed_to_a_named_endpoint_whatever_that_hears_of(service, order, word):
    event = told(service, finished(service, order(), word()))
    named, _ = subscribe(service, URL, event_types=("endpoint.disabled",), channels=["us"])
    assert service.replays.replay("default", event, named.id) == (1, 0)
    assert [row[1:3] for row in claimed(service)] == [(named.id.encode(), event.encode())]


def test_a_format_that_cannot_carry_an_event_is_told_so(service, endpoint):
    event = service.samples.send("default", endpoint.id, "endpoint.recovered")
    vendors, _ = subscribe(service, URL, format="wavespeed")
    with pytest.raises(InvalidInput, match=r"wavespeed does not carry endpoint\.recovered"):
        service.replays.replay("default", event, vendors.id)


def test_a_sample_is_replayed_to_nobody_but_whom_it_was_sent_to(service, endpoint):
    subscribe(service, URL)
    event = service.samples.send("default", endpoint.id, "prediction.completed")
    recorded(service, claimed(service), "d")
    assert service.replays.replay("default", event) == (1, 0)
    service.events.redact("default", event)
    assert service.replays.replay("default", event) == (1, 0)
    assert [row[1].decode() for row in claimed(service)] == [endpoint.id]


# -- deleted and redacted -------------------------------------------------------------------------------


def test_a_forwarder_that_knew_it_sends_what_was_redacted(service, order, word, receiver, forwarder):  # noqa: F811
    endpoint, secret = subscribe(service, receiver.url, retry_schedule=(0.0, 300.0))
    receiver.statuses = [500]
    job = finished(service, order(channel="eu"), word())
    settled(service, job, endpoint, DeliveryState.RETRYING)
    service.events.redact("default", job.last_word)
    later(service, 2 * LATER_MS)
    forwarder.ring()
    (_, whole), (headers, body) = receiver.wait_for(2)
    assert "prompt" in json.loads(whole)["data"]["input"]
    sent = Webhook(secret).verify(body, headers)
    kept = {"id": job.id, "model": job.model, "status": "completed", "redacted": True}
    assert sent["data"].pop("created_at")
    assert sent["data"] == kept


def test_a_redacted_event_still_goes_to_whom_it_is_for(service, order, word):
    europe, _ = subscribe(service, URL, channels=["eu"])
    elsewhere, _ = subscribe(service, URL, channels=["us"])
    event = told(service, finished(service, order(channel="eu"), word()))
    for _ in range(2):
        service.events.redact("default", event)
    assert service.replays.replay("default", event) == (1, 0)
    assert (places(service, europe), places(service, elsewhere)) == ([event.encode()], [])


def test_a_deleted_event_is_gone_from_everywhere_at_once(service, order, word, endpoint):
    ordered, _ = subscribe(service, URL, ordered=True)
    paused, _ = subscribe(service, URL, paused=True)
    event = told(service, finished(service, order(), word()), endpoint, ordered, paused)
    behind = told(service, finished(service, order(), word()), ordered)
    unfanned = finished(service, order(), word()).last_word
    rows = claimed(service)
    recorded(service, [row for row in rows if row[1].decode() == ordered.id], f"r{LATER_MS}")
    for each in (event, unfanned):
        service.events.erase("default", each)
    assert not service.store.client.exists(rediskeys.event(event), rediskeys.event(unfanned))
    assert service.store.client.xlen(rediskeys.stream("default")) == 0
    assert places(service, endpoint) + places(service, paused) == []
    assert [row[2].decode() for row in claimed(service)] == [behind]
    # What was under way ends, and brings nothing back.
    recorded(service, [row for row in rows if row[1].decode() == endpoint.id], "x", "answer")
    assert not service.store.client.exists(rediskeys.event(event))
    assert service.store.client.hgetall(rediskeys.running("default")) == {ordered.id.encode(): b"1"}
    assert service.health.tell() >= 0
    with pytest.raises(NotFound):
        service.events.erase("default", event)


def test_nothing_is_told_of_an_exhausted_delivery_whose_event_was_deleted(service, order, word, endpoint):
    subscribe(service, URL, event_types=("delivery.exhausted",))
    event = told(service, finished(service, order(), word()), endpoint)
    recorded(service, claimed(service), "x")
    service.events.erase("default", event)
    assert service.health.tell() == 1
    assert service.store.client.zcard(rediskeys.events("default")) == 0


def test_a_job_with_a_deleted_event_is_pruned_like_any_other(service, order, word, endpoint):
    job = finished(service, order(), word())
    service.events.erase("default", told(service, job, endpoint))
    words: list[Any] = [job.id, "default", job.rev, job.own_endpoint, *job.events]
    assert service.store.run(PRUNE, words, [rediskeys.job(job.id)]) == 1


def test_a_lost_place_of_a_revived_delivery_is_found_again(service, order, word, endpoint):
    event = told(service, finished(service, order(), word()), endpoint)
    recorded(service, claimed(service), "x")
    service.deliveries.retry("default", delivery_id(event, endpoint.id))
    service.store.client.delete(rediskeys.late(endpoint.id), rediskeys.due("default"))
    service.mender.everything()
    assert eventually(lambda: len(claimed(service)) == 1, 1)
