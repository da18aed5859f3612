"""A job's moves against a real store: each happens once, whole, and with everything that follows from it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from schemas.images import Image
from schemas.inputs import Input
from schemas.outcomes import Observation, classify
from schemas.predictions import Prediction
from schemas.states import JobState, Reason
from service import rediskeys
from service.acceptance import Order
from service.bootstrap import Service
from service.errors import Conflict, IdempotencyMismatch, NotFound, StoreFull, Unavailable
from service.events import body_of
from service.records import Job
from workers.worker import ClosedJob

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
ACCEPTED = classify(
    Observation(sent=True, status=200, body=b'{"code":200,"data":{"id":"' + b"a" * 32 + b'"}}')
)
UNKNOWN = classify(Observation(sent=True, trouble="cut"))
REFUSED = classify(Observation(sent=False, trouble="refused"))
FAILED = classify(Observation(sent=True, status=400, body=b'{"code":400,"message":"no credits"}'))


def begun(service: Service, order: Order) -> tuple[Job, str]:
    job = service.acceptance.accept(order)
    token = service.token()
    admitted = service.jobs.admitted(job.id)
    assert admitted is not None
    assert service.jobs.begin(admitted, token, "worker-1") is not None
    return job, token


def in_window(service: Service) -> list[str]:
    (ids,) = service.store.read(lambda pipe: pipe.zrange(rediskeys.WINDOW, 0, -1))
    return [each.decode() for each in ids]


def last_event(service: Service, job: Job) -> dict[str, object]:
    stored = service.store.client.hget(rediskeys.event(service.jobs.get(job.id).events[-1]), "doc")
    assert isinstance(stored, bytes)
    document: dict[str, object] = json.loads(body_of(stored))
    return document


def test_an_accepted_job_is_let_into_the_window_and_rung_for(service: Service, order: Orders) -> None:
    job = service.acceptance.accept(order())
    assert in_window(service) == [job.id]
    assert service.store.client.lrange("rq:queue:vendor", 0, -1) == [f"submit-{job.id}".encode()]


def test_the_entry_that_lets_a_job_in_is_one_that_rq_itself_would_have_made(
    service: Service, order: Orders
) -> None:
    job = service.acceptance.accept(order())
    rung = ClosedJob.fetch(f"submit-{job.id}", service.store.client, serializer=JSONSerializer)
    service.doorbells.ring([job.id])
    made = ClosedJob.fetch(f"submit-{job.id}", service.store.client, serializer=JSONSerializer)
    for name in ("origin", "func_name", "args", "timeout", "result_ttl", "failure_ttl", "description"):
        assert getattr(rung, name) == getattr(made, name), name
    assert rung.get_status() is made.get_status() is JobStatus.QUEUED
    assert rung.func.args == (job.id,)


def test_a_job_passes_from_acceptance_to_its_event(service: Service, order: Orders, word: Words) -> None:
    job, token = begun(service, order())
    assert service.jobs.conclude(job.id, token, ACCEPTED).state is JobState.PROCESSING
    done = service.jobs.settle(job.id, token, word())
    assert (done.state, in_window(service)) == (JobState.COMPLETED, [])
    event = last_event(service, job)
    assert event["type"] == "prediction.completed"
    assert service.store.client.xlen(rediskeys.stream("default")) == 1


def test_a_callback_may_overtake_the_submission(service: Service, order: Orders, word: Words) -> None:
    job, token = begun(service, order())
    assert service.jobs.settle(job.id, token, word()).state is JobState.COMPLETED
    late = service.jobs.conclude(job.id, token, ACCEPTED)
    assert (late.state, len(late.events)) == (JobState.COMPLETED, 1)


def test_a_word_that_was_heard_before_changes_nothing(service: Service, order: Orders, word: Words) -> None:
    job, token = begun(service, order())
    first = service.jobs.settle(job.id, token, word())
    assert service.jobs.settle(job.id, token, word()) == first
    assert service.jobs.settle(job.id, token, word("failed")) == first


def test_a_word_under_a_token_of_no_submission_is_not_heard(
    service: Service, order: Orders, word: Words
) -> None:
    job, _ = begun(service, order())
    with pytest.raises(NotFound):
        service.jobs.settle(job.id, "0" * 32, word())


def test_a_word_about_another_task_is_a_conflict(service: Service, order: Orders, word: Words) -> None:
    job, token = begun(service, order())
    service.jobs.conclude(job.id, token, ACCEPTED)
    with pytest.raises(Conflict, match="aaaa"):
        service.jobs.settle(job.id, token, word(upstream_id="b" * 32))


def test_a_job_is_begun_under_one_token_only(service: Service, order: Orders) -> None:
    job = service.acceptance.accept(order())
    first = service.jobs.admitted(job.id)
    second = service.jobs.admitted(job.id)
    assert first is not None
    assert second is not None
    assert service.jobs.begin(first, "1" * 32, "worker-1") is not None
    assert service.jobs.begin(second, "2" * 32, "worker-2") is None


def test_a_refused_job_waits_and_comes_back(service: Service, order: Orders) -> None:
    job, token = begun(service, order())
    refused = service.jobs.conclude(job.id, token, REFUSED)
    assert (refused.state, in_window(service)) == (JobState.QUEUED, [])
    assert service.store.client.zscore(rediskeys.LATER, job.id) is not None
    service.jobs.wait_again(job.id)
    assert in_window(service) == [job.id]
    assert service.store.client.zcard(rediskeys.LATER) == 0


def test_a_job_refused_for_good_fails_with_an_event(service: Service, order: Orders) -> None:
    job, token = begun(service, order())
    failed = service.jobs.conclude(job.id, token, FAILED)
    assert (failed.state, failed.reason) == (JobState.FAILED, Reason.REFUSED)
    assert last_event(service, job)["type"] == "prediction.failed"


def test_an_unknown_outcome_leaves_the_window_and_may_still_be_accepted(
    service: Service, order: Orders
) -> None:
    job, token = begun(service, order())
    assert service.jobs.conclude(job.id, token, UNKNOWN).state is JobState.UNCERTAIN
    assert in_window(service) == []
    assert service.jobs.conclude(job.id, token, ACCEPTED).state is JobState.PROCESSING
    assert in_window(service) == [job.id]
    assert service.store.client.zcard(rediskeys.UNCERTAIN) == 0


def test_a_presumed_failure_yields_to_the_vendors_word(service: Service, order: Orders, word: Words) -> None:
    job, token = begun(service, order())
    service.jobs.conclude(job.id, token, UNKNOWN)
    presumed = service.jobs.presume_unknown(job.id)
    told = last_event(service, job)
    assert told["data"]["status"] == "timeout"  # type: ignore[index]
    assert told["data"]["maybe_billed"] is True  # type: ignore[index]
    late = service.jobs.settle(job.id, token, word())
    assert late.state is JobState.COMPLETED
    assert last_event(service, job)["data"]["supersedes"] == presumed.last_word  # type: ignore[index]


def test_three_unknown_outcomes_in_a_row_pause_submissions(service: Service, order: Orders) -> None:
    for _ in range(3):
        job, token = begun(service, order())
        service.jobs.conclude(job.id, token, UNKNOWN)
    waiting = service.acceptance.accept(order())
    assert in_window(service) == []
    service.jobs.let_one_pass()
    assert in_window(service) == [waiting.id]
    other = service.acceptance.accept(order())
    assert other.id not in in_window(service)


def test_an_accepted_probe_ends_the_pause(service: Service, order: Orders) -> None:
    for _ in range(3):
        job, token = begun(service, order())
        service.jobs.conclude(job.id, token, UNKNOWN)
    probe = service.acceptance.accept(order())
    waiting = service.acceptance.accept(order())
    service.jobs.let_one_pass()
    admitted = service.jobs.admitted(probe.id)
    assert admitted is not None
    service.jobs.begin(admitted, "1" * 32, "worker-1")
    service.jobs.conclude(probe.id, "1" * 32, ACCEPTED)
    assert waiting.id in in_window(service)


def test_the_same_idempotency_key_finds_the_same_job(service: Service, order: Orders) -> None:
    first = service.acceptance.accept(order(idempotency_key="k1"))
    again = service.acceptance.accept(order(idempotency_key="k1"))
    assert again.id == first.id
    with pytest.raises(IdempotencyMismatch):
        service.acceptance.accept(order(idempotency_key="k1", request=b"another"))


def test_an_open_job_cannot_be_deleted_and_a_final_one_can(
    service: Service, order: Orders, word: Words
) -> None:
    job, token = begun(service, order())
    with pytest.raises(Conflict, match="submitting"):
        service.jobs.mark_deleted(job.id)
    service.jobs.settle(job.id, token, word())
    assert service.jobs.mark_deleted(job.id).deleted_at > 0


def test_a_full_queue_takes_nothing_more_and_says_which_setting(service: Service, order: Orders) -> None:
    service.settings.__dict__.update(max_in_flight=1, max_queued=1)
    service.acceptance.accept(order())
    service.acceptance.accept(order())
    with pytest.raises(Unavailable, match="HOOKREEL_MAX_QUEUED"):
        service.acceptance.accept(order())
    assert service.store.client.zcard(rediskeys.jobs("default")) == 2


def test_images_beyond_the_limit_are_not_taken_and_nothing_is_written(
    service: Service, order: Orders
) -> None:
    service.settings.__dict__["max_pending_bytes"] = 10
    image = Image("image/png", b"x" * 11, 400, 400)
    heavy = Input("minimax/hailuo-02/fast", {"image": image.describe()}, {"image": image})
    with pytest.raises(StoreFull, match="HOOKREEL_MAX_PENDING_BYTES"):
        service.acceptance.accept(order(input=heavy, idempotency_key="k"))
    (keys,) = service.store.read(lambda pipe: pipe.keys("hr:*"))
    assert set(keys) == {rediskeys.APIKEYS.encode(), rediskeys.WORKSPACES.encode()}


def test_waiting_images_are_dropped_with_the_acceptance(service: Service, order: Orders) -> None:
    image = Image("image/png", b"x" * 11, 400, 400)
    heavy = Input("minimax/hailuo-02/fast", {"image": image.describe()}, {"image": image})
    job, token = begun(service, order(input=heavy))
    assert service.store.client.get(rediskeys.blob(job.id, "image")) == b"x" * 11
    assert service.store.client.get(rediskeys.PENDING_BYTES) == b"11"
    service.jobs.conclude(job.id, token, ACCEPTED)
    assert service.store.client.get(rediskeys.blob(job.id, "image")) is None
    assert service.store.client.get(rediskeys.PENDING_BYTES) == b"0"


def test_a_full_window_keeps_the_others_waiting_in_their_order(
    service: Service, order: Orders, word: Words
) -> None:
    service.settings.__dict__["max_in_flight"] = 1
    first, token = begun(service, order())
    second = service.acceptance.accept(order())
    third = service.acceptance.accept(order())
    assert in_window(service) == [first.id]
    service.jobs.settle(first.id, token, word())
    assert in_window(service) == [second.id]
    assert third.id not in in_window(service)
