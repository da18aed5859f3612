"""A service on the session's real store, as a Flask app, and beside it a real sandbox."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient

from service.api import create_app
from service.bootstrap import Service
from service.settings import Settings
from tests.sandbox.client import Process
from tests.vendor.rawserver import RawServer, serving
from tests.waiting import eventually

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
def served(environ: dict[str, str], service: Service) -> Iterator[str]:
    """The URL of ``service.wsgi`` behind granian, on the store of ``service``."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", port, "--no-log"]
    child = subprocess.Popen(
        [*command, "--blocking-threads", "4", "service.wsgi:app"], env={**os.environ, **environ, "PORT": port}
    )
    url = f"http://127.0.0.1:{port}"
    assert eventually(lambda: _answers(url))
    yield url
    child.terminate()
    child.wait(20)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/livez", timeout=5).ok
    except requests.RequestException:
        return False
