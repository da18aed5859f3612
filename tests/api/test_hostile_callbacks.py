"""Nothing that is sent to ``/callbacks/`` ends in a 500."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import SECRET
from tests.api.vendorside import Vendor, new_job


@pytest.fixture
def vendor(client):
    return Vendor(client, SECRET, int(time.time()))


LATIN = st.characters(max_codepoint=255)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "content-encoding"),
            *("host", "authorization", "x-forwarded-for", "x-forwarded-host", "transfer-encoding", "cookie"),
        ]
    ),
    st.text(LATIN, max_size=60) | st.integers(-(10**30), 10**30).map(str),
    max_size=4,
)
WORDS = st.sampled_from(["id", "status", "outputs", "urls", "timings", "error", "code", "executionTime"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
)
BODIES = st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode())
HOSTILE = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def at_the_vendor(client, service):
    return new_job(service, client)


@HOSTILE
@given(headers=HEADERS, body=BODIES, known=st.booleans(), length=st.none() | st.text(LATIN, max_size=20))
def test_nothing_hostile_ends_in_a_500(client, at_the_vendor, headers, body, known, length):
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    if length is not None:
        environ["CONTENT_LENGTH"] = length
    job_id, token = at_the_vendor if known else ("a" * 32, "b" * 32)
    url = f"/callbacks/wavespeed/{job_id}/{token}"
    response = client.post(url, data=body, environ_overrides=environ)
    assert response.status_code // 100 == 4


@HOSTILE
@given(body=BODIES)
def test_no_signed_body_ends_in_a_500(vendor, at_the_vendor, body):
    assert vendor.calls(*at_the_vendor, body=body).status_code == 400


@HOSTILE
@given(
    path=st.text(LATIN, max_size=80),
    method=st.sampled_from(["GET", "POST", "OPTIONS", "BREW"]),
)
def test_no_path_under_callbacks_ends_in_a_500(client, path, method):
    environ = {"PATH_INFO": f"/callbacks/{path}"}
    assert client.open(method=method, environ_overrides=environ).status_code // 100 == 4
