"""How long it takes under `up`, from a kill until what was waiting goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import redis

from service import embedded
from tests.faults.client import I2V, Client, Order
from tests.faults.servers import Handler, Server
from tests.faults.vendor import Vendor, spoken
from tests.faults.vendorside import VendorServer
from tests.ups import Up, running
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(120)
OURS, STORES = 15.0, 5.0
"""Seconds: after the kill of one of our processes; after a store that was killed answers again."""


class Hook(Server):
    """Answers what ``status`` says, None: not at all; keeps when each POST came."""

    def __init__(self) -> None:
        super().__init__(HookHandler)
        self.status: int | None = 200
        self.came: list[float] = []


class HookHandler(Handler):
    server: Hook

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        self.body()
        status = self.server.status
        self.server.came.append(time.monotonic())
        if status is None:
            self.rfile.read(1)  # until the other side ends
            self.cut()
        else:
            self.answer(status)


@dataclass
class Scene:
    up: Up
    vendor: Vendor
    hook: Hook
    data_dir: Path
    client: Client

    def next_post(self, since: float) -> float:
        """Seconds from ``since`` until the endpoint was called again."""
        assert eventually(lambda: self.hook.came and self.hook.came[-1] > since, timeout=60)
        return next(each for each in self.hook.came if each > since) - since


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """An `up` whose vendor and whose one subscriber are this test's."""
    vendor, hook = Vendor(spoken), Hook()
    data_dir = tmp_path_factory.mktemp("recovery") / "data"
    with (
        VendorServer(vendor).listening() as upstream,
        hook.listening() as url,
        running(data_dir, WAVESPEED_BASE_URL=upstream) as up,
    ):
        up.call("POST", "/v1/endpoints", json={"url": url, "retry_schedule": [0] + [1] * 19})
        yield Scene(up, vendor, hook, data_dir, Client(0, up.url, up.key, ""))
        vendor.gate.set()


def killed(scene: Scene, word: str) -> float:
    """Kill it; when that was, once there is another in its place."""
    victim = scene.up.named(word)
    assert victim is not None
    at = time.monotonic()
    victim.kill()
    assert eventually(lambda: scene.up.replaces(word, victim))
    return at


def test_what_the_only_forwarder_had_in_flight_goes_out_again(scene: Scene) -> None:
    scene.hook.status = None
    before = len(scene.hook.came)
    scene.client.place("ok, once")
    assert eventually(lambda: len(scene.hook.came) > before)
    scene.hook.status = 200
    at = killed(scene, "workers.forwarder")
    assert scene.next_post(at) <= OURS


def test_what_waits_for_the_only_forwarder_goes_out_when_there_is_one(scene: Scene) -> None:
    forwarder = scene.up.named("workers.forwarder")
    assert forwarder is not None
    forwarder.suspend()
    order = scene.client.place("ok, once")
    assert eventually(lambda: scene.up.is_final(order.job))
    at = killed(scene, "workers.forwarder")
    assert scene.next_post(at) <= OURS


def test_what_the_only_worker_had_taken_and_not_begun_is_submitted(scene: Scene) -> None:
    scene.vendor.uploads_held = True
    before = scene.vendor.uploads
    order = scene.client.place("ok, once", model=I2V, image=True)
    assert eventually(lambda: scene.vendor.uploads > before)
    scene.vendor.uploads_held = False
    at = killed(scene, "workers.worker")
    assert eventually(lambda: posts(scene, order), timeout=60)
    assert posts(scene, order)[0] - at <= OURS
    assert len(posts(scene, order)) == 1


def posts(scene: Scene, order: Order) -> list[float]:
    return [post.at for post in scene.vendor.posts if post.job == order.job]


def test_everything_goes_on_soon_after_a_killed_store_answers_again(scene: Scene) -> None:
    scene.hook.status = 500
    order = scene.client.place("ok, once")
    assert eventually(lambda: scene.up.is_final(order.job) and scene.hook.status)
    scene.hook.status = 200
    valkey = next(one for one in scene.up.family() if one.name().startswith("valkey"))
    valkey.kill()
    answers_at = answers_again(scene.data_dir, valkey)
    assert scene.next_post(answers_at) <= STORES
    fresh = scene.client.place("ok, once")
    assert eventually(lambda: scene.up.is_final(fresh.job))
    assert time.monotonic() - answers_at <= 2 * STORES


def answers_again(data_dir: Path, victim: psutil.Process) -> float:
    """When the store that takes the place of ``victim`` was first seen to answer."""

    def answers() -> bool:
        url = embedded.url(data_dir)
        try:
            return bool(url and not victim.is_running() and redis.Redis.from_url(url).ping())
        except redis.RedisError:
            return False

    assert eventually(answers, timeout=60)
    return time.monotonic()
