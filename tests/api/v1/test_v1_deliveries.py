"""``/v1/deliveries``."""

from __future__ import annotations

import pytest

from service.deliveries import delivery_id
from service.listing import BATCH, MOST_BATCHES
from service.records import Attempt

AT = 1_790_000_000_000


def drained(call, query=""):
    """Every delivery, by pages of 3."""
    rows, cursor = [], ""
    while cursor is not None:
        page = call.get(f"/v1/deliveries?limit=3{query}{cursor and '&cursor='}{cursor}")
        assert len(page["data"]) <= 3
        rows += page["data"]
        cursor = page["next"]
    return rows


def test_a_delivery_is_shown_with_each_attempt(call, story, endpoint):
    made, job = endpoint(), story.completed()
    event = story.fanned_out(job, made["id"])
    story.attempted("r0", Attempt(AT, None, "connect", 12, detail="refused"))
    story.attempted("d", Attempt(AT + 5000, 200, None, 41))
    (row,) = call.get("/v1/deliveries")["data"]
    assert row == {
        "id": delivery_id(event, made["id"]),
        "event": event,
        "endpoint": made["id"],
        "job": job.id,
        "state": "delivered",
        "attempt_count": 2,
        "attempts": [
            {
                "at": "2026-09-21T14:13:20.000Z",
                "status": None,
                "error": "connect",
                "duration_ms": 12,
                "detail": "refused",
            },
            {"at": "2026-09-21T14:13:25.000Z", "status": 200, "error": None, "duration_ms": 41},
        ],
    }
    assert call.get(f"/v1/deliveries/{row['id']}") == row


def test_every_delivery_is_listed_once_newest_event_first(call, story, endpoint):
    ids = [endpoint()["id"] for _ in range(4)]
    events = [story.fanned_out(story.completed(), *ids) for _ in range(3)]
    rows = drained(call)
    assert [each["event"] for each in rows] == [event for event in reversed(events) for _ in ids]
    assert len({each["id"] for each in rows}) == 12


@pytest.mark.parametrize("name", ["endpoint", "event", "job", "state"])
def test_filters_keep_what_they_name(call, story, endpoint, name):
    ids = [endpoint()["id"] for _ in range(2)]
    for _ in range(3):
        story.fanned_out(story.completed(), *ids)
    story.attempted("d", Attempt(AT, 200, None, 41))
    rows = drained(call)
    for value in {each[name] for each in rows}:
        assert drained(call, f"&{name}={value}") == [each for each in rows if each[name] == value]
    assert len({each[name] for each in rows}) > 1


@pytest.mark.parametrize("query", ["endpoint=ep_none", "event=evt_none", "job=none", "state=held"])
def test_a_filter_that_nothing_passes_gives_an_empty_list(call, story, endpoint, query):
    story.fanned_out(story.completed(), endpoint()["id"])
    assert call.get(f"/v1/deliveries?{query}") == {"data": [], "next": None}


def test_a_page_that_finds_nothing_for_long_ends_and_can_be_gone_on_from(call, story, endpoint, service):
    wanted = story.fanned_out(story.completed(), endpoint()["id"])
    with service.store.client.pipeline(transaction=False) as pipe:
        for number in range(BATCH * MOST_BATCHES + 10):
            pipe.hset(f"hr:event:evt_{number}", mapping={"ws": "default", "job": "x", "doc": "{}"})
            pipe.zadd("hr:events:default", {f"evt_{number}": number + 2})
        pipe.execute()
    page = call.get("/v1/deliveries")
    assert page["data"] == []
    assert [each["event"] for each in call.get(f"/v1/deliveries?cursor={page['next']}")["data"]] == [wanted]


def test_another_workspaces_deliveries_do_not_exist(call, stranger, story, endpoint):
    job = story.completed()
    event = story.fanned_out(job, endpoint()["id"])
    (row,) = call.get("/v1/deliveries")["data"]
    assert stranger("GET", f"/v1/deliveries/{row['id']}").status_code == 404
    for query in ("", f"?event={event}", f"?job={job.id}", f"?endpoint={row['endpoint']}"):
        assert stranger.get(f"/v1/deliveries{query}") == {"data": [], "next": None}


def test_an_unknown_state_is_refused_with_those_there_are(call):
    answer = call("GET", "/v1/deliveries?state=lost")
    assert answer.json["errors"][0]["allowed"] == "pending, retrying, delivered, exhausted, held, cancelled"
