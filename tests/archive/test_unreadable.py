"""A job that nobody can read is for itself: the clock goes on with all the others."""

from __future__ import annotations

import logging

import pytest

from schemas.outcomes import Observation, classify
from schemas.states import JobState
from service import rediskeys
from service.bootstrap import Service
from service.errors import NotFound
from service.records import Job
from tests.archive.conftest import Complete, Time
from tests.archive.origin import Origin
from tests.archive.test_copies import fan_out
from tests.archive.test_extremes import accepted, begun
from workers.clock import Clock
from workers.window import LONGEST_SUBMISSION

UNKNOWN = classify(Observation(sent=True, trouble="cut"))
REFUSED = classify(Observation(sent=False, trouble="refused"))
DAY = 86_400


@pytest.fixture(autouse=True)
def calm(caplog: pytest.LogCaptureFixture):
    """No part of a pass fails."""
    caplog.set_level(logging.WARNING)
    yield
    failed = [each for each in caplog.records if each.message in {"clock.broken", "clock.failed"}]
    assert [each.__dict__.get("part") for each in failed] == []


def spoil(service: Service, job: Job) -> None:
    service.store.client.hset(rediskeys.job(job.id), "doc", b"spoilt")


def test_the_others_are_pruned(
    service: Service, complete: Complete, clock: Clock, origin: Origin, at: Time
) -> None:
    spoilt, sound = complete(origin.film()), complete(origin.film())
    fan_out(service)
    spoil(service, spoilt)
    at.ahead += 8 * DAY
    clock.tick()
    with pytest.raises(NotFound):
        service.jobs.get(sound.id)
    assert service.store.client.zscore(rediskeys.FINAL, spoilt.id) is not None


def test_a_dead_workers_other_submissions_are_given_up(service: Service, clock: Clock, at: Time) -> None:
    spoilt, sound = begun(service), begun(service)
    spoil(service, spoilt)
    clock.tick()
    clock.window.lose("worker-gone")
    assert service.jobs.get(sound.id).state is JobState.UNCERTAIN


def test_other_submissions_that_take_too_long_are_given_up(service: Service, clock: Clock, at: Time) -> None:
    spoilt, sound = begun(service), begun(service)
    spoil(service, spoilt)
    clock.tick()
    at.ahead += LONGEST_SUBMISSION + 1
    clock.tick()
    assert service.jobs.get(sound.id).state is JobState.UNCERTAIN


def test_others_that_were_refused_wait_again(service: Service, clock: Clock, at: Time) -> None:
    jobs = [begun(service), begun(service)]
    for job in jobs:
        assert job.submission is not None
        service.jobs.conclude(job.id, job.submission.token, REFUSED)
    spoil(service, jobs[0])
    at.ahead += 100
    clock.tick()
    assert service.store.client.zscore(rediskeys.LATER, jobs[1].id) is None


@pytest.mark.parametrize("kind", ["decide", "look_up"])
def test_the_bell_of_others_is_rung(service: Service, clock: Clock, at: Time, kind: str) -> None:
    jobs = [begun(service), begun(service)]
    for job in jobs:
        assert job.submission is not None
        outcome = UNKNOWN if kind == "decide" else classify(taken(job.id))
        service.jobs.conclude(job.id, job.submission.token, outcome)
    spoil(service, jobs[0])
    at.ahead += 3600
    clock.tick()
    rung = {each for each in service.doorbells.queue.job_ids if "-" in each}
    assert {f"{kind.replace('_', '-')}-{jobs[1].id}", f"{kind}-{jobs[1].id}"} & rung


def taken(job_id: str) -> Observation:
    return Observation(sent=True, status=200, body=b'{"code":200,"data":{"id":"%s"}}' % job_id.encode())


def test_the_copies_that_a_dead_worker_had_begun_are_due_again(
    service: Service, complete: Complete, clock: Clock, origin: Origin
) -> None:
    jobs = [complete(origin.film()), complete(origin.film())]
    for job in jobs:
        assert service.jobs.begin_copy(job.id, "worker-gone") is not None
    spoil(service, jobs[0])
    service.jobs.copier_gone("worker-gone")
    assert service.store.client.hkeys(rediskeys.ARCHIVING) == [jobs[0].id.encode()]


def test_others_are_put_back_into_their_lists(service: Service, clock: Clock, at: Time) -> None:
    spoilt, sound = accepted(service), accepted(service)
    spoil(service, spoilt)
    service.store.client.delete(rediskeys.jobs("default"), rediskeys.OPEN_JOBS, rediskeys.WAITING)
    service.mender.everything()
    assert service.store.client.zscore(rediskeys.jobs("default"), sound.id) is not None


def test_others_that_lost_their_place_among_those_to_copy_get_it_back(
    service: Service, complete: Complete, clock: Clock, origin: Origin
) -> None:
    spoilt, sound = complete(origin.film()), complete(origin.film())
    spoil(service, spoilt)
    service.store.client.delete(rediskeys.ARCHIVE)
    clock.tick()
    assert service.store.client.zrange(rediskeys.ARCHIVE, 0, -1) == [sound.id.encode()]
