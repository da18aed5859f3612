"""``hookreel listen``, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

import pytest
from standardwebhooks import Webhook

from service.api.v1.stream import SLOTS, end

BLIND = """
import signal, sys, threading
from service.cli.main import cli
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
cli(sys.argv[1:])
"""
"""A command whose reads no signal interrupts: so it is with one that comes just before a read."""


@pytest.fixture
def listening(shell) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, how: Sequence[str] = ("-m", "service.cli.main")) -> subprocess.Popen[str]:
        command = [sys.executable, *how, "listen", *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env={**os.environ, **shell.environ}, **pipes)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def until(stream, words):
    said = []
    for line in stream:
        said.append(line)
        if words in line:
            return line
    pytest.fail(f"it never said {words}, but {said}")


def test_events_are_printed_as_they_come_until_it_is_interrupted(listening, story):
    process = listening("--json")
    until(process.stderr, "listening")
    ids = [story.completed().last_word for _ in range(2)]
    assert [json.loads(process.stdout.readline())["id"] for _ in ids] == ids
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert process.stdout.read() == ""


def test_an_interrupt_that_no_read_sees_ends_it_all_the_same(listening, story):
    process = listening("--json", how=("-c", BLIND))
    until(process.stderr, "listening")
    job = story.completed()
    assert json.loads(process.stdout.readline())["id"] == job.last_word
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_people_see_a_line_for_each_event(listening, story):
    process = listening()
    until(process.stderr, "listening")
    job = story.completed()
    line = process.stdout.readline()
    assert "prediction.completed" in line
    assert job.id in line
    assert "https://cdn.example.com/a.mp4" in line


def test_people_see_whom_an_operational_event_is_about(listening, service):
    process = listening()
    until(process.stderr, "listening")
    endpoint, _ = service.endpoints.create("default", {"url": "https://example.com/hooks"})
    event = service.samples.send("default", endpoint.id, "endpoint.disabled")
    line = process.stdout.readline()
    assert "endpoint.disabled  ep_" in line
    assert line.endswith("it answered 410 Gone\n")
    service.events.redact("default", event)
    service.samples.send("default", endpoint.id, "prediction.failed")
    assert "prediction.failed" in process.stdout.readline()


@pytest.fixture
def receiver() -> Iterator[tuple[str, Queue[tuple[bytes, dict[str, str]]]]]:
    came: Queue[tuple[bytes, dict[str, str]]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            came.put((self.rfile.read(int(self.headers["Content-Length"])), dict(self.headers)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", came
        server.shutdown()
        thread.join()


def test_events_are_sent_on_signed(listening, story, receiver):
    url, came = receiver
    process = listening("--forward", url, "--json")
    secret = until(process.stderr, "signed with").split()[-1]
    until(process.stderr, "listening")
    job = story.completed()
    body, headers = came.get(timeout=30)
    event = Webhook(secret).verify(body, headers)
    assert (event["id"], headers["webhook-id"]) == (job.last_word, job.last_word)
    assert headers["user-agent"].startswith("Hookreel/")
    assert "204" in until(process.stderr, url)
    assert json.loads(process.stdout.readline()) == event


def test_a_receiver_that_is_not_there_ends_nothing(listening, story):
    process = listening("--forward", "http://127.0.0.1:9/hook", "--json")
    until(process.stderr, "listening")
    for _ in range(2):
        story.completed()
        assert "ConnectionError" in until(process.stderr, "127.0.0.1:9")


def test_what_happens_while_the_service_is_away_comes_when_it_is_back(listening, story, origin, app):
    process = listening("--json")
    until(process.stderr, "listening")
    # Every stream ends, and none begins, as when the web process is started anew.
    end(app)
    until(process.stderr, "trying again")
    missed = story.completed()
    del app.extensions[SLOTS]
    assert json.loads(process.stdout.readline())["id"] == missed.last_word


def test_a_wrong_key_ends_it(listening, shell):
    shell.environ["HOOKREEL_API_KEY"] = "hrk_wrong"
    process = listening()
    assert process.wait(30) == 1
    assert "unknown or revoked" in process.stderr.read()
