"""A worker may die anywhere: one whole file is what is left in the end, never half of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service import rediskeys
from service.bootstrap import Service
from service.presence import SILENT_AFTER, Watch
from tests.archive.conftest import Complete, Time, happened, whole
from tests.archive.origin import FILM, Answer, Origin
from tests.waiting import eventually
from workers.clock import Clock
from workers.worker import COPIES_AT_ONCE

SMALL = 1000
EVERY = 3
"""1 takes half a minute."""


def test_killed_at_any_line_it_leaves_one_whole_file_and_one_event(
    environ: dict[str, str], origin: Origin
) -> None:
    url = origin.film(Answer(body=FILM[:SMALL]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.archive.killed", url, str(SMALL), str(EVERY)],
        env={**os.environ, **environ},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150


@contextmanager
def worker(environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-m", "workers.worker"], env={**os.environ, **environ}) as process:
        try:
            yield process
        finally:
            process.terminate()


def parts(folder: Path) -> list[int]:
    """The sizes of what is being downloaded."""
    return [each.stat().st_size for each in folder.rglob(".*.part")]


def test_a_worker_killed_in_the_middle_of_a_download_is_followed_by_one_that_ends_it(
    service: Service,
    complete: Complete,
    environ: dict[str, str],
    origin: Origin,
    folder: Path,
    at: Time,
) -> None:
    # The observer's own time goes on, the records' time is the workers' as well.
    clock = Clock(service, Watch(service.store, at.monotonic), at.monotonic)
    service.clock = service.time = Time().ms
    job = complete(origin.film(Answer(pause=30), Answer()))
    clock.tick()
    with worker(environ) as first:
        assert eventually(lambda: any(parts(folder)))
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    assert not (folder / job.id / "0.mp4").exists()
    clock.tick()
    at.ahead += SILENT_AFTER + 1
    clock.tick()
    with worker(environ) as second:
        at.ahead += 11
        clock.tick()
        assert eventually(lambda: service.jobs.get(job.id).files)
        second.terminate()
        assert second.wait(20) == 0
    assert whole(folder) == [f"{job.id}/0.mp4"]
    assert (folder / job.id / "0.mp4").read_bytes() == FILM
    assert [each["type"] for each in happened(service)] == ["prediction.completed", "prediction.archived"]
    assert not service.store.client.exists(rediskeys.ARCHIVE, rediskeys.ARCHIVING)


def test_a_worker_that_is_told_to_end_does_not_wait_for_a_slow_origin(
    service: Service, complete: Complete, environ: dict[str, str], clock: Clock, origin: Origin, folder: Path
) -> None:
    job = complete(origin.film(Answer(pause=50)))
    clock.tick()
    with worker(environ) as process:
        assert eventually(lambda: any(parts(folder)))
        process.terminate()
        assert process.wait(30) == 0
    assert whole(folder) == []
    assert service.store.client.zscore(rediskeys.ARCHIVE, job.id) <= service.time()


def test_slow_downloads_take_no_place_of_a_submission(
    service: Service, complete: Complete, environ: dict[str, str], clock: Clock, origin: Origin
) -> None:
    for _ in range(COPIES_AT_ONCE + 2):
        complete(origin.film(Answer(pause=50)))
    clock.tick()
    with worker(environ):
        assert eventually(lambda: service.store.client.hlen(rediskeys.ARCHIVING) == COPIES_AT_ONCE)
        service.doorbells.ring(["f" * 32])
        assert eventually(lambda: service.doorbells.queue.count == 0)
        assert service.store.client.hlen(rediskeys.ARCHIVING) == COPIES_AT_ONCE
        clock.tick()
        assert service.doorbells.copies_waiting() == 2
