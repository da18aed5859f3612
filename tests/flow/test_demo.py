from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from tests.waiting import eventually, is_gone

PHOTO = Path(__file__).parents[1] / "data" / "rocket.jpg"
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing may be believed; ``TMPDIR`` shows what is left behind."""
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), NOBODY)
    environ = {**os.environ, **proxies, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    del environ["NETRC"]
    return environ | {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "WAVESPEED_API_KEY": "a-key-that-costs-money",
        "WAVESPEED_BASE_URL": NOBODY,
        "HOOKREEL_PUBLIC_URL": NOBODY,
        "HOOKREEL_DATA_DIR": "/nowhere",
        "HOOKREEL_EGRESS_ALLOW": "none",
        "HOOKREEL_LOG_LEVEL": "nonsense",
    }


@contextmanager
def started(environ: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "service.cli.main", "demo", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def refused(*arguments: str) -> str:
    with started(os.environ, *arguments) as process:
        told, error = process.communicate()
    assert (process.returncode, told) == (2, "")
    return error.splitlines()[-1].removeprefix("Error: ")


def ledger(found: Mapping[str, Any]) -> tuple[int, ...]:
    upstream, deliveries = found["upstream"], found["deliveries"]
    return (
        *(upstream["posts"], upstream["result_gets"]),
        *(found["callbacks"], deliveries["expected"], deliveries["verified"]),
    )


def test_the_demo_makes_a_video_whatever_the_environment_says(hostile: dict[str, str], tmp_path: Path):
    output = tmp_path / "film.mp4"
    with started(hostile, str(PHOTO), "--json", "--output", str(output)) as process:
        told, progress = process.communicate()
    assert process.returncode == 0, progress
    found = json.loads(told.splitlines()[-1])
    assert (found["ok"], found["output"], ledger(found)) == (True, str(output), (1, 0, 1, 2, 2))
    stages = ["ready", "accepted", "submitted", "rendering", "called_back", "verified", "delivered"]
    assert list(found["seconds"]) == [*stages, "archived"]
    assert "there is no AI in it" in progress
    with av.open(str(output)) as film:
        (stream,) = film.streams.video
        assert min(stream.width, stream.height) == 512
        assert (film.duration or 0) / av.time_base == pytest.approx(6, abs=0.1)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_ledger_that_is_not_whole_ends_with_status_1(hostile: dict[str, str], tmp_path: Path):
    output = tmp_path / "film.mp4"
    prompt = "a cat [sandbox: render=tiny callback=processing_first]"
    with started(hostile, "--json", "--output", str(output), "--prompt", prompt) as process:
        told, progress = process.communicate()
    assert process.returncode == 1, progress
    found = json.loads(told.splitlines()[-1])
    assert (found["ok"], ledger(found)) == (False, (1, 0, 2, 2, 2))
    assert "Not whole" in progress
    (kept,) = (tmp_path / "tmp").glob("hookreel-demo-*")
    assert (kept / "logs" / "web.log").exists()


def test_ctrl_c_ends_all_of_it_and_leaves_nothing(hostile: dict[str, str], tmp_path: Path):
    output = tmp_path / "film.mp4"
    prompt = "a cat [sandbox: render=tiny delay=600]"
    with started(hostile, "--output", str(output), "--prompt", prompt) as process:
        assert process.stdout
        assert any(line.startswith("submitted") for line in process.stdout)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert eventually(lambda: all(is_gone(one) for one in family))
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not output.exists()


def test_what_cannot_be_filmed_is_told_in_a_sentence(tmp_path: Path):
    text = tmp_path / "photo.jpg"
    text.write_text("no photograph")
    assert refused(str(text)) == (
        f"Invalid value for IMAGE: {text} is no image that can be read; a JPEG or PNG"
    )
    assert refused(str(tmp_path / "none.jpg")).endswith("does not exist.")
    assert refused("--prompt", "x" * 2001).startswith("Invalid value for --prompt: is 2001 characters long")
    assert refused("--output", str(text)) == f"Invalid value for --output: {text} does not end in .mp4"
