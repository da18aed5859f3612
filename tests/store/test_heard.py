"""An event that is heard of is fanned out by that; the stream is for what nobody heard."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from schemas.states import DeliveryState
from service import rediskeys
from service.addresses import Policy
from service.notices import Entry
from service.store import Script
from tests.store.test_forwarder import LOOPBACK, finished, forwarding, receiver, settled, subscribe
from tests.waiting import eventually
from workers.streams import Streams

__all__ = ["receiver"]

GROUP = rediskeys.GROUP
STREAM = rediskeys.stream("default")


@pytest.fixture
def told(service) -> Iterator[Callable[[int], list[Entry]]]:
    """``told(n)``: the first ``n`` events that the news told of."""
    heard: list[Entry] = []

    def wait(count: int) -> list[Entry]:
        assert eventually(lambda: len(heard) >= count)
        return heard

    with service.notices.following(lambda entry: heard.append(entry) if entry else None):
        yield wait


@pytest.fixture
def streams(service) -> Streams:
    made = Streams(service, "forwarder-1", time.monotonic)
    made.look_around()
    return made


def fan_out(service: Any, streams: Streams) -> list[Any]:
    calls = streams.expansions()
    answers: list[Any] = service.store.send_all(calls, []).answers()
    return answers


def test_the_news_say_what_the_stream_says(service, order, word, told, streams):
    subscribe(service, "http://127.0.0.1:9/")
    finished(service, order(webhook="http://127.0.0.1:9/own", channel="films"), word())
    heard = told(1)
    streams.take(service.store.send_all([], streams.reading()).answers())
    assert streams.entries == heard
    assert (heard[0].channel, heard[0].seq) == ("films", 1)
    assert heard[0].own.startswith("ep_")


def test_what_was_heard_of_is_fanned_out_before_it_is_read(service, order, word, told, streams):
    subscribe(service, "http://127.0.0.1:9/")
    finished(service, order(), word())
    streams.heard.extend(told(1))
    assert fan_out(service, streams) == [1]
    client = service.store.client
    assert client.xlen(STREAM) == 0
    assert client.zcard(rediskeys.unfanned("default")) == 0
    assert streams.expansions() == []


def test_what_was_heard_of_and_read_is_fanned_out_once(service, order, word, told, streams):
    subscribe(service, "http://127.0.0.1:9/")
    finished(service, order(), word())
    streams.heard.extend(told(1))
    streams.take(service.store.send_all([], streams.reading()).answers())
    assert fan_out(service, streams) == [1]
    assert service.store.client.xpending(STREAM, GROUP)["pending"] == 0


def test_the_second_forwarder_that_heard_of_it_does_nothing(service, order, word, told, streams):
    endpoint, _ = subscribe(service, "http://127.0.0.1:9/")
    job = finished(service, order(), word())
    other = Streams(service, "forwarder-2", time.monotonic)
    for each in (streams, other):
        each.heard.extend(told(1))
    assert [fan_out(service, each) for each in (streams, other)] == [[1], [0]]
    late, _ = subscribe(service, "http://127.0.0.1:9/late")
    other.heard.extend(told(1))
    assert fan_out(service, other) == [0]
    event = service.store.client.hgetall(rediskeys.event(job.events[-1]))
    assert int(event[b"open"]) == 1
    assert endpoint.id.encode() in event
    assert late.id.encode() not in event


def test_endpoints_are_read_again_only_when_they_have_changed(service, order, word, told, streams):
    def fanned_out(count: int) -> tuple[list[Any], int]:
        """What came of the newest of ``count`` events, and how often somebody asked for the revision."""
        streams.heard.append(told(count)[-1])
        streams.look_around()
        before = service.store.client.info("commandstats")["cmdstat_hget"]["calls"]
        calls = streams.expansions()
        asked = service.store.client.info("commandstats")["cmdstat_hget"]["calls"] - before
        return service.store.send_all(calls, []).answers(), asked

    subscribe(service, "http://127.0.0.1:9/")
    finished(service, order(), word())
    assert fanned_out(1) == ([1], 1)
    finished(service, order(), word())
    assert fanned_out(2) == ([1], 0)
    subscribe(service, "http://127.0.0.1:9/")
    finished(service, order(), word())
    assert fanned_out(3) == ([2], 1)


def test_of_events_before_and_after_a_change_nobody_is_forgotten(service, order, word, told, streams):
    subscribe(service, "http://127.0.0.1:9/")
    service.endpoints.directory("default")
    finished(service, order(), word())
    subscribe(service, "http://127.0.0.1:9/")
    finished(service, order(), word())
    streams.heard.extend(reversed(told(2)))
    assert sorted(fan_out(service, streams)) == [1, 2]


def test_what_the_news_have_no_room_for_is_read(service, order, word, told, streams):
    subscribe(service, "http://127.0.0.1:9/")
    for _ in range(3):
        finished(service, order(), word())
    streams.heard = deque(told(3), maxlen=2)
    assert fan_out(service, streams) == [1, 1]
    streams.take(service.store.send_all([], streams.reading()).answers())
    assert fan_out(service, streams) == [1]


def test_several_forwarders_hear_of_an_event_and_deliver_it_once(service, order, word, receiver):
    endpoint, _ = subscribe(service, receiver.url)
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(forwarding(service, Policy(LOOPBACK), f"forwarder-{number}"))
        for _ in range(10):
            job = finished(service, order(), word())
            settled(service, job, endpoint, DeliveryState.DELIVERED)
    assert len(receiver.got) == 10
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 10


def test_what_is_asked_for_again_or_resumed_is_news(service, order, word):
    heard: list[Entry | None] = []
    endpoint, _ = subscribe(service, "http://127.0.0.1:9/")
    job = finished(service, order(), word())
    with service.notices.following(heard.append):
        for number, ask in enumerate(
            (
                lambda: service.replays.replay("default", job.last_word, endpoint.id),
                lambda: service.endpoints.update("default", endpoint.id, {"paused": True}),
            ),
            start=2,
        ):
            ask()
            # The first is the beginning of the listening itself.
            assert eventually(lambda: len(heard) >= number)  # noqa: B023 - it is waited for here
    assert not any(heard)


def test_news_of_a_later_release_are_no_end_of_the_listening(service, order, word, told):
    service.store.client.publish(
        rediskeys.NEWS, "default  evt_1 1-1 1 prediction.completed films ep_1 1 more"
    )
    finished(service, order(), word())
    told(1)


def test_a_chunk_that_had_to_be_taught_anew_is_made_behind_the_last(service, order, word, told, monkeypatch):
    monkeypatch.setattr("workers.streams.CHUNK", 1)
    for path in ("one", "two"):
        subscribe(service, f"http://127.0.0.1:9/{path}")
    finished(service, order(), word())
    streams = Streams(service, "forwarder-1", time.monotonic)
    streams.heard.extend(told(1))
    (_, *first), last = streams.expansions()
    unknown = Script("expand")
    # As after SCRIPT FLUSH, when somebody else has taught it between the two.
    unknown.sha = "0" * 40
    service.store.load()
    assert service.store.run_all([(unknown, *first), last]) == [1, 1]
