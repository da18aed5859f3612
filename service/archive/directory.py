"""Copies in a directory: ``<directory>/<job>/<name>``, there whole or not at all."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from service.archive.links import Signer
from service.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PART = ".part"


class Directory:
    """``root`` is made when the first file comes. Every worker and every web process has to see it."""

    def __init__(self, root: Path, signer: Signer) -> None:
        self.root = root
        self.signer = signer

    @contextmanager
    def draft(self, job_id: str) -> Iterator[BinaryIO]:
        """A file to write to, gone again unless it was kept. Raises `Unavailable`.

        One job is copied by one process at a time: what others have left of it goes.
        """
        folder = self.root / job_id
        path = folder / f".{secrets.token_hex(8)}{_PART}"
        try:
            self._prepare(folder)
            with _Draft(path, "x") as file:
                yield file
        except OSError as error:
            raise _trouble(error) from error
        finally:
            with suppress(OSError):  # it was kept, or never made
                path.unlink()
            with suppress(OSError):  # something is in it, or it was never made
                folder.rmdir()

    def _prepare(self, folder: Path) -> None:
        try:
            folder.mkdir()
        except FileExistsError:
            for leftover in folder.glob(f".*{_PART}"):
                leftover.unlink(missing_ok=True)
        except FileNotFoundError:
            new = [each for each in (self.root, *self.root.parents) if not each.exists()]
            folder.mkdir(parents=True)
            for each in new:
                _sync(each.parent)

    def keep(self, draft: BinaryIO, job_id: str, name: str, content_type: str, sha256: str) -> None:  # noqa: ARG002 - a bucket wants to know
        """Make the draft the job's file ``name``; it is on disk then. Raises `Unavailable`."""
        folder = self.root / job_id
        try:
            os.fsync(draft.fileno())
            Path(draft.name).replace(folder / name)
            _sync(folder)
            _sync(self.root)
        except OSError as error:
            raise _trouble(error) from error

    def url(self, base: str, job_id: str, name: str) -> str:
        """A link below ``base`` that is good for 7 days from now."""
        path = f"/files/{job_id}/{name}"
        return f"{base}{path}?{self.signer.query(path)}"

    def find(self, job_id: str, name: str, expires: str, signature: str) -> Path:
        """The file that a link leads to. Raises `Forbidden` and `NotFound`."""
        # What was signed is a name that we gave: nothing else gets past this line, no "..", no hidden file.
        self.signer.check(f"/files/{job_id}/{name}", expires, signature)
        path = self.root / job_id / name
        if not path.is_file():
            raise NotFound("this file is not kept any more")
        return path

    def remove(self, job_id: str) -> None:
        """Everything of a job, if there is anything. Raises `Unavailable`."""
        try:
            shutil.rmtree(self.root / job_id)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _trouble(error) from error


class _Draft(io.FileIO):
    """Lets the kernel begin to write at once, so that little is left when the end of it is waited for."""

    def write(self, data: Buffer, /) -> int:
        """As a file without a buffer does."""
        written = super().write(data)
        if sys.platform == "linux":
            os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return written


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _trouble(error: OSError) -> Unavailable:
    return Unavailable(f"the archive cannot be written to: {error.strerror or error}")
