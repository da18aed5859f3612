"""Archived files over HTTP: signed links, ranges, and what a result shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.fernet import Fernet
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.api import create_app
from service.api.files import READERS
from service.archive.archivist import Archivist
from service.bootstrap import Service
from service.records import Job
from tests.archive.conftest import Complete, Time, archivist, completed
from tests.archive.origin import FILM, Answer, Origin


class Client(FlaskClient):
    """Reads every answer to its end and closes it, as a server does, unless asked not to."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        return super().open(*args, **{"buffered": True, **kwargs})


def client_of(service: Service) -> Client:
    app = create_app(service)
    app.test_client_class = Client
    client = app.test_client()
    assert isinstance(client, Client)
    return client


@pytest.fixture
def client(service: Service) -> Client:
    return client_of(service)


@pytest.fixture
def auth(service: Service) -> dict[str, str]:
    return {"Authorization": f"Bearer {service.apikeys.create('default')[1]}"}


@pytest.fixture
def job(service: Service, complete: Complete, copier: Archivist, origin: Origin) -> Job:
    """A job whose film is archived."""
    made = complete(origin.film())
    copier.archive(made.id)
    return service.jobs.get(made.id)


@pytest.fixture
def link(service: Service, job: Job) -> str:
    """Path and query of the link to its film."""
    return path(service, job)


def path(service: Service, job: Job) -> str:
    return service.shown(job, "").files[0].url


def test_a_link_gives_the_film_to_whoever_has_it(client: Client, link: str, job: Job) -> None:
    answer = client.get(link)
    assert (answer.status_code, answer.data) == (200, FILM)
    assert answer.content_type == "video/mp4"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"] == f"inline; filename={job.id}-0.mp4"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "given", "part"),
    [
        ("bytes=0-9", "bytes 0-9/1024000", FILM[:10]),
        ("bytes=1023990-", "bytes 1023990-1023999/1024000", FILM[-10:]),
        ("bytes=-5", "bytes 1023995-1023999/1024000", FILM[-5:]),
        ("bytes=1000000-9999999", "bytes 1000000-1023999/1024000", FILM[1_000_000:]),
    ],
)
def test_a_range_is_given_alone(client: Client, link: str, asked: str, given: str, part: bytes) -> None:
    answer = client.get(link, headers={"Range": asked})
    assert (answer.status_code, answer.data) == (206, part)
    assert answer.headers["Content-Range"] == given
    assert answer.headers["Content-Length"] == str(len(part))


def test_a_range_beyond_the_end_is_refused_with_the_length(client: Client, link: str) -> None:
    answer = client.get(link, headers={"Range": "bytes=1024000-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */1024000"


def test_a_range_of_another_version_gives_the_whole(client: Client, link: str) -> None:
    tag = client.get(link).headers["ETag"]
    again = client.get(link, headers={"Range": "bytes=0-9", "If-Range": tag})
    other = client.get(link, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (again.status_code, other.status_code) == (206, 200)
    assert client.get(link, headers={"If-None-Match": tag}).status_code == 304


def test_head_tells_the_length(client: Client, link: str) -> None:
    answer = client.head(link)
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(FILM))


def test_a_link_expires_and_a_fresh_one_is_shown(
    client: Client, link: str, service: Service, job: Job, at: Time
) -> None:
    at.ahead += 7 * 86_400 - 5
    assert client.get(link).status_code == 200
    at.ahead += 10
    answer = client.get(link)
    assert (answer.status_code, answer.content_type) == (403, "application/problem+json")
    assert "expired" in answer.get_json()["detail"]
    assert client.get(path(service, job)).status_code == 200


def tampered(link: str) -> list[str]:
    parts = urlsplit(link)
    (expires,), (signature,) = parse_qs(parts.query).values()
    later = f"expires={int(expires) + 1}&signature={signature}"
    flipped = f"expires={expires}&signature={'0' if signature[0] != '0' else '1'}{signature[1:]}"
    good = parts.query
    folder, name = parts.path.rsplit("/", 1)
    return [
        f"{parts.path}?{later}",
        f"{parts.path}?{flipped}",
        f"{parts.path}?expires={expires}",
        f"{parts.path}?expires={expires}&signature=",
        f"{parts.path}?expires=&signature={signature}",
        f"{parts.path}?expires=soon&signature=%C3%A9%00",
        parts.path,
        f"{folder}/1.mp4?{good}",
        f"{folder}/.{name}?{good}",
        f"/files/{'0' * 32}/{name}?{good}",
        f"{folder}/..%2F{name}?{good}",
        f"/files/..%2F..%2Fetc/passwd?{good}",
        f"/files/../api-key?{good}",
    ]


def test_a_link_that_was_tampered_with_leads_nowhere(client: Client, link: str) -> None:
    for each in tampered(link):
        assert client.get(each).status_code in {403, 404}, each


def test_links_survive_a_new_secret_key_as_long_as_the_old_one_is_listed(
    build: Callable[..., Service], environ: dict[str, str], link: str
) -> None:
    old, new = environ["HOOKREEL_SECRET_KEY"], Fernet.generate_key().decode()
    both = client_of(build(HOOKREEL_SECRET_KEY=f"{new},{old}"))
    only = client_of(build(HOOKREEL_SECRET_KEY=new))
    assert (both.get(link).status_code, only.get(link).status_code) == (200, 403)


def test_a_file_that_is_gone_is_not_found(client: Client, link: str, folder: Path, job: Job) -> None:
    (folder / job.id / "0.mp4").unlink()
    assert client.get(link).status_code == 404


def test_what_could_be_a_page_is_downloaded_and_never_shown(
    service: Service, complete: Complete, copier: Archivist, origin: Origin, client: Client
) -> None:
    page = Answer(body=b"<script>alert(1)</script>", kind="text/html")
    job = complete(origin.film(page, path="/a.html"), origin.film(page, path="/b"))
    copier.archive(job.id)
    for file in service.shown(service.jobs.get(job.id), "").files:
        disposition = client.get(file.url).headers["Content-Disposition"]
        assert disposition.startswith("attachment; ")


def test_slow_readers_leave_threads_for_everybody_else(client: Client, link: str) -> None:
    readers = [client.get(link, buffered=False) for _ in range(READERS)]
    refused = client.get(link)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    for each in readers:
        each.close()
    assert client.get(link).status_code == 200


def test_every_answer_gives_its_place_back(client: Client, link: str) -> None:
    for _ in range(READERS + 1):
        assert client.get(link, headers={"Range": "bytes=9999999-"}).status_code == 416
        assert client.head(link).status_code == 200


def test_results_carry_the_durable_link(
    client: Client, auth: dict[str, str], job: Job, origin: Origin
) -> None:
    def shown(answer: Any) -> Any:
        assert answer.status_code == 200
        return answer.json

    result = shown(client.get(f"/api/v3/predictions/{job.id}/result", headers=auth))["data"]
    page = shown(client.post("/api/v3/predictions", headers=auth, json={}))["data"]["items"]
    told = shown(client.get(f"/v1/jobs/{job.id}", headers=auth))
    listed = shown(client.get("/v1/jobs", headers=auth))["data"]
    durable = f"http://hookreel.test/files/{job.id}/0.mp4?"
    for outputs in (result["outputs"], page[0]["outputs"], told["outputs"], listed[0]["outputs"]):
        assert [each[: len(durable)] for each in outputs] == [durable]
    assert "files" not in result
    assert told["files"][0]["url"] in told["outputs"]
    assert told["files"][0]["bytes"] == len(FILM)


def test_results_carry_the_vendors_link_where_nothing_is_archived_any_more(
    build: Callable[..., Service], auth: dict[str, str], job: Job, origin: Origin
) -> None:
    client = client_of(build(HOOKREEL_ARCHIVE="none"))
    told = client.get(f"/v1/jobs/{job.id}", headers=auth).get_json()
    assert (told["outputs"], told["files"]) == ([origin.url + "/film.mp4"], [])
    assert client.get(f"/files/{job.id}/0.mp4").status_code == 404


def test_only_who_asks_hears_of_archived_files(service: Service) -> None:
    made = {}
    for name, types in (("asks", ("prediction.archived",)), ("asks_not", None)):
        fields = {"url": f"http://127.0.0.1/{name}"} | ({"event_types": types} if types else {})
        made[name] = service.endpoints.create("default", fields)[0].id
    heard = service.endpoints.directory("default").matching("prediction.archived", "", 1)
    assert heard == [made["asks"]]


def test_an_archive_elsewhere_serves_no_files(build: Callable[..., Service]) -> None:
    client = client_of(build(HOOKREEL_ARCHIVE="s3://films"))
    assert client.get("/files/a/0.mp4?expires=1&signature=a").status_code == 404


def test_a_second_service_on_the_same_store_and_directory_serves_the_same(
    build: Callable[..., Service], origin: Origin
) -> None:
    one, other = build(), build()
    one.apikeys.create("default")
    job = completed(one, origin.film())
    archivist(one).archive(job.id)
    link = path(one, one.jobs.get(job.id))
    assert client_of(other).get(link).data == FILM
