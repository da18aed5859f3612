from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import requests

from schemas.fields import Choice
from service.bootstrap import SANDBOX_KEY
from service.sandbox.switches import SwitchesSchema
from tests.ups import T2V, Up
from tests.vendor.faults import UNKNOWN
from tests.waiting import eventually

REFUSED = {"429"}
FAILED = {"400", "401", "403", "404", "insufficient_credits"}
OTHER = "minimax/hailuo-02/t2v-standard"
Jobs = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def quick(up: Up) -> Up:
    """The sandbox renders nothing here: it is about its answers."""
    up.switch(render="none", fetch=False)
    return up


def ended(up: Up, job_id: str) -> dict[str, Any]:
    assert eventually(partial(up.is_final, job_id)), up.job(job_id)
    return up.job(job_id)


def is_uncertain(up: Up, job_id: str) -> bool:
    return bool(up.job(job_id)["state"] == "uncertain")


def calm(up: Up) -> None:
    """Three unknown outcomes in a row would pause submissions; one that is known begins a new row."""
    assert ended(up, up.submit())["state"] == "completed"


@pytest.fixture(scope="module")
def made(quick: Up) -> Jobs:
    """A job for each answer from which nobody can tell, once it has ended; its task never says a word."""
    return after_each(quick, "created=true callback=none", T2V)


@pytest.fixture(scope="module")
def not_made(quick: Up) -> Jobs:
    """The same where no task was made, of a model whose every task is known to be another job's."""
    return after_each(quick, "created=false", OTHER)


def after_each(up: Up, what: str, model: str) -> Jobs:
    before, jobs = up.counts(), {}
    for fault in sorted(UNKNOWN):
        jobs[fault] = up.submit(f"a cat [sandbox: submit={fault} {what}]", model=model)
        assert eventually(partial(is_uncertain, up, jobs[fault]))
        calm(up)
    found = {fault: ended(up, job) for fault, job in jobs.items()}
    after = up.counts()
    assert after["submit"] == before["submit"] + 2 * len(UNKNOWN)
    created = len(UNKNOWN) * (2 if "created=true" in what else 1)
    assert after["tasks_created"] == before["tasks_created"] + created
    return found


def test_every_answer_of_the_sandbox_is_in_one_of_these_tables():
    field = SwitchesSchema().fields["submit"]
    assert isinstance(field, Choice)
    assert set(field.choices) == {"accept"} | REFUSED | FAILED | {*UNKNOWN}


@pytest.mark.parametrize("fault", sorted(UNKNOWN))
def test_an_unknown_outcome_is_never_repeated_and_ends_as_timeout(made: Jobs, fault: str):
    job = made[fault]
    assert (job["state"], job["reason"], job["status"]) == ("failed", "outcome_unknown", "timeout")
    assert (job["code"], job["maybe_billed"]) == (9001, True)
    assert [row["outcome"] for row in job["submissions"]] == ["unknown"]
    # The official SDK submits again when it reads one of these.
    assert all(word not in job["error"] for word in ("HTTP 5", "HTTP 429"))


@pytest.mark.parametrize("fault", sorted(UNKNOWN))
def test_where_the_vendors_list_has_no_task_for_it_it_ends_as_never_submitted(not_made: Jobs, fault: str):
    job = not_made[fault]
    assert (job["state"], job["reason"], job["code"]) == ("failed", "never_submitted", 9004)
    assert not job["maybe_billed"]
    assert len(job["submissions"]) == 1


@pytest.mark.parametrize("fault", sorted(UNKNOWN))
def test_a_task_that_exists_after_all_reports_itself(quick: Up, fault: str):
    before = quick.counts()
    job = ended(quick, quick.submit(f"a cat [sandbox: submit={fault} created=true callback_delay=0.5]"))
    assert (job["state"], job["maybe_billed"]) == ("completed", False)
    assert any(row["what"].startswith("uncertain") for row in job["timeline"])
    after = quick.counts()
    assert [after[each] - before[each] for each in ("submit", "tasks_created")] == [1, 1]


@pytest.mark.parametrize("fault", sorted(FAILED))
def test_a_refusal_for_good_is_final_at_once(quick: Up, fault: str):
    posts = quick.counts()["submit"]
    job = ended(quick, quick.submit(f"a cat [sandbox: submit={fault}]"))
    assert (job["state"], job["reason"], job["status"], job["code"]) == ("failed", "refused", "failed", 9003)
    assert not job["maybe_billed"]
    assert quick.counts()["submit"] == posts + 1


@pytest.mark.parametrize("fault", sorted(REFUSED))
def test_a_refusal_for_now_is_tried_again_until_it_is_taken(quick: Up, fault: str):
    before = quick.counts()
    body = {"count": 1, "switches": {"submit": fault, "retry_after": 0}}
    made = requests.post(f"{quick.sandbox}/sandbox/next?key={SANDBOX_KEY}", json=body, timeout=10)
    assert made.ok
    job = ended(quick, quick.submit())
    assert (job["state"], job["maybe_billed"]) == ("completed", False)
    after = quick.counts()
    assert after["submit"] == before["submit"] + 2
    assert after["tasks_created"] == before["tasks_created"] + 1


def test_nothing_of_this_asked_the_vendor_for_a_result(quick: Up):
    assert quick.counts()["result_get"] == 0
