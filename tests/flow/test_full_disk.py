"""The disk under the embedded store fills: acceptance stops first, then Valkey, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests

from service import embedded
from service.acceptance import ENOUGH, disk_is_full
from tests.ups import COMMAND, T2V, Up, running
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(180)
SIZE = 48 * 2**20
GIGABYTE = 2**30


class Disk:
    """A small file system, and a file that takes its room."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ballast = path / "ballast"

    def fill(self, leave: int) -> None:
        """Until no more than so many bytes are free."""
        with self.ballast.open("ab", buffering=0) as file:
            while (free := psutil.disk_usage(str(self.path)).free) > leave:
                try:
                    file.write(bytes(min(2**20, free - leave)))
                except OSError:
                    return

    def clear(self) -> None:
        """There is room again."""
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path, requires: Callable[[str], str]) -> Iterator[Disk]:
    """Mounted for one test, where that is permitted; in CI root has to be."""
    place = tmp_path / "disk"
    place.mkdir()
    mount, umount = requires("mount"), requires("umount")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode and os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(f"no file system can be mounted: {made.stderr.decode()}")
    if made.returncode:
        pytest.skip("no file system can be mounted")
    yield Disk(place)
    subprocess.run([umount, "-l", str(place)], check=True)


class Told:
    """What `up` has said on stderr so far."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self._lines: list[str] = []

    def about_the_disk(self) -> list[str]:
        self._lines += self._capfd.readouterr().err.splitlines()
        return [line for line in self._lines if line.startswith("the store ended because")]


@pytest.fixture
def told(capfd: pytest.CaptureFixture[str]) -> Told:
    return Told(capfd)


def submitted(up: Up) -> requests.Response:
    headers = {"Authorization": f"Bearer {up.key}"}
    return requests.post(f"{up.url}/api/v3/{T2V}", json={"prompt": "a cat"}, headers=headers, timeout=30)


def test_acceptance_stops_while_the_disk_is_nearly_full(disk: Disk):
    with running(disk.path / "data") as up:
        job = up.submit("a cat [sandbox: render=none]")
        disk.fill(leave=SIZE // 10)
        assert eventually(lambda: submitted(up).status_code == 503)
        refused = submitted(up)
        assert "the store's disk is nearly full; nothing more is accepted until there is room" in refused.text
        assert refused.headers["Retry-After"] == "30"
        assert eventually(partial(up.is_final, job)), "what was accepted goes on"
        disk.clear()
        assert eventually(lambda: submitted(up).status_code == 200)


def test_a_full_disk_ends_the_store_in_words_and_everything_goes_on_when_there_is_room(
    disk: Disk, told: Told
):
    data_dir = disk.path / "data"
    with running(data_dir, HOOKREEL_OVERDUE_AFTER="10") as up:
        up.switch(render="none")
        done = up.submit("a cat")
        assert eventually(partial(up.is_final, done))
        up.switch(render="none", delay=5)
        accepted = [done, *(up.submit("a cat") for _ in range(8))]
        assert eventually(lambda: up.counts()["submit"] == len(accepted))
        disk.fill(leave=0)
        assert eventually(told.about_the_disk, timeout=30)
        [sentence] = told.about_the_disk()
        assert f"because the disk that holds {data_dir} is full" in sentence
        assert "Make room there" in sentence
        # They end, and call back, while nothing can be written.
        assert eventually(lambda: up.counts()["callback"] > len(accepted))
        disk.clear()
        assert eventually(up.is_ready, timeout=60)
        assert eventually(lambda: all(map(up.is_final, accepted)), timeout=60)
        assert {up.job(job)["state"] for job in accepted} == {"completed"}
        assert up.counts()["submit"] == len(accepted)
        assert eventually(lambda: submitted(up).status_code == 200)
        assert len(told.about_the_disk()) == 1


def test_up_on_a_full_disk_is_refused_in_words(disk: Disk):
    disk.fill(leave=0)
    done = subprocess.run(
        [*COMMAND, str(disk.path / "data")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"{disk.path / 'data'} cannot be used: its disk is full; make room there" in done.stderr


def test_a_disk_is_full_by_its_share_unless_more_is_free_than_the_store_can_need():
    assert not disk_is_full(85, 15)
    assert disk_is_full(86, 14)
    assert disk_is_full(100 * GIGABYTE, 3 * GIGABYTE)
    assert not disk_is_full(900 * GIGABYTE, ENOUGH)


def test_a_store_that_ended_for_another_reason_did_not_end_for_its_disk(data_dir: Path):
    assert not embedded.is_full(data_dir)
    with embedded.running(data_dir):
        pass
    assert not embedded.is_full(data_dir)
