"""What only a real server shows: limits on bodies that are still coming, and the process by itself."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from service import rediskeys
from tests.api.conftest import bearer
from tests.waiting import eventually

FAST = "/api/v3/minimax/hailuo-02/fast"
MB = 1_000_000


def chunks(megabytes: int, sent: list[int]) -> Iterator[bytes]:
    for _ in range(megabytes):
        sent.append(MB)
        yield b"x" * MB


@pytest.fixture
def headers(service):
    return {**bearer(service), "Content-Type": "application/json"}


def test_a_body_over_the_limit_is_refused_before_it_is_read(served, headers):
    for given, status in ((headers, 413), ({"Content-Type": "application/json"}, 401)):
        response = requests.post(served + FAST, headers=given, data=b"x" * (58 * MB), timeout=30)
        assert (response.status_code, response.json()["code"]) == (status, status)


def test_a_body_without_a_length_is_read_up_to_the_limit(served, headers):
    sent: list[int] = []
    response = requests.post(served + FAST, headers=headers, data=chunks(200, sent), timeout=30)
    assert response.status_code == 413
    assert response.json()["message"] == "the body is too large; at most 57000000 bytes"
    assert sum(sent) < 200 * MB
    body = json.dumps({"image": "https://a.example/a.jpg"}).encode()
    response = requests.post(served + FAST, headers=headers, data=iter([body[:9], body[9:]]), timeout=30)
    assert response.status_code == 200


def test_the_largest_body_is_read_whole(served, headers):
    body = json.dumps({"image": "data:image/jpeg;base64," + "A" * (57 * MB - 36)}).encode()
    assert len(body) == 57 * MB
    response = requests.post(served + FAST, headers=headers, data=body, timeout=30)
    assert response.status_code == 400
    assert response.json()["message"].startswith("image: is ")


def test_a_callback_over_the_limit_is_refused_before_it_is_read(served):
    url = f"{served}/callbacks/wavespeed/{'a' * 32}/{'b' * 32}"
    assert requests.post(url, data=b"x" * (50 * MB), timeout=30).status_code == 413
    sent: list[int] = []
    assert requests.post(url, data=chunks(200, sent), timeout=30).status_code == 404
    assert sum(sent) < 200 * MB


def test_a_body_that_breaks_off_is_400_or_nothing(served, headers):
    place = urlsplit(served)
    lines = [f"POST {FAST} HTTP/1.1", "Host: x", "Content-Length: 100"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection((place.hostname, place.port)) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(20)
        answer = connection.recv(65536)
    assert answer.split(b" ", 2)[1:2] in ([], [b"400"])
    assert (
        requests.post(f"{served}/api/v3/predictions", headers=headers, json={}, timeout=10).json()["data"][
            "items"
        ]
        == []
    )


def test_raw_bytes_in_headers_and_paths_are_4xx(served, service):
    place = urlsplit(served)
    for head in (
        b"POST /callbacks/wavespeed/"
        + b"a" * 32
        + b"/%ff%00 HTTP/1.1\r\nHost: x\r\nwebhook-id: \xff\xfe\r\n",
        b"GET /api/v3/predictions/%ff%00/result HTTP/1.1\r\nHost: \xff\r\nAuthorization: Bearer \xe9\r\n",
        b"POST /api/v3/a/b?webhook=\xff HTTP/1.1\r\nHost: x\r\nContent-Type: \xff\r\n",
    ):
        with socket.create_connection((place.hostname, place.port)) as connection:
            connection.sendall(head + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
            connection.settimeout(20)
            assert connection.recv(65536).split(b" ", 2)[1][:1] == b"4"


def test_the_process_beats_and_says_where_the_vendor_calls_back(served, service):
    client = service.store.client
    assert eventually(lambda: client.hget(rediskeys.SERVICE, "public_url") == served.encode())
    assert eventually(lambda: any(name.startswith(b"web-") for name in client.hkeys(rediskeys.BEATS)))


def test_the_urls_lead_to_the_origin_that_was_asked(served, headers):
    body = {"image": "https://a.example/a.jpg"}
    data = requests.post(served + FAST, headers=headers, json=body, timeout=10).json()["data"]
    assert data["urls"]["get"] == f"{served}/api/v3/predictions/{data['id']}/result"
    got = requests.get(data["urls"]["get"], headers=headers, timeout=10).json()
    assert got == {"code": 200, "message": "success", "data": data}
