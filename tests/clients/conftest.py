from __future__ import annotations

from collections.abc import Iterator

import pytest
import wavespeed

from tests.sandbox.client import Receiver
from tests.ups import Up


@pytest.fixture(scope="module")
def quick(up: Up) -> Up:
    """One small film serves every job; a picture given by URL is still fetched and looked at."""
    up.switch(render="tiny")
    return up


@pytest.fixture(scope="module")
def client(quick: Up) -> wavespeed.Client:
    """The vendor's official client; the base URL is all that is changed."""
    return wavespeed.Client(api_key=quick.key, base_url=quick.url)


@pytest.fixture(scope="module")
def receivers() -> Iterator[tuple[Receiver, ...]]:
    servers = tuple(Receiver() for _ in range(4))
    yield servers
    for each in servers:
        each.close()
