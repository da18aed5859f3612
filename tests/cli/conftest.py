"""The commands against the whole app on a real store, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service.cli.main import cli
from tests.api.v1.conftest import app, origin, service, story  # noqa: F401 - fixtures

URL = "HOOKREEL_URL"
KEY = "HOOKREEL_API_KEY"


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
