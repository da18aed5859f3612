"""A worker killed, or stopped, between the paid POST and its commit: the vendor's book has one POST."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.client import I2V, Client, Order
from tests.faults.house import House, running
from tests.faults.vendor import Vendor, spoken
from tests.faults.vendorside import VendorServer
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(120)
MODELS = {
    "alone": "minimax/hailuo-02/pro",
    "in company": "minimax/hailuo-02/standard",
}


class Scene:
    """A house with one worker; orders by what their prompt asks of the vendor."""

    def __init__(self, house: House, vendor: Vendor) -> None:
        self.house = house
        self.vendor = vendor
        self.client = Client(0, house.url, house.service.apikeys.create("default")[1], "")
        self.orders: dict[str, Order] = {}

    def place(self, name: str, prompt: str, **fields: Any) -> None:
        self.orders[name] = self.client.place(prompt, **fields)

    def posts(self, name: str) -> int:
        """How many came for this job."""
        return sum(post.job == self.orders[name].job for post in self.vendor.posts)

    def told(self, name: str) -> dict[str, Any]:
        return self.client.job(self.orders[name])

    def is_final(self, name: str) -> bool:
        return self.told(name)["state"] in {"completed", "failed"}

    def strikes(self, number: signal.Signals) -> None:
        assert self.house.roles["worker-1"].signal(number)


@pytest.fixture
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Scene]]:
    """Made on demand; gone with the test."""
    vendor = Vendor(spoken)
    settings = {"HOOKREEL_UNCERTAIN_AFTER": "5", "HOOKREEL_OVERDUE_AFTER": "30"}
    directory: Path = tmp_path_factory.mktemp("house")
    roles = ("web", "worker-1", "clock")
    with (
        VendorServer(vendor).listening() as upstream,
        running(directory, upstream, *roles, **settings) as house,
    ):
        yield lambda: Scene(house, vendor)
        vendor.gate.set()


def ends(scene: Scene) -> dict[str, tuple[str, int | None]]:
    return {name: (scene.told(name)["state"], scene.told(name)["code"]) for name in scene.orders}


def test_a_worker_killed_between_its_post_and_the_commit_posts_nothing_twice(
    scenes: Callable[[], Scene],
) -> None:
    scene = scenes()
    scene.place("told while submitting", "held_made, after 3")
    scene.place("told while uncertain", "held_made, after 12")
    scene.place("never told", "held_made, none")
    scene.place("not made", "held, none", model=MODELS["alone"])
    scene.place("not made, in company", "held, none", model=MODELS["in company"])
    scene.place("company", "held_made, none", model=MODELS["in company"])
    scene.vendor.uploads_held = True
    scene.place("uploading", "ok, once", model=I2V, image=True)
    posted = [name for name in scene.orders if name != "uploading"]
    assert eventually(lambda: all(scene.posts(name) for name in posted))
    assert eventually(lambda: scene.vendor.uploads > 0)
    scene.strikes(signal.SIGKILL)
    scene.vendor.uploads_held = False
    assert eventually(lambda: all(scene.is_final(name) for name in scene.orders), timeout=60), [
        scene.told(name) for name in scene.orders if not scene.is_final(name)
    ]
    expected = {
        "told while submitting": ("completed", None),
        "told while uncertain": ("completed", None),
        "never told": ("failed", 9001),
        # The vendor's list of this model has no task that could be it.
        "not made": ("failed", 9004),
        # It has one that nobody has claimed.
        "not made, in company": ("failed", 9001),
        "company": ("failed", 9001),
        "uploading": ("completed", None),
    }
    # A word that comes after the presumption replaces it.
    assert eventually(lambda: ends(scene) == expected), ends(scene)
    assert [scene.posts(name) for name in scene.orders] == [1] * len(scene.orders)


def test_a_worker_stopped_for_longer_than_any_limit_and_gone_on_posts_nothing_twice(
    scenes: Callable[[], Scene],
) -> None:
    scene = scenes()
    scene.place("told meanwhile", "held_made, after 3")
    scene.place("told by its answer", "held_made, none")
    scene.vendor.uploads_held = True
    scene.place("uploading", "ok, once", model=I2V, image=True)
    assert eventually(lambda: len(scene.vendor.posts) == 2 and scene.vendor.uploads > 0)
    scene.strikes(signal.SIGSTOP)
    scene.vendor.gate.set()
    assert eventually(lambda: scene.told("told by its answer")["state"] == "uncertain")
    scene.strikes(signal.SIGCONT)
    assert eventually(lambda: scene.told("told by its answer")["state"] == "processing")
    assert eventually(lambda: scene.is_final("told meanwhile") and scene.is_final("uploading"))
    assert [scene.posts(name) for name in scene.orders] == [1, 1, 1]
