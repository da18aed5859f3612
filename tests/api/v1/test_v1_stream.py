"""``GET /v1/stream`` over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import requests

from service import rediskeys
from service.api.v1.resource import EXTENSION
from service.api.v1.stream import READERS, Reader, Slots, end
from service.listing import START, Lists, Place


@dataclass
class Follower:
    """A client of the stream."""

    answer: requests.Response

    def __post_init__(self):
        self._lines = self.answer.iter_lines(decode_unicode=True)
        assert next(self._lines) == "retry: 2000"

    def event(self) -> dict[str, str]:
        """The next event's fields."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and "data" in fields:
                return fields
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
        pytest.fail("the stream has ended")

    def rest(self) -> list[str]:
        return [line for line in self._lines if line]


@pytest.fixture
def follow(origin, call) -> Iterator[Callable[..., Follower]]:
    opened: list[requests.Response] = []

    def begin(**headers: str) -> Follower:
        headers["Authorization"] = f"Bearer {call.key}"
        answer = requests.get(f"{origin}/v1/stream", headers=headers, stream=True, timeout=10)
        opened.append(answer)
        assert answer.status_code == 200, answer.text
        return Follower(answer)

    yield begin
    for each in opened:
        each.close()


def test_events_come_as_they_happen(follow, story, call):
    story.completed()
    stream = follow()
    job = story.completed()
    event = stream.event()
    assert (event["id"], event["event"]) == (job.last_word, "prediction.completed")
    assert json.loads(event["data"]) == call.get(f"/v1/events/{job.last_word}")


def test_the_answer_is_one_that_no_proxy_keeps(follow):
    headers = follow().answer.headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")


def test_who_comes_again_misses_nothing(follow, story):
    first, *others = [story.completed() for _ in range(150)]
    stream = follow(**{"Last-Event-ID": first.last_word})
    assert [stream.event()["id"] for _ in others] == [each.last_word for each in others]
    later = story.completed()
    assert stream.event()["id"] == later.last_word


def test_who_was_cut_off_before_the_first_event_knows_from_where_to_go_on(follow, story):
    before = story.completed()
    assert next(follow()._lines) == f"id: {before.last_word}"
    missed = story.completed()
    assert follow(**{"Last-Event-ID": before.last_word}).event()["id"] == missed.last_word


def test_a_client_that_cannot_set_the_header_says_it_in_the_query(origin, call, story, service):
    first, second = story.completed(), story.completed()
    key = {"Authorization": f"Bearer {call.key}"}
    url = f"{origin}/v1/stream?lastEventId={first.last_word}"
    with requests.get(url, headers=key, stream=True, timeout=10) as answer:
        ids = (line for line in answer.iter_lines(1) if line.startswith(b"id: "))
        assert next(ids) == f"id: {first.last_word}".encode()
        assert next(ids) == f"id: {second.last_word}".encode()


def test_an_event_that_is_not_kept_any_more_is_a_410(origin, call, story, service):
    first, second = story.completed(), story.completed()
    service.store.client.zrem(rediskeys.events("default"), first.last_word)
    headers = {"Authorization": f"Bearer {call.key}", "Last-Event-ID": first.last_word}
    answer = requests.get(f"{origin}/v1/stream", headers=headers, timeout=10)
    assert (answer.status_code, answer.json()["oldest"]) == (410, second.last_word)


def test_nobody_hears_of_another_workspace(follow, story):
    stream = follow()
    story.completed("other")
    mine = story.completed()
    assert stream.event()["id"] == mine.last_word


def test_beyond_the_last_place_it_is_a_503_and_a_place_comes_back(origin, follow, call, app):
    streams = [follow() for _ in range(READERS)]
    headers = {"Authorization": f"Bearer {call.key}"}
    answer = requests.get(f"{origin}/v1/stream", headers=headers, stream=True, timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    end(app)
    assert [each.rest() for each in streams] == [["id: 0"]] * READERS


def test_asking_for_the_head_takes_no_place(origin, follow, call):
    headers = {"Authorization": f"Bearer {call.key}"}
    for _ in range(READERS + 1):
        assert requests.head(f"{origin}/v1/stream", headers=headers, timeout=10).status_code == 200


@pytest.fixture
def reader(app, call, service) -> Callable[[], Reader]:
    def make() -> Reader:
        lists = Lists(service.store, service.endpoints, service.deliveries)
        slot = Slots(1).take()
        begin = Place(0, START)
        return Reader(
            lists, service.notices, service.apikeys, slot, "default", call.key, begin, keep_alive=0.01
        )

    assert app.extensions[EXTENSION] is service
    return make


def test_a_silent_stream_says_that_it_is_still_there(reader):
    lines = reader().lines()
    assert [next(lines) for _ in range(3)] == [
        b"retry: 2000\nid: 0\n\n",
        b": still here\n\n",
        b": still here\n\n",
    ]
    lines.close()


def test_a_stream_ends_when_its_key_is_revoked(reader, service):
    lines = reader().lines()
    next(lines)
    (key,) = service.apikeys.list()
    service.apikeys.revoke(key.id)
    assert all(line == b": still here\n\n" for line in lines)


def test_a_reader_shows_no_key(reader, call):
    assert call.key not in repr(reader())


def test_granian_sends_each_event_at_once_and_ends_when_it_is_told(web, call, story):
    origin, process = web
    headers = {"Authorization": f"Bearer {call.key}"}
    with requests.get(f"{origin}/v1/stream", headers=headers, stream=True, timeout=10) as answer:
        stream = Follower(answer)
        for _ in range(2):
            job = story.completed()
            assert stream.event()["id"] == job.last_word
        process.terminate()
        assert stream.rest() == []
        assert process.wait(30) == 0
