"""Copies in a bucket, over the S3 protocol: ``<prefix>/<job>/<name>``.

Endpoint, region and credentials come from the AWS SDK's own settings (``AWS_*`` in the environment).
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from service.archive.links import VALID_FOR
from service.errors import Unavailable

EXTRA = "boto3"
"""The module of the extra ``s3``; imported only where a bucket is written to or linked to."""
_CONNECT, _READ = 10, 60


class Bucket:
    """``setting``: ``s3://bucket/prefix``. Nothing is connected to before the first use."""

    def __init__(self, setting: str) -> None:
        self.name, _, prefix = setting.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self._lock = threading.Lock()
        self._made: Any = None

    @contextmanager
    def draft(self, _job_id: str) -> Iterator[BinaryIO]:
        """A file to write to, in the temporary directory (``TMPDIR``) and without a name there.

        Raises `Unavailable`.
        """
        try:
            with tempfile.TemporaryFile(buffering=0) as file:
                yield cast("BinaryIO", file)
        except OSError as error:
            raise Unavailable(f"a file cannot wait for its upload: {error.strerror or error}") from error

    def keep(self, draft: BinaryIO, job_id: str, name: str, content_type: str, sha256: str) -> None:
        """Upload the draft as the job's file ``name``. Raises `Unavailable`.

        One PUT, which S3 takes whole or not at all, up to 5 GB. Its SHA-256 is part of the request's
        signature, so the other side refuses what was changed on the way.
        """
        draft.seek(0)
        with self._translated():
            self._client().put_object(
                Bucket=self.name,
                Key=self._key(job_id, name),
                Body=draft,
                ContentType=content_type,
                Metadata={"sha256": sha256},
            )

    def url(self, _base: str, job_id: str, name: str) -> str:
        """A presigned link that is good for 7 days from now, or for as long as the credentials are."""
        with self._translated():
            link: str = self._client().generate_presigned_url(
                "get_object",
                Params={"Bucket": self.name, "Key": self._key(job_id, name)},
                ExpiresIn=VALID_FOR,
            )
        return link

    def remove(self, job_id: str) -> None:
        """Everything of a job, if there is anything. Raises `Unavailable`."""
        with self._translated():
            client = self._client()
            found = client.list_objects_v2(Bucket=self.name, Prefix=self._key(job_id, ""))
            for each in found.get("Contents", ()):
                client.delete_object(Bucket=self.name, Key=each["Key"])

    def _key(self, job_id: str, name: str) -> str:
        return f"{self.prefix}{job_id}/{name}"

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = _client()
        return self._made

    @contextmanager
    def _translated(self) -> Iterator[None]:
        # 25 MB that no process pays for that archives to a directory, or not at all.
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"the archive's bucket does not answer: {_told(error)}") from error


def _client() -> Any:
    import boto3  # noqa: PLC0415 - as above
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=_CONNECT,
        read_timeout=_READ,
        retries={"max_attempts": 2},
        signature_version="s3v4",
        # AWS's newer checksums are unknown to many a compatible server; the signed SHA-256 is known to all.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": True},
    )
    session = boto3.session.Session()
    # The SDK for Python knows only the older of the two names; a server that is not AWS has no regions.
    region = session.region_name or os.environ.get("AWS_REGION") or "us-east-1"
    return session.client("s3", region_name=region, config=config)


def _told(error: Exception) -> str:
    """What is wrong, without the headers and ids that the SDK's sentences may end in."""
    found = getattr(error, "response", {}).get("Error", {}).get("Code")
    return f"{type(error).__name__} {found}" if found else type(error).__name__
