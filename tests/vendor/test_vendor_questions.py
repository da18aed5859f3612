from __future__ import annotations

import json
import socket

import pytest

from service.errors import VendorUnavailable
from service.vendor import UploadUnsupported, Vendor, VendorRefused
from tests.vendor.rawserver import reply, says

KEY = "wsk_a-key-that-nobody-may-read"
ID = "6488c2754f6f4dfea924382fa14d11bd"


def fine(data, **headers):
    return reply(200, {"code": 200, "message": "success", "data": data}, **headers)


def client(server, total=5.0):
    return Vendor(server.url, KEY, total=total)


QUESTIONS = {
    "balance": (lambda v: v.balance(), ("GET", "/balance", None), {"balance": 12.5}, 12.5),
    "price": (
        lambda v: v.price("a/b", {"duration": 6}),
        ("POST", "/model/price", {"model_id": "a/b", "inputs": {"duration": 6}}),
        {"price": 0.1},
        0.1,
    ),
    "result": (
        lambda v: v.result(ID),
        ("GET", f"/predictions/{ID}/result", None),
        {"id": ID, "status": "failed", "code": 1200},
        {"id": ID, "status": "failed", "code": 1200},
    ),
    "a strange id": (lambda v: v.result("../x?y"), ("GET", "/predictions/..%2Fx%3Fy/result", None), {}, {}),
    "delete": (
        lambda v: v.delete([ID]),
        ("POST", "/predictions/delete", {"ids": [ID]}),
        {"deleted_count": 1},
        1,
    ),
    "models": (lambda v: v.models(), ("GET", "/models", None), [{"model_id": "a"}, 7], [{"model_id": "a"}]),
    "ticket": (
        lambda v: v.ticket({"filename": "a", "size": 1}),
        ("POST", "/media/uploads", {"filename": "a", "size": 1}),
        {"download_url": "x"},
        {"download_url": "x"},
    ),
    "secret": (
        lambda v: v.webhook_secret(),
        ("GET", "/webhook/secret", None),
        {"secret": "whsec_x"},
        "whsec_x",
    ),
    "secret as a string": (
        lambda v: v.webhook_secret(),
        ("GET", "/webhook/secret", None),
        "whsec_x",
        "whsec_x",
    ),
}


@pytest.mark.parametrize(("ask", "expected", "data", "result"), QUESTIONS.values(), ids=QUESTIONS)
def test_a_question_is_asked_as_documented(serve, ask, expected, data, result):
    server = serve(says(fine(data)))
    assert ask(client(server)) == result
    [request] = server.requests
    method, path, body = expected
    assert (request.method, request.target) == (method, f"/api/v3{path}")
    assert (json.loads(request.body) if request.body else None) == body
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_the_base_url_may_already_end_in_the_apis_path(serve):
    server = serve(says(fine({"balance": 1})))
    Vendor(server.url + "/api/v3/", KEY).balance()
    assert server.requests[0].target == "/api/v3/balance"


def test_the_secret_may_stand_at_the_top(serve):
    assert client(serve(says(reply(200, {"secret": "whsec_top"})))).webhook_secret() == "whsec_top"


@pytest.mark.parametrize(("ask", "expected", "data", "result"), QUESTIONS.values(), ids=QUESTIONS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501])
def test_a_refusal_keeps_its_status_and_its_words(serve, ask, expected, data, result, status):
    server = serve(says(reply(status, {"code": status, "message": f"no, {KEY}"})))
    with pytest.raises(VendorRefused, match="no, ") as refusal:
        ask(client(server))
    assert (refusal.value.status, refusal.value.permanent) == (status, True)
    assert KEY not in str(refusal.value)


def test_a_refused_key_is_told_to_be_the_operators(serve):
    server = serve(says(reply(401, {"message": "unauthorized"})))
    with pytest.raises(VendorRefused, match="WAVESPEED_API_KEY: unauthorized"):
        client(server).balance()


def test_a_refusal_may_hide_in_the_envelope_of_a_200(serve):
    server = serve(says(reply(200, {"code": 404, "message": "no such id"})))
    with pytest.raises(VendorRefused, match="no such id") as refusal:
        client(server).result(ID)
    assert refusal.value.status == 404


CLOSED = says(b"")
TROUBLE = {
    "500": says(reply(500, {"message": "internal"})),
    "502": says(reply(502, b"error code: 502")),
    "503 without words": says(reply(503)),
    "429": says(reply(429)),
    "408": says(reply(408)),
    "307": says(reply(307, b"", Location="/elsewhere")),
    "envelope 500": says(reply(200, {"code": 500})),
    "envelope 429": says(reply(200, {"code": 429})),
    "envelope nonsense": says(reply(200, {"code": "x", "data": {}})),
    "no JSON": says(reply(200, b"ok")),
    "no data": says(reply(200, {"code": 200, "data": None})),
    "strange data": says(reply(200, {"code": 200, "data": 7})),
    "cut": CLOSED,
    "cut in the body": says(fine({"balance": 1})[:-5]),
}


@pytest.mark.parametrize("script", TROUBLE.values(), ids=TROUBLE)
@pytest.mark.parametrize(
    "ask",
    [
        lambda v: v.balance(),
        lambda v: v.price("a", {}),
        lambda v: v.result(ID),
        lambda v: v.models(),
        lambda v: v.webhook_secret(),
        lambda v: v.ticket({}),
    ],
    ids=["balance", "price", "result", "models", "webhook_secret", "ticket"],
)
def test_trouble_means_ask_again_later(serve, ask, script):
    with pytest.raises(VendorUnavailable) as trouble:
        ask(client(serve(script)))
    assert (trouble.value.status, trouble.value.permanent) == (503, False)
    assert "HTTP 5" not in str(trouble.value)


def test_no_vendor_at_all_means_ask_again_later():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(VendorUnavailable, match="Connection refused"):
        Vendor(url, KEY).balance()


def test_a_vendor_that_says_nothing_does_not_hold_us(serve):
    server = serve(lambda connection, _request: connection.recv(1))
    with pytest.raises(VendorUnavailable, match="deadline"):
        client(server, total=0.1).price("a", {})


def test_the_wait_that_the_vendor_asks_for_is_kept(serve):
    with pytest.raises(VendorUnavailable) as trouble:
        client(serve(says(reply(429, b"", Retry_After="17")))).balance()
    assert trouble.value.retry_after == 17


@pytest.mark.parametrize("bad", [b"", reply(500), reply(502, b"error code: 502")])
def test_a_get_is_asked_three_times(serve, bad):
    server = serve(says(bad, bad, fine({"balance": 3})))
    assert client(server).balance() == 3
    assert len(server.requests) == 3


@pytest.mark.parametrize("bad", [reply(429), reply(404), reply(200, b"ok")])
def test_a_get_that_was_answered_is_not_asked_again(serve, bad):
    server = serve(says(bad, fine({"balance": 3})))
    with pytest.raises((VendorUnavailable, VendorRefused)):
        client(server).balance()
    assert len(server.requests) == 1


def test_a_post_is_asked_once(serve):
    server = serve(says(b"", fine({"price": 3})))
    with pytest.raises(VendorUnavailable):
        client(server).price("a", {})
    assert len(server.requests) == 1


def granting(storage_url, **changes):
    ticket = {
        "download_url": f"{storage_url}/files/a.jpg",
        "upload": {
            "method": "PUT",
            "url": f"{storage_url}/put?signature=s1gn4ture",
            "headers": {"Content-Type": "image/jpeg", "x-amz-acl": "public-read"},
            "expires_at": "2026-11-22T05:28:00Z",
        },
    }
    return {**ticket, **changes}


@pytest.fixture
def storage(serve):
    return serve(says(reply(200)))


def test_bytes_go_up_by_the_vendors_ticket(serve, storage):
    server = serve(says(fine(granting(storage.url))))
    data = bytes(range(256)) * 1000
    assert client(server).upload("a.jpg", data, "image/jpeg") == f"{storage.url}/files/a.jpg"
    asked = {"filename": "a.jpg", "size": len(data), "content_type": "image/jpeg"}
    assert json.loads(server.requests[0].body) == asked
    [put] = storage.requests
    assert (put.method, put.target, put.body) == ("PUT", "/put?signature=s1gn4ture", data)
    assert put.headers["x-amz-acl"] == "public-read"
    assert put.headers["content-type"] == "image/jpeg"
    assert "authorization" not in put.headers


@pytest.mark.parametrize("headers", [None, {}])
def test_a_ticket_may_ask_for_no_headers(serve, storage, headers):
    ticket = granting(storage.url)
    ticket["upload"]["headers"] = headers
    assert client(serve(says(fine(ticket)))).upload("a.jpg", b"x", "image/jpeg")
    assert "content-type" not in storage.requests[0].headers


@pytest.mark.parametrize(
    "answer",
    [
        *(reply(status, {"message": "no uploads"}) for status in (400, 401, 403, 404, 405, 501)),
        fine({}),
        fine(granting("ftp://storage")),
        fine(granting("http://storage", upload=None)),
        fine(granting("http://storage", upload={"method": "POST", "url": "http://storage/"})),
        fine(granting("http://storage", download_url=7)),
    ],
)
def test_a_vendor_that_gives_no_ticket_means_that_the_bytes_go_inline(serve, answer):
    server = serve(says(answer))
    with pytest.raises(UploadUnsupported):
        client(server).upload("a.jpg", b"x", "image/jpeg")
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [reply(500), reply(429), reply(408), b"", reply(200, b"ok")])
def test_a_ticket_that_did_not_come_is_asked_for_later(serve, answer):
    with pytest.raises(VendorUnavailable):
        client(serve(says(answer))).upload("a.jpg", b"x", "image/jpeg")


@pytest.mark.parametrize("answer", [reply(403), reply(500), reply(307, b"", Location="/again"), b""])
def test_an_upload_that_did_not_get_through_may_be_repeated(serve, answer):
    storage = serve(says(answer, reply(200)))
    vendor = client(serve(says(fine(granting(storage.url)))))
    with pytest.raises(VendorUnavailable) as trouble:
        vendor.upload("a.jpg", b"x", "image/jpeg")
    assert "s1gn4ture" not in str(trouble.value)
    assert vendor.upload("a.jpg", b"x", "image/jpeg").endswith("/files/a.jpg")


def test_an_uploads_signature_is_in_no_log(serve, storage, caplog):
    caplog.set_level("DEBUG")
    client(serve(says(fine(granting(storage.url))))).upload("a.jpg", b"x", "image/jpeg")
    assert "PUT /put" in caplog.text
    assert "s1gn4ture" not in caplog.text
