"""Copying a completed job's outputs into a directory, from origins of every kind."""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from service import rediskeys
from service.archive import Directory
from service.archive.archivist import Archivist
from service.archive.links import Signer
from service.archiving import CLAIM_MS, KEPT_BY_THE_VENDOR_MS
from service.bootstrap import Service
from service.errors import NotFound
from service.ledger import Decision
from service.predictions import Predictions
from service.records import Job, changed
from tests.archive.conftest import Complete, Time, archivist, completed, happened, whole
from tests.archive.origin import FILM, Answer, Origin
from workers.clock import MOST_COPY_BELLS, Clock

SHA256 = hashlib.sha256(FILM).hexdigest()


def due_in(service: Service, job: Job) -> float:
    """Seconds until the next attempt."""
    score = service.store.client.zscore(rediskeys.ARCHIVE, job.id)
    return math.inf if score is None else (score - service.time()) / 1000


def last_line(service: Service, job: Job) -> str:
    return service.jobs.get(job.id).timeline[-1][1]


def test_an_output_is_copied_once_and_told_once(
    service: Service, complete: Complete, copier: Archivist, origin: Origin, folder: Path
) -> None:
    job = complete(origin.film())
    copier.archive(job.id)
    copier.archive(job.id)
    assert origin.gets == ["/film.mp4"]
    assert whole(folder) == [f"{job.id}/0.mp4"]
    assert (folder / job.id / "0.mp4").read_bytes() == FILM
    first, second = happened(service)
    assert (first["type"], first["data"]["outputs"]) == ("prediction.completed", [origin.url + "/film.mp4"])
    assert (second["type"], "supersedes" in second["data"]) == ("prediction.archived", False)
    (file,) = second["data"]["files"]
    assert {**file, "url": ""} == {
        "url": "",
        "sha256": SHA256,
        "bytes": len(FILM),
        "content_type": "video/mp4",
    }
    assert file["url"].startswith(f"http://hookreel.test/files/{job.id}/0.mp4?expires=")
    assert second["data"]["outputs"] == [file["url"]]
    assert "files" not in first["data"]
    assert not service.store.client.exists(rediskeys.ARCHIVE, rediskeys.ARCHIVING)


def test_from_then_on_the_job_is_shown_with_the_durable_link(
    service: Service, complete: Complete, copier: Archivist, origin: Origin
) -> None:
    job = complete(origin.film())
    copier.archive(job.id)
    shown = service.shown(service.jobs.get(job.id), "http://else.test")
    assert shown.outputs == (shown.files[0].url,)
    assert shown.files[0].url.startswith("http://else.test/files/")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(cut=len(FILM) // 2),
        Answer(cut=0),
        Answer(length=len(FILM) + 1),
        Answer(chunked=True, cut=len(FILM) // 2),
        Answer(length=None),
        Answer(body=b""),
        Answer(404, b"not yet"),
        Answer(403, b"no"),
        Answer(500, b"oh"),
        Answer(206),
        Answer(204, b""),
        Answer(302, b"", location="/film.mp4"),
        Answer(302, b"", location="file:///etc/passwd"),
        Answer(302, b"", location="http://169.254.169.254/secrets"),
    ],
)
def test_what_is_not_whole_is_not_kept_and_tried_again_later(
    service: Service, complete: Complete, origin: Origin, folder: Path, at: Time, answer: Answer
) -> None:
    job = complete(origin.film(answer))
    copier = archivist(service)
    copier.archive(job.id)
    assert whole(folder) == []
    assert service.jobs.get(job.id).files == ()
    assert last_line(service, job).startswith("not archived: ")
    assert "passwd" not in last_line(service, job)
    assert 7 < due_in(service, job) < 13
    origin.film()
    at.ahead += 15
    copier.archive(job.id)
    assert (folder / job.id / "0.mp4").read_bytes() == FILM
    assert [each["type"] for each in happened(service)] == ["prediction.completed", "prediction.archived"]


def test_a_chunked_answer_is_whole_when_its_last_chunk_has_come(
    service: Service, complete: Complete, copier: Archivist, origin: Origin
) -> None:
    job = complete(origin.film(Answer(chunked=True)))
    copier.archive(job.id)
    assert service.jobs.get(job.id).files[0].sha256 == SHA256


def test_a_redirect_is_followed_when_its_address_may_be_called(
    service: Service, complete: Complete, copier: Archivist, origin: Origin
) -> None:
    origin.film(path="/elsewhere")
    job = complete(origin.film(Answer(302, b"", location="/elsewhere")))
    copier.archive(job.id)
    assert service.jobs.get(job.id).files[0].name == "0.mp4"


@pytest.mark.parametrize(
    "answer", [Answer(), Answer(chunked=True), Answer(chunked=True, endless=True), Answer(length=10**12)]
)
def test_what_is_too_large_is_given_up_at_once(
    service: Service, complete: Complete, origin: Origin, folder: Path, answer: Answer
) -> None:
    job = complete(origin.film(answer))
    archivist(service, most_bytes=1_000_000).archive(job.id)
    assert last_line(service, job) == "not archived: it is larger than 1000000 bytes"
    assert whole(folder) == []
    assert due_in(service, job) == math.inf
    assert [each["type"] for each in happened(service)] == ["prediction.completed"]


def test_an_origin_that_stalls_is_left_and_asked_again(
    service: Service, complete: Complete, origin: Origin, folder: Path, at: Time
) -> None:
    job = complete(origin.film(Answer(body=FILM[:100], pause=30), Answer()))
    archivist(service, stalled_for=1).archive(job.id)
    assert last_line(service, job).startswith("not archived: ")
    assert whole(folder) == []
    at.ahead += 15
    archivist(service).archive(job.id)
    assert whole(folder) == [f"{job.id}/0.mp4"]


def test_a_worker_that_is_stopped_hands_its_downloads_over_at_once(
    service: Service, complete: Complete, origin: Origin, folder: Path
) -> None:
    job = complete(origin.film(Answer(pause=30)))
    archivist(service, stopping=lambda: bool(origin.gets)).archive(job.id)
    assert due_in(service, job) <= 0
    assert whole(folder) == []


def test_the_delays_grow_until_the_vendor_keeps_the_file_no_more(
    service: Service, complete: Complete, copier: Archivist, origin: Origin, at: Time
) -> None:
    job = complete(origin.film(Answer(404)))
    delays = []
    while due_in(service, job) < math.inf:
        at.ahead += max(0.0, due_in(service, job))
        copier.archive(job.id)
        delays.append(due_in(service, job))
    assert 20 < len(delays) < 60
    assert delays[0] < delays[2] < delays[5] < delays[8] < 6 * 3600 * 1.2
    assert at.ahead < KEPT_BY_THE_VENDOR_MS / 1000
    assert last_line(service, job) == "not archived: it was answered with status 404"
    assert len(service.jobs.get(job.id).timeline) < 10
    assert len(happened(service)) == 1


def test_a_job_that_was_left_lying_for_a_week_is_given_up(
    service: Service, complete: Complete, copier: Archivist, origin: Origin, at: Time
) -> None:
    job = complete(origin.film())
    at.ahead += KEPT_BY_THE_VENDOR_MS / 1000 + 1
    copier.archive(job.id)
    assert origin.gets == []
    assert last_line(service, job) == "not archived: the vendor keeps files for 7 days"


def test_an_address_that_may_not_be_called_is_not(
    build, complete: Complete, origin: Origin, service: Service
) -> None:
    closed = build(HOOKREEL_EGRESS_ALLOW="none")
    job = complete(origin.film())
    archivist(closed).archive(job.id)
    assert origin.gets == []
    assert "HOOKREEL_EGRESS_ALLOW" in last_line(service, job)


def test_of_several_outputs_only_the_missing_ones_are_fetched_again(
    service: Service, complete: Complete, copier: Archivist, origin: Origin, folder: Path, at: Time
) -> None:
    good = origin.film(path="/a.webm")
    late = origin.film(Answer(404), Answer(kind="image/png"), path="/b")
    job = complete(good, {"text": "an object"}, late, "no URL")
    copier.archive(job.id)
    assert len(happened(service)) == 1
    at.ahead += 15
    copier.archive(job.id)
    assert sorted(origin.gets) == ["/a.webm", "/b", "/b"]
    assert whole(folder) == [f"{job.id}/0.webm", f"{job.id}/2.png"]
    event = happened(service)[1]
    assert event["data"]["outputs"][1] == {"text": "an object"}
    assert event["data"]["outputs"][3] == "no URL"
    assert [each["url"] for each in event["data"]["files"]] == event["data"]["outputs"][0:3:2]


@pytest.mark.parametrize("odd", ["http://127.0.0.1/a\0.mp4", "http://[::1/a.mp4"])
def test_an_output_that_cannot_be_fetched_costs_no_other(
    service: Service, complete: Complete, copier: Archivist, origin: Origin, folder: Path, odd: str
) -> None:
    job = complete(origin.film(), odd)
    copier.archive(job.id)
    assert whole(folder) == [f"{job.id}/0.mp4"]
    assert [each.output for each in service.jobs.get(job.id).files] == [0]


class Broken(Directory):
    """Breaks in a way that nobody foresaw when the second output is kept."""

    def keep(self, draft: BinaryIO, job_id: str, name: str, content_type: str, sha256: str) -> None:
        if name == "1.mp4":
            raise RuntimeError
        super().keep(draft, job_id, name, content_type, sha256)


def test_an_error_that_nobody_foresaw_costs_no_other_output(
    service: Service, complete: Complete, origin: Origin, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    urls = [origin.film(path=f"/{number}.mp4") for number in range(3)]
    job = complete(*urls)
    depot = Broken(folder, Signer(service.settings.secret_keys, service.clock))
    replace(archivist(service), depot=depot).archive(job.id)
    assert whole(folder) == [f"{job.id}/0.mp4", f"{job.id}/2.mp4"]
    assert last_line(service, job) == "not archived: it cannot be fetched (RuntimeError)"
    assert 0 < due_in(service, job) < 15
    assert [each.message for each in caplog.records if each.exc_info] == ["job.copy_broken"]


def test_a_copy_may_be_begun_any_number_of_times(
    service: Service, complete: Complete, copier: Archivist, origin: Origin
) -> None:
    job = complete(origin.film(Answer(404)))
    service.jobs._change(job.id, lambda each: Decision(changed(each, copies=5000)))
    copier.archive(job.id)
    assert 0 < due_in(service, job) <= 6 * 3600 * 1.2


def test_what_could_be_kept_is_told_when_the_rest_is_given_up(
    service: Service, complete: Complete, origin: Origin, folder: Path
) -> None:
    small = origin.film(Answer(body=b"small"), path="/small.mp4")
    job = complete(origin.film(), small)
    archivist(service, most_bytes=1000).archive(job.id)
    event = happened(service)[1]
    assert (event["type"], len(event["data"]["files"])) == ("prediction.archived", 1)
    assert event["data"]["outputs"][0] == origin.url + "/film.mp4"
    assert whole(folder) == [f"{job.id}/1.mp4"]


def test_a_failed_job_and_one_without_urls_are_not_archived(service: Service, complete: Complete) -> None:
    complete({"text": "an object"})
    assert not service.store.client.exists(rediskeys.ARCHIVE)


def test_nothing_is_archived_where_it_is_switched_off(build, origin: Origin, service: Service) -> None:
    off = build(HOOKREEL_ARCHIVE="none")
    job = completed(off, origin.film())
    assert not service.store.client.exists(rediskeys.ARCHIVE)
    assert off.shown(job, "http://x") == job


def test_an_archive_that_cannot_be_written_to_is_tried_again(
    service: Service, complete: Complete, copier: Archivist, origin: Origin, folder: Path, at: Time
) -> None:
    folder.write_text("no directory")
    job = complete(origin.film())
    copier.archive(job.id)
    assert last_line(service, job).startswith("not archived: the archive cannot be written to: ")
    folder.unlink()
    at.ahead += 15
    copier.archive(job.id)
    assert whole(folder) == [f"{job.id}/0.mp4"]


def test_what_an_attempt_left_behind_goes_with_the_next(
    complete: Complete, copier: Archivist, origin: Origin, folder: Path
) -> None:
    job = complete(origin.film())
    (folder / job.id).mkdir(parents=True)
    (folder / job.id / ".0123.part").write_bytes(FILM[:100])
    copier.archive(job.id)
    assert whole(folder) == [f"{job.id}/0.mp4"]


# -- claims -----------------------------------------------------------------------------------------------


def test_a_doubled_bell_finds_nothing_to_do(
    service: Service, complete: Complete, copier: Archivist, origin: Origin
) -> None:
    job = complete(origin.film())
    claimed = service.jobs.begin_copy(job.id, "worker-2")
    assert claimed is not None
    assert CLAIM_MS / 1000 - 5 < due_in(service, job) <= CLAIM_MS / 1000
    copier.archive(job.id)
    assert origin.gets == []
    assert service.jobs.still_copying(claimed)


def test_one_bell_is_enough_for_everything_that_is_due(
    service: Service, complete: Complete, copier: Archivist, origin: Origin, folder: Path
) -> None:
    jobs = [complete(origin.film()) for _ in range(3)]
    copier.archive(jobs[1].id)
    assert whole(folder) == sorted(f"{job.id}/0.mp4" for job in jobs)
    assert len(origin.gets) == 3


def test_workers_that_ring_at_once_for_the_same_copy_each_output_once(
    build, service: Service, complete: Complete, origin: Origin, folder: Path
) -> None:
    jobs = [complete(origin.film(Answer(body=b"film"))) for _ in range(25)]
    copiers = [archivist(build(), f"worker-{number}") for number in range(4)]
    with ThreadPoolExecutor(len(copiers)) as threads:
        for each in [threads.submit(copier.archive, jobs[0].id) for copier in copiers]:
            each.result()
    assert len(origin.gets) == len(jobs)
    assert {service.jobs.get(job.id).copies for job in jobs} == {1}
    assert sum(event["type"] == "prediction.archived" for event in happened(service)) == len(jobs)


def test_an_outcome_that_comes_after_another_took_over_changes_nothing(
    service: Service, complete: Complete, origin: Origin, folder: Path
) -> None:
    job = complete(origin.film())
    claimed = service.jobs.begin_copy(job.id, "worker-1")
    assert claimed is not None
    service.jobs.copier_gone("worker-1")
    archivist(service, "worker-2").archive(job.id)
    assert not service.jobs.still_copying(claimed)
    service.jobs.copied(claimed, ())
    late = service.jobs.not_copied(claimed, (), "late", again=True, now=False)
    assert (len(late.files), late.timeline[-1][1]) == (1, "archived")
    assert len(happened(service)) == 2
    assert due_in(service, job) == math.inf


def test_the_claims_of_a_dead_worker_are_free_at_once(
    service: Service, complete: Complete, clock: Clock, origin: Origin, at: Time
) -> None:
    job = complete(origin.film())
    other = complete(origin.film())
    service.jobs.begin_copy(job.id, "worker-dead")
    service.jobs.begin_copy(other.id, "worker-alive")
    service.store.client.hset(rediskeys.BEATS, mapping={"worker-dead": 1, "worker-alive": 1})
    clock.free_the_dead()
    at.ahead += 9
    service.store.client.hincrby(rediskeys.BEATS, "worker-alive", 1)
    clock.free_the_dead()
    assert due_in(service, job) <= 0
    assert due_in(service, other) > 3000
    assert service.store.client.hgetall(rediskeys.ARCHIVING) == {other.id.encode(): b"worker-alive"}


def test_the_clock_rings_for_what_is_due_and_again_only_when_nothing_came_of_it(
    service: Service, complete: Complete, clock: Clock, origin: Origin, at: Time
) -> None:
    job = complete(origin.film())
    clock.archive()
    clock.archive()
    assert service.doorbells.copies.job_ids == [f"archive-{job.id}"]
    at.ahead += 11
    clock.archive()
    assert len(service.doorbells.copies.job_ids) == 2
    service.jobs.begin_copy(job.id, "worker-1")
    at.ahead += 11
    clock.archive()
    assert len(service.doorbells.copies.job_ids) == 2
    assert service.doorbells.queue.job_ids == [f"submit-{job.id}"]


def test_a_job_that_lost_its_place_among_those_to_copy_gets_it_back(
    build, service: Service, complete: Complete, clock: Clock, copier: Archivist, origin: Origin, at: Time
) -> None:
    copier.archive(complete(origin.film()).id)
    archivist(service, most_bytes=10).archive(complete(origin.film()).id)
    before = completed(build(HOOKREEL_ARCHIVE="none"), origin.film())
    lost, deleted = complete(origin.film()), complete(origin.film())
    delete(service, deleted)
    service.store.client.delete(rediskeys.ARCHIVE)
    at.ahead += 301
    clock.archive()
    found = service.store.client.zrange(rediskeys.ARCHIVE, 0, -1)
    assert {each.decode() for each in found} == {before.id, lost.id}


def test_all_that_ended_lately_are_looked_at_some_at_a_time(
    service: Service, complete: Complete, origin: Origin
) -> None:
    jobs = [complete(origin.film()) for _ in range(5)]
    service.store.client.delete(rediskeys.ARCHIVE)
    places = [0]
    while len(places) == 1 or places[-1]:
        places.append(service.jobs.recall_copies(places[-1], 2))
    assert places == [0, 2, 4, 0]
    assert service.store.client.zcard(rediskeys.ARCHIVE) == len(jobs)


# -- deletion ---------------------------------------------------------------------------------------------


class NoVendor:
    def delete(self, ids: list[str]) -> int:
        return len(ids)


def delete(service: Service, job: Job) -> None:
    Predictions(service.jobs, NoVendor(), service.clock).delete("default", [job.id])


def test_deleting_a_prediction_removes_its_copies(
    service: Service, complete: Complete, copier: Archivist, clock: Clock, origin: Origin, folder: Path
) -> None:
    job = complete(origin.film())
    copier.archive(job.id)
    delete(service, job)
    clock.archive()
    assert service.doorbells.copies.job_ids == [f"discard-{job.id}"]
    copier.discard(job.id)
    assert list(folder.iterdir()) == []
    assert not service.store.client.exists(rediskeys.DISCARD)


def test_a_prediction_deleted_before_its_copy_is_never_copied(
    service: Service, complete: Complete, copier: Archivist, origin: Origin
) -> None:
    job = complete(origin.film())
    delete(service, job)
    copier.archive(job.id)
    assert origin.gets == []
    assert not service.store.client.exists(rediskeys.ARCHIVE, rediskeys.DISCARD)


@pytest.mark.parametrize("pruned", [False, True])
def test_a_prediction_deleted_while_it_is_copied_leaves_nothing(
    service: Service, complete: Complete, clock: Clock, origin: Origin, folder: Path, pruned: bool
) -> None:
    job = complete(origin.film())
    deleted = []

    def interfere() -> bool:
        if origin.gets and not deleted:
            deleted.append(job)
            delete(service, job)
            if pruned:
                service.store.client.delete(rediskeys.job(job.id))
        return False

    copier = archivist(service, stopping=interfere)
    copier.archive(job.id)
    assert deleted
    copier.discard(job.id)
    assert whole(folder) == []
    assert len(happened(service)) == 1
    keys = (rediskeys.ARCHIVE, rediskeys.ARCHIVING, rediskeys.DISCARD)
    assert not service.store.client.exists(*keys)


def test_copies_are_not_removed_while_somebody_writes_them(
    service: Service, complete: Complete, copier: Archivist, origin: Origin, folder: Path
) -> None:
    job = complete(origin.film())
    claimed = service.jobs.begin_copy(job.id, "worker-1")
    assert claimed is not None
    delete(service, job)
    (folder / job.id).mkdir(parents=True)
    (folder / job.id / "0.mp4").write_bytes(FILM)
    copier.discard(job.id)
    assert whole(folder) == [f"{job.id}/0.mp4"]
    service.jobs.copied(claimed, ())
    copier.discard(job.id)
    assert whole(folder) == []


def fan_out(service: Service) -> None:
    """Nobody is owed anything."""
    for event in happened(service):
        service.store.client.hset(rediskeys.event(event["id"]), "open", 0)
    service.store.client.delete(rediskeys.OPEN_EVENTS)


def archived(service: Service, origin: Origin) -> tuple[Service, Job, Archivist]:
    service.apikeys.create("default")
    job, copier = completed(service, origin.film()), archivist(service)
    copier.archive(job.id)
    fan_out(service)
    return service, job, copier


@pytest.mark.parametrize(
    ("retention", "days", "kept"),
    [("", 8, False), ("864000", 8, True), ("864000", 11, False), ("forever", 400, True)],
)
def test_copies_are_kept_as_long_as_the_setting_says(
    build, origin: Origin, folder: Path, at: Time, retention: str, days: int, kept: bool
) -> None:
    service, job, copier = archived(build(HOOKREEL_ARCHIVE_RETENTION=retention), origin)
    clock = Clock(service, None, at.monotonic)  # type: ignore[arg-type] # nobody's beat is asked for
    at.ahead += days * 86_400
    clock.prune()
    with pytest.raises(NotFound):
        service.jobs.get(job.id)
    clock.archive()
    if f"discard-{job.id}" in service.doorbells.copies.job_ids:
        copier.discard(job.id)
    assert whole(folder) == ([f"{job.id}/0.mp4"] if kept else [])


def test_copies_that_nobody_wants_any_more_do_not_wait_for_those_still_to_be_made(
    service: Service, complete: Complete, clock: Clock, origin: Origin
) -> None:
    for _ in range(2 * MOST_COPY_BELLS):
        complete(origin.film())
    service.store.client.zadd(rediskeys.DISCARD, {"f" * 32: 0})
    clock.archive()
    assert f"discard-{'f' * 32}" in service.doorbells.copies.job_ids


@pytest.mark.parametrize("retention", ["", "864000", "forever"])
def test_copies_of_a_deleted_prediction_go_however_long_others_are_kept(
    build, origin: Origin, folder: Path, at: Time, retention: str
) -> None:
    service, job, copier = archived(build(HOOKREEL_ARCHIVE_RETENTION=retention), origin)
    delete(service, job)
    service.store.client.delete(rediskeys.DISCARD)
    Clock(service, None, at.monotonic).prune()  # type: ignore[arg-type] # nobody's beat is asked for
    with pytest.raises(NotFound):
        service.jobs.get(job.id)
    copier.archive(job.id)
    assert service.store.client.zscore(rediskeys.DISCARD, job.id) <= at.ms()
    copier.discard(job.id)
    assert whole(folder) == []


def test_copies_stay_while_the_record_stays(
    service: Service,
    complete: Complete,
    copier: Archivist,
    origin: Origin,
    folder: Path,
    at: Time,
    clock: Clock,
) -> None:
    job = complete(origin.film())
    copier.archive(job.id)
    at.ahead += 8 * 86_400
    clock.prune()
    copier.discard(job.id)
    assert service.jobs.get(job.id).files
    assert whole(folder) == [f"{job.id}/0.mp4"]
