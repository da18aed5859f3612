"""Whoever dies, is stopped or cannot see the store for a while leaves nothing behind, and harms nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any, cast

import pytest

from schemas.outcomes import Observation, SubmissionOutcome, classify
from schemas.predictions import Prediction
from schemas.states import JobState
from service import rediskeys
from service.acceptance import Order
from service.addresses import Policy
from service.bootstrap import Service, boottime
from service.errors import OutcomeUnknown, StoreUnavailable
from service.presence import GONE, SILENT_AFTER, Presence, Watch
from service.records import Endpoint, Job
from service.store import CLAIM, CLAIMS_OF, EXPAND, Change, Script, Store
from service.submission import Submitter
from tests.store import crowds
from tests.store.crowds import claim, happen, record
from tests.store.cutter import Cutter
from tests.store.test_forwarder import Receiver, forwarding
from tests.waiting import eventually
from workers.clock import SEARCH_EVERY, Clock
from workers.forwarder import free

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
ACCEPTED = classify(
    Observation(sent=True, status=200, body=b'{"code":200,"data":{"id":"' + b"a" * 32 + b'"}}')
)


LOOPBACK = Policy((ip_network("127.0.0.0/8"),))


class Time:
    """An observer's clock, in seconds, that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def at() -> Time:
    return Time()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def clock(service: Service, at: Time) -> Clock:
    return Clock(service, Watch(service.store, at), at)


def begun(service: Service, order: Order, incarnation: str) -> tuple[Job, str]:
    job = service.acceptance.accept(order)
    token = service.token()
    admitted = service.jobs.admitted(job.id)
    assert admitted is not None
    assert service.jobs.begin(admitted, token, incarnation) is not None
    return job, token


def fanned_out(service: Service, order: Order, word: Prediction) -> Job:
    """A finished job whose event has a delivery that waits for its first attempt."""
    endpoint = subscribed(service, "http://127.0.0.1:9/")
    return fan_out(service, order, word, endpoint)


def subscribed(service: Service, url: str) -> Endpoint:
    service.endpoints.policy = LOOPBACK
    endpoint, _ = service.endpoints.create("default", {"url": url})
    return endpoint


def fan_out(service: Service, order: Order, word: Prediction, endpoint: Endpoint) -> Job:
    job, token = begun(service, order, "worker-1")
    done = service.jobs.settle(job.id, token, word)
    ((entry, _),) = cast("Any", service.store.client.xrange(rediskeys.stream("default")))
    service.store.run(EXPAND, ["default", done.events[-1], entry.decode(), 1, endpoint.id])
    return done


class SlowBeats(Store):
    """Sends the beats of the thread when it is let."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.begun, self.go = threading.Event(), threading.Event()

    def write(self, ask: Callable[[Any], object]) -> list[Any]:
        if threading.current_thread().name == "beat":
            self.begun.set()
            self.go.wait(10)
        return super().write(ask)


def test_a_beat_on_its_way_does_not_take_the_goodbye_back(
    service: Service, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.presence.BEAT_EVERY", 0.01)
    store = SlowBeats(store_url)
    presence = Presence(store, "worker-1")
    presence.start()
    assert store.begun.wait(10)
    ending = threading.Thread(target=presence.stop)
    ending.start()
    ending.join(0.2)  # long enough for a goodbye that does not wait
    store.go.set()
    ending.join(10)
    assert eventually(lambda: "beat" not in {each.name for each in threading.enumerate()})
    assert service.store.client.hget(rediskeys.BEATS, "worker-1") == GONE
    store.client.close()


def test_nobody_is_dead_because_the_store_was_away(service: Service, cutter: Cutter, at: Time) -> None:
    away = Store(cutter.url, patience=0.1)
    watch, presence = Watch(away, at), Presence(service.store, "worker-1")
    presence.beat()
    assert watch.look() == ({"worker-1"}, set())
    cutter.lose_answers(10, b"HGETALL")
    with pytest.raises(StoreUnavailable):
        watch.look()
    cutter.lose_answers(0, b"")
    at.now += SILENT_AFTER + 1
    assert watch.look() == ({"worker-1"}, set())
    at.now += SILENT_AFTER + 1
    assert watch.look() == (set(), {"worker-1"})


def test_a_pass_that_could_not_ask_the_time_has_not_seen_the_beats_either(
    service: Service, behind: Service, cutter: Cutter, order: Orders, at: Time
) -> None:
    presence, clock = Presence(service.store, "worker-1"), Clock.of(behind, at)
    job, _ = begun(service, order(), "worker-1")
    presence.beat()
    clock.tick()
    cutter.lose_answers(10**9, b"TIME")
    at.now += SILENT_AFTER + 1
    clock.tick()
    cutter.lose_answers(0, b"")
    at.now += 1
    clock.tick()
    assert cutter.lost > 0
    assert service.jobs.get(job.id).state is JobState.SUBMITTING
    at.now += SILENT_AFTER + 1
    clock.tick()
    assert service.jobs.get(job.id).state is JobState.UNCERTAIN


def test_a_change_is_unknown_when_the_store_takes_it_and_never_answers(
    behind: Service, cutter: Cutter
) -> None:
    behind.store.load()
    behind.store.patience = 0.2
    cutter.lose_answers(10**9, b"token-1")
    begun_at = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        behind.store.commit(Change("hr:x", 0, "token-1", (("HINCRBY", "hr:x", "n", 1),), subject="job"))
    assert time.monotonic() - begun_at < 5


class Untouched:
    """A vendor that must not be asked."""

    def submit(self, *_: object) -> SubmissionOutcome:
        raise AssertionError

    def upload(self, *_: object) -> str:
        raise AssertionError


def test_a_submission_whose_token_may_be_on_disk_is_not_sent_and_not_uncertain(
    behind: Service, cutter: Cutter, service: Service, order: Orders
) -> None:
    job = service.acceptance.accept(order())
    behind.store.load()
    behind.store.patience = 0.0
    submitter = Submitter(
        behind.jobs, Untouched(), "worker-1", lambda: "c" * 32, boottime, lambda *_: "http://x"
    )
    cutter.lose_answers(1, b"c" * 32)
    submitter.submit(job.id)
    assert cutter.lost == 1
    found = service.jobs.get(job.id)
    assert (found.state, [row.outcome for row in found.submissions]) == (JobState.QUEUED, ["refused"])
    assert service.store.client.zscore(rediskeys.LATER, job.id) is not None


def test_a_claim_that_the_store_reads_after_it_was_given_up_goes_back_all_the_same(
    service: Service, behind: Service, cutter: Cutter, order: Orders, word: Words, receiver: Receiver
) -> None:
    fan_out(service, order(), word(), subscribed(service, receiver.url))
    cutter.hold_back(CLAIM.sha.encode(), until=CLAIMS_OF.sha.encode())
    with forwarding(behind, LOOPBACK):
        assert cutter.applied_late.wait(30)
        receiver.wait_for(1)
        assert eventually(lambda: service.store.client.zcard(rediskeys.FLIGHT) == 0)
    assert len(receiver.got) == 1


def test_claims_are_found_although_others_end_while_they_are_looked_for(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.forwarder.FREE_AT_ONCE", 10)
    endpoint, _ = service.endpoints.create("default", {"url": "https://hooks.example/"})
    service.store.client.hset(rediskeys.endpoint(endpoint.id), "at_once", 1000)
    happen(service, 400)
    crowds.fan_out(service)
    theirs = claim(service, most=200, by="forwarder-2.0", share=1000)
    assert len(theirs) == len(claim(service, most=200, by="forwarder-1.0", share=1000)) == 200
    run = service.store.run

    def and_meanwhile(script: Script, *args: Any) -> Any:
        answer = run(script, *args)
        for each in theirs if script is CLAIMS_OF else ():
            record(service, endpoint, each, "d", by="forwarder-2.0")
        return answer

    monkeypatch.setattr(service.store, "run", and_meanwhile)
    assert free(service, "forwarder-1.0", lambda _: "u") == 200


def test_claims_that_came_with_an_error_about_the_stream_go_back(
    service: Service, behind: Service, cutter: Cutter, order: Orders, word: Words, receiver: Receiver
) -> None:
    fan_out(service, order(), word(), subscribed(service, receiver.url))
    cutter.hold_back(b"XGROUP", until=b"never")
    cutter.lose_answers(1, b"XGROUP")
    with forwarding(behind, LOOPBACK):
        receiver.wait_for(1)
        assert eventually(lambda: service.store.client.zcard(rediskeys.FLIGHT) == 0)
    assert (cutter.lost, len(receiver.got)) == (1, 1)


def test_a_store_that_has_gone_without_a_word_is_not_waited_for(
    service: Service, behind: Service, cutter: Cutter, order: Orders, word: Words, receiver: Receiver
) -> None:
    fan_out(service, order(), word(), subscribed(service, receiver.url))
    cutter.be_silent(CLAIM.sha.encode())
    with forwarding(behind, LOOPBACK, patience=0.2):
        assert len(receiver.wait_for(1)) == 1


def test_claims_of_who_came_back_and_died_before_its_next_beat_are_freed(
    service: Service, order: Orders, word: Words, at: Time, clock: Clock
) -> None:
    done = fanned_out(service, order(), word())
    clock.tick()
    _, _, *rows = service.store.run(CLAIM, ["forwarder-1.7", 10, 10])
    assert rows[2].decode() == done.events[-1]
    for _ in range(3):
        at.now += SEARCH_EVERY
        clock.tick()
    assert service.store.client.zcard(rediskeys.FLIGHT) == 0
    assert service.store.client.hlen(rediskeys.running("default")) == 0


def test_a_submission_of_who_came_back_and_died_before_its_next_beat_is_uncertain(
    service: Service, order: Orders, at: Time, clock: Clock
) -> None:
    job, _ = begun(service, order(), "worker-1")
    for _ in range(3):
        at.now += SEARCH_EVERY
        clock.tick()
    assert service.jobs.get(job.id).state is JobState.UNCERTAIN


def test_an_event_that_is_fanned_out_and_not_delivered_for_long_is_left_in_peace(
    service: Service, order: Orders, word: Words, clock: Clock
) -> None:
    done = fanned_out(service, order(), word())
    service.store.client.zadd(rediskeys.OPEN_EVENTS, {done.events[-1]: 0})
    clock.mend()
    assert service.store.client.xlen(rediskeys.stream("default")) == 0


def test_a_part_of_the_clock_that_breaks_stops_no_other(service: Service, order: Orders, at: Time) -> None:
    class Broken(Clock):
        def wait_again(self) -> None:
            raise ZeroDivisionError

    job = service.acceptance.accept(order())
    client = service.store.client
    client.zrem(rediskeys.WINDOW, job.id)
    client.zadd(rediskeys.waiting("default"), {job.id: 1})
    client.zadd(rediskeys.WAITING, {"default": 1})
    Broken(service, Watch(service.store, at), at).tick()
    assert client.zscore(rediskeys.WINDOW, job.id) is not None


def test_a_task_that_its_callback_has_told_of_is_known_to_be_ours(
    service: Service, order: Orders, word: Words
) -> None:
    job, token = begun(service, order(), "worker-1")
    service.jobs.settle(job.id, token, word(upstream_id="f" * 32))
    assert service.store.client.zscore(rediskeys.UPSTREAM, "f" * 32) is not None
