"""`hookreel up` as shipped: how fast it submits, and what it costs when nothing happens."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import corpus, load
from benchmarks.figures import Figure
from benchmarks.processes import cpu, fetch, measure, wait_until
from benchmarks.vendor import SECRET
from service.environment import clean_environment

TEXT_TO_VIDEO = "minimax/hailuo-02/t2v-pro"
JOBS = 100
CONNECTIONS = 8
SETTLING = 5.0
IDLE = 20.0
END_WAIT = 60.0
MEGABYTE = 2**20


@dataclass(frozen=True)
class Up:
    """A running one, ready."""

    process: subprocess.Popen[str]
    port: int
    key: str
    directory: Path

    def family(self) -> list[psutil.Process]:
        """All of its processes."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def named(self, word: str) -> psutil.Process:
        """The one whose command line has ``word`` in it. Raises RuntimeError when there is none."""
        for each in self.family():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if any(word in part for part in each.cmdline()[:3]):
                    return each
        raise RuntimeError(f"nothing runs that is called {word}")

    def call(self, path: str, document: Any = None) -> Any:
        """What is answered to a GET, or to a POST of ``document``. Raises OSError for any but a 2xx."""
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5) as answer:
            return json.loads(answer.read())

    def submit(self, query: str = "", **fields: Any) -> str:
        """A job from text, or from what ``fields`` say instead; its id."""
        model = corpus.MODEL if "image" in fields else TEXT_TO_VIDEO
        return str(
            self.call(f"/api/v3/{model}{query}", {"prompt": "A tram turns the corner.", **fields})["data"][
                "id"
            ]
        )


@contextmanager
def up(**settings: str) -> Iterator[Up]:
    """``hookreel up`` on a fresh data directory."""
    with tempfile.TemporaryDirectory(prefix="hookreel-bench-") as name:
        command = [sys.executable, "-m", "service.cli.main", "up", "--port", "0", "--data-dir", name]
        environ = clean_environment(os.environ) | settings
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                ready = next((line for line in process.stdout if line.startswith("ready at ")), "")
                if not ready:
                    raise RuntimeError("hookreel up did not start")
                key = (Path(name) / "api-key").read_text("utf-8").strip()
                port = int(ready.split()[2].rpartition(":")[2])
                yield Up(process, port, key, Path(name))
            finally:
                process.terminate()
                process.communicate(timeout=END_WAIT)


@contextmanager
def slow_vendor() -> Iterator[str]:
    """``benchmarks/vendor.py``, which answers after a second; its URL."""
    command = [sys.executable, "-m", "benchmarks.vendor", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def submitting() -> list[Figure]:
    """From the first job until the vendor has answered for the last, each submitted once."""
    with slow_vendor() as url, up(WAVESPEED_BASE_URL=url, WAVESPEED_WEBHOOK_SECRET=SECRET) as running:
        dice = random.Random(1)  # noqa: S311 - no secret
        headers = {"authorization": f"Bearer {running.key}"}
        bodies = (json.dumps(corpus.fields(dice)).encode() for _ in range(JOBS))
        file = running.directory / "requests"
        load.write(file, (load.post(f"/api/v3/{corpus.MODEL}", headers, body) for body in bodies))
        begun = time.monotonic()
        measure("load", running.port, CONNECTIONS, file)
        wait_until(lambda: fetch(url)["answered"] >= JOBS)
        seconds, told = time.monotonic() - begun, fetch(url)
    if told != {"answered": JOBS, "jobs": JOBS}:
        raise RuntimeError(f"submitted otherwise than once each: {told}")
    detail = f"{JOBS} jobs, a vendor that answers after 1 s, one worker with 16 threads"
    return [Figure("submitting", "all are submitted after", seconds, "s", "<=", 10, detail)]


def idle() -> list[Figure]:
    """Nothing to do, with the sandbox: CPU, and memory without and with what processes share divided."""
    with up() as running:
        # What a start leaves to do is not idleness; then the time itself is what is measured.
        time.sleep(SETTLING)
        family = running.family()
        begun, used = time.monotonic(), sum(map(cpu, family))
        time.sleep(IDLE)
        share = (sum(map(cpu, family)) - used) / (time.monotonic() - begun) * 100
        if [each.pid for each in running.family()] != [each.pid for each in family]:
            raise RuntimeError("a process ended, or was started")
        rss = [(_role(each), each.memory_info().rss / MEGABYTE) for each in family]
        pss = sum(each.memory_full_info().pss for each in family) / MEGABYTE
    parts = ", ".join(f"{name} {size:.0f}" for name, size in rss)
    return [
        Figure("idle", "CPU of one core", share, "%", "<=", 2, f"{len(family)} processes, {IDLE:.0f} s"),
        Figure("idle", "resident memory", sum(size for _, size in rss), "MB", "<=", 450, parts),
        Figure("idle", "memory, shared pages divided", pss, "MB"),
    ]


def _role(process: psutil.Process) -> str:
    words = process.cmdline()
    known = {"up", "serve", "sandbox"}
    named = (word for word in words if word in known or word.startswith(("workers.", "service.embedded")))
    return next(named, Path(words[0]).name).rpartition(".")[2]
