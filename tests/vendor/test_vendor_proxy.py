from __future__ import annotations

import select
import socket

import pytest

from schemas.outcomes import Outcome
from service.vendor import Vendor
from tests.vendor.rawserver import reply, says

KEY = "wsk_a-key-that-nobody-may-read"
ACCEPTED = reply(200, {"code": 200, "data": {"id": "6488c2754f6f4dfea924382fa14d11bd"}})


def submit(url, proxy, **options):
    return Vendor(url, KEY, proxy, total=5, **options).submit("a/b", {}, "https://hooks.example/token")


def connect_to(port):
    """A script that opens a tunnel to this port, whatever was asked for."""

    def script(connection, _request):
        with socket.create_connection(("127.0.0.1", port)) as target:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            pass_on({connection: target, target: connection})

    return script


def pass_on(other):
    while True:
        for source in select.select(list(other), [], [])[0]:
            data = source.recv(65536)
            if not data:
                return
            other[source].sendall(data)


@pytest.fixture
def vendor(serve, secured):
    return serve(says(ACCEPTED), secured)


def test_https_goes_through_the_proxy_by_connect(serve, vendor, pem):
    proxy = serve(connect_to(vendor.port))
    result = submit(vendor.url, proxy.url.replace("://", "://user:secret@"), ca_file=str(pem))
    assert result.outcome is Outcome.ACCEPTED
    [asked] = proxy.requests
    assert (asked.method, asked.target) == ("CONNECT", f"127.0.0.1:{vendor.port}")
    assert "authorization" not in asked.headers
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    assert "proxy-authorization" not in vendor.requests[0].headers


def test_http_is_handed_to_the_proxy_whole(serve):
    proxy = serve(says(ACCEPTED))
    assert submit("http://vendor.invalid", proxy.url).outcome is Outcome.ACCEPTED
    assert proxy.requests[0].target.startswith("http://vendor.invalid/api/v3/a/b?webhook=")


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses_the_tunnel_means_nothing_was_sent(serve, vendor, pem, status):
    proxy = serve(says(reply(status)))
    result = submit(vendor.url, proxy.url, ca_file=str(pem))
    assert (result.outcome, result.row, vendor.connections) == (Outcome.REFUSED, "nothing_sent", 0)
    assert f"failed: {status}" in result.message


def test_a_proxy_that_is_not_there_means_nothing_was_sent(vendor, pem):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    result = submit(vendor.url, f"http://127.0.0.1:{port}", ca_file=str(pem))
    assert (result.outcome, result.row, vendor.connections) == (Outcome.REFUSED, "nothing_sent", 0)


def test_a_proxy_that_opens_the_tunnel_and_hangs_up_means_nothing_was_sent(serve, vendor, pem):
    proxy = serve(says(b"HTTP/1.1 200 Connection established\r\n\r\n"))
    result = submit(vendor.url, proxy.url, ca_file=str(pem))
    assert (result.outcome, result.row, vendor.connections) == (Outcome.REFUSED, "nothing_sent", 0)


def test_a_proxy_that_speaks_tls_itself_is_verified_and_used(serve, secured, pem, vendor):
    proxy = serve(connect_to(vendor.port), secured)
    assert submit(vendor.url, proxy.url, ca_file=str(pem)).outcome is Outcome.ACCEPTED
    assert submit(vendor.url, proxy.url).row == "nothing_sent"
    assert len(proxy.requests) == len(vendor.requests) == 1


def test_the_proxys_password_is_not_told(serve, caplog):
    caplog.set_level("DEBUG")
    proxy = serve(says(reply(502)))
    client = Vendor("https://vendor.invalid", KEY, proxy.url.replace("://", "://user:s3cret@"), total=5)
    told = repr(client), repr(client.submit("a/b", {}, "https://hooks.example/token")), caplog.text
    assert "s3cret" not in "".join(told)
