"""The benchmark against the field: its books, its parts, and a tiny run of it."""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
from collections.abc import Iterator
from xml.dom import minidom

import pytest

from benchmarks import load
from benchmarks.field import __main__ as command
from benchmarks.field import plot
from benchmarks.field.books import Arrival, Run, Sent, Spread
from benchmarks.field.parts import receiver, send
from benchmarks.field.rivals import THREADS, usual
from tests.ports import free_port

MS = 1_000_000
ON_TIME = Sent(due=10 * MS, sent=10 * MS, answered=11 * MS, status=200)
ONCE = [Arrival(12 * MS, "/e/0", "a"), Arrival(14 * MS, "/e/1", "a")]


def _told(output: str) -> dict:
    return json.loads(output.splitlines()[-1])


def test_what_came_once_to_each_endpoint_passes_and_is_timed_from_when_it_was_to_be_sent():
    run = Run({"a": ON_TIME._replace(sent=11 * MS)}, ONCE, fan_out=2).check()
    assert (run.latency.p50, run.last.p50, run.lag.p50) == (2, 4, 1)


@pytest.mark.parametrize(
    ("status", "came"),
    [
        pytest.param(200, ONCE[:1], id="lost"),
        pytest.param(200, [*ONCE, ONCE[0]], id="twice"),
        pytest.param(200, [ONCE[0], ONCE[0]], id="twice-instead-of-to-both"),
        pytest.param(200, [*ONCE, Arrival(15 * MS, "/e/0", "of-an-earlier-run")], id="stray"),
        pytest.param(503, ONCE, id="refused"),
        pytest.param(0, ONCE, id="unanswered"),
    ],
)
def test_the_books_tell_what_was_not_done_once_each(status, came):
    with pytest.raises(RuntimeError, match="once each"):
        Run({"a": ON_TIME._replace(status=status)}, came, fan_out=2).check()


def test_a_percentile_is_a_time_that_was_measured():
    assert Spread.of([number * MS for number in range(1, 101)]) == (50, 95, 99)
    assert Spread.of([7 * MS]) == (7, 7, 7)


@pytest.fixture
def silent() -> Iterator[int]:
    """A server that answers nothing before so many requests have come; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        thread = threading.Thread(target=_answer_all_at_the_end, args=(listener, REQUESTS))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


REQUESTS, RATE = 40, 400


def _answer_all_at_the_end(listener: socket.socket, requests: int) -> None:
    opened: list[socket.socket] = []
    answered = 0
    while answered < requests:
        listener.settimeout(0.1)
        try:
            opened.append(listener.accept()[0])
        except TimeoutError:
            for each in opened:
                each.settimeout(0)
                if _has_request(each):
                    each.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                    answered += 1
    for each in opened:
        each.close()


def _has_request(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1 << 16))
    except BlockingIOError:
        return False


def test_the_load_generator_sends_on_time_to_a_server_that_does_not_answer(silent):
    request = load.post("/", {}, b"{}")
    sent = send(("127.0.0.1", silent), RATE, [(str(number), request) for number in range(REQUESTS)])
    rows = list(sent.values())
    last_sent = max(each.sent for each in rows)
    assert [each.status for each in rows] == [204] * REQUESTS
    assert min(each.answered for each in rows) > last_sent
    steps = {later.due - earlier.due for earlier, later in itertools.pairwise(rows)}
    assert steps == {round(1e9 / RATE)}


def test_the_receiver_remembers_each_event_by_endpoint_and_answers_nothing_that_hangs():
    with receiver(hosts=2, pattern='"id":"([a-z]+)"') as to:
        for number, event in enumerate(("first", "second")):
            request = load.post(f"/e/{number}", {}, b'{"id":"%s"}' % event.encode())
            send(to.address(number), 100, [(event, request)])
        with socket.create_connection(("127.0.0.1", to.port)) as caller:
            caller.sendall(load.post("/hang/2", {}, b'{"id":"third"}') + load.post("/e/3", {}, b"{}"))
            assert caller.recv(1000).count(b"HTTP/1.1 200") == 1
        came = to.take()
    assert [(each.endpoint, each.event) for each in came] == [
        ("/e/0", "first"),
        ("/e/1", "second"),
        ("/e/3", "-"),
    ]


def test_a_tiny_run_delivers_every_event_through_hookreel_and_says_how_long_it_took(capsys):
    status = command.main(["rates", "--quick", "--rate", "50"])
    told = _told(capsys.readouterr().out)
    assert status == 0
    assert told["held"] is True
    measured = {(each["who"], each["at"]) for each in told["points"]}
    assert measured == {("direct POST", 50), ("bare relay", 50), ("Hookreel", 50)}
    assert all(0 < each["p50"] <= each["p95"] <= each["p99"] for each in told["points"])


def test_another_server_can_be_put_in_hookreels_place(capsys, tmp_path):
    template = tmp_path / "event.json"
    template.write_text('{"type": "order.paid", "data": {"number": "{id}"}}')
    port = free_port()
    with usual(THREADS, [f"http://127.0.0.1:{port}/hook"]) as server:
        url = f"http://127.0.0.1:{server.address[1]}/publish"
        words = [
            "--publish-url",
            url,
            "--header",
            "Authorization: Bearer x",
            "--body-template",
            str(template),
        ]
        status = command.main(["rates", "--quick", "--rate", "50", "--receiver-port", str(port), *words])
    told = _told(capsys.readouterr().out)
    assert status == 0
    (delivered,) = [each for each in told["figures"] if "once each" in each["name"]]
    assert (delivered["value"], delivered["held"]) == (100, True)
    assert delivered["detail"].startswith("20 of 20")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nonsense"], "there is no row nonsense"),
        (["--publish-url", "http://127.0.0.1:1/"], "belong together"),
        (
            ["fanout", "--publish-url", "http://127.0.0.1:1/", "--body-template", "x"],
            "there is no row fanout here",
        ),
    ],
)
def test_a_wrong_word_is_told_before_anything_starts(capsys, words, problem):
    with pytest.raises(SystemExit):
        command.main(words)
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "template", "problem"),
    [
        ("https://127.0.0.1/events", '{"id": "{id}"}', "no http URL"),
        ("http://127.0.0.1/events", '{"id": "fixed"}', "no {id}"),
    ],
)
def test_a_server_that_cannot_be_measured_is_refused_in_words(tmp_path, url, template, problem):
    file = tmp_path / "event.json"
    file.write_text(template)
    with pytest.raises(SystemExit, match=re.escape(problem)):
        command.main(["--publish-url", url, "--body-template", str(file)])


def test_the_plot_in_the_docs_is_drawn_from_the_kept_figures():
    document = json.loads(plot.RESULTS.read_text("utf-8"))
    drawn = plot.draw(document)
    assert plot.SVG.read_text("utf-8") == drawn
    assert minidom.parseString(drawn).documentElement.tagName == "svg"  # noqa: S318 - our own
