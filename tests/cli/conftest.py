"""The commands against the whole app on a real store, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from service.api.v1.stream import end
from service.cli.main import cli
from tests.api.v1.conftest import app, service, story  # noqa: F401 - fixtures

URL = "HOOKREEL_URL"
KEY = "HOOKREEL_API_KEY"


@pytest.fixture
def origin(app) -> Iterator[str]:  # noqa: F811
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    end(app)
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Shell:
    """Runs commands with an environment."""

    environ: dict[str, str]

    def __call__(self, *words: str, **environ: str) -> Result:
        return CliRunner().invoke(cli, words, env={**self.environ, **environ})

    def json(self, *words: str, **environ: str) -> list[Any]:
        """What it prints with ``--json``: nothing but JSON objects."""
        result = self(*words, "--json", **environ)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def shell(origin, service, tmp_path) -> Callable[..., Any]:  # noqa: F811
    _, key = service.apikeys.create("default", operator=True)
    return Shell({URL: origin, KEY: key, "HOOKREEL_DATA_DIR": str(tmp_path)})
