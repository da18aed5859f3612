"""Retry, replay, recover, try out, redact and delete, under ``/v1``."""

from __future__ import annotations

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from schemas.eventtypes import EVENT_TYPES, FINAL_TYPES
from service import rediskeys
from service.deliveries import delivery_id
from service.ids import made_at
from service.records import Attempt
from service.signing import sign_v1, verify_v3
from service.store import CLAIM, OUTCOMES

AT = 1_790_000_000_000


def problem(answer, status, code):
    assert (answer.status_code, answer.json["type"]) == (status, f"urn:hookreel:{code}"), answer.text
    return answer.json["detail"]


@pytest.fixture
def exhausted(story, endpoint):
    """A delivery that was given up: its event, its endpoint, its id."""
    made = endpoint(headers={"authorization": "Bearer secret", "x-team": "video"})
    event = story.fanned_out(story.completed(metadata={"order": 42}), made["id"])
    story.attempted("r0", Attempt(AT, None, "connect", 12))
    story.attempted("x", Attempt(AT + 5000, 500, None, 7))
    return event, made, delivery_id(event, made["id"])


# -- one delivery ---------------------------------------------------------------------------------------


def test_a_retried_delivery_is_shown_as_it_is_now(call, exhausted):
    _, _, wanted = exhausted
    answer = call("POST", f"/v1/deliveries/{wanted}/retry")
    assert (answer.status_code, answer.json["state"], answer.json["attempt_count"]) == (202, "retrying", 2)
    assert call.get(f"/v1/deliveries/{wanted}") == answer.json


def test_what_is_under_way_is_neither_retried_nor_cancelled(call, story, endpoint, service):
    made = endpoint()
    event = story.fanned_out(story.completed(), made["id"])
    service.store.run(CLAIM, ["token", 1, 64])
    for verb in ("retry", "cancel"):
        answer = call("POST", f"/v1/deliveries/{delivery_id(event, made['id'])}/{verb}")
        assert "under way just now" in problem(answer, 409, "conflict")


def test_only_a_delivery_that_waits_is_cancelled(call, exhausted):
    _, _, wanted = exhausted
    answer = call("POST", f"/v1/deliveries/{wanted}/cancel")
    assert "is exhausted; only one that waits" in problem(answer, 409, "conflict")
    call("POST", f"/v1/deliveries/{wanted}/retry")
    answer = call("POST", f"/v1/deliveries/{wanted}/cancel")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")


def test_answers_are_shown_beside_their_attempts(call, story, endpoint, service):
    made = endpoint()
    event = story.fanned_out(story.completed(), made["id"])
    for number in range(3):
        service.store.run(CLAIM, ["token", 1, 64])
        item = Attempt(AT + number, 500, None, 7).item()
        words = ["default", made["id"], event, "token", "r0", f"{item}\nanswer {number}"]
        service.store.run(OUTCOMES, words)
    attempts = call.get(f"/v1/deliveries/{delivery_id(event, made['id'])}")["attempts"]
    assert [each.get("answer") for each in attempts] == ["answer 0", None, "answer 2"]


# -- the request of an attempt --------------------------------------------------------------------------


def test_the_request_of_an_attempt_verifies_and_hides_the_subscribers_own_headers(call, exhausted):
    event, made, wanted = exhausted
    found = call.get(f"/v1/deliveries/{wanted}/attempts/2/request")
    assert (found["method"], found["url"]) == ("POST", made["url"])
    headers = found["headers"]
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == (event, str((AT + 5000) // 1000))
    assert (headers["authorization"], headers["x-team"]) == ("***", "***")
    signature = sign_v1(made["secret"], event, (AT + 5000) // 1000, found["body"].encode())
    assert headers["webhook-signature"] == signature
    assert json.loads(found["body"])["data"]["metadata"] == {"order": 42}
    first = call.get(f"/v1/deliveries/{wanted}/attempts/1/request")["headers"]
    assert first["webhook-timestamp"] == str(AT // 1000)
    assert first["webhook-signature"] != headers["webhook-signature"]


def test_the_request_to_a_jobs_own_webhook_is_in_the_vendors_format(call, story, service):
    job = story.completed(webhook="https://example.com/own")
    wanted = delivery_id(story.fanned_out(job, job.own_endpoint), job.own_endpoint)
    story.attempted("d", Attempt(AT, 200, None, 7))
    found = call.get(f"/v1/deliveries/{wanted}/attempts/1/request")
    secret = service.workspace_secrets.of("default").newest
    verify_v3(secret, found["headers"], found["body"].encode(), AT / 1000)
    assert json.loads(found["body"])["id"] == job.id


def test_a_request_that_cannot_be_made_any_more_is_told_in_words(call, exhausted, service, story, endpoint):
    event, made, wanted = exhausted
    path = f"/v1/deliveries/{wanted}/attempts"
    assert "2 have ended" in problem(call("GET", f"{path}/3/request"), 404, "not_found")
    problem(call("GET", f"{path}/0/request"), 404, "not_found")
    problem(call("GET", f"{path}/x/request"), 404, "not_found")
    call("POST", f"/v1/events/{event}/redact")
    assert "was redacted" in problem(call("GET", f"{path}/1/request"), 409, "conflict")
    call("DELETE", f"/v1/endpoints/{made['id']}")
    assert "was deleted" in problem(call("GET", f"{path}/1/request"), 409, "conflict")
    lost, made = story.completed(), endpoint()
    wanted = delivery_id(story.fanned_out(lost, made["id"]), made["id"])
    story.attempted("b0", Attempt(AT, None, "interrupted", 0))
    assert "interrupted" in problem(
        call("GET", f"/v1/deliveries/{wanted}/attempts/1/request"), 409, "conflict"
    )


# -- one event ------------------------------------------------------------------------------------------


def test_a_replay_says_how_many_wait_and_how_many_were_under_way(call, story, endpoint, service):
    first, second = endpoint(), endpoint(event_types=["prediction.failed"])
    event = story.fanned_out(story.completed(), first["id"])
    answer = call("POST", f"/v1/events/{event}/replay")
    assert (answer.status_code, answer.json) == (202, {"event": event, "waiting": 1, "under_way": 0})
    service.store.run(CLAIM, ["token", 1, 64])
    answer = call("POST", f"/v1/events/{event}/replay", json={})
    assert answer.json == {"event": event, "waiting": 0, "under_way": 1}
    answer = call("POST", f"/v1/events/{event}/replay", json={"endpoint": second["id"]})
    assert answer.json == {"event": event, "waiting": 1, "under_way": 0}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"endpoint": "ep/1"}, "/endpoint"), ({"endpoint": 1}, "/endpoint"), ({"to": 1}, "/to")],
)
def test_a_replay_to_what_is_no_endpoint_names_the_field(call, story, endpoint, body, pointer):
    event = story.fanned_out(story.completed(), endpoint()["id"])
    answer = call("POST", f"/v1/events/{event}/replay", json=body)
    assert answer.json["errors"][0]["pointer"] == pointer
    problem(call("POST", f"/v1/events/{event}/replay", json={"endpoint": "ep_none"}), 404, "not_found")


def test_an_events_payload_is_taken_away(call, story, endpoint, exhausted, service):
    event, _, wanted = exhausted
    service.store.client.hset(rediskeys.event(event), f"last:{exhausted[1]['id']}", f"{AT + 5000}|secret")
    assert call.get(f"/v1/deliveries/{wanted}")["attempts"][1]["answer"] == "secret"
    before = call.get(f"/v1/events/{event}")
    answer = call("POST", f"/v1/events/{event}/redact")
    left = {name: before["data"][name] for name in ("id", "model", "status", "created_at")}
    assert answer.json == {**before, "data": {**left, "redacted": True}}
    assert call.get(f"/v1/events/{event}") == answer.json
    assert call.get("/v1/events")["data"] == [answer.json]
    assert "answer" not in call.get(f"/v1/deliveries/{wanted}")["attempts"][1]


def test_a_deleted_event_is_gone_with_its_deliveries_and_its_job_stays(call, story, exhausted):
    event, _, wanted = exhausted
    job = call.get(f"/v1/deliveries/{wanted}")["job"]
    assert call("DELETE", f"/v1/events/{event}").status_code == 204
    for path in (f"/v1/events/{event}", f"/v1/deliveries/{wanted}"):
        problem(call("GET", path), 404, "not_found")
    assert call.get("/v1/events")["data"] == call.get("/v1/deliveries")["data"] == []
    assert call.get(f"/v1/jobs/{job}")["events"] == [event]
    assert call.get(f"/v1/deliveries?job={job}")["data"] == []
    problem(call("DELETE", f"/v1/events/{event}"), 404, "not_found")


# -- a job ----------------------------------------------------------------------------------------------


class Vendor(ThreadingHTTPServer):
    """Deletes whatever it is asked to; keeps what that was."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), VendorHandler)
        self.deleted = []


class VendorHandler(BaseHTTPRequestHandler):
    server: Vendor

    def do_POST(self):
        ids = json.loads(self.rfile.read(int(self.headers["content-length"])))["ids"]
        self.server.deleted += ids
        body = json.dumps({"code": 200, "message": "success", "data": {"deleted_count": len(ids)}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        return


def lead(service, url):
    """To another vendor from now on."""
    service.settings.__dict__["vendor_base_url"] = url
    for part in ("vendor", "predictions"):
        service.__dict__.pop(part, None)


@pytest.fixture
def vendor(service):
    with Vendor() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        lead(service, f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


def test_a_deleted_job_leaves_nothing_behind(call, story, endpoint, service, vendor):
    made, ordered = endpoint(), endpoint(ordered=True)
    before = {*service.store.client.keys("hr:*")}
    job = story.completed(webhook="https://example.com/own")
    story.fanned_out(job, made["id"], f">{ordered['id']}", job.own_endpoint)
    assert call("DELETE", f"/v1/jobs/{job.id}").status_code == 204
    assert vendor.deleted == [job.upstream_id]
    for path in (f"/v1/jobs/{job.id}", f"/v1/events/{job.last_word}"):
        problem(call("GET", path), 404, "not_found")
    problem(call("DELETE", f"/v1/jobs/{job.id}"), 404, "not_found")
    assert call.get("/v1/deliveries")["data"] == []
    _, _, *rows = service.store.run(CLAIM, ["token", 100, 64])
    assert rows == []
    left = {*service.store.client.keys("hr:*")} - before
    assert not [key for key in left if job.id.encode() in key or job.last_word.encode() in key]
    counters = {b"hr:turn", b"hr:upstream", b"hr:took:minimax/hailuo-02/fast", b"hr:vendor"}
    assert left <= {*counters, b"hr:stream:default"}


def test_a_deleted_jobs_archived_files_are_due_to_go(call, story, service, vendor):
    job = story.completed()
    service.store.client.zadd(rediskeys.ARCHIVE, {job.id: 0})
    assert service.jobs.begin_copy(job.id, "worker-1") is not None
    service.jobs.copier_gone("worker-1")
    assert call("DELETE", f"/v1/jobs/{job.id}").status_code == 204
    assert service.store.client.zrange(rediskeys.DISCARD, 0, -1) == [job.id.encode()]
    assert service.jobs.may_discard(job.id)


def test_an_open_job_is_not_deleted_and_its_state_is_told(call, story):
    job = story.accepted()
    assert "is queued; only a finished one" in problem(call("DELETE", f"/v1/jobs/{job.id}"), 409, "conflict")
    assert call.get(f"/v1/jobs/{job.id}")["state"] == "queued"


def test_a_job_stays_while_the_vendor_cannot_be_told(call, story, endpoint, service):
    lead(service, "http://127.0.0.1:9")
    job = story.completed()
    problem(call("DELETE", f"/v1/jobs/{job.id}"), 503, "vendor_unavailable")
    assert call.get(f"/v1/events/{job.last_word}")


def test_a_job_that_was_deleted_by_the_vendors_api_and_waits_is_gone_at_once(
    call, story, endpoint, service, vendor
):
    job = story.completed()
    story.fanned_out(job, endpoint()["id"])
    service.predictions.delete("default", [job.id])
    assert call.get(f"/v1/events/{job.last_word}")
    assert call("DELETE", f"/v1/jobs/{job.id}").status_code == 204
    problem(call("GET", f"/v1/events/{job.last_word}"), 404, "not_found")
    assert vendor.deleted == [job.upstream_id]


# -- many -----------------------------------------------------------------------------------------------


def test_a_replay_of_many_is_told_from_its_beginning_to_its_end(call, exhausted, service):
    _, made, wanted = exhausted
    answer = call("POST", f"/v1/endpoints/{made['id']}/recover", json={"since": "2026-01-01T00:00:00+02:00"})
    assert answer.status_code == 202
    begun = answer.json
    told = {"kind": "recover", "endpoint": made["id"], "state": "running", "total": 1, "examined": 0}
    assert begun.items() >= {**told, "since": "2025-12-31T22:00:00.000Z", "until": None}.items()
    assert call.get("/v1/replays")["data"] == [begun]
    service.replays.advance(1.0)
    ended = call.get(f"/v1/replays/{begun['id']}")
    assert (ended["state"], ended["examined"], ended["revived"]) == ("done", 1, 1)
    assert ended["ended_at"] >= ended["created_at"]
    assert call.get(f"/v1/deliveries/{wanted}")["state"] == "retrying"
    assert call("DELETE", f"/v1/replays/{begun['id']}").json == ended


def test_a_stopped_replay_stays_to_be_read(call, exhausted):
    _, made, _ = exhausted
    begun = call("POST", f"/v1/endpoints/{made['id']}/replay-missing").json
    answer = call("DELETE", f"/v1/replays/{begun['id']}")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert call.get(f"/v1/replays/{begun['id']}") == answer.json


def test_replays_are_listed_page_by_page_newest_first(call, stranger, endpoint):
    made = endpoint()
    ids = [call("POST", f"/v1/endpoints/{made['id']}/replay-missing", json={}).json["id"] for _ in range(5)]
    found, cursor = [], ""
    while cursor is not None:
        page = call.get(f"/v1/replays?limit=2{cursor and '&cursor='}{cursor}")
        found += [each["id"] for each in page["data"]]
        cursor = page["next"]
    assert sorted(found) == sorted(ids)
    assert [made_at(each) for each in found] == sorted(map(made_at, ids), reverse=True)
    assert stranger.get("/v1/replays")["data"] == []
    problem(stranger("GET", f"/v1/replays/{ids[0]}"), 404, "not_found")
    problem(stranger("DELETE", f"/v1/replays/{ids[0]}"), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("recover", {}, "/since"),
        ("recover", {"since": None}, "/since"),
        ("recover", {"since": 0}, "/since"),
        ("recover", {"since": "2026-11-22"}, "/since"),
        ("recover", {"since": "2026-02-30T00:00:00Z"}, "/since"),
        ("recover", {"since": "2026-11-22T00:00:00Z", "until": "2026-11-21T00:00:00Z"}, "/until"),
        ("replay-missing", {"include_earlier": 1}, "/include_earlier"),
        ("replay-missing", {"until": "then"}, "/until"),
        ("test", {"type": "prediction.lost"}, "/type"),
        ("test", {"kind": "prediction.completed"}, "/kind"),
    ],
)
def test_what_cannot_be_meant_is_refused_field_by_field(call, endpoint, path, body, pointer):
    answer = call("POST", f"/v1/endpoints/{endpoint()['id']}/{path}", json=body)
    problem(answer, 400, "invalid_input")
    assert answer.json["errors"][0]["pointer"] == pointer
    assert call.get("/v1/replays")["data"] == call.get("/v1/events")["data"] == []


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999999-23:59"])
def test_any_time_at_all_may_be_asked_for(call, endpoint, since):
    path = f"/v1/endpoints/{endpoint()['id']}/recover"
    assert call("POST", path, json={"since": since}).status_code == 202
    assert call.get("/v1/replays")["data"]


# -- samples and statistics -----------------------------------------------------------------------------


def test_a_sample_can_be_asked_for_without_a_body(call, endpoint):
    made = endpoint()
    answer = call("POST", f"/v1/endpoints/{made['id']}/test")
    assert answer.status_code == 202
    event = call.get(f"/v1/events/{answer.json['event']}")
    assert (event["type"], event["data"]["test"]) == ("prediction.completed", True)
    delivery = call.get(f"/v1/deliveries/{answer.json['delivery']}")
    assert (delivery["state"], delivery["endpoint"]) == ("pending", made["id"])


def test_a_body_of_untold_length_is_read(call, endpoint):
    path = f"/v1/endpoints/{endpoint()['id']}/test"
    body = io.BytesIO(b'{"type": "prediction.lost"}')
    options = {"input_stream": body, "environ_overrides": {"wsgi.input_terminated": True}}
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    assert call("POST", path, headers=headers, **options).json["errors"][0]["pointer"] == "/type"
    answer = call("POST", path, data=b'{"type": "prediction.failed"}', content_type="text/plain")
    problem(answer, 415, "unsupported_media_type")


def test_a_sample_that_the_vendors_format_cannot_carry_is_refused(call, endpoint):
    path = f"/v1/endpoints/{endpoint(format='wavespeed')['id']}/test"
    for kind in EVENT_TYPES:
        answer = call("POST", path, json={"type": kind})
        if kind in FINAL_TYPES:
            assert answer.status_code == 202
        else:
            assert "wavespeed; prediction.completed, prediction.failed" in problem(
                answer, 400, "invalid_input"
            )


def test_the_statistics_of_an_endpoint_tell_how_it_is_doing(call, story, endpoint):
    made = endpoint()
    path = f"/v1/endpoints/{made['id']}/stats"
    fresh = call.get(path)
    assert (fresh["success_rate"], fresh["latency_ms"]) == (None, {"p50": None, "p95": None})
    assert (fresh["last_failure"], fresh["circuit"]) == (None, "closed")
    story.fanned_out(story.completed(), made["id"])
    story.attempted("d", Attempt(AT, 200, None, 40))
    story.fanned_out(story.completed(), made["id"])
    for _ in range(5):
        story.attempted("r0", Attempt(AT, 500, None, 7, (1, 2, 0, 4)))
        call("POST", f"/v1/events/{call.get('/v1/events')['data'][-1]['id']}/replay")
    found = call.get(path)
    assert (found["delivered"], found["failed"], found["exhausted"], found["backlog"]) == (1, 5, 0, 1)
    assert (found["in_flight"], found["failures_in_a_row"], found["circuit"]) == (0, 5, "open")
    assert found["success_rate"] == pytest.approx(1 / 6)
    assert found["latency_ms"]["p50"] == pytest.approx(40, rel=0.2)
    assert (found["last_failure"]["status"], found["last_failure"]["first_byte_ms"]) == (500, 4)


def test_nothing_of_another_workspace_is_touched(stranger, exhausted, call):
    event, made, wanted = exhausted
    job = call.get(f"/v1/deliveries/{wanted}")["job"]
    for method, path in (
        ("POST", f"/v1/deliveries/{wanted}/retry"),
        ("POST", f"/v1/deliveries/{wanted}/cancel"),
        ("GET", f"/v1/deliveries/{wanted}/attempts/1/request"),
        ("POST", f"/v1/events/{event}/replay"),
        ("POST", f"/v1/events/{event}/redact"),
        ("DELETE", f"/v1/events/{event}"),
        ("DELETE", f"/v1/jobs/{job}"),
        ("POST", f"/v1/endpoints/{made['id']}/test"),
        ("GET", f"/v1/endpoints/{made['id']}/stats"),
        ("POST", f"/v1/endpoints/{made['id']}/replay-missing"),
    ):
        problem(stranger(method, path), 404, "not_found")
    assert call.get(f"/v1/deliveries/{wanted}")["state"] == "exhausted"
