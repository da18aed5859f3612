"""`hookreel up` as a process, ready, with what a test asks of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.waiting import is_gone, runs

COMMAND = [sys.executable, "-m", "service.cli.main", "up", "--port", "0", "--data-dir"]
T2V = "minimax/hailuo-02/t2v-pro"


class Up:
    """A running `hookreel up`, ready."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path) -> None:
        self.process = process
        assert process.stdout
        self.lines = []
        for line in process.stdout:
            self.lines.append(line.strip())
            if line.startswith("ready at "):
                break
        assert self.lines[-1].startswith("ready at "), process.communicate()
        _, _, self.url, _, seconds, _ = self.lines[-1].split()
        self.seconds = float(seconds)
        self.key = (data_dir / "api-key").read_text().strip()
        self.sandbox = self.lines[-2].removeprefix("sandbox: ")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def named(self, word: str) -> psutil.Process | None:
        return next((one for one in self.family() if runs(one, word)), None)

    def replaces(self, word: str, victim: psutil.Process) -> bool:
        return is_gone(victim) and self.named(word) not in {None, victim}

    def is_ready(self) -> bool:
        try:
            answer = requests.get(f"{self.url}/readyz", timeout=5)
            return answer.ok and all(check["ok"] for check in answer.json()["checks"].values())
        except requests.RequestException:
            return False

    def call(self, method: str, path: str, **options: Any) -> Any:
        """What the service answers, as JSON; ``None`` without a body."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = requests.request(method, self.url + path, headers=headers, timeout=30, **options)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def submit(self, prompt: str = "a cat", query: str = "", model: str = T2V, **fields: Any) -> str:
        """The job's id."""
        body = {"prompt": prompt, **fields}
        return str(self.call("POST", f"/api/v3/{model}{query}", json=body)["data"]["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/v1/jobs/{job_id}"))

    def is_final(self, job_id: str) -> bool:
        return self.job(job_id)["state"] in {"completed", "failed"}

    def switch(self, **switches: Any) -> None:
        """Set the sandbox's switches, for everybody, until they are set again."""
        answer = requests.put(f"{self.sandbox}/sandbox/switches", json=switches, timeout=10)
        assert answer.ok, answer.text

    def log(self, **wanted: Any) -> list[dict[str, Any]]:
        """Entries of the sandbox's book."""
        return list(requests.get(f"{self.sandbox}/sandbox/log", params=wanted, timeout=70).json())

    def counts(self) -> dict[str, int]:
        """What the sandbox's book has counted."""
        return dict(requests.get(f"{self.sandbox}/sandbox/counts", timeout=10).json())


@contextmanager
def running(data_dir: Path, **environ: str) -> Iterator[Up]:
    """For as long as the block lasts, in the environment of the tests and ``environ``."""
    command = [*COMMAND, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | environ, text=True) as process:
        try:
            yield Up(process, data_dir)
        finally:
            process.terminate()
