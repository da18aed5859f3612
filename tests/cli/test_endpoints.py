"""``hookreel endpoints``."""

from __future__ import annotations

import pytest


def test_an_endpoint_is_added_shown_and_removed(shell):
    (made,) = shell.json(
        "endpoints",
        "add",
        "https://example.com/hooks",
        *(
            "--event-type",
            "prediction.completed",
            "--format",
            "wavespeed",
            "--channel",
            "eu",
            "--channel",
            "us",
        ),
        *("--timeout", "7.5", "--description", "billing"),
    )
    assert made["event_types"] == ["prediction.completed"]
    assert (made["format"], made["channels"], made["timeout"]) == ("wavespeed", ["eu", "us"], 7.5)
    (shown,) = shell.json("endpoints", "show", made["id"])
    assert "secret" not in shown
    (shown,) = shell.json("endpoints", "show", made["id"], "--secret")
    assert shown == {**made, "previous": []}
    assert [each["id"] for each in shell.json("endpoints", "list")] == [made["id"]]
    assert shell.json("endpoints", "remove", made["id"]) == [{"removed": made["id"]}]
    assert shell.json("endpoints", "list") == []


def test_events_can_be_asked_for_as_cloudevents_and_metadata_kept(shell):
    given = ("--format", "cloudevents", "--metadata", '{"team": "video"}')
    (made,) = shell.json("endpoints", "add", "https://example.com/hooks", *given)
    assert (made["format"], made["metadata"]) == ("cloudevents", {"team": "video"})


def test_every_setting_can_be_given_and_changed(shell):
    (made,) = shell.json(
        *("endpoints", "add", "https://example.com/hooks", "--ordered", "--paused", "--rate", "5"),
        *("--header", "X-Team: video", "--header", "Authorization:Bearer a:b", "--retry-schedule", "0,2.5"),
        *("--on-exhausted", "skip", "--no-input"),
    )
    assert (made["ordered"], made["paused"], made["rate"], made["on_exhausted"]) == (True, True, 5, "skip")
    assert made["headers"] == {"X-Team": "video", "Authorization": "Bearer a:b"}
    assert (made["retry_schedule"], made["include_input"]) == ([0, 2.5], False)
    changes = ("--url", "https://example.com/new", "--input", "--rate", "7", "--channel", "eu")
    (changed,) = shell.json("endpoints", "update", made["id"], *changes)
    del made["secret"]
    assert changed == {
        **made,
        "url": "https://example.com/new",
        "include_input": True,
        "rate": 7,
        "channels": ["eu"],
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "say what to change"),
        (("--retry-schedule", "0,soon"), "'0,soon' is no list of seconds"),
        (("--header", "Bearer hidden"), "has no colon"),
        (("--header", "a: hidden\x7f"), "headers.a: is empty or holds more than visible ASCII"),
        (("--rate", "0"), "rate: "),
    ],
)
def test_a_change_that_cannot_be_is_refused_in_words(shell, given, said):
    (made,) = shell.json("endpoints", "add", "https://example.com/hooks")
    result = shell("endpoints", "update", made["id"], *given)
    assert result.exit_code != 0
    assert said in result.stderr
    assert "hidden" not in result.stderr


@pytest.mark.parametrize("text", ["{", "team=video", '{"a": NaN}', ""])
def test_metadata_that_is_no_json_is_refused(shell, text):
    result = shell("endpoints", "add", "https://example.com/hooks", "--metadata", text)
    assert result.exit_code != 0
    assert "metadata" in result.stderr
    assert shell.json("endpoints", "list") == []


def test_what_is_not_given_is_the_services_default(shell):
    (made,) = shell.json("endpoints", "add", "https://example.com/hooks")
    assert made["event_types"] == ["prediction.completed", "prediction.failed"]


def test_people_see_the_secret_of_a_new_endpoint(shell):
    lines = shell("endpoints", "add", "https://example.com/hooks").stdout.splitlines()
    assert any(line.startswith("secret") and "whsec_" in line for line in lines)
    assert any(line.startswith("url") and line.endswith("https://example.com/hooks") for line in lines)


def test_a_list_of_many_is_whole(shell):
    for number in range(3):
        shell("endpoints", "add", f"https://example.com/{number}")
    result = shell("endpoints", "list")
    assert all(f"https://example.com/{number}" in result.stdout for number in range(3))


def test_no_endpoint_at_all_says_how_to_add_one(shell):
    result = shell("endpoints", "list")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert "endpoints add" in result.stderr
