"""One worker that archives to a directory, against a plain loop of downloads of the same files."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import psutil

from benchmarks import corpus
from benchmarks.figures import Figure
from benchmarks.processes import Place, measure, place, process, wait_until
from schemas.predictions import Prediction
from service import rediskeys
from service.queue import ARCHIVE
from workers.clock import MOST_COPY_BELLS
from workers.worker import COPIES_AT_ONCE

FILM = 4_000_000
"""Bytes: about what 6 s at 512p to 768p have."""
FILMS = 60
LARGE = 48_000_000
RUNS = 5
LATER_MS = 3_600_000
MEGABYTE = 2**20


def figures() -> list[Figure]:
    """The memory of as many large downloads as there are places, then alternating runs."""
    with (
        tempfile.TemporaryDirectory(prefix="hookreel-bench-") as name,
        films() as origin,
        place(HOOKREEL_ARCHIVE=f"{name}/archive") as at,
    ):
        first = _completed(at, [f"{origin}/first.mp4"])
        runs = [[f"{origin}/{run}/{each}.mp4" for each in range(FILMS)] for run in range(RUNS)]
        rounds = [(urls, _completed(at, urls)) for urls in runs]
        large = _completed(at, [f"{origin}/{each}.mp4?bytes={LARGE}" for each in range(2 * COPIES_AT_ONCE)])
        with process(["-m", "workers.worker"], at, "worker") as started:
            archive(at, first)
            each = memory(at, large, psutil.Process(started.pid))
            seconds = [(plain(Path(name), urls), archive(at, ids)) for urls, ids in rounds]
    return _told(seconds, each)


def _told(seconds: list[tuple[float, float]], each: float) -> list[Figure]:
    loop, ours = (statistics.median(run) for run in zip(*seconds, strict=True))
    ratio = statistics.median(loop / ours for loop, ours in seconds)
    megabytes = FILMS * FILM / 1e6
    detail = f"{FILMS} films of {FILM / 1e6:.0f} MB, {COPIES_AT_ONCE} at once, each on disk"
    return [
        Figure("archive", "of a plain requests loop", ratio, "x", ">=", 0.5, detail),
        Figure("archive", "memory per download", each, "MB", "<=", 2, f"films of {LARGE / 1e6:.0f} MB"),
        Figure("archive", "archived", megabytes / ours, "MB/s"),
        Figure("archive", "plain loop", megabytes / loop, "MB/s"),
    ]


@contextmanager
def films() -> Iterator[str]:
    """``benchmarks/filmserver.py``; its URL."""
    command = [sys.executable, "-m", "benchmarks.filmserver", str(FILM)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        try:
            yield f"http://127.0.0.1:{started.stdout.readline().strip()}"
        finally:
            started.terminate()


def plain(folder: Path, urls: list[str]) -> float:
    """Seconds of the plain loop."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        return measure("fetching", name, *urls)["seconds"]


def archive(at: Place, ids: list[str]) -> float:
    """Ring as the clock does and wait until they are archived; the seconds."""
    service, store = at.service, at.service.store.client
    _make_due(at, ids)
    left = store.zcard(rediskeys.ARCHIVE) - len(ids)
    begun = perf_counter()
    service.doorbells.ring(ids[:MOST_COPY_BELLS], ARCHIVE)
    wait_until(lambda: store.zcard(rediskeys.ARCHIVE) == left, timeout=120)
    seconds = perf_counter() - begun
    if not all(job and job.files for job in service.jobs.get_all(ids)):
        raise RuntimeError("not everything was archived")
    return seconds


def _make_due(at: Place, ids: list[str]) -> None:
    """Those of later runs are not due yet."""
    at.service.store.client.zadd(rediskeys.ARCHIVE, dict.fromkeys(ids, at.service.clock()))


def _completed(at: Place, urls: list[str]) -> list[str]:
    """A completed job for each output."""
    dice, ids = random.Random(len(urls)), []  # noqa: S311 - no secret
    for url in urls:
        job, token, task = corpus.begun(at.service, dice)
        ids.append(at.service.jobs.settle(job, token, Prediction(task, "completed", outputs=(url,))).id)
    at.service.store.client.zadd(rediskeys.ARCHIVE, dict.fromkeys(ids, at.service.clock() + LATER_MS))
    # The worker has none of them to submit.
    at.service.doorbells.queue.delete(delete_jobs=True)
    return ids


def memory(at: Place, ids: list[str], worker: psutil.Process) -> float:
    """Megabytes by which a download raises the worker's peak, with all places taken by large films."""
    before, proc = worker.memory_info().rss, Path(f"/proc/{worker.pid}")
    # https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html: 5 resets the peak.
    (proc / "clear_refs").write_text("5", "ascii")
    archive(at, ids)
    peak = (proc / "status").read_text("ascii").partition("VmHWM:")[2].split()[0]
    return (int(peak) * 1024 - before) / COPIES_AT_ONCE / MEGABYTE
