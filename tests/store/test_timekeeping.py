"""What is due, when clocks jump or differ: every due time keeps its distance, and nobody decides in haste."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from schemas.outcomes import Observation, classify
from schemas.predictions import Prediction
from schemas.states import JobState
from service import embedded, rediskeys
from service.acceptance import Order
from service.bootstrap import Service, boottime
from service.records import Job
from service.store import CLAIM, EXPAND
from service.timekeeping import ASK_AGAIN, ASK_EVERY, Jumps, ServiceTime
from tests.store.wrongclock import WrongClock
from tests.waiting import eventually
from workers.clock import Clock
from workers.forwarder import free

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
HOUR = 3600
ACCEPTED = classify(Observation(sent=True, status=200, body=b'{"code":200,"data":{"id":"abc"}}'))
UNKNOWN = classify(Observation(sent=True, trouble="cut"))
REFUSED = classify(Observation(sent=False, trouble="refused"))
SLOW_DOWN = classify(Observation(sent=True, status=429, body=b"{}"))


class Count:
    """A process's own count of seconds, which stands until it is moved."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return boottime() + self.ahead


@pytest.fixture(scope="module")
def wrong_clock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WrongClock, str]]:
    """A store whose clock can be set, and its URL."""
    if sys.platform != "linux":
        pytest.skip("the clock of a process can be shimmed on Linux only")
    directory = tmp_path_factory.mktemp("wrongclock")
    clock = WrongClock(directory, compiler())
    os.environ.update(clock.environment)
    try:
        with embedded.running(directory / "data") as url:
            for name in clock.environment:
                del os.environ[name]
            yield clock, url
    finally:
        for name in clock.environment:
            os.environ.pop(name, None)


def compiler() -> str:
    found = shutil.which("cc")
    if found is None:
        pytest.skip("cc is not installed")
    return found


@pytest.fixture
def set_clock(wrong_clock: tuple[WrongClock, str]) -> Iterator[Callable[[int], None]]:
    clock, url = wrong_clock
    with redis.Redis.from_url(url) as client:
        client.flushall()

        def set_to(seconds: int) -> None:
            clock.set(seconds)
            # Valkey remembers the time for a millisecond.
            assert eventually(lambda: abs(client.time()[0] - time.time() - seconds) < 30)

        yield set_to
        set_to(0)


@pytest.fixture
def store_url(wrong_clock: tuple[WrongClock, str], set_clock: object) -> str:
    return wrong_clock[1]


def begun(service: Service, order: Order) -> tuple[Job, str]:
    job = service.acceptance.accept(order)
    token = service.token()
    admitted = service.jobs.admitted(job.id)
    assert admitted is not None
    assert service.jobs.begin(admitted, token, "worker-1") is not None
    return job, token


def distances(service: Service) -> dict[str, float]:
    """Seconds until whatever is due."""
    keys = ("hr:later", "hr:silent", "hr:uncertain", "hr:turns", "hr:due:default")
    (told, shift) = service.store.read(lambda pipe: pipe.time().hget(rediskeys.SERVICE, "shift"))
    now = told[0] * 1000 + told[1] // 1000 + int(shift or 0)
    found = service.store.read(lambda pipe: [pipe.zrange(key, 0, -1, withscores=True) for key in keys])
    return {
        f"{key} {name.decode()}": (at - now) / 1000
        for key, rows in zip(keys, found, strict=True)
        for name, at in rows
    }


def with_something_due_everywhere(service: Service, order: Orders, word: Words) -> None:
    endpoint, _ = service.endpoints.create("default", {"url": "https://example.com/"})
    job, token = begun(service, order())
    done = service.jobs.settle(job.id, token, word())
    ((entry, _),) = service.store.read(lambda pipe: pipe.xrange(rediskeys.stream("default")))[0]
    service.store.run(EXPAND, ["default", done.events[-1], entry, 1, endpoint.id])
    service.store.run(CLAIM, ["forwarder-1.0", 10, 10, 0])
    free(service, "forwarder-1", lambda _: "r1800000")
    for found in (ACCEPTED, UNKNOWN, REFUSED):
        job, token = begun(service, order())
        service.jobs.conclude(job.id, token, found)


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 26 * HOUR])
def test_when_the_stores_clock_jumps_everything_stays_as_far_away_as_it_was(
    service: Service, order: Orders, word: Words, set_clock: Callable[[int], None], jump: int
) -> None:
    with_something_due_everywhere(service, order, word)
    clock = Clock.of(service, time.monotonic)
    clock.tick()
    before, bells = distances(service), service.store.client.llen("rq:queue:vendor")
    assert len(before) == 5
    set_clock(jump)
    clock.tick()
    after = distances(service)
    assert {name: pytest.approx(seconds, abs=10) for name, seconds in before.items()} == after
    clock.tick()
    assert service.store.run(CLAIM, ["forwarder-1.1", 10, 10, 0])[2:] == []
    assert service.store.client.llen("rq:queue:vendor") == bells
    assert {job.state for job in jobs(service)} == {
        JobState.COMPLETED,
        JobState.PROCESSING,
        JobState.UNCERTAIN,
        JobState.QUEUED,
    }


def shift(service: Service) -> int:
    (told,) = service.store.read(lambda pipe: pipe.hget(rediskeys.SERVICE, "shift"))
    return int(told)


def jobs(service: Service) -> list[Job]:
    (ids,) = service.store.read(lambda pipe: pipe.zrange(rediskeys.jobs("default"), 0, -1))
    return [service.jobs.get(each.decode()) for each in ids]


def test_a_pause_after_a_429_is_as_long_as_it_was_told_whatever_the_clock_does(
    service: Service, order: Orders, set_clock: Callable[[int], None]
) -> None:
    clock = Clock.of(service, time.monotonic)
    clock.tick()
    job, token = begun(service, order())
    service.jobs.conclude(job.id, token, SLOW_DOWN)
    set_clock(-HOUR)
    clock.tick()
    waited = 0
    while service.jobs.admitted(job.id) is None:
        clock.let_in()
        waited += 1
        assert waited < 2000


def test_two_clock_processes_take_a_jump_back_once(
    service: Service, set_clock: Callable[[int], None]
) -> None:
    observers = [Jumps(service.store, boottime) for _ in range(2)]
    assert [each.look() for each in observers] == [False, False]
    set_clock(HOUR)
    assert [each.look() for each in observers] == [True, False]
    assert shift(service) == pytest.approx(-HOUR * 1000, abs=5000)
    assert [each.look() for each in observers] == [False, False]
    set_clock(0)
    assert [each.look() for each in observers] == [True, False]
    assert shift(service) == pytest.approx(0, abs=5000)


def test_a_machine_that_slept_has_not_jumped(service: Service) -> None:
    count = Count()
    jumps = Jumps(service.store, count)
    assert jumps.look() is False
    client = service.store.client
    # Time passed for both: for us by our count, for the store by its clock.
    count.ahead += 8 * HOUR
    client.hset(rediskeys.SERVICE, "shift", 8 * HOUR * 1000)
    assert jumps.look() is False


def test_a_question_that_took_long_tells_no_jump(service: Service) -> None:
    count = Count()
    jumps = Jumps(service.store, count)
    assert jumps.look() is False

    def stopped_while_asking() -> float:
        count.ahead += 300
        return boottime() + count.ahead

    jumps.boottime = stopped_while_asking
    assert jumps.look() is False
    jumps.boottime = count
    assert jumps.look() is False
    assert service.store.client.hget(rediskeys.SERVICE, "shift") is None


def test_a_jump_that_is_taken_back_in_time_is_never_believed(
    service: Service, set_clock: Callable[[int], None]
) -> None:
    count = Count()
    told = ServiceTime(service.store, count)
    before = told.now()
    set_clock(HOUR)
    count.ahead += ASK_EVERY
    assert told.now() - before == pytest.approx(ASK_EVERY * 1000, abs=5000)
    service.store.client.hset(rediskeys.SERVICE, "shift", -HOUR * 1000)
    count.ahead += ASK_AGAIN
    assert told.now() - before == pytest.approx((ASK_EVERY + ASK_AGAIN) * 1000, abs=20_000)


def test_a_jump_that_nobody_takes_back_is_believed_in_the_end(
    service: Service, set_clock: Callable[[int], None]
) -> None:
    count = Count()
    told = ServiceTime(service.store, count)
    before = told.now()
    set_clock(HOUR)
    for _ in range(2):
        count.ahead += ASK_EVERY
        told.now()
    assert told.now() - before == pytest.approx(HOUR * 1000, abs=30_000)


def test_the_time_goes_on_while_the_store_is_away(behind: Service, cutter: object) -> None:
    count = Count()
    told = ServiceTime(behind.store, count)
    before = told.now()
    cutter.close()  # type: ignore[attr-defined]
    behind.store.client.close()
    count.ahead += ASK_EVERY
    assert told.now() - before == pytest.approx(ASK_EVERY * 1000, abs=5000)


@pytest.mark.parametrize("minutes", [1, -1, 60])
def test_a_process_whose_clock_is_wrong_does_no_harm(service: Service, order: Orders, minutes: int) -> None:
    wrong = Service(
        service.settings,
        service.url,
        "test",
        "test-wrong",
        lambda: int(time.time() * 1000) + minutes * 60_000,
    )
    for found in (ACCEPTED, UNKNOWN, REFUSED):
        job, token = begun(wrong, order())
        wrong.jobs.conclude(job.id, token, found)
    clock = Clock.of(wrong, time.monotonic)
    clock.tick()
    wrong_before = distances(service)
    for found in (ACCEPTED, UNKNOWN, REFUSED):
        job, token = begun(service, order())
        service.jobs.conclude(job.id, token, found)
    right = distances(service)
    for name, seconds in wrong_before.items():
        twin = next(key for key in right if key.split()[0] == name.split()[0] and key not in wrong_before)
        assert seconds == pytest.approx(right[twin], abs=5)
    assert {job.state for job in jobs(service)} == {JobState.PROCESSING, JobState.UNCERTAIN, JobState.QUEUED}
    wrong.close()
