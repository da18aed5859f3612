"""The retry schedule, end to end: a real store whose time is moved, a real forwarder, real receivers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import cast

import pytest
from cryptography.fernet import Fernet

from schemas.predictions import Prediction
from schemas.states import DeliveryState
from service import rediskeys
from service.acceptance import Order
from service.addresses import Policy
from service.backoff import DEFAULT_SCHEDULE
from service.bootstrap import Service
from service.deliveries import again, delivery_id
from service.errors import NotFound
from service.presence import SILENT_AFTER, Presence, Watch
from service.records import Attempt, Delivery, Endpoint, Job
from service.sealing import Sealer
from service.store import CLAIM, EXPAND, OUTCOMES
from service.timekeeping import read
from tests.sender.receivers import Behaviour, answering
from tests.sender.test_outcomes import hanging_up, late
from tests.sender.test_tls import certificate
from tests.store.cutter import Cutter
from tests.store.test_forwarder import LOOPBACK, SOON, Receiver, finished, forwarding, settled, subscribe
from tests.store.test_forwarder import receiver as receiver  # noqa: PLC0414 - a fixture
from tests.waiting import eventually
from workers.clock import Clock
from workers.forwarder import Forwarder

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
Serve = Callable[..., str]
LOOK_BEFORE_MS = 25
"""The time is moved to so long before an attempt is due: it could come too early."""
PROMPT_MS = 5000
LEAST, MOST = 0.0, 1 - 1e-9
"""What the dice show when jitter is -20 % and +20 %."""
DAY_MS = 86_400_000


def now(service: Service) -> int:
    return read(service.store, time.monotonic).ms


def skip(service: Service, ms: int) -> None:
    service.store.client.hincrby(rediskeys.SERVICE, "shift", ms)


def next_try(service: Service, endpoint: Endpoint) -> int:
    """When the endpoint is tried next, as it is kept; 0: nothing waits, or an outcome decides."""
    score = service.store.client.zscore(rediskeys.due("default"), endpoint.id)
    return int(score) if isinstance(score, float) and score < math.inf else 0


@contextmanager
def scheduled(service: Service, dice: float = 0.5) -> Iterator[Forwarder]:
    """A forwarder whose attempts are dated in the store's time, with loaded dice."""
    with forwarding(service, Policy(LOOPBACK)) as forwarder:
        forwarder.dice = lambda: dice
        # Half a ms more, or the way to seconds and back may cost a whole one.
        forwarder.mailroom.clock = lambda: (now(service) + 0.5) / 1000
        yield forwarder


def skip_to_next(service: Service, endpoint: Endpoint, forwarder: Forwarder) -> None:
    """The time, to just before the endpoint is tried next, if that is far away and nothing is under way."""
    wait = next_try(service, endpoint) - now(service) - LOOK_BEFORE_MS
    if wait > 0:
        skip(service, wait)
        forwarder.ring()


def line_of(service: Service, job: Job, endpoint: Endpoint) -> bytes:
    return cast("bytes", service.store.client.hget(rediskeys.event(job.events[-1]), endpoint.id))


@dataclass
class Course:
    """A delivery's way through its schedule; all in ms of the store's time."""

    service: Service
    endpoint: Endpoint
    job: Job
    made: list[int] = field(default_factory=list)
    """When each attempt was sent."""
    seen: list[int] = field(default_factory=list)
    """When each outcome was seen to be kept."""
    due: list[int] = field(default_factory=list)
    """When each attempt but the first was due."""

    @property
    def delivery(self) -> Delivery:
        return self.service.deliveries.get("default", delivery_id(self.job.events[-1], self.endpoint.id))

    def _is_attempted(self) -> bool:
        try:
            delivery = self.delivery
        except NotFound:
            return False
        return len(delivery.attempts) > len(self.made) and not delivery.claim

    def note(self) -> DeliveryState:
        """Wait for the next outcome; what has become of the delivery."""
        assert eventually(self._is_attempted), self.delivery
        delivery = self.delivery
        assert len(delivery.attempts) == len(self.made) + 1
        self.made.append(delivery.attempts[-1].at)
        self.seen.append(now(self.service))
        return delivery.state

    def go_on(self, forwarder: Forwarder) -> DeliveryState:
        """The next attempt, in its time."""
        self.due.append(next_try(self.service, self.endpoint))
        skip_to_next(self.service, self.endpoint, forwarder)
        return self.note()

    def follow(self, forwarder: Forwarder, attempts: int = 100) -> DeliveryState:
        """Until there were so many, or the end."""
        state = self.delivery.state if self.made else self.note()
        while state is DeliveryState.RETRYING and len(self.made) < attempts:
            state = self.go_on(forwarder)
        return state

    def check(self, delays: list[float]) -> None:
        """Each attempt came when it was due, which was so many ms after the outcome of the one before it."""
        assert len(self.due) == len(delays) == len(self.made) - 1
        for n, delay in enumerate(delays):
            assert self.made[n] + delay <= self.due[n] <= self.seen[n] + delay + 1
            assert self.due[n] <= self.made[n + 1] <= self.due[n] + PROMPT_MS

    def check_end(self) -> None:
        """Nothing of it is owed or waits any more."""
        client, event = self.service.store.client, self.job.events[-1]
        for queue in (rediskeys.wait, rediskeys.late, rediskeys.line):
            assert client.zscore(queue(self.endpoint.id), event) is None
        assert client.zscore(rediskeys.due("default"), self.endpoint.id) is None
        assert client.zcard(rediskeys.FLIGHT) == 0
        assert client.hget(rediskeys.event(event), "open") == b"0"


def failing(receiver: Receiver) -> None:
    receiver.statuses = [500] * 100


@pytest.mark.parametrize(("dice", "jitter"), [(LEAST, -0.2), (MOST, 0.2)])
def test_the_default_schedule_is_gone_through_to_its_end_and_no_further(
    service: Service, order: Orders, word: Words, receiver: Receiver, dice: float, jitter: float
) -> None:
    endpoint, _ = subscribe(service, receiver.url)
    failing(receiver)
    with scheduled(service, dice) as forwarder:
        course = Course(service, endpoint, finished(service, order(), word()))
        assert course.follow(forwarder) is DeliveryState.EXHAUSTED
        course.check_end()
        skip(service, 30 * DAY_MS)
        receiver.statuses = []
        # Whatever was due by now would have gone out before this.
        settled(service, finished(service, order(), word()), endpoint, DeliveryState.DELIVERED)
    course.check([seconds * 1000 * (1 + jitter) for seconds in DEFAULT_SCHEDULE[1:]])
    assert course.delivery.attempt_count == 10
    sent = [headers["webhook-id"] for headers, _ in receiver.got]
    assert sent.count(course.job.events[-1]) == 10
    assert len(sent) == 11


@pytest.mark.parametrize("ordered", [False, True], ids=["any order", "ordered"])
def test_an_endpoints_own_schedule_takes_the_place_of_the_services(
    service: Service, order: Orders, word: Words, receiver: Receiver, ordered: bool
) -> None:
    own = (0.0, 60.0, 1.5, 90_000.0)
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=own, ordered=ordered, on_exhausted="skip")
    failing(receiver)
    dice = iter([LEAST, 0.5, MOST, 0.5])
    with scheduled(service) as forwarder:
        forwarder.dice = lambda: next(dice)
        course = Course(service, endpoint, finished(service, order(), word()))
        assert course.follow(forwarder) is DeliveryState.EXHAUSTED
    course.check([48_000, 1500, 108_000_000 * (1 - 1e-9)])
    course.check_end()
    assert len(receiver.got) == 4


def test_a_success_in_the_middle_of_the_schedule_ends_it(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url)
    receiver.statuses = [500, 500, 204]
    with scheduled(service) as forwarder:
        course = Course(service, endpoint, finished(service, order(), word()))
        assert course.follow(forwarder) is DeliveryState.DELIVERED
    assert [each.status for each in course.delivery.attempts] == [500, 500, 204]
    course.check_end()


def test_another_forwarder_goes_on_where_one_has_stopped(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url)
    failing(receiver)
    with scheduled(service) as forwarder:
        course = Course(service, endpoint, finished(service, order(), word()))
        course.follow(forwarder, attempts=3)
    due = next_try(service, endpoint)
    with scheduled(service) as forwarder:
        course.follow(forwarder, attempts=4)
    assert course.due[-1] == due
    # Nobody is there when the next is due, nor for an hour: once there is, it is made once.
    skip(service, next_try(service, endpoint) + 3_600_000 - now(service))
    with scheduled(service) as forwarder:
        course.note()
        course.due.append(course.made[-1])
        assert course.follow(forwarder) is DeliveryState.EXHAUSTED
    course.check_end()
    assert len(receiver.got) == len(course.made) == 10


@pytest.mark.parametrize(("dies_at", "attempts"), [(2, 3), (3, 4)], ids=["in the middle", "at the last"])
def test_a_claim_that_a_killed_forwarder_left_is_a_failed_attempt_and_the_schedule_goes_on(
    service: Service, order: Orders, word: Words, receiver: Receiver, dies_at: int, attempts: int
) -> None:
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=(0.0, 60.0, 600.0))
    failing(receiver)
    with scheduled(service) as forwarder:
        course = Course(service, endpoint, finished(service, order(), word()))
        course.follow(forwarder, attempts=dies_at - 1)
    skip(service, next_try(service, endpoint) - now(service))
    Presence(service.store, "forwarder-dead").beat()
    assert service.store.run(CLAIM, ["forwarder-dead.0", 10, 10])[2:] != []
    ahead = 0.0
    watch = Watch(service.store, lambda: ahead)
    clock = Clock(service, watch, lambda: ahead)
    clock.free_the_dead()
    ahead += SILENT_AFTER + 1
    clock.free_the_dead()
    course.note()
    with scheduled(service) as forwarder:
        course.note()
        if dies_at < 3:
            course.follow(forwarder)
    found = course.delivery
    assert found.state is DeliveryState.EXHAUSTED
    assert found.attempt_count == attempts
    assert [each.error or each.status for each in found.attempts].count("interrupted") == 1
    assert found.attempts[dies_at - 1].error == "interrupted"
    assert len(receiver.got) == attempts - 1
    course.check_end()


def test_a_retry_is_neither_lost_nor_doubled_when_the_stores_answers_are_lost(
    service: Service, behind: Service, cutter: Cutter, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=(0.0, 0.01, 0.01, 0.01))
    failing(receiver)
    cutter.lose_answers(1, OUTCOMES.sha.encode())
    with forwarding(behind, Policy(LOOPBACK)):
        job = finished(service, order(), word())
        assert eventually(lambda: cutter.lost == 1)
        cutter.lose_answers(1, CLAIM.sha.encode())
        delivery = settled(service, job, endpoint, DeliveryState.EXHAUSTED)
    assert (len(receiver.got), len(delivery.attempts), delivery.attempt_count) == (4, 4, 4)


# -- the circuit ------------------------------------------------------------------------------------------


def test_the_circuit_delays_a_short_schedule_by_its_probe_and_takes_no_attempt_away(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=(0.0, *[0.1] * 8, 5.0))
    failing(receiver)
    with scheduled(service) as forwarder:
        course = Course(service, endpoint, finished(service, order(), word()))
        assert course.follow(forwarder) is DeliveryState.EXHAUSTED
    # Closed until the fifth; then 1, 2, 4, 8 s; and 16 where the schedule would have 5.
    course.check([100, 100, 100, 100, 1000, 2000, 4000, 8000, 16_000])
    course.check_end()


def test_under_an_open_circuit_every_delivery_gets_all_its_attempts_and_none_too_early(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    schedule = (0.0, 2.0, 7.0)
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=schedule)
    failing(receiver)
    with scheduled(service) as forwarder:
        jobs = [finished(service, order(), word(upstream_id=f"{n:032x}")) for n in range(4)]
        found = [settled(service, job, endpoint, DeliveryState.RETRYING) for job in jobs]

        def is_over() -> bool:
            skip_to_next(service, endpoint, forwarder)
            return service.store.client.zcard(rediskeys.OPEN_EVENTS) == 0

        assert eventually(is_over)
        found = [settled(service, job, endpoint, DeliveryState.EXHAUSTED) for job in jobs]
    for delivery in found:
        first, second, third = (each.at for each in delivery.attempts)
        assert first + 2000 <= second
        assert second + 7000 <= third
    assert len(receiver.got) == 12


def test_an_attempt_that_cannot_be_signed_costs_nothing_of_the_schedule(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=(0.0,))
    sealer = service.endpoints.sealer
    service.endpoints.sealer = Sealer((Fernet.generate_key().decode(),))
    with scheduled(service) as forwarder:
        course = Course(service, endpoint, finished(service, order(), word()))
        assert eventually(lambda: next_try(service, endpoint) > now(service) + 50_000)
        assert course.delivery.attempt_count == 0
        service.endpoints.sealer = sealer
        skip(service, 60_000)
        forwarder.ring()
        assert course.note() is DeliveryState.DELIVERED
    assert (len(receiver.got), course.delivery.attempt_count) == (1, 1)


# -- what the receiver asks for -----------------------------------------------------------------------------


def refusing(status: int, *headers: str) -> Behaviour:
    lines = "\r\n".join((f"HTTP/1.1 {status} X", *headers, "Content-Length: 0", "", ""))
    return answering(lines.encode("latin-1"))


ASKED = {
    # The schedule has 60 s; the dice show -20 %, which becomes +20 % once somebody has asked for time.
    "120": 120,
    " 3600 ": 3600,
    "7": 72,
    "0": 72,
    formatdate(0, usegmt=True): 72,
    "86401": 86_400,
    "9" * 400: 86_400,
    "Wed, 21 Oct 2065 07:28:00 GMT": 86_400,
    "-5": 48,
    "1.5": 48,
    "soon": 48,
    "": 48,
    "Thu, 99 Sep 2025 11:05:28 GMT": 48,
    "\xff\x1b[31m": 48,
}


def test_retry_after_is_honoured_up_to_a_day_and_never_shortens_the_schedule(
    service: Service, order: Orders, word: Words, serve: Serve
) -> None:
    asked = {(503, header): seconds for header, seconds in ASKED.items()}
    asked |= {(status, "120"): 120 for status in (429, 502, 504)}
    asked |= {(status, "120"): 48 for status in (500, 404, 401, 301, 408, 599)}
    made = {}
    for (status, header), seconds in asked.items():
        url = serve(refusing(status, f"Retry-After: {header}"))
        made[status, header] = subscribe(service, url, retry_schedule=(0.0, 60.0))[0], seconds
    with scheduled(service, LEAST):
        job = finished(service, order(), word())
        for key, (endpoint, seconds) in made.items():
            course = Course(service, endpoint, job)
            course.note()
            (sent,), (seen,) = course.made, course.seen
            assert sent + seconds * 1000 <= next_try(service, endpoint) <= seen + seconds * 1000 + 1, key


def test_retry_after_may_be_a_date(service: Service, order: Orders, word: Words, serve: Serve) -> None:
    at = int(time.time()) + 600
    url = serve(refusing(429, f"Retry-After: {formatdate(at, usegmt=True)}"))
    endpoint, _ = subscribe(service, url)
    with scheduled(service):
        course = Course(service, endpoint, finished(service, order(), word()))
        course.note()
    assert at * 1000 <= next_try(service, endpoint) <= at * 1000 + PROMPT_MS


def test_a_part_of_a_millisecond_that_was_asked_for_is_a_whole_one() -> None:
    assert again(1, (0.0, 1.0), 0, 59.1234) == "r59124"


@pytest.mark.parametrize("schedule", [(0.0, 60.0), (0.0,)], ids=["in the middle", "at the last"])
def test_what_a_gone_endpoint_did_not_take_goes_out_when_it_is_enabled_again(
    service: Service, order: Orders, word: Words, receiver: Receiver, schedule: tuple[float, ...]
) -> None:
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=schedule)
    receiver.statuses = [410]
    with scheduled(service) as forwarder:
        first = finished(service, order(), word())
        settled(service, first, endpoint, DeliveryState.HELD)
        assert eventually(lambda: not service.endpoints.get("default", endpoint.id).enabled)
        second = finished(service, order(), word(upstream_id="b" * 32))
        settled(service, second, endpoint, DeliveryState.HELD)
        skip(service, 3 * DAY_MS)
        forwarder.ring()
        service.endpoints.update("default", endpoint.id, {"enabled": True})
        forwarder.ring()
        delivery = settled(service, first, endpoint, DeliveryState.DELIVERED)
        settled(service, second, endpoint, DeliveryState.DELIVERED)
    assert [each.status for each in delivery.attempts] == [410, 200]
    assert len(receiver.got) == 3


def test_what_fails_before_any_answer_is_recorded_as_such_and_tried_again(
    service: Service, order: Orders, word: Words, serve: Serve, tmp_path: Path
) -> None:
    urls = {
        "timeout": serve(late),
        "dns": "https://no-such-name.invalid/hook",
        "tls": serve(answering(), certificate(tmp_path)),
        "connect": "http://127.0.0.1:1/",
        "protocol": serve(hanging_up),
    }
    made = {
        error: subscribe(service, url, retry_schedule=SOON, timeout=0.1 if error == "timeout" else 10)[0]
        for error, url in urls.items()
    }
    with scheduled(service):
        job = finished(service, order(), word())
        for error, endpoint in made.items():
            delivery = settled(service, job, endpoint, DeliveryState.EXHAUSTED)
            told = [(each.status, each.error, bool(each.detail)) for each in delivery.attempts]
            assert told == [(None, error, True)] * 3


# -- after an upgrade ---------------------------------------------------------------------------------------


def fanned_out(service: Service, job: Job, endpoint: Endpoint, line: str) -> None:
    """The delivery as an older release has left it, with whatever was due in one queue."""
    event = job.events[-1]
    service.store.run(EXPAND, ["default", event, "0-0", 1, endpoint.id])
    service.store.client.hset(rediskeys.event(event), endpoint.id, line)


def test_a_delivery_whose_log_an_older_release_has_written_is_shown_and_goes_on(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url, retry_schedule=(0.0, 5.0, 5.0))
    failing(receiver)
    job = finished(service, order(), word())
    log = '[1758798328000,500,null,12],[1758798334000,null,"timeout",15000,"after 15 s"]'
    fanned_out(service, job, endpoint, f"r|2||{log}")
    with scheduled(service):
        delivery = settled(service, job, endpoint, DeliveryState.EXHAUSTED)
    assert delivery.attempts[:2] == (
        Attempt(1758798328000, 500, None, 12),
        Attempt(1758798334000, None, "timeout", 15000, (), "after 15 s"),
    )
    assert (len(receiver.got), len(delivery.attempts)) == (1, 3)


def test_what_an_older_release_held_is_shown_as_held_and_goes_out_when_the_endpoint_is_enabled(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url)
    service.endpoints.disable(endpoint.id, "gone")
    job = finished(service, order(), word())
    fanned_out(service, job, endpoint, "h|1||[1758798328000,410,null,12]")
    client = service.store.client
    client.delete(rediskeys.wait(endpoint.id), rediskeys.due("default"))
    settled(service, job, endpoint, DeliveryState.HELD)
    service.mender.everything()
    settled(service, job, endpoint, DeliveryState.HELD)
    assert client.hget(rediskeys.event(job.events[-1]), "open") == b"1"
    service.endpoints.update("default", endpoint.id, {"enabled": True})
    with scheduled(service):
        delivery = settled(service, job, endpoint, DeliveryState.DELIVERED)
    assert [each.status for each in delivery.attempts] == [410, 200]
    assert client.zcard(rediskeys.OPEN_EVENTS) == 0


def test_an_endpoint_that_is_disabled_without_the_scripts_knowing_is_not_asked_for_without_a_pause(
    service: Service, order: Orders, word: Words, receiver: Receiver
) -> None:
    endpoint, _ = subscribe(service, receiver.url)
    service.endpoints.disable(endpoint.id, "gone")
    # As a release left it in which only the record said so.
    service.store.client.hdel(rediskeys.endpoint(endpoint.id), "off")
    with scheduled(service):
        job = finished(service, order(), word())
        assert eventually(lambda: next_try(service, endpoint) > now(service) + 500)
        assert line_of(service, job, endpoint).startswith(b"p|0|")
    assert receiver.got == []
