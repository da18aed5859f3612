from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest
import redis
import requests
from standardwebhooks import Webhook

from tests.ports import free_port
from tests.sandbox.client import Receiver
from tests.waiting import eventually, is_gone

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "tests" / "data" / "rocket.jpg"
SANDBOX = [sys.executable, "-m", "service.sandbox", "--port", "0"]
MODEL = "minimax/hailuo-02/fast"


@contextmanager
def started(command: list[str], output: IO[str] | int, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A program for as long as the block lasts; all that it started is gone afterwards."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path} | environ
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, text=True) as process:
        try:
            yield process
        finally:
            family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(30)
            assert eventually(lambda: all(is_gone(one) for one in family))


def listens(url: str) -> bool:
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def is_ready(url: str) -> bool:
    try:
        answer = requests.get(f"{url}/readyz", timeout=5)
    except requests.RequestException:
        return False
    return answer.ok and all(check["ok"] for check in answer.json()["checks"].values())


@pytest.fixture
def debian_redis(requires: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    port = free_port()
    options = ["--port", str(port), "--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "always"]
    with started(
        [requires("redis-server"), *options, "--maxmemory-policy", "noeviction"], subprocess.DEVNULL
    ):
        url = f"redis://127.0.0.1:{port}/0"
        assert eventually(lambda: listens(url))
        yield url


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with closing(Receiver()) as receiver:
        yield receiver


def test_a_job_passes_through_the_procfile_with_a_redis_of_the_operators(
    debian_redis: str, receiver: Receiver, tmp_path: Path
):
    environ = {
        "REDIS_URL": debian_redis,
        "HOOKREEL_SECRET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "HOOKREEL_DATA_DIR": str(tmp_path),
    }
    port = free_port()
    with ExitStack() as stack:
        sandbox = stack.enter_context(started(SANDBOX, subprocess.PIPE))
        assert sandbox.stdout
        environ["WAVESPEED_BASE_URL"] = sandbox.stdout.readline().split()[-1]
        honcho = ["honcho", "start", "-p", str(port), "web", "worker", "forwarder", "clock"]
        told = stack.enter_context((tmp_path / "honcho.log").open("w"))
        stack.enter_context(started(honcho, told, **environ))
        url = f"http://127.0.0.1:{port}"
        assert eventually(lambda: is_ready(url), timeout=40)
        arrives(url, created_key(environ), receiver)


def created_key(environ: dict[str, str]) -> str:
    command = [sys.executable, "-m", "service.cli.main", "keys", "create", "--json"]
    made = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=True)
    return str(json.loads(made.stdout)["key"])


def arrives(url: str, key: str, receiver: Receiver) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    endpoint = requests.post(f"{url}/v1/endpoints", json={"url": receiver.url}, headers=headers, timeout=10)
    assert endpoint.status_code == 201, endpoint.text
    image = f"data:image/jpeg;base64,{base64.b64encode(PHOTO.read_bytes()).decode()}"
    body = {"image": image, "prompt": "It takes off", "duration": 6}
    accepted = requests.post(f"{url}/api/v3/{MODEL}", json=body, headers=headers, timeout=10)
    assert accepted.status_code == 200, accepted.text
    (received,) = receiver.wait()
    event = Webhook(endpoint.json()["secret"]).verify(received.body, received.headers)
    assert (event["type"], event["data"]["id"]) == ("prediction.completed", accepted.json()["data"]["id"])
