from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import wavespeed

from tests.ups import T2V, Up
from tests.vendor.faults import UNKNOWN
from tests.waiting import eventually

FAST = "minimax/hailuo-02/fast"
PHOTO = Path(__file__).parents[1] / "data" / "astronaut.jpg"
SOON = 0.1


@pytest.fixture
def billed(quick: Up) -> Callable[[], tuple[int, int]]:
    """Submissions that the vendor got and results that it was asked for, since the test began."""
    before = quick.counts()

    def since() -> tuple[int, int]:
        now = quick.counts()
        return now["submit"] - before["submit"], now["result_get"] - before["result_get"]

    return since


def is_film(outputs: list[str]) -> bool:
    (url,) = outputs
    return b"ftyp" in requests.get(url, timeout=10).content[:16]


def test_run_returns_the_film(client: wavespeed.Client, billed: Callable[[], tuple[int, int]]):
    image = f"data:image/jpeg;base64,{base64.b64encode(PHOTO.read_bytes()).decode()}"
    found = client.run(FAST, {"image": image, "duration": 6}, poll_interval=SOON)
    assert is_film(found["outputs"])
    assert billed() == (1, 0)


def test_run_in_sync_mode_waits_for_the_callback(
    client: wavespeed.Client, billed: Callable[[], tuple[int, int]]
):
    found = client.run_no_throw(T2V, {"prompt": "a cat [sandbox: delay=0.5]"}, enable_sync_mode=True)
    assert (found["status"], found["error"]) == ("completed", None)
    assert is_film(found["outputs"])
    assert client.get_result(found["task_id"])["data"]["status"] == "completed"
    assert billed() == (1, 0)


def test_an_upload_can_be_submitted(client: wavespeed.Client, billed: Callable[[], tuple[int, int]]):
    url = client.upload(str(PHOTO))
    assert requests.get(url, timeout=10).content == PHOTO.read_bytes()
    assert is_film(client.run(FAST, {"image": url}, poll_interval=SOON)["outputs"])
    assert billed() == (1, 0)


def test_get_result_shows_a_job_on_its_way(client: wavespeed.Client, quick: Up):
    job = quick.submit("a cat [sandbox: delay=2]")
    assert eventually(lambda: client.get_result(job)["data"]["status"] == "processing")
    data = client.get_result(job)["data"]
    assert (data["id"], data["outputs"], data["error"]) == (job, [], "")
    assert data["urls"]["get"] == f"{quick.url}/api/v3/predictions/{job}/result"


@pytest.mark.parametrize("sync", [False, True])
def test_a_failed_task_is_an_error_with_the_vendors_words(
    client: wavespeed.Client, billed: Callable[[], tuple[int, int]], sync: bool
):
    prompt = "a cat [sandbox: outcome=failed code=1200]"
    with pytest.raises(RuntimeError, match=r"Prediction failed \(task_id: [0-9a-f]{32}\): .*moderation"):
        client.run(T2V, {"prompt": prompt}, poll_interval=SOON, enable_sync_mode=sync, max_retries=1)
    assert billed() == (1, 0)


@pytest.mark.parametrize("word", ["cancelled", "timeout", "deleted"])
def test_the_vendors_other_ends_are_told_in_its_own_word(client: wavespeed.Client, word: str):
    prompt = f"a cat [sandbox: outcome={word} callback_statuses={word}]"
    found = client.run_no_throw(T2V, {"prompt": prompt}, poll_interval=SOON)
    assert found["status"] == "failed"
    assert client.get_result(found["task_id"])["data"]["status"] == word


def test_bad_input_is_refused_before_the_vendor_hears_of_it(
    client: wavespeed.Client, billed: Callable[[], tuple[int, int]]
):
    with pytest.raises(RuntimeError, match=r"HTTP 400: .*duration: 7 is not one of 6, 10"):
        client.run(FAST, {"image": "https://example.com/a.jpg", "duration": 7}, max_retries=1)
    assert billed() == (0, 0)


def test_a_wrong_key_is_refused(quick: Up):
    stranger = wavespeed.Client(api_key="hrk_nobody", base_url=quick.url)
    with pytest.raises(RuntimeError, match="HTTP 401"):
        stranger.run(T2V, {"prompt": "a cat"}, max_retries=1)


@pytest.fixture(scope="module")
def unknown(client: wavespeed.Client, quick: Up) -> dict[str, Future[Any]]:
    """A `run` for each answer of the vendor from which nobody can tell, once it has ended."""
    before = quick.counts()
    with ThreadPoolExecutor(len(UNKNOWN)) as threads:
        runs = {fault: threads.submit(run, client, fault) for fault in unknown_one_by_one(quick)}
    after = quick.counts()
    # One for each, and one between each two: three unknown in a row would pause submissions.
    assert after["submit"] - before["submit"] == 2 * len(runs)
    assert after["result_get"] == before["result_get"]
    return runs


def unknown_one_by_one(up: Up) -> Any:
    for fault in UNKNOWN:
        yield fault
        assert eventually(partial(newest_is, up, "uncertain")), fault
        up.submit()
        assert eventually(partial(newest_is, up, "completed")), fault


def newest_is(up: Up, state: str) -> bool:
    (job,) = up.call("GET", "/v1/jobs?limit=1")["data"]
    return bool(job["state"] == state)


def run(client: wavespeed.Client, fault: str) -> dict[str, Any]:
    prompt = f"a cat [sandbox: submit={fault} created=true callback=none]"
    return client.run(T2V, {"prompt": prompt}, poll_interval=0.5, max_retries=1)


@pytest.mark.parametrize("fault", UNKNOWN)
def test_an_unknown_outcome_makes_the_sdk_pay_only_once(unknown: dict[str, Future[Any]], fault: str):
    error = unknown[fault].exception()
    assert type(error) is RuntimeError
    assert str(error).startswith("Prediction timeout (task_id: ")
