"""Every setting, read from the environment once; ``docs/settings.md`` is the page about them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from environs import Env, EnvValidationError

from service import environment as parse
from service.environment import Network
from service.errors import SettingsError

DAY = 86_400
JITTER = 0.2
LIVE_VENDOR = "https://api.wavespeed.ai"
SANDBOX_VENDOR = "http://127.0.0.1:8090"
DATA_DIR = "hookreel-data"
MADE_KEY = "secret-key"
LOOPBACK = "127.0.0.0/8,::1/128"


def _setting(name: str, default: str | None, parser: Callable[[str], Any], *, secret: bool = False) -> Any:
    metadata = {"variable": name, "default": default, "parser": parser, "secret": secret}
    return field(metadata=metadata, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator has decided. Times are in seconds, sizes in bytes. Secrets are not in ``repr``."""

    redis_url: str | None = _setting("REDIS_URL", None, parse.store_url, secret=True)
    """The store; ``None`` is the embedded one."""
    vendor_key: str | None = _setting("WAVESPEED_API_KEY", None, parse.vendor_key, secret=True)
    """The vendor's API key; ``None`` is the sandbox."""
    vendor_base_url: str = _setting("WAVESPEED_BASE_URL", None, parse.vendor_url)
    """The vendor's origin, without a slash at the end."""
    vendor_webhook_secret: str | None = _setting("WAVESPEED_WEBHOOK_SECRET", None, parse.token, secret=True)
    """What the vendor signs its callbacks with; ``None``: fetched from the vendor."""
    vendor_proxy: str | None = _setting("HOOKREEL_VENDOR_PROXY", None, parse.proxy_url, secret=True)
    """The only proxy ever used, and only towards the vendor."""
    public_url: str | None = _setting("HOOKREEL_PUBLIC_URL", None, parse.web_url)
    """The base of what the vendor calls back, without a slash at the end; ``None``: the bound address."""
    api_url: str | None = _setting("HOOKREEL_API_URL", None, parse.web_url)
    """The base of ``urls.get``; ``None``: the request's own origin, in events the public URL."""
    trusted_proxies: tuple[Network, ...] = _setting("HOOKREEL_TRUSTED_PROXIES", "none", parse.networks)
    """Whose ``X-Forwarded-*`` are believed."""
    data_dir: Path = _setting("HOOKREEL_DATA_DIR", DATA_DIR, parse.directory)
    """Where this machine's files are, an absolute path."""
    secret_keys: tuple[str, ...] = _setting("HOOKREEL_SECRET_KEY", "", parse.secret_keys, secret=True)
    """Fernet keys that encrypt secrets at rest: the first encrypts, all decrypt. Empty: not given."""
    egress_allow: tuple[Network, ...] = _setting("HOOKREEL_EGRESS_ALLOW", None, parse.networks)
    """Networks that deliveries may reach besides the public internet."""
    allow_volatile_store: bool = _setting("HOOKREEL_ALLOW_VOLATILE_STORE", "no", parse.flag)
    """Whether a store that may forget what it has acknowledged is accepted."""
    models: tuple[str, ...] | None = _setting("HOOKREEL_MODELS", None, parse.names)
    """The only models that are accepted; ``None``: all."""
    max_pending_bytes: int = _setting(
        "HOOKREEL_MAX_PENDING_BYTES", "536870912", parse.whole(1_000_000, 2**40)
    )
    """How many bytes of images may wait for their submission, in all."""
    max_in_flight: int = _setting("HOOKREEL_MAX_IN_FLIGHT", "100", parse.whole(1, 100_000))
    """How many jobs may be at the vendor at once."""
    max_queued: int = _setting("HOOKREEL_MAX_QUEUED", "10000", parse.whole(1, 10_000_000))
    """How many jobs may wait for the vendor."""
    submit_concurrency: int = _setting("HOOKREEL_SUBMIT_CONCURRENCY", "16", parse.whole(1, 256))
    """How many jobs one worker process submits at once."""
    submit_for: float = _setting("HOOKREEL_SUBMIT_FOR", "3600", parse.seconds(1, 30 * DAY))
    """How long a job that the vendor did not take is tried before it fails as never submitted."""
    uncertain_after: float = _setting("HOOKREEL_UNCERTAIN_AFTER", "1200", parse.seconds(1, 30 * DAY))
    """How long an unknown outcome may stay unknown."""
    on_uncertain: str = _setting("HOOKREEL_ON_UNCERTAIN", "fail", parse.choice("fail", "resubmit"))
    """What then happens."""
    wait_replicas: int = _setting("HOOKREEL_WAIT_REPLICAS", "0", parse.whole(0, 100))
    """How many replicas of the store must have a submission's token before its POST goes out."""
    overdue_after: float | None = _setting("HOOKREEL_OVERDUE_AFTER", None, parse.seconds(1, 30 * DAY))
    """How long a job may be silent before it is looked up; ``None``: by the model."""
    retry_schedule: tuple[float, ...] = _setting(
        "HOOKREEL_RETRY_SCHEDULE",
        "0,5,300,1800,7200,18000,36000,50400,72000,86400",
        parse.schedule(most_entries=50, longest=30 * DAY),
    )
    """The delay before each attempt at a delivery, the first included; one entry an attempt."""
    retention: float = _setting("HOOKREEL_RETENTION", "604800", parse.seconds(DAY, 3650 * DAY))
    """How long finished jobs and their events are kept."""
    held_retention: float = _setting("HOOKREEL_HELD_RETENTION", "2592000", parse.seconds(DAY, 3650 * DAY))
    """How long deliveries to a paused or disabled endpoint are kept."""
    disable_after: float = _setting("HOOKREEL_DISABLE_AFTER", "432000", parse.seconds(60, 3650 * DAY))
    """How long an endpoint may do nothing but fail before it is disabled."""
    archive: str | None = _setting("HOOKREEL_ARCHIVE", None, parse.archive)
    """Where finished videos are copied to: an absolute directory or ``s3://bucket/prefix``."""
    archive_retention: float | None = _setting(
        "HOOKREEL_ARCHIVE_RETENTION", None, parse.forever(parse.seconds(DAY, 3650 * DAY))
    )
    """How long the copies are kept; ``None``: for as long as their jobs."""
    log_level: str = _setting("HOOKREEL_LOG_LEVEL", "info", parse.choice("debug", "info", "warning", "error"))
    """The least severe line that is logged."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read every setting; a blank one counts as absent.

        Raises ``SettingsError`` with all problems at once; none of them shows a secret.
        """
        secrets = tuple(_variable(one) for one in fields(cls) if one.metadata["secret"])
        environ, problems = parse.read_secrets(_with_made_key(environ), secrets)
        values, invalid = _read(environ, fields(cls))
        problems += invalid
        if not problems:
            settings = cls(**values)
            problems += settings._contradictions()
        if problems:
            raise SettingsError(problems)
        return settings

    @property
    def sandbox(self) -> bool:
        """Whether the upstream is the stand-in; without a vendor key it is."""
        return self.vendor_key is None

    @property
    def longest_schedule(self) -> float:
        """The sum of delays that a retry schedule may reach before records could go that it still needs."""
        return (self.retention - DAY) / (1 + JITTER)

    def check_public(self) -> None:
        """Raise ``SettingsError`` when the vendor, being elsewhere, could not call us back."""
        if self.sandbox or is_local(self.vendor_base_url):
            return
        url = self.public_url or "http://127.0.0.1"
        if not url.startswith("https://") or is_local(url):
            problem = (
                f"HOOKREEL_PUBLIC_URL: the vendor cannot call {url} back from where it is; "
                "allowed: a public https URL that leads here, of which only /callbacks/ has to be reachable"
            )
            raise SettingsError([problem])

    def check_secret_key(self) -> None:
        """Raise ``SettingsError`` when secrets at rest could not be encrypted."""
        if not self.secret_keys:
            problem = (
                "HOOKREEL_SECRET_KEY: it is needed with REDIS_URL, the same in every process; allowed: "
                "urlsafe base64 of 32 random bytes (docs/settings.md has the command that makes one)"
            )
            raise SettingsError([problem])

    def check_archive(self) -> None:
        """Raise ``SettingsError`` when a bucket could not be written to for want of a library."""
        if (self.archive or "").startswith("s3://") and find_spec("boto3") is None:
            problem = (
                "HOOKREEL_ARCHIVE: a bucket needs the AWS SDK, which is not installed; allowed: a directory, "
                "or s3:// after pip install 'hookreel[s3]'"
            )
            raise SettingsError([problem])

    def _contradictions(self) -> list[str]:
        needed = sum(self.retry_schedule) * (1 + JITTER) + DAY
        if self.retention >= needed:
            return []
        problem = (
            f"HOOKREEL_RETENTION: {self.retention:.0f} is shorter than HOOKREEL_RETRY_SCHEDULE with its "
            f"jitter and a day; allowed: {needed:.0f} or more, or a shorter schedule"
        )
        return [problem]


def variables() -> tuple[str, ...]:
    """The name of every setting, in the order of ``Settings``."""
    return tuple(_variable(one) for one in fields(Settings))


def is_local(url: str) -> bool:
    """Whether the URL's host is spelled as this machine or as an address that is not global."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


class _Environment(Env):
    """environs reads ``os.environ`` first and only; this one reads what it is given, blanks as absent."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(eager=False)
        self._given = environ

    def _get_value(self, env_key: str, default: Any) -> Any:
        return self._given.get(env_key, "").strip() or default


def _with_made_key(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The key that `up` made beside the embedded store, where none is given and no other store is named."""
    names = ("REDIS_URL", "REDIS_URL_FILE", "HOOKREEL_SECRET_KEY", "HOOKREEL_SECRET_KEY_FILE")
    made = parse.directory(environ.get("HOOKREEL_DATA_DIR", "").strip() or DATA_DIR) / MADE_KEY
    if any(environ.get(name, "").strip() for name in names) or not made.exists():
        return environ
    return {**environ, "HOOKREEL_SECRET_KEY_FILE": str(made)}


def _read(environ: Mapping[str, str], settings: tuple[Field[Any], ...]) -> tuple[dict[str, Any], list[str]]:
    env = _Environment(environ)
    sandbox = not environ.get("WAVESPEED_API_KEY", "").strip()
    values = {one.name: _value(env, one, sandbox=sandbox) for one in settings}
    try:
        env.seal()
    except EnvValidationError as error:
        told = cast("dict[str, list[str]]", error.error_messages)
        return values, [f"{name}: {message}" for name, messages in told.items() for message in messages]
    return values, []


def _value(env: _Environment, setting: Field[Any], *, sandbox: bool) -> Any:
    parser = setting.metadata["parser"]
    method = f"read_{setting.name}"
    env.add_parser(method, lambda text: None if text is None else parser(text))
    return getattr(env, method)(_variable(setting), _default(setting, sandbox=sandbox))


def _default(setting: Field[Any], *, sandbox: bool) -> str | None:
    if setting.name == "vendor_base_url":
        return SANDBOX_VENDOR if sandbox else LIVE_VENDOR
    if setting.name == "egress_allow":
        return LOOPBACK if sandbox else "none"
    return cast("str | None", setting.metadata["default"])


def _variable(setting: Field[Any]) -> str:
    return cast("str", setting.metadata["variable"])
