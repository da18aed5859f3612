from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from service import embedded, lifeline
from tests.waiting import eventually, is_gone

OWNER = """
import sys
from pathlib import Path
from service import embedded
with embedded.running(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns a store; by the time the test runs, the store answers."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("unix://")
        path = embedded.socket_path(data_dir)
        yield process
        process.kill()
    shutil.rmtree(path.parent, ignore_errors=True)


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_the_store_listens_on_a_private_socket_and_on_no_port(data_dir: Path):
    with embedded.running(data_dir) as url, redis.Redis.from_url(url) as client:
        path = Path(url.removeprefix("unix://"))
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert len(os.fsencode(path)) <= 100
        assert client.config_get("port") == {"port": "0"}


def test_every_acknowledged_write_is_on_disk_and_nothing_is_evicted(data_dir: Path):
    with embedded.running(data_dir) as url, redis.Redis.from_url(url) as client:
        assert client.config_get("append*") | {
            "appendonly": "yes",
            "appendfsync": "always",
        } == client.config_get("append*")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert 0 < int(client.config_get("maxmemory")["maxmemory"]) <= 2**30


def test_what_was_written_is_there_after_a_restart(data_dir: Path):
    with embedded.running(data_dir) as url, redis.Redis.from_url(url) as client:
        client.set("job", "paid")
    assert embedded.url(data_dir) is None
    with embedded.running(data_dir) as url, redis.Redis.from_url(url) as client:
        assert client.get("job") == b"paid"


def test_the_store_ends_when_its_owner_is_killed_and_the_next_owner_has_the_data(owner, data_dir: Path):
    url = embedded.url(data_dir)
    assert url
    with redis.Redis.from_url(url) as client:
        client.set("job", "paid")
    children = family(owner)
    assert len(children) == 2
    owner.kill()
    with embedded.running(data_dir) as again, redis.Redis.from_url(again) as client:
        assert client.get("job") == b"paid"
    assert eventually(lambda: all(is_gone(child) for child in children))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_valkey_ends_when_its_guardian_is_killed(owner, data_dir: Path):
    guardian, server = family(owner)
    guardian.kill()
    assert eventually(lambda: is_gone(server))


def test_a_second_owner_is_refused_in_words_that_name_the_directory(owner, data_dir: Path):
    with pytest.raises(
        embedded.StoreError, match=rf"{data_dir} is in use by another Hookreel \(process \d+\)"
    ):
        embedded.own(data_dir, timeout=0.2)


def test_an_owner_that_is_just_ending_is_waited_for(owner, data_dir: Path):
    guardian, server = family(owner)
    server.suspend()
    guardian.send_signal(signal.SIGTERM)
    with pytest.raises(embedded.StoreError):
        embedded.own(data_dir, timeout=0.2)
    server.resume()
    os.close(embedded.own(data_dir))


def test_a_truncated_tail_is_cut_off_and_said_aloud(data_dir: Path, capfd: pytest.CaptureFixture[str]):
    with embedded.running(data_dir) as url, redis.Redis.from_url(url) as client:
        client.set("job", "paid")
    [file] = (data_dir / "store" / "appendonlydir").glob("*.incr.aof")
    with file.open("ab") as tail:
        tail.write(b"*3\r\n$3\r\nSET\r\n$3\r\nhal")
    with embedded.running(data_dir) as url, redis.Redis.from_url(url) as client:
        assert client.keys() == [b"job"]
    assert "store.truncated" in capfd.readouterr().err


def test_a_socket_directory_that_others_can_enter_is_refused(data_dir: Path, tmp_path: Path, monkeypatch):
    data_dir.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    embedded.socket_path(data_dir).parent.chmod(0o755)
    with pytest.raises(embedded.StoreError, match="not a directory of this user's alone"):
        embedded.socket_path(data_dir)


def test_a_long_runtime_directory_is_passed_over(data_dir: Path, tmp_path: Path, monkeypatch):
    data_dir.mkdir()
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    path = embedded.socket_path(data_dir)
    path.parent.rmdir()
    assert len(os.fsencode(path)) <= 100


def test_a_child_on_a_lifeline_gets_sigterm_when_its_owner_lets_go():
    line = lifeline.hold()
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from service import lifeline; import signal; lifeline.watch(); signal.pause()",
        ],
        env=os.environ | line.environment,
        pass_fds=(line.reader,),
    )
    line.cut()
    assert child.wait(30) == -signal.SIGTERM
