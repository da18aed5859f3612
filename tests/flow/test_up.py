from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from service import embedded
from service.cli.main import cli
from tests.ups import COMMAND, running
from tests.waiting import eventually, is_gone, runs

MEGABYTE = 2**20


def refused(data_dir: Path, *arguments: str, **environ: str) -> str:
    command = [*COMMAND, str(data_dir), *arguments]
    done = subprocess.run(command, capture_output=True, env=os.environ | environ, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_up_is_ready_in_time_small_clear_about_money_and_private_about_keys(data_dir: Path):
    with running(data_dir) as up:
        assert up.seconds < 10
        assert up.lines[0] == "vendor: sandbox"
        assert up.lines[1] == f"API key: {data_dir}/api-key"
        assert up.is_ready()
        for name in ("api-key", "secret-key"):
            assert (data_dir / name).stat().st_mode & 0o777 == 0o600
            assert len((data_dir / name).read_text().splitlines()) == 1
        if sys.platform == "linux":  # nothing else counts shared pages once
            family = [psutil.Process(up.process.pid), *up.family()]
            assert sum(one.memory_full_info().pss for one in family) < 450 * MEGABYTE


def test_a_signal_ends_everything_with_status_0(data_dir: Path):
    with running(data_dir) as up:
        family = up.family()
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 0
        assert all(is_gone(one) for one in family)


def test_a_signal_while_everything_loads_is_heard_at_once(data_dir: Path):
    with subprocess.Popen([*COMMAND, str(data_dir)], stdout=subprocess.DEVNULL) as process:
        family = partial(psutil.Process(process.pid).children, recursive=True)

        def web() -> int:
            return sum(runs(one, "serve") for one in family())

        assert eventually(lambda: web() == 2)
        process.terminate()
        # granian kills a worker that swallowed the signal after 8 s, the supervisor all of it after 10 s.
        assert eventually(lambda: web() == 0, timeout=7.5)
        # A worker or forwarder that swallowed it would be waited for for 75 s.
        assert process.wait(25) == 0


def test_what_dies_is_back_soon(data_dir: Path):
    with running(data_dir) as up:
        for word in ("serve", "service.embedded", "workers.worker", "sandbox"):
            victim = up.named(word)
            assert victim
            victim.kill()
            assert eventually(partial(up.replaces, word, victim))
        assert eventually(up.is_ready, timeout=30)
        assert eventually(partial(up.is_final, up.submit("a cat [sandbox: render=none]")))


def test_when_up_is_killed_its_children_end_and_the_next_up_starts_there(data_dir: Path):
    with running(data_dir) as up:
        family = up.family()
        job = up.submit("a cat [sandbox: render=none]")
        assert eventually(partial(up.is_final, job))
        up.process.kill()
        with running(data_dir) as again:
            assert again.is_ready()
            assert again.key == up.key
            assert again.job(job)["state"] == "completed"
        assert eventually(lambda: all(is_gone(one) for one in family))


def test_a_vendor_elsewhere_without_a_public_url_is_refused(data_dir: Path):
    told = refused(data_dir, WAVESPEED_API_KEY="a-vendor-key")
    assert "HOOKREEL_PUBLIC_URL: the vendor cannot call" in told
    assert not data_dir.exists()


def test_a_key_of_our_own_is_refused_as_the_vendors(data_dir: Path):
    told = refused(data_dir, WAVESPEED_API_KEY="hrk_0123456789")
    assert "WAVESPEED_API_KEY: that is a Hookreel key" in told
    assert "0123456789" not in told


def test_a_store_of_the_operators_without_a_secret_key_is_refused(data_dir: Path):
    assert "HOOKREEL_SECRET_KEY: it is needed with REDIS_URL" in refused(
        data_dir, REDIS_URL="redis://127.0.0.1:1"
    )


def test_a_port_that_is_taken_is_refused(data_dir: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"127.0.0.1:{port} cannot be bound" in refused(data_dir, "--port", str(port))


def test_a_second_up_on_the_same_directory_is_refused(
    data_dir: Path, owned: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
):
    owned(data_dir)
    monkeypatch.setattr(embedded, "own", partial(embedded.own, timeout=0.2))
    done = CliRunner().invoke(cli, ["up", "--port", "0", "--data-dir", str(data_dir)])
    assert done.exit_code == 1
    assert f"{data_dir} is in use by another Hookreel" in done.output


@pytest.fixture
def owned() -> Iterator[Callable[[Path], None]]:
    """Owns a data directory, in another process, until the test ends."""
    code = "import sys; from pathlib import Path; from service import embedded\n"
    code += "embedded.own(Path(sys.argv[1])); print(flush=True); input()"
    others = []

    def own(data_dir: Path) -> None:
        command = [sys.executable, "-c", code, str(data_dir)]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        others.append(other)
        assert other.stdout
        other.stdout.readline()

    yield own
    for other in others:
        other.communicate(b"\n")
