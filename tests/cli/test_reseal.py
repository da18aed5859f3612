"""``hookreel reseal``, and rotating an endpoint's secret by hand."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet

from service import embedded
from service.bootstrap import Service
from service.cli.main import cli
from service.settings import Settings

NEW = Fernet.generate_key().decode()


@pytest.fixture
def keys(service):
    """The environment of somebody who has the new key in front of the service's."""
    both = ",".join((NEW, *service.settings.secret_keys))
    return {"REDIS_URL": service.settings.redis_url, "HOOKREEL_SECRET_KEY": both}


def test_what_is_stored_is_sealed_anew_once(shell, service, keys):
    endpoint, secret = service.endpoints.create("default", {"url": "https://example.com/"})
    service.endpoints.rotate("default", endpoint.id)
    service.workspace_secrets.of("default")
    assert shell.json("reseal", **keys) == [{"resealed": 3, "already": 0, "left": 0, "which": []}]
    assert shell.json("reseal", **keys) == [{"resealed": 0, "already": 3, "left": 0, "which": []}]
    new = Service(Settings.from_env({**keys, "HOOKREEL_SECRET_KEY": NEW}), service.url, "web", "web-new")
    assert new.endpoints.secrets(new.endpoints.get("default", endpoint.id)).previous[0][0] == secret
    new.close()


def test_people_see_how_many(shell, service, keys):
    service.workspace_secrets.of("default")
    assert shell("reseal", **keys).stdout.splitlines() == ["resealed  1", "already   0", "left      0"]


def test_a_process_without_the_new_key_in_front_is_named(shell, service, keys):
    service.presence.beat()
    result = shell("reseal", "--wait", "0", **keys)
    assert (result.exit_code, result.stdout) == (1, "")
    assert service.incarnation in result.stderr
    assert "HOOKREEL_SECRET_KEY" in result.stderr
    service.presence.stop()
    assert shell("reseal", "--wait", "0", **keys).exit_code == 0


def test_what_no_key_opens_is_named_and_no_success(shell, service, keys):
    endpoint, secret = service.endpoints.create("default", {"url": "https://example.com/"})
    result = shell("reseal", "--json", **{**keys, "HOOKREEL_SECRET_KEY": NEW})
    assert result.exit_code == 1
    assert f'"left":1,"which":["endpoint:{endpoint.id}"]' in result.stdout
    assert "keep the old keys" in result.stderr
    assert secret not in result.output
    assert NEW not in result.output


def test_without_any_key_it_says_so(shell, keys):
    result = shell("reseal", **{**keys, "HOOKREEL_SECRET_KEY": ""})
    assert result.exit_code == 2
    assert "HOOKREEL_SECRET_KEY" in result.stderr


def test_the_embedded_stores_own_key_is_changed_in_its_file(data_dir):
    file, old = data_dir / "secret-key", Fernet.generate_key().decode()
    data_dir.mkdir()
    environ = {"HOOKREEL_DATA_DIR": str(data_dir)}

    def reseal():
        return CliRunner().invoke(cli, ["reseal", "--json"], env=environ)

    with embedded.running(data_dir) as url:
        file.write_text(f"{old}\n")
        service = Service(Settings.from_env(environ), url, "web", "web-old")
        endpoint, secret = service.endpoints.create("default", {"url": "https://example.com/"})
        service.close()
        file.write_text(f"{NEW},{old}\n")
        assert '"resealed":1,' in reseal().stdout
        file.write_text(f"{NEW}\n")
        service = Service(Settings.from_env(environ), url, "web", "web-new")
        assert service.endpoints.secrets(service.endpoints.get("default", endpoint.id)).newest == secret
        service.close()
    gone = reseal()
    assert gone.exit_code == 1
    assert "no store is running" in gone.stderr


def test_an_endpoints_secret_is_rotated_by_hand(shell, service):
    endpoint, first = service.endpoints.create("default", {"url": "https://example.com/"})
    (rotated,) = shell.json("endpoints", "rotate-secret", endpoint.id, "--overlap", "60")
    (shown,) = shell.json("endpoints", "show", endpoint.id, "--secret")
    assert shown["secret"] == rotated["secret"] != first
    assert [each["secret"] for each in shown["previous"]] == [first]
    assert len(rotated["previous"]) == 1
    (rotated,) = shell.json("endpoints", "rotate-secret", endpoint.id)
    assert len(rotated["previous"]) == 2
    refused = shell("endpoints", "rotate-secret", endpoint.id, "--overlap", "-1")
    assert refused.exit_code == 1
    assert "0 to 604800 seconds" in refused.stderr
