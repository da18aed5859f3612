"""Processes of two releases beside each other on one store keep every promise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import pytest

from schemas.outcomes import Observation, classify
from schemas.predictions import Prediction
from schemas.states import JobState
from service import rediskeys, versions
from service.acceptance import Order
from service.bootstrap import Service
from service.errors import Unavailable
from service.presence import SILENT_AFTER, Presence, Watch
from service.records import File, Job, changed, pack, unpack
from tests.store.cutter import Cutter
from tests.store.release import ADDED
from tests.waiting import eventually
from workers.clock import Clock

Orders = Callable[..., Order]
Words = Callable[..., Prediction]
ACCEPTED = classify(
    Observation(sent=True, status=200, body=b'{"code":200,"data":{"id":"' + b"a" * 32 + b'"}}')
)


class Release:
    """A process of a release, that beats."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout
        assert process.stdout.readline().startswith("ready")

    def asked(self, line: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def ends(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(30) == 0

    def is_killed(self) -> None:
        self.process.kill()
        self.process.wait(30)


Start = Callable[..., Release]


@contextmanager
def a_process(version: int, name: str, url: str) -> Iterator[Release]:
    command = [sys.executable, "-m", "tests.store.release", str(version), name, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Release(process)
        finally:
            process.kill()


@pytest.fixture
def start(store_url: str) -> Iterator[Start]:
    """``start(version, name)``: a process of that release; they end with the test."""
    with ExitStack() as processes:
        yield lambda version, name, url=store_url: processes.enter_context(a_process(version, name, url))


def document(service: Service, key: str) -> dict[str, Any]:
    return dict(unpack(cast("bytes", service.store.client.hget(key, "doc"))))


def job_of(service: Service, job: Job) -> dict[str, Any]:
    return document(service, rediskeys.job(job.id))


def beats_again(service: Service, name: str) -> bool:
    """Whether it has looked since this was asked: two beats, for the first may be on its way."""

    def count() -> int:
        told = cast("bytes", service.store.client.hget(rediskeys.BEATS, name))
        return int(told.partition(b" ")[0])

    begun = count()
    return eventually(lambda: count() > begun + 1)


def writes(release: Release, version: int, line: str = "look -") -> bool:
    """Whether it comes to write this form with one of its next beats."""
    return eventually(lambda: release.asked(line) == f"writes {version}")


def test_the_old_form_is_written_until_the_last_old_process_has_ended(
    service: Service, order: Orders, start: Start
) -> None:
    job = service.acceptance.accept(order())
    first, second, new = start(1, "worker-1"), start(1, "worker-2"), start(2, "worker-3")
    second.ends()
    assert beats_again(service, "worker-3")
    assert new.asked(f"touch {job.id}") == "writes 1"
    assert job_of(service, job)["v"] == 1
    assert first.asked(f"touch {job.id}") == "writes 1"
    first.ends()
    assert writes(new, 2, f"touch {job.id}")
    assert job_of(service, job)["v"] == 2
    assert "model" not in job_of(service, job)


def test_an_old_process_that_was_killed_counts_until_it_is_known_to_be_dead(
    service: Service, order: Orders, start: Start
) -> None:
    job = service.acceptance.accept(order())
    now = [0.0]
    clock = Clock(service, Watch(service.store, lambda: now[0]), lambda: now[0])
    old, new = start(1, "worker-old"), start(2, "worker-new")
    old.is_killed()
    clock.free_the_dead()
    assert beats_again(service, "worker-new")
    assert new.asked(f"touch {job.id}") == "writes 1"
    now[0] += SILENT_AFTER + 1
    clock.free_the_dead()
    assert writes(new, 2, f"touch {job.id}")


def test_what_a_later_release_added_is_kept_by_an_old_process_through_a_jobs_whole_life(
    service: Service, order: Orders, word: Words, start: Start
) -> None:
    service.presence.beat()
    new = start(2, "worker-new")
    job = service.acceptance.accept(order())

    def is_kept() -> bool:
        kept = job_of(service, job)
        rows = [(name, row) for name in ("submissions", "files") for row in kept.get(name, ())]
        return kept["priority"] == ADDED["priority"] and all(
            row.items() >= ADDED[name].items() for name, row in rows
        )

    def passed_on() -> Job:
        """The later release writes it, and this one reads it."""
        assert new.asked(f"touch {job.id}") == "writes 1"
        assert is_kept()
        return service.jobs.get(job.id)

    admitted = service.jobs.admitted(passed_on().id)
    assert admitted
    assert service.jobs.begin(admitted, "token-1", "worker-1")
    passed_on()
    service.jobs.conclude(job.id, "token-1", ACCEPTED)
    assert is_kept()
    done = service.jobs.settle(job.id, "token-1", word())
    assert done.state is JobState.COMPLETED
    assert is_kept()
    key, copied = rediskeys.job(job.id), File(0, "a.mp4", 9, "ab", "video/mp4")
    raw = {**job_of(service, job), "files": [vars(changed(copied)) | {"codec": "av1"}]}
    service.store.client.hset(key, "doc", pack(raw))
    service.jobs.mark_deleted(job.id)
    assert is_kept()
    assert job_of(service, job)["files"][0]["codec"] == "av1"


def test_what_a_later_release_added_to_an_endpoint_is_kept(service: Service, start: Start) -> None:
    service.presence.beat()
    endpoint, _ = service.endpoints.create("default", {"url": "https://93.184.216.34/"})
    assert start(2, "worker-new").asked(f"tag {endpoint.id}") == "writes 1"
    service.endpoints.update("default", endpoint.id, {"description": "changed"})
    kept = document(service, rediskeys.endpoint(endpoint.id))
    assert (kept["owner"], kept["description"]) == ("team-1", "changed")


def test_an_old_process_that_comes_back_refuses_in_words_what_it_cannot_read_and_is_heard(
    service: Service, order: Orders, start: Start
) -> None:
    job = service.acceptance.accept(order())
    new = start(2, "worker-new")
    assert writes(new, 2, f"touch {job.id}")
    before = service.store.client.hgetall(rediskeys.job(job.id))
    old = start(1, "worker-old")
    assert old.asked(f"touch {job.id}").startswith(
        "refused: this release cannot read a job that a later one has written (its version is 2"
    )
    with pytest.raises(Unavailable, match="this release cannot read a job"):
        service.jobs.get(job.id)
    assert service.store.client.hgetall(rediskeys.job(job.id)) == before
    assert writes(new, 1, f"touch {job.id}")
    assert old.asked(f"touch {job.id}") == "writes 1"
    assert job_of(service, job)["priority"] == ADDED["priority"]


@pytest.mark.parametrize(
    "strange",
    [{"state": "dreaming"}, {"timeline": [[1, "queued", "by whom"]]}, {"submissions": [{"token": "t"}]}],
    ids=["a state", "a line of the timeline", "a submission"],
)
def test_a_job_in_which_something_is_not_as_it_was_is_refused_and_left_alone(
    service: Service, order: Orders, strange: dict[str, Any]
) -> None:
    job = service.acceptance.accept(order())
    doc = pack({**job_of(service, job), **strange})
    service.store.client.hset(rediskeys.job(job.id), "doc", doc)
    with pytest.raises(Unavailable, match="this release cannot read a job"):
        service.jobs.touch(job.id)
    assert service.store.client.hget(rediskeys.job(job.id), "doc") == doc


def test_a_process_that_cannot_look_writes_the_oldest_form(cutter: Cutter, start: Start) -> None:
    new = start(2, "worker-new", cutter.url)
    assert new.asked("look -") == "writes 2"
    cutter.lose_answers(1, rediskeys.BEATS.encode(), then_close=True)
    assert writes(new, 1)


def test_a_process_that_has_not_looked_yet_writes_the_oldest_form() -> None:
    assert versions.Format().written == versions.OLDEST


def test_a_beat_of_the_first_release_said_nothing_of_what_it_reads(service: Service, start: Start) -> None:
    service.store.client.hset(rediskeys.BEATS, "forwarder-1", 17)
    assert start(2, "worker-new").asked("look -") == "writes 1"


def test_who_says_goodbye_counts_no_more(service: Service, start: Start) -> None:
    presence = Presence(service.store, "web-1")
    presence.beat()
    presence.stop()
    assert start(2, "worker-new").asked("look -") == "writes 2"
