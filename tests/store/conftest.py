"""A service on a real store, and the outside world as plain values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from schemas.inputs import Input
from schemas.predictions import Prediction
from service.acceptance import Order
from service.bootstrap import Service
from service.settings import Settings
from tests.sender.receivers import Behaviour, Receiver
from tests.sender.test_tls import server_context
from tests.store.cutter import Cutter


@pytest.fixture
def service(store_url: str) -> Iterator[Service]:
    """A service of the workspace ``default``, on an empty store."""
    environ = {"REDIS_URL": store_url, "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode()}
    made = Service(Settings.from_env(environ), store_url, "test", f"test-{os.getpid()}")
    made.apikeys.create("default")
    yield made
    made.close()


@pytest.fixture
def cutter(store_url: str) -> Iterator[Cutter]:
    """A proxy in front of the store."""
    made = Cutter(store_url.removeprefix("unix://"))
    yield made
    made.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """``serve(behaviour)``: the URL of a receiver that does so; it ends with the test."""
    with ExitStack() as stack:

        def start(behaviour: Behaviour, pem: Path | None = None) -> str:
            made = Receiver(behaviour, server_context(pem) if pem else None)
            stack.callback(made.close)
            return made.url()

        yield start


@pytest.fixture
def behind(cutter: Cutter, service: Service) -> Iterator[Service]:
    """A second service that reaches the same store through the proxy."""
    made = Service(service.settings, cutter.url, "test", "test-behind")
    yield made
    made.close()


@pytest.fixture
def order() -> Callable[..., Order]:
    """An order for one video from an image by URL."""

    def make(**changes: Any) -> Order:
        fields = {"image": "https://example.com/a.jpg", "prompt": "She smiles.", "duration": 6}
        values: dict[str, Any] = {
            "workspace": "default",
            "input": Input("minimax/hailuo-02/fast", fields, {}),
            "request": b"request",
        }
        return Order(**{**values, **changes})

    return make


@pytest.fixture
def word() -> Callable[..., Prediction]:
    """The vendor's word about a task."""

    def make(status: str = "completed", upstream_id: str = "a" * 32, **changes: Any) -> Prediction:
        outputs = ("https://cdn.example.com/a.mp4",) if status == "completed" else ()
        return Prediction(id=upstream_id, status=status, outputs=outputs, **changes)

    return make
