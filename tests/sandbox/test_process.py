"""The sandbox as a process: how it starts, ends, and what it leaves behind."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tests.sandbox.client import Client, Process


@pytest.fixture
def temporary(tmp_path) -> Path:
    return tmp_path


def test_it_ends_promptly_with_status_0_and_leaves_nothing(temporary):
    process = Process(str(temporary))
    client = Client(process.url, "k")
    client.switch(render="real", delay=3600, answer_delay=0)
    client.created()
    client.next(callback="held")
    client.created("http://127.0.0.1:9/")
    assert [path.name.startswith("hookreel-sandbox-") for path in temporary.iterdir()] == [True]
    began = time.monotonic()
    assert process.end() == 0
    assert time.monotonic() - began < 3
    assert list(temporary.iterdir()) == []


def test_what_a_killed_sandbox_left_is_removed_by_the_next_and_secrets_stay(temporary):
    first = Process(str(temporary))
    secret = Client(first.url, "k").secret()
    first.child.kill()
    first.child.wait()
    first.child.stdout.close()
    left = list(temporary.iterdir())
    assert len(left) == 1
    second = Process(str(temporary))
    assert left[0] not in list(temporary.iterdir())
    assert Client(second.url, "k").secret() == secret
    third = Process(str(temporary))
    assert len(list(temporary.iterdir())) == 2
    assert (second.end(), third.end()) == (0, 0)


def test_idle_it_needs_little_memory_and_next_to_no_processor(temporary):
    process = Process(str(temporary))
    assert Client(process.url, "").call("GET", "/livez").json()["ready"] is True
    measured = psutil.Process(process.child.pid)
    assert measured.memory_info().rss < 60 << 20
    assert process.end() == 0


def test_switches_for_everybody_lie_under_each_accounts_own(temporary):
    process = Process(str(temporary))
    everybody, client = Client(process.url, ""), Client(process.url, "k")
    everybody.switch(submit=503)
    everybody.next(submit=429)
    assert client.submit().status_code == 429
    assert client.submit().status_code == 503
    client.switch(submit="accept")
    assert client.submit().status_code == 200
    assert process.end() == 0
