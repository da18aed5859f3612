"""Keeping what was paid for: copies of every output, in a directory or a bucket, and the links to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from service.archive.bucket import Bucket
from service.archive.directory import Directory
from service.archive.links import Signer
from service.archive.naming import media_type
from service.records import Job

Depot = Directory | Bucket

__all__ = ["Bucket", "Depot", "Directory", "media_type", "open_depot", "shown"]


def open_depot(setting: str, secret_keys: tuple[str, ...], clock: Callable[[], int]) -> Depot:
    """What HOOKREEL_ARCHIVE names. ``secret_keys`` are Fernet keys, ``clock`` is in ms."""
    if setting.startswith("s3://"):
        return Bucket(setting)
    return Directory(Path(setting), Signer(secret_keys, clock))


def shown(job: Job, base: str, depot: Depot) -> Job:
    """The job with links to its copies, good from now on, in place of the vendor's.

    ``base``: what stands before ``/files`` in them.
    """
    files = tuple(replace(each, url=depot.url(base, job.id, each.name)) for each in job.files)
    urls = {each.output: each.url for each in files}
    outputs = tuple(urls.get(place, output) for place, output in enumerate(job.outputs))
    return replace(job, files=files, outputs=outputs)
