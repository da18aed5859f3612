"""The in-flight window: how it narrows on a 429 and widens again, and who is let in."""

from __future__ import annotations

import json
from collections.abc import Callable

from schemas.outcomes import Observation, classify
from schemas.states import JobState
from service import rediskeys
from service.acceptance import Order
from service.bootstrap import Service
from service.records import Job

Orders = Callable[..., Order]
SLOW_DOWN = classify(Observation(sent=True, status=429, body=b"{}"))


def accepted_as(number: int) -> bytes:
    return json.dumps({"code": 200, "data": {"id": f"{number:032x}"}}).encode()


def begun(service: Service, job: Job) -> str:
    admitted = service.jobs.admitted(job.id)
    assert admitted is not None
    token = service.token()
    assert service.jobs.begin(admitted, token, "worker-1") is not None
    return token


def accept(service: Service, job: Job, token: str, number: int) -> None:
    found = classify(Observation(sent=True, status=200, body=accepted_as(number)))
    service.jobs.conclude(job.id, token, found)


def window(service: Service) -> list[str]:
    (ids,) = service.store.read(lambda pipe: pipe.zrange(rediskeys.WINDOW, 0, -1))
    return [each.decode() for each in ids]


def over(service: Service) -> None:
    """The pause after a 429 is over."""
    service.store.client.hset(rediskeys.VENDOR, "not_before", 0)


def test_a_429_halves_the_window_and_the_job_waits_at_the_head(service: Service, order: Orders) -> None:
    jobs = [service.acceptance.accept(order()) for _ in range(8)]
    tokens = [begun(service, job) for job in jobs]
    waiting = service.acceptance.accept(order())
    service.jobs.give_up_on(waiting.id, "not needed")
    refused = service.jobs.conclude(jobs[3].id, tokens[3], SLOW_DOWN)
    assert refused.state is JobState.QUEUED
    assert service.store.client.hget(rediskeys.VENDOR, "window") == b"4"
    (first,) = service.store.read(lambda pipe: pipe.zrange(rediskeys.waiting("default"), 0, 0))
    assert first == [jobs[3].id.encode()]


def test_a_burst_of_429_halves_the_window_once(service: Service, order: Orders) -> None:
    jobs = [service.acceptance.accept(order()) for _ in range(8)]
    tokens = [begun(service, job) for job in jobs]
    for job, token in zip(jobs[:3], tokens[:3], strict=True):
        service.jobs.conclude(job.id, token, SLOW_DOWN)
    assert service.store.client.hget(rediskeys.VENDOR, "window") == b"4"


def test_nobody_is_let_in_until_the_vendor_may_be_asked_again(service: Service, order: Orders) -> None:
    job = service.acceptance.accept(order())
    service.jobs.conclude(job.id, begun(service, job), SLOW_DOWN)
    other = service.acceptance.accept(order())
    service.jobs.let_in()
    assert window(service) == []
    over(service)
    service.jobs.let_in()
    assert window(service) == [job.id]
    assert service.jobs.admitted(other.id) is None


def test_an_admitted_job_gives_its_slot_back_while_the_vendor_is_not_to_be_asked(
    service: Service, order: Orders
) -> None:
    first, second = service.acceptance.accept(order()), service.acceptance.accept(order())
    service.jobs.conclude(first.id, begun(service, first), SLOW_DOWN)
    assert service.jobs.admitted(second.id) is None
    assert window(service) == []


def test_successes_widen_the_window_until_it_is_as_wide_as_it_may_be(service: Service, order: Orders) -> None:
    service.settings.__dict__["max_in_flight"] = 4
    job = service.acceptance.accept(order())
    service.jobs.conclude(job.id, begun(service, job), SLOW_DOWN)
    widths = []
    for number in range(12):
        over(service)
        service.jobs.let_in()
        next_job = (
            service.acceptance.accept(order())
            if not window(service)
            else service.jobs.get(window(service)[0])
        )
        accept(service, next_job, begun(service, next_job), number)
        service.store.client.zrem(rediskeys.WINDOW, next_job.id)
        (width,) = service.store.read(lambda pipe: pipe.hget(rediskeys.VENDOR, "window"))
        widths.append(float(width) if width else None)
    assert widths[0] == 2.0
    assert widths[-1] is None


def test_workspaces_are_let_in_by_turns(service: Service, order: Orders) -> None:
    service.settings.__dict__["max_in_flight"] = 1
    service.apikeys.create("other")
    blocker = service.acceptance.accept(order())
    mine = [service.acceptance.accept(order()) for _ in range(3)]
    theirs = service.acceptance.accept(order(workspace="other"))
    service.jobs.give_up_on(blocker.id, "done")
    second = window(service)[0]
    service.jobs.give_up_on(second, "done")
    third = window(service)[0]
    assert {second, third} == {mine[0].id, theirs.id}


def test_a_wait_that_is_longer_than_a_job_may_be_tried_fails_no_job(service: Service, order: Orders) -> None:
    service.jobs.context.__dict__["max_in_flight"] = 2
    jobs = [service.acceptance.accept(order()) for _ in range(10)]
    slow = classify(Observation(sent=True, status=429, body=b"{}", retry_after=4000.0))
    posts = 0
    while admitted := next(filter(None, map(service.jobs.admitted, window(service))), None):
        service.jobs.conclude(admitted.id, begun(service, admitted), slow)
        posts += 1
    assert posts <= 2
    assert {service.jobs.get(job.id).state for job in jobs} == {JobState.QUEUED}


def test_a_shorter_wait_takes_nothing_back_of_a_longer_one(service: Service, order: Orders) -> None:
    jobs = [service.acceptance.accept(order()) for _ in range(2)]
    tokens = [begun(service, job) for job in jobs]
    waits = []
    for job, token, seconds in zip(jobs, tokens, (60.0, None), strict=True):
        slow = classify(Observation(sent=True, status=429, body=b"{}", retry_after=seconds))
        service.jobs.conclude(job.id, token, slow)
        waits.append(int(service.store.client.hget(rediskeys.VENDOR, "not_before") or 0))
    assert waits[1] >= waits[0]
