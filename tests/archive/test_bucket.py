"""Copies in a bucket, against a real server of the S3 protocol."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from service.archive import Bucket
from service.bootstrap import Service
from service.errors import SettingsError, Unavailable
from service.settings import Settings
from tests.archive.conftest import Time, archivist, completed, happened
from tests.archive.origin import FILM, Answer, Origin
from tests.ports import free_port

BUCKET = "films"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Its URL."""
    port = free_port()
    moto = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    moto.start()
    yield f"http://127.0.0.1:{port}"
    moto.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A client of an empty bucket; the service finds the same server by the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    requests.post(f"{server}/moto-api/reset", timeout=10).raise_for_status()
    client = boto3.client("s3", region_name="eu-central-1")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield client
    client.close()


@pytest.fixture
def service(s3: Any, build: Callable[..., Service]) -> Service:
    made = build(HOOKREEL_ARCHIVE=f"s3://{BUCKET}/hookreel/films/")
    made.apikeys.create("default")
    return made


def keys(s3: Any) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def test_an_output_is_one_whole_object_with_its_type_and_sum(
    service: Service, s3: Any, origin: Origin
) -> None:
    job = completed(service, origin.film())
    archivist(service).archive(job.id)
    archivist(service).archive(job.id)
    assert keys(s3) == [f"hookreel/films/{job.id}/0.mp4"]
    found = s3.get_object(Bucket=BUCKET, Key=keys(s3)[0])
    assert found["Body"].read() == FILM
    assert found["ContentType"] == "video/mp4"
    assert found["Metadata"] == {"sha256": hashlib.sha256(FILM).hexdigest()}
    assert s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def test_the_link_is_presigned_and_gives_ranges(service: Service, s3: Any, origin: Origin) -> None:
    job = completed(service, origin.film())
    archivist(service).archive(job.id)
    event = happened(service)[1]
    (link,) = event["data"]["outputs"]
    assert event["data"]["files"][0]["url"] == link
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in link
    assert "X-Amz-Expires=604800" in link
    assert "secret" not in link
    assert requests.get(link, timeout=10).content == FILM
    part = requests.get(link, headers={"Range": "bytes=10-19"}, timeout=10)
    assert (part.status_code, part.content) == (206, FILM[10:20])


@pytest.mark.parametrize("answer", [Answer(cut=len(FILM) // 2), Answer(404), Answer(length=len(FILM) + 1)])
def test_what_is_not_whole_never_becomes_an_object(
    service: Service, s3: Any, origin: Origin, at: Time, answer: Answer
) -> None:
    job = completed(service, origin.film(answer))
    archivist(service).archive(job.id)
    assert keys(s3) == []
    origin.film()
    at.ahead += 15
    archivist(service).archive(job.id)
    assert s3.get_object(Bucket=BUCKET, Key=keys(s3)[0])["Body"].read() == FILM


def test_a_bucket_that_is_not_there_is_tried_again_and_named_in_words(
    service: Service, s3: Any, origin: Origin, at: Time
) -> None:
    s3.delete_bucket(Bucket=BUCKET)
    job = completed(service, origin.film())
    archivist(service).archive(job.id)
    line = service.jobs.get(job.id).timeline[-1][1]
    assert line == "not archived: the archive's bucket does not answer: NoSuchBucket NoSuchBucket"
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    at.ahead += 15
    archivist(service).archive(job.id)
    assert len(keys(s3)) == 1


def test_a_server_that_is_away_is_tried_again(
    service: Service, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    job = completed(service, origin.film())
    archivist(service).archive(job.id)
    assert "EndpointConnectionError" in service.jobs.get(job.id).timeline[-1][1]
    assert service.jobs.get(job.id).files == ()


def test_without_credentials_it_says_so(
    s3: Any, service: Service, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Unavailable, match="NoCredentialsError"):
        Bucket(f"s3://{BUCKET}").url("", "job", "0.mp4")


def test_a_bodys_change_on_the_way_is_refused_by_its_sum(service: Service, s3: Any) -> None:
    """The SHA-256 of what is sent is part of what is signed; moto does not check it, every server does."""
    sent = []
    depot = service.depot
    assert isinstance(depot, Bucket)
    client = depot._client()
    client.meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.append(request))
    with depot.draft("job") as draft:
        draft.write(FILM)
        depot.keep(draft, "job", "0.mp4", "video/mp4", "0" * 64)
    (request,) = sent
    given = request.headers["x-amz-content-sha256"]
    given = given if isinstance(given, str) else given.decode()
    assert given == hashlib.sha256(FILM).hexdigest()


def test_deleted_copies_leave_nothing_of_theirs_and_all_of_others(
    service: Service, s3: Any, origin: Origin
) -> None:
    one, other = completed(service, origin.film()), completed(service, origin.film())
    copier = archivist(service)
    copier.archive(one.id)
    copier.archive(other.id)
    service.jobs.mark_deleted(one.id)
    copier.discard(one.id)
    assert keys(s3) == [f"hookreel/films/{other.id}/0.mp4"]


def test_two_copiers_at_once_leave_one_whole_object(service: Service, s3: Any) -> None:
    depot = service.depot
    assert isinstance(depot, Bucket)

    def keep() -> None:
        with depot.draft("job") as draft:
            draft.write(FILM)
            depot.keep(draft, "job", "0.mp4", "video/mp4", "0" * 64)

    threads = [threading.Thread(target=keep) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert keys(s3) == ["hookreel/films/job/0.mp4"]
    assert s3.get_object(Bucket=BUCKET, Key=keys(s3)[0])["Body"].read() == FILM


def test_nothing_of_the_sdk_is_loaded_where_a_directory_will_do(tmp_path: Path) -> None:
    program = f"""
import sys, service.api, workers.clock, workers.worker
from service.archive import open_depot
open_depot({str(tmp_path)!r}, ("{"A" * 43}=",), lambda: 0).url("", "job", "0.mp4")
print(*(name for name in ("boto3", "botocore") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_bucket_without_the_sdk_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    settings = Settings.from_env({"HOOKREEL_ARCHIVE": "s3://films"})
    with pytest.raises(SettingsError, match=r"hookreel\[s3\]"):
        settings.check_archive()
