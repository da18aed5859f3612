"""A service on the session's real store, as a Flask app, and beside it a real sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient

from service.api import create_app
from service.bootstrap import Service
from service.settings import Settings
from tests.ports import free_port
from tests.sandbox.client import Process
from tests.vendor.rawserver import RawServer, serving
from tests.waiting import eventually

PROCFILE = Path(__file__).parents[2] / "Procfile"
SECRET = "whsec_e9EE3BdyXSxcB4ZyZUKjQUEoQX4sF9P1+eMpb/KluCM="


@pytest.fixture(scope="session")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = Process(str(tmp_path_factory.mktemp("sandbox")))
    yield process.url
    process.end()


@pytest.fixture
def environ(store_url: str) -> dict[str, str]:
    """Of a service whose vendor is a sandbox that is not there; callbacks are signed with SECRET."""
    return {
        "REDIS_URL": store_url,
        "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode(),
        "WAVESPEED_BASE_URL": "http://127.0.0.1:9",
        "WAVESPEED_WEBHOOK_SECRET": SECRET,
    }


@pytest.fixture
def build(environ: dict[str, str]) -> Iterator[Callable[..., Service]]:
    """``build(WAVESPEED_API_KEY="k")``: a service with these settings besides; "" takes one away."""
    made: list[Service] = []

    def make(**settings: str) -> Service:
        given = {name: value for name, value in {**environ, **settings}.items() if value}
        made.append(Service(Settings.from_env(given), environ["REDIS_URL"], "web", f"web-{os.getpid()}"))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def service(build: Callable[..., Service]) -> Service:
    return build()


@pytest.fixture
def app(service: Service) -> Flask:
    return create_app(service)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def auth(service: Service) -> dict[str, str]:
    """The header of a key of the workspace ``default``."""
    return bearer(service)


def client_of(service: Service) -> Any:
    """A client of another service's app, its answers' JSON as it comes."""
    return create_app(service).test_client()


def message(response: Any) -> str:
    """What a refusal says; its body carries nothing else but its status."""
    assert response.json.keys() == {"code", "message"}
    assert response.json["code"] == response.status_code
    assert response.content_type == "application/json"
    return str(response.json["message"])


def listed(client: Any, auth: dict[str, str], **body: Any) -> list[str]:
    """The ids on one page of ``POST /api/v3/predictions``."""
    response = client.post("/api/v3/predictions", headers=auth, json=body)
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json["data"]["items"]]


def bearer(service: Service, workspace: str = "default") -> dict[str, str]:
    """The header of a fresh key."""
    return {"Authorization": f"Bearer {service.apikeys.create(workspace)[1]}"}


@pytest.fixture
def raw_vendor() -> Iterator[Callable[..., RawServer]]:
    """``raw_vendor(script)``: a vendor of one's own making, see `RawServer`."""
    opened: list[Any] = []

    def start(script: Callable[..., None]) -> RawServer:
        opened.append(serving(script))
        server: RawServer = opened[-1].__enter__()
        return server

    yield start
    for server in opened:
        server.__exit__(None, None, None)


@pytest.fixture
def web(service: Service) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """What the Procfile serves, on the store of ``service``: its URL, and its process."""
    port, settings = str(free_port()), service.settings
    environ = {
        "PORT": port,
        "REDIS_URL": settings.redis_url or "",
        "HOOKREEL_SECRET_KEY": settings.secret_keys[0],
        "WAVESPEED_BASE_URL": "http://127.0.0.1:9",
        "WAVESPEED_WEBHOOK_SECRET": SECRET,
    }
    (line,) = (each for each in PROCFILE.read_text().splitlines() if each.startswith("web: "))
    words = [*line.removeprefix("web: ").replace("$PORT", port).split(), "--host", "127.0.0.1"]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "-m", *words], env=os.environ | environ) as child:
        assert eventually(lambda: _answers(url))
        yield url, child
        child.terminate()
        child.wait(20)


@pytest.fixture
def served(web: tuple[str, object]) -> str:
    """The URL of what the Procfile serves."""
    return web[0]


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/livez", timeout=5).ok
    except requests.RequestException:
        return False
