"""The guard at the socket: whatever the spelling, name or redirect, a receiver on loopback gets nothing."""

from __future__ import annotations

import pytest

LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f000001",
    "0X7F.1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "127%2e0.0.1",
    "0",
    "0.0.0.0",  # noqa: S104
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1%25lo]",
    "[::1%25lo]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "hook.localhost",
    "user:password@127.0.0.1",
    "example.com@127.0.0.1",
]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", LOOPBACK)
def test_no_spelling_reaches_a_receiver_on_loopback(make_sender, receive, post, host, scheme):
    receiver = receive()
    outcome = post(make_sender("10.9.8.0/24"), f"{scheme}://{host}:{receiver.port}/hook")
    assert (outcome.status, outcome.error) == (None, "blocked_address")
    assert "HOOKREEL_EGRESS_ALLOW" in outcome.detail
    assert "is not called: it is" in outcome.detail
    assert receiver.connections == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_is_judged_by_what_it_resolves_to(make_sender, receive, post, address, scheme):
    receiver = receive()
    pinned = f"hook.example:{receiver.port}:{f'[{address}]' if ':' in address else address}"
    outcome = post(make_sender(), f"{scheme}://hook.example:{receiver.port}/", resolve=(pinned,))
    assert outcome.error == "blocked_address"
    assert address.removeprefix("::ffff:") in outcome.detail
    assert receiver.connections == 0


def test_a_name_is_judged_anew_whenever_a_connection_is_opened(make_sender, receive, post):
    receiver = receive(
        lambda connection: connection.read_request() and connection.answer(b"HTTP/1.0 200 OK\r\n\r\n")
    )
    sender = make_sender("127.0.0.1")
    url = f"http://hook.example:{receiver.port}/"
    assert post(sender, url, resolve=(f"hook.example:{receiver.port}:127.0.0.1",)).delivered
    rebound = post(sender, url, resolve=(f"hook.example:{receiver.port}:127.0.0.2",))
    assert rebound.error == "blocked_address"
    assert "127.0.0.2" in rebound.detail


def test_an_allowed_address_is_called_although_the_name_has_a_refused_one_besides(make_sender, receive, post):
    receiver = receive()
    pinned = f"hook.example:{receiver.port}:10.0.0.1,127.0.0.1"
    assert post(
        make_sender("127.0.0.1"), f"http://hook.example:{receiver.port}/", resolve=(pinned,)
    ).delivered


def test_plain_http_to_a_public_address_is_stopped_at_the_socket(make_sender, post):
    outcome = post(make_sender("10.0.0.0/8"), "http://hook.example/", resolve=("hook.example:80:8.8.8.8",))
    assert outcome.error == "blocked_address"
    assert "use https" in outcome.detail


def test_a_url_without_a_scheme_counts_as_plain_http(make_sender, post):
    assert (
        post(make_sender(), "hook.example/", resolve=("hook.example:80:8.8.8.8",)).error == "blocked_address"
    )


def test_a_redirect_to_loopback_is_not_followed(make_sender, receive, post):
    inner = receive()
    answer = b"HTTP/1.1 307 X\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % inner.url().encode()

    def redirecting(connection):
        connection.read_request()
        connection.answer(answer)

    assert post(make_sender("127.0.0.1"), receive(redirecting).url()).status == 307
    assert inner.connections == 0
