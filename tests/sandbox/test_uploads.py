"""Uploads: the ticket and its PUT, the old multipart upload, and what is served again."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.sandbox.client import FAST, Client


def ticket(client: Client, size: int = 5, **more: object) -> dict[str, Any]:
    query = {"filename": "a b.jpg", "size": size, "content_type": "image/jpeg", **more}
    return dict(client.call("POST", "/api/v3/media/uploads", json=query).json()["data"])


def put(upload: dict[str, Any], data: bytes = b"12345", **headers: str | None) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        merged = {**upload["headers"], **headers}
        return session.put(upload["url"], data=data, headers=merged, timeout=10)


def test_a_ticket_takes_one_file_and_serves_it_again(client):
    given = ticket(client)
    assert given["upload"]["method"] == "PUT"
    assert put(given["upload"]).status_code == 200
    assert put(given["upload"]).status_code == 200
    served = requests.get(given["download_url"], timeout=10)
    assert (served.content, served.headers["Content-Type"]) == (b"12345", "image/jpeg")
    assert client.counts() | {"upload": 2, "upload_ticket": 1} == client.counts()


def test_the_put_wants_exactly_its_headers_and_no_authorization(client):
    upload = ticket(client)["upload"]
    assert put(upload, Authorization="Bearer x").status_code == 403
    other = {**upload, "headers": {**upload["headers"], "Content-Type": "image/png"}}
    assert put(other).status_code == 403
    assert put({**upload, "headers": {"Content-Type": "image/jpeg"}}).status_code == 403


@pytest.mark.parametrize(("data", "status"), [(b"1234", 400), (b"123456", 413)])
def test_the_put_has_the_size_that_was_announced(client, data, status):
    given = ticket(client)
    assert put(given["upload"], data).status_code == status
    assert requests.get(given["download_url"], timeout=10).status_code == 404


@pytest.mark.parametrize("query", [{"size": 201 * 1024 * 1024}, {"size": "5"}, {"filename": ""}, {"x": 1}])
def test_a_bad_ticket_query_is_400(client, query):
    body = {"filename": "a.jpg", "size": 5} | query
    assert client.call("POST", "/api/v3/media/uploads", json=body).status_code == 400


@pytest.mark.parametrize("status", [404, 500])
def test_tickets_can_be_missing(client, status):
    client.switch(upload=status)
    body = {"filename": "a.jpg", "size": 5}
    assert client.call("POST", "/api/v3/media/uploads", json=body).status_code == status


@pytest.mark.parametrize(("how", "status"), [("put_403", 403), ("put_500", 500), ("expired", 403)])
def test_a_put_can_fail(client, how, status):
    client.switch(upload=how)
    assert put(ticket(client)["upload"]).status_code == status


def test_the_old_upload_takes_a_multipart_file(client):
    response = client.call(
        "POST", "/api/v3/media/upload/binary", files={"file": ("x.png", b"abc", "image/png")}
    )
    data = response.json()["data"]
    assert (data["type"], data["filename"], data["size"]) == ("image", "x.png", 3)
    assert requests.get(data["download_url"], timeout=10).content == b"abc"
    assert client.call("POST", "/api/v3/media/upload/binary", files={"other": b"x"}).status_code == 400


def test_an_uploaded_picture_is_read_when_the_task_begins(client, rocket):
    client.switch(fetch=True)
    given = ticket(client, rocket.stat().st_size)
    put(given["upload"], rocket.read_bytes())
    task_id = client.created(model=FAST, image=given["download_url"])
    assert client.ended(task_id)["status"] == "completed"
    assert client.log("image_get")[0]["url"] == given["download_url"]


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("http://127.0.0.1:9/a.jpg", 1402, "connect"),
        ("http://169.254.169.254/a.jpg", 1402, "169.254.169.254 is not called"),
        ("http://10.1.2.3/a.jpg", 1402, "10.1.2.3 is not called"),
        ("{sandbox}/outputs/none.mp4", 1402, "404"),
        ("{sandbox}/livez", 1401, "image"),
        ("{sandbox}/bücher/ä.jpg", 1402, "404"),
    ],
)
def test_a_picture_that_cannot_be_had_fails_the_task(client, url, code, said):
    client.switch(fetch=True)
    task_id = client.created(model=FAST, image=url.format(sandbox=client.url))
    data = client.ended(task_id)
    assert (data["status"], data["code"]) == ("failed", code)
    assert said in data["error"]


def test_a_redirect_to_a_picture_is_not_followed(client, receiver, rocket):
    client.switch(fetch=True)
    given = ticket(client, rocket.stat().st_size)
    put(given["upload"], rocket.read_bytes())
    receiver.answers, receiver.location = [302], given["download_url"]
    task_id = client.created(model=FAST, image=receiver.url + "/a.jpg")
    assert "status 302" in client.ended(task_id)["error"]
