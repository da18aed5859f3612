"""Jobs that say nothing, against a real store and a vendor that answers what the test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from schemas.outcomes import Observation, SubmissionOutcome, classify
from schemas.predictions import Prediction
from schemas.states import JobState, Reason
from service import rediskeys
from service.acceptance import Order
from service.bootstrap import Service
from service.errors import Conflict, NotFound
from service.inquiry import FIRST_LOOK, SOONEST_LOOK, overdue
from service.records import Job
from service.settling import EXPIRES_AFTER_MS, open_tokens

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
UPSTREAM = "a" * 32
ACCEPTED = classify(
    Observation(sent=True, status=200, body=json.dumps({"code": 200, "data": {"id": UPSTREAM}}).encode())
)
UNKNOWN = classify(Observation(sent=True, trouble="cut"))
REFUSED_FOR_GOOD = classify(Observation(sent=True, status=400, body=b"{}"))


def accepted(upstream_id: str) -> SubmissionOutcome:
    body = json.dumps({"code": 200, "data": {"id": upstream_id}}).encode()
    return classify(Observation(sent=True, status=200, body=body))


class Vendor(ThreadingHTTPServer):
    """Answers a GET of a result with ``results``, the list with ``listed``; counts both."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.result: tuple[int, Any] = (404, {"code": 404, "message": "not found"})
        self.listed: list[dict[str, Any]] | None = []
        self.page_size = 100
        self.told_of_pages: dict[str, Any] = {}
        self.list_data: Any = None
        """Instead of ``listed``: what is under ``data``."""
        self.gets = 0

    def shows(self, status: str, **fields: Any) -> None:
        outputs = ["https://cdn.example.com/a.mp4"] if status == "completed" else []
        data = {"id": UPSTREAM, "status": status, "outputs": outputs, **fields}
        self.result = (200, {"code": 200, "message": "success", "data": data})


class Handler(BaseHTTPRequestHandler):
    server: Vendor

    def do_GET(self) -> None:
        self.server.gets += 1
        self._answer(*self.server.result)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.server.listed is None:
            self._answer(500, {})
        else:
            self._answer(200, {"code": 200, "data": self._page(asked["page"])})

    def _page(self, number: int) -> Any:
        if self.server.list_data is not None:
            return self.server.list_data
        most = self.server.page_size
        listed = self.server.listed or []
        page = listed[(number - 1) * most : number * most]
        return {"items": page, **self.server.told_of_pages}

    def _answer(self, status: int, document: Any) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def vendor(service: Service) -> Iterator[Vendor]:
    with Vendor() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        service.settings.__dict__["vendor_base_url"] = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def begun(service: Service, order: Order) -> tuple[Job, str]:
    job = service.acceptance.accept(order)
    token = service.token()
    admitted = service.jobs.admitted(job.id)
    assert admitted is not None
    assert service.jobs.begin(admitted, token, "worker-1") is not None
    return job, token


def processing(service: Service, order: Order) -> tuple[Job, str]:
    job, token = begun(service, order)
    service.jobs.conclude(job.id, token, ACCEPTED)
    return job, token


def uncertain(service: Service, order: Order) -> tuple[Job, str]:
    job, token = begun(service, order)
    service.jobs.conclude(job.id, token, UNKNOWN)
    return job, token


def test_a_silent_job_that_has_ended_is_settled_with_one_event(
    service: Service, order: Orders, word: Words, vendor: Vendor
) -> None:
    job, token = processing(service, order())
    vendor.shows("completed")
    service.inquiry.look_up(job.id)
    done = service.jobs.get(job.id)
    assert (done.state, done.outputs, len(done.events)) == (
        JobState.COMPLETED,
        ("https://cdn.example.com/a.mp4",),
        1,
    )
    assert service.jobs.settle(job.id, token, word()).events == done.events
    service.inquiry.look_up(job.id)
    assert vendor.gets == 1
    assert service.store.client.zcard(rediskeys.SILENT) == 0


@pytest.mark.parametrize("status", ["failed", "cancelled", "timeout", "deleted"])
def test_every_final_word_of_the_vendor_ends_a_silent_job(
    service: Service, order: Orders, vendor: Vendor, status: str
) -> None:
    job, _ = processing(service, order())
    vendor.shows(status, error="no")
    service.inquiry.look_up(job.id)
    done = service.jobs.get(job.id)
    assert (done.state, done.reason, done.vendor_status) == (JobState.FAILED, Reason.VENDOR, status)


@pytest.mark.parametrize(
    "result",
    [
        (404, {"code": 404, "message": "x"}),
        (429, {}),
        (500, {}),
        (502, b"error code: 502"),
        (200, b"no json"),
        (200, {"code": 200, "data": None}),
        (200, {"code": 200, "data": {"id": 5, "status": []}}),
    ],
)
def test_a_look_up_that_tells_nothing_is_repeated_at_growing_intervals(
    service: Service, order: Orders, vendor: Vendor, result: tuple[int, Any]
) -> None:
    job, _ = processing(service, order())
    vendor.result = result
    due = []
    for _ in range(3):
        service.inquiry.look_up(job.id)
        (score,) = service.store.read(lambda pipe: pipe.zscore(rediskeys.SILENT, job.id))
        due.append(score - service.clock())
    assert service.jobs.get(job.id).state is JobState.PROCESSING
    assert due[0] < due[1] < due[2]


def test_a_job_that_still_runs_is_looked_up_again(service: Service, order: Orders, vendor: Vendor) -> None:
    job, _ = processing(service, order())
    vendor.shows("processing")
    service.inquiry.look_up(job.id)
    assert (service.jobs.get(job.id).state, service.jobs.get(job.id).looks) == (JobState.PROCESSING, 1)


def test_a_job_that_never_ends_is_presumed_failed_and_the_late_word_is_taken(
    service: Service, order: Orders, word: Words, vendor: Vendor
) -> None:
    job, token = processing(service, order())
    before = service.clock
    service.jobs.context.__dict__["clock"] = lambda: before() + EXPIRES_AFTER_MS + 1
    service.inquiry.look_up(job.id)
    gone = service.jobs.get(job.id)
    assert (gone.state, gone.reason, vendor.gets) == (JobState.FAILED, Reason.EXPIRED, 1)
    assert service.store.client.zcard(rediskeys.WINDOW) == 0
    late = service.jobs.settle(job.id, token, word())
    assert (late.state, len(late.events)) == (JobState.COMPLETED, 2)


def test_an_unknown_outcome_is_presumed_failed_when_the_list_does_not_help(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    job, _ = uncertain(service, order())
    vendor.listed = [{"id": "b" * 32}]
    service.inquiry.decide(job.id)
    done = service.jobs.get(job.id)
    assert (done.state, done.reason) == (JobState.FAILED, Reason.OUTCOME_UNKNOWN)


def test_an_unknown_outcome_is_presumed_failed_when_there_is_no_list(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    job, _ = uncertain(service, order())
    vendor.listed = None
    service.inquiry.decide(job.id)
    assert service.jobs.get(job.id).reason is Reason.OUTCOME_UNKNOWN


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"items": None},
        {"items": 7},
        {"items": {"a": 1}},
        {"items": ["b" * 32]},
        {"items": [{}]},
        {"items": [{"id": 7}]},
        {"items": [{"id": "\ud800"}]},
        {"predictions": [{"id": "b" * 32}], "total": 1},
        {"page": 1, "total": 3, "items": []},
        [{"id": "b" * 32}],
    ],
    ids=str,
)
def test_a_list_that_is_not_understood_shows_nothing(
    service: Service, order: Orders, vendor: Vendor, data: Any
) -> None:
    job, _ = uncertain(service, order())
    vendor.list_data = data
    service.inquiry.decide(job.id)
    done = service.jobs.get(job.id)
    assert (done.state, done.reason) == (JobState.FAILED, Reason.OUTCOME_UNKNOWN)


def test_a_list_without_any_task_but_ours_shows_that_none_was_made(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    processing(service, order())
    job, _ = uncertain(service, order())
    vendor.listed = [{"id": UPSTREAM}]
    service.inquiry.decide(job.id)
    done = service.jobs.get(job.id)
    assert (done.state, done.reason) == (JobState.FAILED, Reason.NEVER_SUBMITTED)


@pytest.mark.parametrize("told", [{}, {"total": 3}])
def test_a_vendor_may_give_fewer_a_page_than_it_was_asked_for(
    service: Service, order: Orders, vendor: Vendor, told: dict[str, Any]
) -> None:
    processing(service, order())
    second, token = begun(service, order())
    service.jobs.conclude(second.id, token, accepted("2" * 32))
    job, _ = uncertain(service, order())
    vendor.listed = [{"id": UPSTREAM}, {"id": "2" * 32}, {"id": "b" * 32}]
    vendor.page_size, vendor.told_of_pages = 2, told
    service.inquiry.decide(job.id)
    assert service.jobs.get(job.id).reason is Reason.OUTCOME_UNKNOWN
    vendor.listed.pop()
    vendor.told_of_pages = {"total": 2} if "total" in told else {}
    other, _ = uncertain(service, order())
    service.inquiry.decide(other.id)
    assert service.jobs.get(other.id).reason is Reason.NEVER_SUBMITTED


def resubmitted(service: Service, order: Order, vendor: Vendor) -> tuple[Job, str, str]:
    """An uncertain job under the policy ``resubmit``, begun a second time."""
    job, first = uncertain(service, order)
    vendor.listed = None
    service.settings.__dict__["on_uncertain"] = "resubmit"
    service.inquiry.decide(job.id)
    queued = service.jobs.admitted(job.id)
    assert queued is not None
    second = service.token()
    assert service.jobs.begin(queued, second, "worker-1") is not None
    return job, first, second


def test_the_first_submission_may_still_complete_a_job_that_was_submitted_again(
    service: Service, order: Orders, word: Words, vendor: Vendor
) -> None:
    job, first, second = resubmitted(service, order(), vendor)
    done = service.jobs.settle(job.id, first, word(upstream_id="1" * 32))
    assert (done.state, done.upstream_id) == (JobState.COMPLETED, "1" * 32)
    kept = service.jobs.settle(job.id, second, word(upstream_id="2" * 32))
    assert (kept.upstream_id, len(kept.events)) == ("1" * 32, 1)
    assert "kept aside" in kept.timeline[-1][1]
    assert service.store.client.hget(rediskeys.VENDOR, "duplicates") == b"1"


def test_a_failure_settles_only_when_no_other_submission_is_open(
    service: Service, order: Orders, word: Words, vendor: Vendor
) -> None:
    job, first, second = resubmitted(service, order(), vendor)
    assert service.jobs.settle(job.id, first, word("failed", "1" * 32)).state is JobState.SUBMITTING
    assert service.jobs.settle(job.id, second, word("failed", "2" * 32)).state is JobState.FAILED


def test_the_second_submission_may_fail_first_and_the_first_complete(
    service: Service, order: Orders, word: Words, vendor: Vendor
) -> None:
    job, first, second = resubmitted(service, order(), vendor)
    assert not service.jobs.settle(job.id, second, word("failed", "2" * 32)).is_final
    assert service.jobs.settle(job.id, first, word(upstream_id="1" * 32)).state is JobState.COMPLETED


def test_when_the_second_fails_the_first_is_asked_after_and_no_slot_waits_for_it(
    service: Service, order: Orders, word: Words, vendor: Vendor
) -> None:
    job, first, second = resubmitted(service, order(), vendor)
    service.jobs.conclude(job.id, second, accepted("2" * 32))
    doubted = service.jobs.settle(job.id, second, word("failed", "2" * 32))
    assert doubted.state is JobState.UNCERTAIN
    assert service.store.client.zcard(rediskeys.WINDOW) == 0
    service.inquiry.decide(job.id)
    assert service.jobs.get(job.id).reason is Reason.OUTCOME_UNKNOWN
    assert service.jobs.settle(job.id, first, word(upstream_id="1" * 32)).state is JobState.COMPLETED


def test_when_the_second_fails_before_it_was_answered_the_first_is_looked_up(
    service: Service, order: Orders, word: Words, vendor: Vendor
) -> None:
    job, first, second = resubmitted(service, order(), vendor)
    service.jobs.conclude(job.id, first, accepted("1" * 32))
    left = service.jobs.settle(job.id, second, word("failed", "2" * 32))
    assert (left.state, left.upstream_id) == (JobState.PROCESSING, "1" * 32)
    service.jobs.conclude(job.id, second, accepted("2" * 32))
    vendor.shows("completed", id="1" * 32)
    service.inquiry.look_up(job.id)
    assert service.jobs.get(job.id).state is JobState.COMPLETED


def test_a_task_that_is_known_keeps_its_job_from_being_never_submitted(
    service: Service, order: Orders, word: Words, vendor: Vendor
) -> None:
    job, first, second = resubmitted(service, order(), vendor)
    service.jobs.conclude(job.id, first, accepted("1" * 32))
    failed = service.jobs.conclude(job.id, second, REFUSED_FOR_GOOD)
    assert (failed.state, failed.reason) == (JobState.FAILED, Reason.OUTCOME_UNKNOWN)
    assert service.jobs.settle(job.id, first, word(upstream_id="1" * 32)).state is JobState.COMPLETED


def test_a_verdict_about_one_submission_is_none_about_the_next(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    job, _ = uncertain(service, order())
    judged = open_tokens(service.jobs.get(job.id))
    service.inquiry.dismiss(job.id)
    admitted = service.jobs.admitted(job.id)
    assert admitted is not None
    second = service.token()
    service.jobs.begin(admitted, second, "worker-1")
    service.jobs.conclude(job.id, second, UNKNOWN)
    service.jobs.not_made(job.id, "the vendor's list", submit=False, of=judged)
    assert service.jobs.get(job.id).state is JobState.UNCERTAIN


def test_an_empty_list_leads_to_no_more_submissions_than_one_again(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    service.settings.__dict__["on_uncertain"] = "resubmit"
    job, _ = uncertain(service, order())
    for _ in range(3):
        service.inquiry.decide(job.id)
        admitted = service.jobs.admitted(job.id)
        if admitted is None:
            break
        token = service.token()
        assert service.jobs.begin(admitted, token, "worker-1") is not None
        service.jobs.conclude(job.id, token, UNKNOWN)
    done = service.jobs.get(job.id)
    assert (done.is_final, len(done.submissions)) == (True, 2)


@pytest.mark.parametrize("days", [1, 6])
def test_a_list_that_may_not_go_back_so_far_shows_nothing(
    service: Service, order: Orders, vendor: Vendor, days: int
) -> None:
    job, _ = uncertain(service, order())
    before = service.clock
    service.jobs.context.__dict__["clock"] = lambda: before() + days * 86_400_000 + 1
    service.inquiry.decide(job.id)
    found = service.jobs.get(job.id).reason
    assert found is (Reason.NEVER_SUBMITTED if days == 1 else Reason.OUTCOME_UNKNOWN)


def test_a_film_that_was_finished_while_we_were_away_for_days_is_fetched(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    job, _ = processing(service, order())
    vendor.shows("completed")
    before = service.clock
    service.jobs.context.__dict__["clock"] = lambda: before() + 3 * EXPIRES_AFTER_MS
    service.inquiry.look_up(job.id)
    assert service.jobs.get(job.id).state is JobState.COMPLETED


def test_a_look_that_nobody_answered_does_not_end_a_job_alone(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    job, _ = processing(service, order())
    vendor.result = (503, {})
    before = service.clock
    service.jobs.context.__dict__["clock"] = lambda: before() + EXPIRES_AFTER_MS + 1
    service.inquiry.look_up(job.id)
    assert service.jobs.get(job.id).state is JobState.PROCESSING
    service.inquiry.look_up(job.id)
    assert service.jobs.get(job.id).reason is Reason.EXPIRED


def test_the_operator_may_have_an_expired_one_looked_up_again(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    job, _ = processing(service, order())
    before = service.clock
    service.jobs.context.__dict__["clock"] = lambda: before() + EXPIRES_AFTER_MS + 1
    service.inquiry.look_up(job.id)
    vendor.shows("completed")
    assert service.inquiry.resolve(job.id, UPSTREAM).state is JobState.COMPLETED


def test_what_the_operator_has_looked_up_again_is_the_word_of_its_own_submission(
    service: Service, order: Orders, word: Words, vendor: Vendor
) -> None:
    job, first, second = resubmitted(service, order(), vendor)
    service.jobs.conclude(job.id, first, accepted(UPSTREAM))
    service.jobs.settle(job.id, second, word("failed", "2" * 32))
    before = service.clock
    service.jobs.context.__dict__["clock"] = lambda: before() + EXPIRES_AFTER_MS + 1
    service.inquiry.look_up(job.id)
    assert service.jobs.get(job.id).reason is Reason.EXPIRED
    vendor.shows("completed")
    done = service.inquiry.resolve(job.id, UPSTREAM)
    assert [row.upstream_id for row in done.submissions] == [UPSTREAM, "2" * 32]
    assert done.state is JobState.COMPLETED


def test_one_prediction_is_not_resolved_for_two_jobs(service: Service, order: Orders, vendor: Vendor) -> None:
    (one, _), (other, _) = uncertain(service, order()), uncertain(service, order())
    vendor.shows("completed")
    service.inquiry.resolve(one.id, UPSTREAM)
    with pytest.raises(Conflict):
        service.inquiry.resolve(other.id, UPSTREAM)


def test_a_task_that_failed_and_completes_after_all_is_kept_and_counted(
    service: Service, order: Orders, word: Words
) -> None:
    job, token = begun(service, order())
    service.jobs.settle(job.id, token, word("failed"))
    for _ in range(2):
        late = service.jobs.settle(job.id, token, word())
        assert (late.state, len(late.events)) == (JobState.FAILED, 1)
    assert ["kept aside" in what for _, what in late.timeline].count(True) == 1
    assert service.store.client.hget(rediskeys.VENDOR, "duplicates") == b"1"


def test_a_job_waiting_for_its_second_submission_takes_the_word_of_the_first(
    service: Service, order: Orders, word: Words, vendor: Vendor
) -> None:
    job, first = uncertain(service, order())
    service.jobs.resubmit(job.id)
    assert service.jobs.settle(job.id, first, word()).state is JobState.COMPLETED
    assert service.jobs.admitted(job.id) is None
    assert service.store.client.zcard(rediskeys.WINDOW) == 0


def test_a_job_is_submitted_again_only_once(service: Service, order: Orders, vendor: Vendor) -> None:
    job, _, second = resubmitted(service, order(), vendor)
    service.jobs.conclude(job.id, second, UNKNOWN)
    service.inquiry.decide(job.id)
    assert service.jobs.get(job.id).reason is Reason.OUTCOME_UNKNOWN


def test_the_operator_may_name_the_prediction_of_an_uncertain_job(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    job, _ = uncertain(service, order())
    vendor.shows("processing")
    assert service.inquiry.resolve(job.id, UPSTREAM).state is JobState.PROCESSING
    assert service.inquiry.resolve(job.id, UPSTREAM).rev == service.jobs.get(job.id).rev
    other, _ = uncertain(service, order())
    with pytest.raises(Conflict, match="another job"):
        service.inquiry.resolve(other.id, UPSTREAM)


def test_the_operator_may_name_the_prediction_of_a_presumed_failure(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    job, _ = uncertain(service, order())
    presumed = service.jobs.presume_unknown(job.id)
    with pytest.raises(NotFound):
        service.inquiry.resolve(job.id, UPSTREAM)
    vendor.shows("completed")
    done = service.inquiry.resolve(job.id, UPSTREAM)
    assert (done.state, len(done.events)) == (JobState.COMPLETED, len(presumed.events) + 1)


def test_the_operator_may_say_that_no_task_was_made(service: Service, order: Orders, vendor: Vendor) -> None:
    job, _ = uncertain(service, order())
    assert service.jobs.not_made(job.id, "the operator", submit=True).state is JobState.QUEUED
    assert service.jobs.admitted(job.id) is not None


def test_a_job_is_overdue_after_thrice_what_nearly_all_past_jobs_took() -> None:
    assert overdue([1000] * 5) == FIRST_LOOK
    assert overdue([1000] * 50) == SOONEST_LOOK
    assert overdue([100_000] * 99 + [200_000]) == 300.0
    assert overdue([100_000] * 98 + [200_000] * 2) == 600.0


def test_an_answer_about_another_prediction_is_none(service: Service, order: Orders, vendor: Vendor) -> None:
    job, _ = processing(service, order())
    vendor.shows("completed", id="c" * 32)
    service.inquiry.look_up(job.id)
    assert service.jobs.get(job.id).state is JobState.PROCESSING


def test_a_list_that_shows_the_same_page_again_and_again_shows_nothing(
    service: Service, order: Orders, vendor: Vendor
) -> None:
    processing(service, order())
    job, _ = uncertain(service, order())
    vendor.list_data = {"page_size": 1, "total": 2, "items": [{"id": UPSTREAM}]}
    service.inquiry.decide(job.id)
    assert service.jobs.get(job.id).reason is Reason.OUTCOME_UNKNOWN
