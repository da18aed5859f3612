from __future__ import annotations

import pytest

from tests.vendor.rawserver import certificate, serving, tls


@pytest.fixture
def serve():
    """Start servers that end with the test."""
    opened = []

    def start(script, *args, **options):
        opened.append(serving(script, *args, **options))
        return opened[-1].__enter__()

    yield start
    for server in opened:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def pem(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def secured(pem):
    return tls(pem)
