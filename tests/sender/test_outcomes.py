"""What becomes of a POST to receivers that behave, and to those that do not."""

from __future__ import annotations

import gzip
import re
import socket

import pytest

from service.sender import Request
from tests.sender.receivers import OK, answering

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def late(connection):
    connection.read_request()
    connection.receiver.released.wait(30)


def dripping(connection, status=b"200 OK"):
    connection.read_request()
    connection.answer(b"HTTP/1.1 %s\r\nContent-Length: 1000\r\n\r\n" % status)
    while not connection.receiver.released.wait(0.02):
        connection.answer(b".")


def dripping_headers(connection):
    connection.read_request()
    connection.answer(b"HTTP/1.1 200 OK\r\nX: ")
    while not connection.receiver.released.wait(0.02):
        connection.answer(b".")


def endless(connection):
    connection.read_request()
    connection.answer(CHUNKED)
    while True:
        connection.answer(b"1000\r\n" + b"x" * 4096 + b"\r\n")


def header_bomb(connection):
    connection.read_request()
    connection.answer(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.answer(b"X-Filler: " + b"x" * 4096 + b"\r\n")


def interim_bomb(connection):
    connection.read_request()
    while True:
        connection.answer(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)


def hanging_up(connection):
    connection.read_request()


def resetting(connection):
    connection.read_request()
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_a_request_arrives_as_it_was_given(sender, receive, post):
    receiver = receive()
    headers = (("content-type", "application/json"), ("webhook-id", "evt_1"), ("x-empty", ""))
    outcome = post(sender, receiver.url(path="/a/../b?c=%20d"), headers=headers, body=b'{"a":1}')
    assert (outcome.key, outcome.status, outcome.error, outcome.detail) == ("key", 200, None, "")
    assert outcome.delivered
    assert outcome.answer == b"ok"
    assert outcome.retry_after is None
    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    assert body == b'{"a":1}'
    assert head.split(b"\r\n") == [
        b"POST /a/../b?c=%20d HTTP/1.1",
        b"Host: 127.0.0.1:%d" % receiver.port,
        b"User-Agent: Hookreel/test",
        b"Accept: */*",
        b"content-type: application/json",
        b"webhook-id: evt_1",
        b"x-empty:",
        b"Content-Length: 7",
    ]


def test_a_large_body_is_sent_without_asking_first(sender, receive, post):
    receiver = receive()
    assert post(sender, receiver.url(), body=b"x" * 3_000_000).delivered
    assert b"expect" not in receiver.requests[0].lower()


def test_an_empty_body_is_a_post_all_the_same(sender, receive, post):
    receiver = receive()
    assert post(sender, receiver.url(), body=b"").delivered
    assert receiver.requests[0].startswith(b"POST /hook HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 308, 400, 401, 404, 410, 429, 500, 503])
def test_the_status_is_returned_as_it_is(sender, receive, post, status):
    outcome = post(sender, receive(answering(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)).url())
    assert (outcome.status, outcome.error) == (status, None)
    assert outcome.delivered == (status < 300)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(sender, receive, post, status):
    target = receive()
    answer = b"HTTP/1.1 %d X\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, target.url().encode())
    assert post(sender, receive(answering(answer)).url()).status == status
    assert target.connections == 0


@pytest.mark.parametrize("behaviour", [late, dripping, dripping_headers])
def test_the_timeout_is_hard(sender, receive, post, behaviour):
    outcome = post(sender, receive(behaviour).url(), timeout=0.3)
    assert outcome.error == "timeout"
    assert not outcome.delivered
    assert 300 <= outcome.duration_ms < 3000


def test_a_status_that_is_no_success_is_the_whole_answer_however_its_body_ends(sender, receive, post):
    dripping_410 = receive(lambda connection: dripping(connection, b"410 Gone"))
    outcome = post(sender, dripping_410.url(), timeout=0.3)
    assert (outcome.status, outcome.error) == (410, None)
    huge_503 = receive(answering(b"HTTP/1.1 503 X\r\nContent-Length: 999999\r\nRetry-After: 7\r\n\r\n"))
    outcome = post(sender, huge_503.url())
    assert (outcome.status, outcome.error, outcome.retry_after) == (503, None, "7")


@pytest.mark.parametrize(
    "behaviour", [endless, answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")]
)
def test_a_success_with_an_endless_or_huge_answer_is_a_failure(sender, receive, post, behaviour):
    outcome = post(sender, receive(behaviour).url())
    assert (outcome.status, outcome.error) == (200, "too_large")
    assert not outcome.delivered
    assert len(outcome.answer) <= 1024


def test_an_answer_of_64_kb_is_read_and_its_first_kilobyte_kept(sender, receive, post):
    outcome = post(
        sender, receive(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + b"ab" * 32768)).url()
    )
    assert outcome.delivered
    assert outcome.answer == b"ab" * 512


def test_headers_without_an_end_are_cut_off(sender, receive, post):
    outcome = post(sender, receive(header_bomb).url())
    assert outcome.error == "too_large"
    assert "headers" in outcome.detail


def test_interim_answers_without_an_end_are_cut_off(sender, receive, post):
    outcome = post(sender, receive(interim_bomb).url())
    assert (outcome.status, outcome.error) == (None, "protocol")


def test_a_compressed_answer_is_neither_asked_for_nor_unpacked(sender, receive, post):
    bomb = gzip.compress(b"\0" * 10_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    receiver = receive(answering(head + bomb))
    outcome = post(sender, receiver.url())
    assert outcome.delivered
    assert outcome.answer == bomb[:1024]
    assert b"accept-encoding" not in receiver.requests[0].lower()


@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n", b"<html>", b"\0" * 200, b"HTTP/9.9 abc\r\n\r\n"],
)
def test_what_is_not_http_is_a_fault_of_the_protocol(sender, receive, post, said):
    def behave(connection):
        connection.read_request()
        connection.answer(said)

    outcome = post(sender, receive(behave).url())
    assert (outcome.status, outcome.error) == (None, "protocol")
    assert outcome.detail


@pytest.mark.parametrize(
    "said",
    [
        CHUNKED + b"zzzz\xff\xfe\r\nhello",
        CHUNKED + b"f" * 30 + b"\r\nhello",
        CHUNKED + b"-5\r\nhello",
        CHUNKED + b"2\r\nok\r\n0\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_success_that_is_broken_is_a_fault_of_the_protocol(sender, receive, post, said):
    outcome = post(sender, receive(answering(said)).url())
    assert (outcome.status, outcome.error) == (200, "protocol")
    assert outcome.detail


@pytest.mark.parametrize("status", [b"000", b"099", b"101"])
def test_an_answer_of_no_final_status_is_none(sender, receive, post, status):
    def behave(connection):
        connection.read_request()
        connection.answer(b"HTTP/1.1 %s X\r\nContent-Length: 2\r\n\r\nok" % status)

    outcome = post(sender, receive(behave).url())
    assert (outcome.status, outcome.error) == (None, "protocol")
    assert outcome.detail


@pytest.mark.parametrize("coding", [b"x\x1b[31m", b'a\xff\xfe|"', b"x" * 250 + b"\xc3\xa9" * 30])
def test_a_detail_can_be_printed_whatever_the_receiver_has_said(sender, receive, post, coding):
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\nok" % coding
    outcome = post(sender, receive(answering(answer)).url())
    assert outcome.error == "protocol"
    assert outcome.detail.isprintable()
    assert len(outcome.detail.encode()) < 1024


def test_closing_without_an_answer_is_a_fault_of_the_protocol(sender, receive, post):
    outcome = post(sender, receive(hanging_up).url())
    assert (outcome.status, outcome.error) == (None, "protocol")


def test_closing_in_the_middle_of_a_success_is_a_failure(sender, receive, post):
    def behave(connection):
        connection.read_request()
        connection.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    outcome = post(sender, receive(behave).url())
    assert (outcome.status, outcome.error) == (200, "protocol")
    assert not outcome.delivered


def test_a_reset_is_a_lost_connection(sender, receive, post):
    outcome = post(sender, receive(resetting).url())
    assert (outcome.status, outcome.error) == (None, "connect")


def test_a_refused_connection_is_told_as_such(sender, post):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = post(sender, f"http://127.0.0.1:{port}/")
    assert (outcome.status, outcome.error) == (None, "connect")


def test_a_name_that_does_not_exist_is_a_dns_failure(sender, post):
    outcome = post(sender, "https://no-such-name.invalid/", timeout=30)
    assert (outcome.status, outcome.error) == (None, "dns")
    assert "no-such-name.invalid" in outcome.detail


def test_an_interim_answer_is_not_the_answer(sender, receive, post):
    assert post(sender, receive(answering(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)).url()).status == 200


@pytest.mark.parametrize("value", ["120", "90000", "Wed, 21 Oct 2065 07:28:00 GMT"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_told_as_it_stands(sender, receive, post, status, value):
    answer = f"HTTP/1.1 {status} X\r\nretry-AFTER: \t{value} \r\nContent-Length: 0\r\n\r\n".encode()
    assert post(sender, receive(answering(answer)).url()).retry_after == value


def test_of_a_retry_after_without_an_end_only_the_beginning_is_read(sender, receive, post):
    answer = b"HTTP/1.1 503 X\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % (b" ," * 50_000)
    assert len(post(sender, receive(answering(answer)).url()).retry_after) <= 100


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:1/", (("x", "a\r\nInjected: yes"),)),
        ("http://127.0.0.1:1/", (("x\n", "a"),)),
        ("http://127.0.0.1:1/", (("x", "ümlaut"),)),
        ("http://127.0.0.1:1/\u00fc", ()),
        ("http://127.0.0.1:1/\0", ()),
        ("http://127.0.0.1:999999/", ()),
        ("http://[::1/", ()),
        ("ftp://127.0.0.1:1/", ()),
        ("file:///etc/passwd", ()),
        ("gopher://127.0.0.1:1/", ()),
        ("", ()),
    ],
)
def test_a_request_that_cannot_be_sent_is_an_outcome_too(sender, post, url, headers):
    outcome = post(sender, url, headers=headers)
    assert (outcome.status, outcome.error) == (None, "protocol")
    assert outcome.detail


def test_details_repeat_neither_the_path_nor_the_password(sender, receive, post):
    for behaviour in (hanging_up, resetting, late, endless, header_bomb):
        url = receive(behaviour).url(host="user:secret@127.0.0.1", path="/secret?secret")
        assert "secret" not in repr(post(sender, url, timeout=0.5))
    assert "secret" not in post(sender, "secret://127.0.0.1/").detail.replace('"secret"', "")
    assert "secret" not in repr(
        Request("key", "https://secret/", (("authorization", "secret"),), b"secret", 1)
    )


def test_times_are_told_phase_by_phase(sender, receive, post):
    def behave(connection):
        connection.read_request()
        connection.receiver.released.wait(0.1)
        connection.answer(OK)

    outcome = post(sender, receive(behave).url())
    phases = outcome.dns_ms + outcome.connect_ms + outcome.tls_ms + outcome.first_byte_ms
    assert outcome.first_byte_ms >= 95
    assert outcome.tls_ms == 0
    assert phases <= outcome.duration_ms
    assert re.fullmatch(r"\d+", str(outcome.duration_ms))
