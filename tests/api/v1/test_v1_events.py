"""``/v1/events``: pulled, oldest first."""

from __future__ import annotations

import json

from service import rediskeys


def test_the_start_is_zero_and_next_is_never_null(call, story):
    assert call.get("/v1/events") == {"data": [], "next": "0"}
    jobs = [story.completed() for _ in range(3)]
    page = call.get("/v1/events?after=0&limit=2")
    assert [each["data"]["id"] for each in page["data"]] == [jobs[0].id, jobs[1].id]
    rest = call.get(f"/v1/events?after={page['next']}&limit=2")
    assert [each["data"]["id"] for each in rest["data"]] == [jobs[2].id]
    assert call.get(f"/v1/events?after={rest['next']}") == {"data": [], "next": rest["next"]}
    later = story.completed()
    assert [each["data"]["id"] for each in call.get(f"/v1/events?after={rest['next']}")["data"]] == [later.id]


def test_an_event_is_told_as_it_is_sent(call, story, service):
    job = story.completed(metadata={"wörter": "ja"})
    (event,) = call.get("/v1/events")["data"]
    assert event["id"].startswith("evt_")
    assert len(event["id"]) == 26
    assert event["type"] == "prediction.completed"
    assert (event["data"]["status"], event["data"]["metadata"]) == ("completed", {"wörter": "ja"})
    assert call.get(f"/v1/events/{event['id']}") == event
    assert event["id"] == job.last_word


def test_an_event_that_is_not_kept_any_more_is_a_410_with_the_oldest(call, story, service):
    first, second = story.completed(), story.completed()
    service.store.client.zrem(rediskeys.events("default"), first.last_word)
    answer = call("GET", f"/v1/events?after={first.last_word}")
    assert answer.status_code == 410
    assert answer.json["type"] == "urn:hookreel:cursor_expired"
    assert answer.json["oldest"] == second.last_word


def test_an_event_that_never_was_is_a_410_too(call):
    answer = call("GET", "/v1/events?after=evt_unknown")
    assert (answer.status_code, answer.json["oldest"]) == (410, None)


def test_another_workspaces_events_do_not_exist(stranger, story):
    job = story.completed()
    assert stranger.get("/v1/events")["data"] == []
    assert stranger("GET", f"/v1/events/{job.last_word}").status_code == 404
    assert stranger("GET", f"/v1/events?after={job.last_word}").json["oldest"] is None


def test_the_bodies_are_the_stored_bytes(call, story, service):
    job = story.completed()
    stored = call("GET", f"/v1/events/{job.last_word}").data.strip()
    assert stored in call("GET", "/v1/events").data
    assert json.dumps(json.loads(stored), separators=(",", ":"), ensure_ascii=False).encode() == stored
