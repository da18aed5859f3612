"""Archives one job after another, each time killed some lines later; run by test_killed.py.

``python -m tests.archive.killed FILM_URL BYTES EVERY``, with the service's environment. A process of its own
with one thread, so that it may fork: every child begins as far as its parent had come. Prints at how many
lines it was killed.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from service import archive, archiving, rediskeys
from service.bootstrap import Service
from service.settings import Settings
from tests.archive.conftest import archivist, completed
from tests.archive.origin import FILM

TRACED = (str(Path(archive.__file__).parent), archiving.__file__)


def service(settings: Settings) -> Service:
    return Service(settings, settings.redis_url or "", "test", "test")


def die_at(line: int) -> None:
    """Kill this process when so many lines of the archive have been executed."""
    left = line

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(TRACED):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def killed(settings: Settings, job_id: str, incarnation: str, line: int) -> bool:
    """Archive in a child; whether it was killed."""
    child = os.fork()
    if not child:
        gc.disable()
        copier = archivist(service(settings), incarnation)
        die_at(line)
        copier.archive(job_id)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def check(folder: Path, job_id: str, film: bytes) -> bool:
    """Whether the job's one file is there; raises unless it is that, whole, or nothing."""
    seen = list((folder / job_id).glob("[!.]*"))
    assert [each.name for each in seen] in ([], ["0.mp4"]), seen
    assert all(each.read_bytes() == film for each in seen), seen
    return bool(seen)


def round_of(parent: Service, url: str, folder: Path, film: bytes, line: int) -> bool:
    """One job, killed at this line, then archived by the next worker; whether it was killed at all."""
    job = completed(parent, url)
    was = killed(parent.settings, job.id, "worker-first", line)
    found = parent.jobs.get(job.id)
    assert check(folder, job.id, film) or not found.files, line
    assert len(found.events) == 1 + len(found.files), line
    parent.jobs.copier_gone("worker-first")
    archivist(parent, "worker-second").archive(job.id)
    found = parent.jobs.get(job.id)
    assert check(folder, job.id, film), line
    assert [each.name for each in (folder / job.id).iterdir()] == ["0.mp4"], line
    assert (len(found.files), len(found.events)) == (1, 2), line
    keys = (rediskeys.ARCHIVE, rediskeys.ARCHIVING, rediskeys.DISCARD)
    assert not parent.store.client.exists(*keys), line
    return was


def main(url: str, size: int, every: int) -> None:
    folder, line = Path(os.environ["HOOKREEL_ARCHIVE"]), 0
    parent = service(Settings.from_env(os.environ))
    parent.apikeys.create("default")
    gc.freeze()
    while round_of(parent, url, folder, FILM[:size], line):
        line += every
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
