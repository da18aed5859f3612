"""``hookreel deliveries``, ``events`` and ``replays``, and what ``endpoints`` can do besides."""

from __future__ import annotations

import threading

import pytest

from service.deliveries import delivery_id
from service.records import Attempt
from tests.waiting import eventually

AT = 1_790_000_000_000
URL = "https://example.com/hooks"


@pytest.fixture
def endpoint(shell):
    return shell.json("endpoints", "add", URL)[0]["id"]


@pytest.fixture
def exhausted(story, endpoint):
    """A delivery that was given up: its event and its id."""
    event = story.fanned_out(story.completed(), endpoint)
    story.attempted("x", Attempt(AT, 503, None, 12))
    return event, delivery_id(event, endpoint)


def test_deliveries_are_listed_shown_retried_and_cancelled(shell, story, endpoint, exhausted):
    event, given_up = exhausted
    story.fanned_out(story.completed(), endpoint)
    assert len(shell.json("deliveries", "list")) == 2
    (row,) = shell.json(
        "deliveries", "list", "--state", "exhausted", "--endpoint", endpoint, "--event", event
    )
    assert row["id"] == given_up
    assert "503" in shell("deliveries", "list").stdout
    shown = shell("deliveries", "show", given_up).stdout
    assert "exhausted" in shown
    assert shown.splitlines()[-1].split()[1:] == ["503", "12"]
    (row,) = shell.json("deliveries", "retry", given_up)
    assert row["state"] == "retrying"
    (row,) = shell.json("deliveries", "cancel", given_up)
    assert row["state"] == "cancelled"
    assert len(shell.json("deliveries", "list", "--limit", "1")) == 1
    result = shell("deliveries", "cancel", given_up)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is cancelled" in result.stderr


def test_an_event_is_replayed_redacted_and_removed(shell, endpoint, exhausted):
    event, _ = exhausted
    assert shell.json("events", "replay", event) == [{"event": event, "waiting": 1, "under_way": 0}]
    named = shell.json("events", "replay", event, "--endpoint", endpoint)
    assert named == [{"event": event, "waiting": 1, "under_way": 0}]
    assert "input" in shell.json("events", "show", event)[0]["data"]
    assert shell.json("events", "redact", event)[0]["data"]["redacted"] is True
    assert shell.json("events", "remove", event) == [{"removed": event}]
    assert shell("events", "show", event).exit_code == 1


def test_events_are_listed_from_where_one_left_off(shell, story):
    first, second = story.completed(), story.completed()
    rows = shell.json("events", "list")
    assert [each["data"]["id"] for each in rows] == [first.id, second.id]
    assert shell.json("events", "list", "--limit", "1") == rows[:1]
    assert shell.json("events", "list", "--after", rows[0]["id"]) == rows[1:]
    shown = shell("events", "list").stdout.splitlines()
    assert shown[0].split() == ["ID", "TYPE", "TIMESTAMP", "ABOUT"]
    assert shown[1].split() == [rows[0]["id"], "prediction.completed", rows[0]["timestamp"], first.id]


def test_the_request_of_an_attempt_is_shown_as_it_was_sent(shell, exhausted):
    event, given_up = exhausted
    (request,) = shell.json("deliveries", "request", given_up)
    assert shell.json("deliveries", "request", given_up, "--attempt", "1") == [request]
    head, _, body = shell("deliveries", "request", given_up).stdout.partition("\n\n")
    first, *headers = head.splitlines()
    assert first == f"POST {URL}"
    assert f"webhook-id: {event}" in headers
    assert body == request["body"] + "\n"
    result = shell("deliveries", "request", given_up, "--attempt", "2")
    assert (result.exit_code, result.stdout) == (1, "")


def test_what_was_given_up_is_recovered_and_its_progress_told(shell, service, endpoint, exhausted):
    words = ("endpoints", "recover", endpoint, "--since", "2020-01-01T00:00:00Z")
    (begun,) = shell.json(*words)
    assert (begun["kind"], begun["state"], begun["total"]) == ("recover", "running", 1)
    assert shell.json("replays", "show", begun["id"]) == [begun]
    assert [each["id"] for each in shell.json("replays", "list")] == [begun["id"]]
    assert shell.json("replays", "stop", begun["id"])[0]["state"] == "cancelled"

    def advance():
        assert eventually(lambda: service.replays.advance(1.0))

    clock = threading.Thread(target=advance)
    clock.start()
    (ended,) = shell.json(*words, "--until", "2100-01-01T00:00:00Z", "--wait")
    clock.join()
    assert (ended["state"], ended["revived"]) == ("done", 1)


def test_what_an_endpoint_never_had_is_asked_for(shell, story, service):
    story.completed()
    (endpoint,) = shell.json("endpoints", "add", URL)
    words = ("endpoints", "replay-missing", endpoint["id"])
    assert shell.json(*words)[0]["total"] == 0
    assert shell.json(*words, "--include-earlier")[0]["total"] == 1
    result = shell(*words, "--since", "yesterday")
    assert "since: " in result.stderr


def test_an_endpoint_is_tried_paused_resumed_and_looked_at(shell, service, endpoint):
    (sent,) = shell.json("endpoints", "test", endpoint, "--type", "delivery.exhausted")
    assert sent["delivery"] == delivery_id(sent["event"], endpoint)
    shell.json("endpoints", "test", endpoint)
    (paused,) = shell.json("endpoints", "pause", endpoint)
    assert paused["paused"]
    assert shell.json("deliveries", "show", sent["delivery"])[0]["state"] == "held"
    service.endpoints.disable("default", endpoint, "it answered 410 Gone")
    (resumed,) = shell.json("endpoints", "resume", endpoint)
    assert (resumed["paused"], resumed["enabled"], resumed["disabled_reason"]) == (False, True, None)
    (stats,) = shell.json("endpoints", "stats", endpoint)
    assert (stats["backlog"], stats["circuit"], stats["success_rate"]) == (2, "closed", None)
