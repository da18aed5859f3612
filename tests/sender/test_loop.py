"""Many transfers at once: connections reused, others unharmed, threads that wake, nothing left open."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from service.sender import Request
from tests.sender.receivers import OK, answering


def request(key, url: str, timeout: float = 20.0) -> Request:
    return Request(key, url, (("content-type", "application/json"),), b"{}", timeout)


def drain(sender, count: int) -> list:
    outcomes = []
    while len(outcomes) < count:
        outcomes += sender.poll(30)
    return outcomes


def open_descriptors() -> int:
    directory = Path("/proc/self/fd")
    return len(list(directory.iterdir())) if directory.exists() else 0


def held(connection):
    connection.read_request()
    connection.receiver.released.wait(30)
    connection.answer(OK)


def test_a_connection_is_reused(sender, receive, post):
    receiver = receive()
    for _ in range(5):
        assert post(sender, receiver.url()).delivered
    assert receiver.connections == 1
    assert len(receiver.requests) == 5


def test_a_connection_that_was_closed_meanwhile_is_opened_again(sender, receive, post):
    gone = threading.Event()

    def behave(connection):
        connection.read_request()
        connection.answer(OK)
        connection.socket.close()
        gone.set()

    receiver = receive(behave)
    for _ in range(3):
        assert post(sender, receiver.url()).delivered
        assert gone.wait(10)
        gone.clear()
    assert receiver.connections == 3


def test_many_requests_at_once_all_come_back_under_their_keys(sender, receive):
    receivers = [receive() for _ in range(3)]
    for number in range(300):
        sender.submit(request(number, receivers[number % 3].url()))
    assert sender.in_flight == 300
    outcomes = drain(sender, 300)
    assert sorted(outcome.key for outcome in outcomes) == list(range(300))
    assert all(outcome.delivered for outcome in outcomes)
    assert sender.in_flight == 0


def test_a_handle_carries_nothing_over_to_its_next_transfer(sender, receive, post):
    busy = receive(answering(b"HTTP/1.1 503 X\r\nRetry-After: 9\r\nContent-Length: 4\r\n\r\nbusy"))
    quiet = receive(answering(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"))
    assert post(sender, busy.url()).retry_after == "9"
    outcome = post(sender, quiet.url())
    assert (outcome.retry_after, outcome.answer) == (None, b"")
    assert post(sender, "http://192.168.0.1/").error == "blocked_address"
    refused = post(sender, "http://127.0.0.1:1/")
    assert refused.error == "connect"
    assert "192.168" not in refused.detail


def test_a_slow_receiver_holds_up_nobody_else(sender, receive):
    slow, quick = receive(held), receive()
    for number in range(20):
        sender.submit(request(("slow", number), slow.url()))
    for number in range(20):
        sender.submit(request(("quick", number), quick.url()))
    assert {outcome.key[0] for outcome in drain(sender, 20)} == {"quick"}
    assert sender.in_flight == 20
    slow.released.set()
    assert {outcome.key[0] for outcome in drain(sender, 20)} == {"slow"}


def test_each_request_has_its_own_timeout(sender, receive):
    slow = receive(held)
    for seconds in (0.4, 0.1, 20.0, 0.2):
        sender.submit(request(seconds, slow.url(), timeout=seconds))
    assert [outcome.key for outcome in drain(sender, 3)] == [0.1, 0.2, 0.4]
    slow.released.set()
    assert drain(sender, 1)[0].delivered


def test_polling_with_nothing_to_do_returns_in_time(sender):
    started = time.monotonic()
    assert sender.poll(0.05) == []
    assert sender.poll(0) == []
    assert 0.05 <= time.monotonic() - started < 5


@pytest.mark.parametrize("busy", [False, True])
def test_another_thread_wakes_a_poll(sender, receive, busy):
    if busy:
        sender.submit(request("held", receive(held).url()))
    waker = threading.Thread(target=sender.wake)
    waker.start()
    assert sender.poll(50) == []
    waker.join()


def test_a_wake_before_the_poll_is_not_lost_and_counts_once(sender):
    for _ in range(100_000):
        sender.wake()
    assert sender.poll(50) == []
    started = time.monotonic()
    while sender.poll(0.05) == [] and time.monotonic() - started < 0.05:
        pass
    assert time.monotonic() - started < 40


def test_a_wake_after_closing_is_harmless(make_sender):
    sender = make_sender()
    sender.close()
    sender.wake()


def test_closing_drops_what_is_in_flight_and_leaves_no_descriptor_open(make_sender, receive):
    receiver = receive(held)
    before = open_descriptors()
    sender = make_sender("127.0.0.0/8")
    sender.submit(request("held", receiver.url()))
    while receiver.connections == 0:
        sender.poll(0.05)
    sender.close()
    receiver.close()
    assert open_descriptors() <= before


def test_failed_connections_leave_no_descriptor_open(sender, receive, post):
    receiver = receive(lambda connection: connection.read_request())
    post(sender, receiver.url())
    before = open_descriptors()
    for _ in range(30):
        assert post(sender, receiver.url()).error == "protocol"
        assert post(sender, "http://127.0.0.1:1/").error == "connect"
        assert post(sender, "http://10.0.0.1/").error == "blocked_address"
    assert open_descriptors() <= before + 3
