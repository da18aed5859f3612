from __future__ import annotations

import base64
import ipaddress
import os
from pathlib import Path

import pytest

from service.environment import clean_environment
from service.errors import SettingsError
from service.settings import Settings, variables

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
KEY = base64.urlsafe_b64encode(bytes(32)).decode()
OTHER_KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
LIVE = {"WAVESPEED_API_KEY": "a-vendor-key"}


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)
    return caught.value.problems


def test_an_empty_environment_is_the_sandbox_on_this_machine():
    settings = Settings.from_env({})
    assert settings.sandbox
    assert settings.redis_url is None
    assert settings.vendor_base_url == "http://127.0.0.1:8090"
    assert settings.egress_allow == (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
    assert settings.retry_schedule == (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert settings.data_dir == Path.cwd() / "hookreel-data"


def test_a_vendor_key_turns_the_sandbox_off_and_closes_loopback():
    settings = Settings.from_env(LIVE)
    assert not settings.sandbox
    assert settings.vendor_base_url == "https://api.wavespeed.ai"
    assert settings.egress_allow == ()


def test_a_blank_value_counts_as_absent():
    assert Settings.from_env(dict.fromkeys(variables(), " ")) == Settings.from_env({})


def test_none_closes_loopback_in_the_sandbox_too():
    assert Settings.from_env({"HOOKREEL_EGRESS_ALLOW": "none"}).egress_allow == ()


def test_all_problems_are_told_at_once_each_with_its_variable():
    told = problems(
        HOOKREEL_MAX_IN_FLIGHT="many", HOOKREEL_ON_UNCERTAIN="retry", HOOKREEL_PUBLIC_URL="example.com"
    )
    assert [problem.split(":")[0] for problem in told] == [
        "HOOKREEL_PUBLIC_URL",
        "HOOKREEL_MAX_IN_FLIGHT",
        "HOOKREEL_ON_UNCERTAIN",
    ]
    assert "'many' is no whole number; allowed: 1 to 100000" in told[1]
    assert "'retry' is not known; allowed: fail, resubmit" in told[2]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDIS_URL", "http://user:s3cret@example.com"),
        ("REDIS_URL", "s3cret"),
        ("REDIS_URL", "redis://:s3cret@host:99999999"),
        ("WAVESPEED_API_KEY", "hrk_s3cret"),
        ("WAVESPEED_API_KEY", "s3cret with a space"),
        ("WAVESPEED_WEBHOOK_SECRET", "s3cret\nX-Header: 1"),
        ("WAVESPEED_BASE_URL", "https://user:s3cret@example.com"),
        ("HOOKREEL_SECRET_KEY", "s3cret"),
        ("HOOKREEL_SECRET_KEY", f"{KEY},s3cret"),
        ("HOOKREEL_VENDOR_PROXY", "socks9://user:s3cret@proxy"),
    ],
)
def test_a_problem_with_a_secret_does_not_show_it(variable: str, value: str):
    [problem] = problems(**{variable: value})
    assert problem.startswith(f"{variable}: ")
    assert "allowed: " in problem
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WAVESPEED_BASE_URL", "https://api.wavespeed.ai/api/v3"),
        ("HOOKREEL_PUBLIC_URL", "https://example.com/?a=b"),
        ("HOOKREEL_PUBLIC_URL", "ftp://example.com"),
        ("HOOKREEL_PUBLIC_URL", "https://example.com/\udcff"),
        ("HOOKREEL_API_URL", "https://example.com/a b"),
        ("HOOKREEL_TRUSTED_PROXIES", "10.0.0.0/8,everyone"),
        ("HOOKREEL_EGRESS_ALLOW", "10.1.2.3/8"),
        ("HOOKREEL_ALLOW_VOLATILE_STORE", "perhaps"),
        ("HOOKREEL_MODELS", ","),
        ("HOOKREEL_MAX_PENDING_BYTES", "1e9"),
        ("HOOKREEL_SUBMIT_CONCURRENCY", "257"),
        ("HOOKREEL_SUBMIT_FOR", "nan"),
        ("HOOKREEL_OVERDUE_AFTER", "0"),
        ("HOOKREEL_RETRY_SCHEDULE", "0,5,"),
        ("HOOKREEL_RETRY_SCHEDULE", ",".join(["1"] * 51)),
        ("HOOKREEL_RETENTION", "inf"),
        ("HOOKREEL_ARCHIVE", "s3:///prefix"),
        ("HOOKREEL_ARCHIVE", "gs://bucket"),
        ("HOOKREEL_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(variable: str, value: str):
    [problem] = problems(**{variable: value})
    assert problem.startswith(f"{variable}: ")
    assert "allowed: " in problem


@pytest.mark.parametrize(
    "value",
    ["redis://h", "rediss://u:p@h:6380/1", "unix:///run/redis.sock", "sentinel://h1:26379,h2:26379/name/0"],
)
def test_every_kind_of_store_is_accepted(value: str):
    assert Settings.from_env({"REDIS_URL": value}).redis_url == value


def test_secrets_are_not_in_the_repr():
    settings = Settings.from_env(
        LIVE
        | {
            "REDIS_URL": "redis://:s3cret@h",
            "WAVESPEED_API_KEY": "s3cret",
            "WAVESPEED_WEBHOOK_SECRET": "s3cret",
            "HOOKREEL_SECRET_KEY": KEY,
            "HOOKREEL_VENDOR_PROXY": "http://u:s3cret@proxy",
        }
    )
    assert "s3cret" not in repr(settings)
    assert KEY not in repr(settings)


def test_a_secret_can_come_from_a_file(tmp_path: Path):
    (tmp_path / "key").write_text(f"{KEY},{OTHER_KEY}\n")
    assert Settings.from_env({"HOOKREEL_SECRET_KEY_FILE": str(tmp_path / "key")}).secret_keys == (
        KEY,
        OTHER_KEY,
    )


def test_the_key_made_beside_the_embedded_store_is_found(tmp_path: Path):
    (tmp_path / "secret-key").write_text(f"{KEY}\n")
    here = {"HOOKREEL_DATA_DIR": str(tmp_path)}
    assert Settings.from_env(here).secret_keys == (KEY,)
    (tmp_path / "secret-key").write_text(f"{OTHER_KEY}, {KEY}\n")
    assert Settings.from_env(here).secret_keys == (OTHER_KEY, KEY)
    (tmp_path / "secret-key").write_text(f"{KEY}\n")
    assert Settings.from_env(here | {"HOOKREEL_SECRET_KEY": OTHER_KEY}).secret_keys == (OTHER_KEY,)
    assert Settings.from_env(here | {"REDIS_URL": "redis://h"}).secret_keys == ()


def test_a_secret_given_twice_is_a_problem(tmp_path: Path):
    (tmp_path / "key").write_text(KEY)
    [problem] = problems(HOOKREEL_SECRET_KEY=KEY, HOOKREEL_SECRET_KEY_FILE=str(tmp_path / "key"))
    assert problem.startswith("HOOKREEL_SECRET_KEY: both ")


def test_an_unreadable_or_empty_secret_file_is_a_problem(tmp_path: Path):
    (tmp_path / "empty").write_text("\n")
    told = problems(REDIS_URL_FILE=str(tmp_path / "none"), WAVESPEED_API_KEY_FILE=str(tmp_path / "empty"))
    assert [problem.split(":")[0] for problem in told] == ["REDIS_URL_FILE", "WAVESPEED_API_KEY_FILE"]


def test_retention_shorter_than_the_schedule_and_a_day_is_refused():
    [problem] = problems(HOOKREEL_RETENTION="412925")
    assert problem.startswith("HOOKREEL_RETENTION: ")
    assert "allowed: 412926 or more" in problem
    assert Settings.from_env({"HOOKREEL_RETENTION": "412926"}).longest_schedule == pytest.approx(272105)


@pytest.mark.parametrize(
    "url", ["", "http://example.com", "https://localhost:8080", "https://127.0.0.1", "https://10.0.0.1"]
)
def test_a_vendor_elsewhere_needs_a_public_https_url(url: str):
    settings = Settings.from_env(LIVE | {"HOOKREEL_PUBLIC_URL": url} if url else LIVE)
    with pytest.raises(SettingsError, match="HOOKREEL_PUBLIC_URL: "):
        settings.check_public()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        LIVE | {"HOOKREEL_PUBLIC_URL": "https://hooks.example.com"},
        LIVE | {"WAVESPEED_BASE_URL": "http://127.0.0.1:9000"},
        LIVE | {"WAVESPEED_BASE_URL": "http://localhost:9000"},
    ],
)
def test_a_vendor_that_can_call_back_is_accepted(environ: dict[str, str]):
    Settings.from_env(environ).check_public()


def test_a_store_of_the_operators_needs_the_operators_secret_key():
    with pytest.raises(SettingsError, match="HOOKREEL_SECRET_KEY: "):
        Settings.from_env({"REDIS_URL": "redis://h"}).check_secret_key()
    Settings.from_env({"REDIS_URL": "redis://h", "HOOKREEL_SECRET_KEY": KEY}).check_secret_key()


def test_a_clean_environment_has_nothing_of_the_callers():
    environ = clean_environment(
        {
            "PATH": "/bin",
            "PIP_INDEX_URL": "kept",
            "REDIS_URL": "redis://elsewhere",
            "REDIS_URL_FILE": "/secret",
            "WAVESPEED_API_KEY": "a",
            "HOOKREEL_DATA_DIR": "/data",
            "http_proxy": "http://proxy",
            "HTTPS_PROXY": "http://proxy",
            "NO_PROXY": "*",
            "all_proxy": "socks5://proxy",
            "NETRC": "/home/someone/.netrc",
        }
    )
    assert environ == {"PATH": "/bin", "PIP_INDEX_URL": "kept", "NETRC": os.devnull}


@pytest.mark.parametrize("variable", variables())
def test_every_setting_is_documented(variable: str):
    assert f"`{variable}`" in PAGE.read_text(encoding="utf-8")
