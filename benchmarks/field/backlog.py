"""Writes a backlog: completed jobs with their events, not fanned out, as while no forwarder runs.

``python -m benchmarks.field.backlog COUNT CHANNELS``, with the service's settings in the environment, writes
so many, each in one of so many channels, and prints the ids of the jobs. (The script that does it is the very
one that settles a callback, many to an fsync.)
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import corpus
from benchmarks.processes import Place
from service.bootstrap import Service, build
from service.records import changed
from service.settings import Settings
from service.store import Change

SAMPLES = 200
WRITERS = 2


def channel(number: int) -> str:
    """The channel of that number, counted round by whoever writes."""
    return f"field-{number}"


def write(at: Place, count: int, channels: int = 1) -> list[str]:
    """By some processes at once; the jobs' ids."""
    words = [sys.executable, "-m", "benchmarks.field.backlog"]
    shares = [len(range(number, count, WRITERS)) for number in range(WRITERS)]
    started = [
        subprocess.Popen(
            [*words, str(share), str(channels)], env=at.environ, stdout=subprocess.PIPE, text=True
        )
        for share in shares
    ]
    ids = [line for each in started for line in each.communicate()[0].split()]
    if len(ids) != count:
        raise RuntimeError(f"{len(ids)} of {count} events were written")
    return ids


def _changes(service: Service, count: int, channels: int, ids: list[str]) -> Iterator[Change]:
    """Few inputs, many jobs: dice cost more than everything else here."""
    dice = random.Random(count)  # noqa: S311 - no secret
    samples = [corpus.queued(service, dice) for _ in range(SAMPLES)]
    for number in range(count):
        job = changed(samples[number % SAMPLES], id=service.token(), channel=channel(number % channels))
        ids.append(job.id)
        yield corpus.finished(service, job, dice)


def main(count: str, channels: str) -> None:
    """Write, and print the ids."""
    service, ids = build(Settings.from_env(os.environ), "bench"), list[str]()
    corpus.keep(service, _changes(service, int(count), int(channels), ids))
    service.close()
    print("\n".join(ids))


if __name__ == "__main__":
    main(*sys.argv[1:])
