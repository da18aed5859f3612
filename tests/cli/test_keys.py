"""``hookreel keys``, over HTTP and on the store."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["http", "store"])
def way(request, service):
    """What the environment says besides."""
    return (
        {}
        if request.param == "http"
        else {"REDIS_URL": service.settings.redis_url, "HOOKREEL_URL": "http://x"}
    )


def test_a_key_is_made_listed_and_revoked(shell, service, way):
    (made,) = shell.json("keys", "create", "--workspace", "billing", "--name", "ci", **way)
    assert service.apikeys.check(made["key"]).workspace == "billing"
    assert (made["name"], made["operator"]) == ("ci", False)
    listed = shell.json("keys", "list", **way)
    assert made["id"] in [each["id"] for each in listed]
    assert all("key" not in each for each in listed)
    assert shell.json("keys", "revoke", made["id"], **way) == [{"revoked": made["id"]}]
    assert made["id"] not in [each["id"] for each in shell.json("keys", "list", **way)]


def test_an_operators_key_can_be_made(shell, way):
    (made,) = shell.json("keys", "create", "--operator", **way)
    assert (made["operator"], made["workspace"]) == (True, "default")


def test_what_is_refused_is_told_in_a_line(shell, way):
    for words in (["create", "--workspace", "No Way"], ["revoke", "key_none"]):
        result = shell("keys", *words, **way)
        assert (result.exit_code, result.stdout) == (1, "")
        assert len(result.stderr.splitlines()) == 1


def test_people_see_a_table(shell):
    result = shell("keys", "list")
    head, row = result.stdout.splitlines()
    assert head.split()[:2] == ["ID", "WORKSPACE"]
    assert row.split()[1] == "default"


def test_the_callers_own_key_is_never_shown(shell):
    for words in (["list"], ["create"]):
        assert shell.environ["HOOKREEL_API_KEY"] not in shell("keys", *words).output
