from __future__ import annotations

import json
import logging
import socket
import struct
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from marshmallow import ValidationError

from schemas.outcomes import Outcome
from service.vendor import Vendor
from tests.vendor.rawserver import reply, says

KEY = "wsk_a-key-that-nobody-may-read"
TOKEN = "t0ken-of-this-submission"
WEBHOOK = f"https://hooks.example/callbacks/wavespeed/job_1/{TOKEN}?a=1&b=x%20y"
MODEL = "minimax/hailuo-02/fast"
BODY = {"image": "https://example.com/a.jpg", "prompt": "a fox ü", "duration": 6}
ID = "6488c2754f6f4dfea924382fa14d11bd"
ACCEPTED = {"code": 200, "message": "success", "data": {"id": ID, "status": "created", "outputs": []}}
DEADLINE = 1.0


def submit(url, total=DEADLINE, **options):
    return Vendor(url, KEY, total=total, **options).submit(MODEL, BODY, WEBHOOK)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_submission_is_one_post_with_the_key_the_body_and_the_webhook(serve):
    server = serve(says(reply(200, ACCEPTED)))
    result = submit(server.url, total=5)
    assert (result.outcome, result.upstream_id) == (Outcome.ACCEPTED, ID)
    [request] = server.requests
    assert (request.method, urlsplit(request.target).path) == ("POST", f"/api/v3/{MODEL}")
    assert parse_qs(urlsplit(request.target).query) == {"webhook": [WEBHOOK]}
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["connection"] == "close"
    assert json.loads(request.body) == BODY


def test_every_submission_has_a_connection_of_its_own(serve):
    server = serve(says(reply(200, ACCEPTED)))
    vendor = Vendor(server.url, KEY, total=5)
    for _ in range(3):
        vendor.submit(MODEL, BODY, WEBHOOK)
    assert (server.connections, len(server.requests)) == (3, 3)


def cut(_connection, _request):
    """Close without a word."""


def reset(connection, _request):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(connection, _request):
    """Until the client goes away."""
    connection.recv(1)


def drip(start, every=0.02):
    """The start of an answer at once, then a byte now and then for ever."""

    def script(connection, request):
        connection.sendall(start)
        while not connection_stopped(connection, every):
            connection.sendall(b" ")

    return script


def connection_stopped(connection, seconds):
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


def partial(answer, missing=10):
    return lambda connection, _request: connection.sendall(answer[:-missing])


def chunked_and_cut(connection, _request):
    connection.sendall(b'HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"cod\r\n')


def not_http(connection, _request):
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def huge(connection, _request):
    connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 99999999\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


GZIPPED_NONSENSE = reply(200, b"\x1f\x8bnonsense", Content_Encoding="gzip")

ROWS = {
    "429": (says(reply(429, {"message": "slow"})), Outcome.REFUSED, "slow_down"),
    "429 cut": (partial(reply(429, {"message": "slow"})), Outcome.REFUSED, "slow_down"),
    "400": (
        says(reply(400, {"code": 400, "message": "Insufficient credits. Please top up."})),
        Outcome.FAILED,
        "refused_for_good",
    ),
    "401": (says(reply(401, {"code": 401, "message": "no key"})), Outcome.FAILED, "refused_for_good"),
    "403": (says(reply(403, {"error": "forbidden"})), Outcome.FAILED, "refused_for_good"),
    "404": (says(reply(404, b"no such model")), Outcome.FAILED, "refused_for_good"),
    "408": (says(reply(408)), Outcome.UNKNOWN, "request_timeout"),
    "500": (says(reply(500, {"code": 500, "message": "HTTP 500"})), Outcome.UNKNOWN, "no_success"),
    "502 as text": (says(reply(502, b"error code: 502")), Outcome.UNKNOWN, "no_success"),
    "504": (says(reply(504)), Outcome.UNKNOWN, "no_success"),
    "103": (says(b"HTTP/1.1 103 Early\r\n\r\n"), Outcome.UNKNOWN, "no_success"),
    "100 and no more": (says(b"HTTP/1.1 100 Continue\r\n\r\n"), Outcome.UNKNOWN, "cut_off"),
    "200 not JSON": (says(reply(200, b"ok")), Outcome.UNKNOWN, "unreadable"),
    "200 bad gzip": (says(GZIPPED_NONSENSE), Outcome.UNKNOWN, "unreadable"),
    "200 without an id": (says(reply(200, {"code": 200, "data": {}})), Outcome.UNKNOWN, "no_id"),
    "200 with a null": (says(reply(200, {"code": 200, "data": None})), Outcome.UNKNOWN, "no_id"),
    "200 with code 500": (says(reply(200, {"code": 500, "message": "no"})), Outcome.UNKNOWN, "no_id"),
    "200 with code 400": (
        says(reply(200, {"code": 400, "message": "no"})),
        Outcome.FAILED,
        "envelope_refused_for_good",
    ),
    "200 with code 429": (says(reply(200, {"code": 429})), Outcome.REFUSED, "envelope_slow_down"),
    "200 with code 408": (says(reply(200, {"code": 408})), Outcome.UNKNOWN, "envelope_request_timeout"),
    "cut after the request": (cut, Outcome.UNKNOWN, "cut_off"),
    "reset after the request": (reset, Outcome.UNKNOWN, "cut_off"),
    "not HTTP": (not_http, Outcome.UNKNOWN, "cut_off"),
    "cut in the status line": (says(b"HTTP/1.1 20"), Outcome.UNKNOWN, "cut_off"),
    "cut in the headers": (says(b"HTTP/1.1 200 X\r\nContent-Le"), Outcome.UNKNOWN, "unreadable"),
    "cut in the body": (partial(reply(200, ACCEPTED)), Outcome.UNKNOWN, "unreadable"),
    "cut in a chunk": (chunked_and_cut, Outcome.UNKNOWN, "unreadable"),
    "no answer": (silent, Outcome.UNKNOWN, "cut_off"),
    "dripping status line": (drip(b"HTTP/1."), Outcome.UNKNOWN, "cut_off"),
    "dripping headers": (drip(b"HTTP/1.1 200 X\r\nX-A: "), Outcome.UNKNOWN, "unreadable"),
    "dripping body": (
        drip(b"HTTP/1.1 200 X\r\nContent-Length: 5000\r\n\r\n{"),
        Outcome.UNKNOWN,
        "unreadable",
    ),
    "dripping for ever": (drip(b"HTTP/1.1 200 X\r\n\r\n{"), Outcome.UNKNOWN, "unreadable"),
    "huge": (huge, Outcome.UNKNOWN, "unreadable"),
}


@pytest.mark.parametrize(("script", "outcome", "row"), ROWS.values(), ids=ROWS)
def test_a_misbehaving_vendor_is_understood_and_gets_one_post(serve, script, outcome, row):
    server = serve(script)
    started = time.monotonic()
    result = submit(server.url)
    assert (result.outcome, result.row) == (outcome, row)
    assert len(server.requests) == server.connections == 1
    assert time.monotonic() - started < 5
    assert "HTTP 5" not in result.message
    assert result.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(serve, status):
    elsewhere = serve(says(reply(200, ACCEPTED)))
    server = serve(says(reply(status, b"", Location=elsewhere.url + "/")))
    assert submit(server.url).row == "no_success"
    assert (len(server.requests), elsewhere.requests) == (1, [])


def test_a_redirect_to_the_same_server_is_not_followed_either(serve):
    server = serve(says(reply(307, b"", Location="/api/v3/again"), reply(200, ACCEPTED)))
    assert submit(server.url).outcome is Outcome.UNKNOWN
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [200, 307, 500])
def test_an_answer_over_a_megabyte_is_not_read_to_its_end(serve, status):
    server = serve(says(reply(status, {**ACCEPTED, "padding": "x" * 4_000_000}, Location="/again")))
    result = submit(server.url, total=5)
    assert (result.outcome, len(server.requests)) == (Outcome.UNKNOWN, 1)
    assert "longer than 1048576 bytes" in result.message


def test_an_answer_that_never_ends_is_taken_once_it_says_all(serve):
    server = serve(drip(b"HTTP/1.1 200 X\r\n\r\n" + json.dumps(ACCEPTED).encode()))
    assert submit(server.url, total=1).upstream_id == ID


@pytest.mark.parametrize(
    ("asked", "seconds"), [("7", 7.0), ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0), ("soon", None)]
)
def test_the_vendors_retry_after_is_understood(serve, asked, seconds):
    server = serve(says(reply(429, b"", Retry_After=asked)))
    assert submit(server.url, now=lambda: 40.0).retry_after == seconds


def test_an_absurd_retry_after_ends_at_a_day(serve):
    server = serve(says(reply(429, b"", Retry_After="9" * 400)))
    assert submit(server.url).retry_after == 86_400.0


def test_a_name_that_does_not_resolve_means_nothing_was_sent():
    result = submit("http://vendor.invalid", total=20)
    assert (result.outcome, result.row) == (Outcome.REFUSED, "nothing_sent")


def test_a_refused_connection_means_nothing_was_sent():
    result = submit(f"http://127.0.0.1:{free_port()}")
    assert (result.outcome, result.row) == (Outcome.REFUSED, "nothing_sent")
    assert "refused" in result.message


def test_a_certificate_that_nobody_vouches_for_means_nothing_was_sent(serve, secured):
    server = serve(says(reply(200, ACCEPTED)), secured)
    result = submit(server.url, total=5)
    assert (result.outcome, result.row) == (Outcome.REFUSED, "nothing_sent")
    assert "self-signed certificate" in result.message
    assert server.requests == []


@pytest.mark.parametrize("nonsense", [b"", reply(400, b"plain HTTP here"), b"\x15\x03\x01\x00\x02\x02\x28"])
def test_a_server_that_speaks_no_tls_gets_no_request(serve, nonsense):
    server = serve(says(reply(200, ACCEPTED)), nonsense=nonsense)
    result = submit(server.url.replace("http:", "https:"), total=5)
    assert (result.outcome, result.row) == (Outcome.REFUSED, "nothing_sent")
    assert server.requests == []


def test_the_deadline_ends_a_handshake_that_goes_nowhere():
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = submit(f"https://127.0.0.1:{server.getsockname()[1]}", connect_timeout=60)
    assert result.outcome is Outcome.REFUSED
    assert "deadline" in result.message


def test_tls_with_a_known_authority_works(serve, secured, pem):
    server = serve(says(reply(200, ACCEPTED)), secured)
    assert submit(server.url, total=5, ca_file=str(pem)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    "script", [cut, reset, silent, drip(b"HTTP/1.1 200 X\r\nContent-Length: 99\r\n\r\n")]
)
def test_what_breaks_off_over_tls_is_unknown_too(serve, secured, pem, script):
    server = serve(script, secured)
    result = submit(server.url, total=0.6, ca_file=str(pem))
    assert (result.outcome, len(server.requests)) == (Outcome.UNKNOWN, 1)


def test_a_claim_that_grew_too_old_sends_nothing(serve):
    server = serve(says(reply(200, ACCEPTED)))
    asked = []

    def may_send():
        asked.append(len(server.requests))
        return False

    result = Vendor(server.url, KEY, total=5).submit(MODEL, BODY, WEBHOOK, may_send)
    assert (result.outcome, result.row) == (Outcome.REFUSED, "nothing_sent")
    assert (asked, server.requests) == ([0], [])


def test_a_body_that_outlasts_the_connect_timeout_is_sent_whole(serve):
    server = serve(says(reply(200, ACCEPTED)), pause=0.3)
    vendor = Vendor(server.url, KEY, connect_timeout=0.1, total=10)
    body = {"image": "data:image/jpeg;base64," + "A" * 16_000_000}
    assert vendor.submit(MODEL, body, WEBHOOK).outcome is Outcome.ACCEPTED
    assert json.loads(server.requests[0].body) == body


@pytest.mark.parametrize(
    "model",
    ["", "predictions/delete", "../delete", "a//b", "a/../b", "/a", "a/", "a?b", "a b", "a\r\nb", "ü"],
)
def test_a_model_that_is_no_plain_path_is_never_sent(serve, model):
    server = serve(says(reply(200, ACCEPTED)))
    with pytest.raises(ValidationError):
        Vendor(server.url, KEY).submit(model, BODY, WEBHOOK)
    assert server.connections == 0


def test_netrc_and_the_environments_proxies_do_not_matter(serve, monkeypatch, tmp_path):
    server = serve(says(reply(200, ACCEPTED)))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password thief\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert submit(server.url, total=5).outcome is Outcome.ACCEPTED
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_neither_key_nor_token_is_told_to_anybody(serve, caplog):
    caplog.set_level(logging.DEBUG)
    echo = {"code": 400, "message": f"cannot call {WEBHOOK} for {KEY} ({TOKEN})"}
    spoilt = b"HTTP/1.1 400 X\r\nA: b\r\nno colon\r\nC: d\r\n\r\n"
    server = serve(says(reply(400, echo), spoilt, reply(200, ACCEPTED)))
    vendor = Vendor(server.url, KEY, total=5, proxy="")
    told = [repr(vendor.submit(MODEL, BODY, WEBHOOK)) for _ in range(3)]
    told += [repr(vendor), str(vendor.__class__), caplog.text]
    told += [repr(submit(f"http://127.0.0.1:{free_port()}")), repr(Vendor("https://u:pass@host", KEY))]
    assert "POST /api/v3" in caplog.text
    for secret in (KEY, TOKEN, "hooks.example", "pass"):
        assert not [text for text in told if secret in text]
