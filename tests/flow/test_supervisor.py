from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import eventually, is_gone

OWNER = """
import os, sys
from pathlib import Path
from service.supervisor import Command, Supervisor
python = [sys.executable, "-c"]
notes = sys.argv[1]
child = '''
import os, signal, sys, time
from service import lifeline
lifeline.watch()
def end(*_):
    open({notes!r}, "a").write(sys.argv[1] + " ended\\\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
os.write(1, (sys.argv[1] + " runs\\\\n").encode())
while True:
    signal.pause()
'''.replace("{notes!r}", repr(notes))
with Supervisor(os.environ, None, lambda told: os.write(1, (told + "\\n").encode())) as supervisor:
    for stage, name in enumerate(["store", "worker", "web"]):
        supervisor.start(Command(name, [*python, child, name], stage))
    supervisor.start(Command("deaf", [*python, sys.argv[2], "deaf"], 1, grace=0.5))
    os.write(1, b"all started\\n")
    while not supervisor.stopping:
        supervisor.tick(30)
"""
DEAF = r"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
os.write(1, b"deaf runs\n")
time.sleep(600)
"""
EPHEMERAL = r"import os; os.write(1, b'again\n')"
"""Each line by one write: several processes share the pipe."""


class Owner:
    """A process that supervises, with what it and its commands print."""

    def __init__(self, notes: Path, other: str) -> None:
        self.notes = notes
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(notes), other], stdout=subprocess.PIPE, text=True
        )

    def reads(self, *lines: str) -> None:
        wanted = set(lines)
        assert self.process.stdout
        while wanted:
            line = self.process.stdout.readline()
            assert line, f"{wanted} never came"
            wanted.discard(line.rstrip("\n"))

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path / "notes", DEAF)
    with owner.process:
        try:
            owner.reads("all started", "store runs", "worker runs", "web runs", "deaf runs")
            yield owner
        finally:
            owner.process.terminate()


def test_what_dies_is_started_again(owner: Owner):
    victim = next(one for one in owner.family() if one.cmdline()[-1] == "worker")
    victim.kill()
    owner.reads("worker ended with status -9; starting it again in 0.2 s", "worker runs")


def test_what_ends_with_status_0_is_started_again_too(tmp_path: Path):
    owner = Owner(tmp_path / "notes", EPHEMERAL)
    with owner.process:
        owner.reads("deaf ended with status 0; starting it again in 0.2 s", "again")
        owner.reads("deaf ended with status 0; starting it again in 0.4 s", "again")
        owner.process.terminate()


def test_sigterm_ends_the_web_first_and_the_store_last_and_leaves_nothing(owner: Owner):
    children = owner.family()
    assert len(children) == 5
    owner.process.send_signal(signal.SIGTERM)
    assert owner.process.wait(20) == 0
    assert owner.notes.read_text().split("\n") == ["web ended", "worker ended", "store ended", ""]
    assert all(is_gone(child) for child in children)


def test_ctrl_c_reaches_the_commands_only_through_their_supervisor(owner: Owner):
    assert all(os.getpgid(child.pid) != os.getpgid(owner.process.pid) for child in owner.family())


def test_what_listens_to_its_lifeline_ends_when_the_supervisor_is_killed(owner: Owner):
    listeners = [child for child in owner.family() if child.cmdline()[-1] in {"store", "worker", "web"}]
    others = [child for child in owner.family() if child not in listeners]
    owner.process.kill()
    assert len(listeners) == 3
    assert eventually(lambda: all(is_gone(child) for child in listeners))
    for child in others:
        child.kill()
