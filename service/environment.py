"""The environment: what a value of it may be, and how to start a program without the caller's.

Every parser takes the variable's text and raises ``marshmallow.ValidationError`` with a sentence that
says what is wrong with it and what is allowed. Parsers of secrets never repeat the value.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from marshmallow import ValidationError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_OURS = re.compile(
    r"REDIS_URL(_FILE)?|WAVESPEED_.*|HOOKREEL_.*|(HTTPS?|ALL|FTP|NO|WSS?)_PROXY", re.IGNORECASE
)
_KEY_PREFIX = "hrk_"
_FERNET_BYTES = 32


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """A copy without any setting of ours, of the vendor's, of a proxy or of a ``.netrc``."""
    kept = {name: value for name, value in environ.items() if not _OURS.fullmatch(name)}
    return {**kept, "NETRC": os.devnull}


def read_secrets(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """The environment with ``<NAME>_FILE`` replaced by the file's text, and the problems met on the way."""
    found, problems = dict(environ), []
    for name in names:
        path = environ.get(f"{name}_FILE", "").strip()
        if not path:
            continue
        if environ.get(name, "").strip():
            problems.append(f"{name}: both {name} and {name}_FILE are set; allowed: one of them")
            continue
        try:
            found[name] = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            problems.append(f"{name}_FILE: {path!r} cannot be read ({reason}); allowed: a readable file")
            continue
        if not found[name].strip():
            problems.append(f"{name}_FILE: {path!r} is empty; allowed: a file that holds the secret")
    return found, problems


def text(value: str) -> str:
    """As it stands."""
    return value


def flag(value: str) -> bool:
    """``1``, ``true``, ``yes``, ``on`` or their opposites."""
    word = value.lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise ValidationError(f"{value!r} is neither yes nor no; allowed: 1, true, yes, on, 0, false, no, off")


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number from ``least`` to ``most``."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
            raise ValidationError(f"{value!r} is no whole number; allowed: {least} to {most}")
        if not least <= int(value) <= most:
            raise ValidationError(f"{value} is out of range; allowed: {least} to {most}")
        return int(value)

    return parse


def seconds(least: int, most: int) -> Callable[[str], float]:
    """A number of seconds from ``least`` to ``most``."""

    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            raise ValidationError(f"{value!r} is no number of seconds; allowed: {least} to {most}")
        if not least <= number <= most:
            raise ValidationError(f"{value} is out of range; allowed: {least} to {most} seconds")
        return number

    return parse


def schedule(most_entries: int, longest: int) -> Callable[[str], tuple[float, ...]]:
    """Comma-separated delays in seconds, the first of them before the first attempt."""
    one = seconds(0, longest)

    def parse(value: str) -> tuple[float, ...]:
        delays = tuple(one(entry.strip()) for entry in value.split(","))
        if len(delays) > most_entries:
            raise ValidationError(f"{len(delays)} attempts are too many; allowed: 1 to {most_entries} delays")
        return delays

    return parse


def choice(*words: str) -> Callable[[str], str]:
    """One of ``words``, in any case."""

    def parse(value: str) -> str:
        for word in words:
            if word.lower() == value.lower():
                return word
        raise ValidationError(f"{value!r} is not known; allowed: {', '.join(words)}")

    return parse


def names(value: str) -> tuple[str, ...]:
    """Comma-separated names, at least one."""
    found = tuple(entry.strip() for entry in value.split(",") if entry.strip())
    if not found:
        raise ValidationError(f"{value!r} names nothing; allowed: names separated by commas")
    return found


def networks(value: str) -> tuple[Network, ...]:
    """Comma-separated networks or single addresses; ``none`` is no network at all."""
    if value.lower() == "none":
        return ()
    return tuple(_network(entry) for entry in names(value))


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError as error:
        raise ValidationError(
            f"{entry!r} is no network ({error}); allowed: none, or networks such as 10.0.0.0/8, fd00::/8"
        ) from error


def directory(value: str) -> Path:
    """A path, absolute from here on, so that every process means the same one."""
    return Path(value).expanduser().absolute()


def forever(parser: Callable[[str], float]) -> Callable[[str], float]:
    """What ``parser`` takes, or the word ``forever``, which is infinity."""

    def parse(value: str) -> float:
        return math.inf if value.lower() == "forever" else parser(value)

    return parse


def archive(value: str) -> str | None:
    """A directory, ``s3://bucket/prefix``, or ``none``."""
    if value.lower() == "none":
        return None
    if value.startswith("s3://"):
        if not urlsplit(value).netloc:
            raise ValidationError(f"{value!r} names no bucket; allowed: a directory or s3://bucket/prefix")
        return value.rstrip("/")
    if "://" in value:
        raise ValidationError(f"{value!r} cannot be written to; allowed: a directory or s3://bucket/prefix")
    return str(directory(value))


def web_url(value: str) -> str:
    """An http or https URL to build on: no query, no fragment, no credentials, no slash at the end."""
    parts = _split(value)
    sound = value.isprintable() and " " not in value
    if not sound or parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValidationError("this is no http or https URL; allowed: such as https://hooks.example.com")
    if "@" in parts.netloc:
        raise ValidationError("a user name or password in it would end up in logs; allowed: a URL without")
    if parts.query or parts.fragment:
        raise ValidationError(f"{value!r} has a query or fragment; allowed: a URL that paths can be added to")
    return value.rstrip("/")


def vendor_url(value: str) -> str:
    """The vendor's origin, without the ``/api/v3`` that every path of it begins with."""
    url = web_url(value)
    if url.endswith("/api/v3"):
        raise ValidationError(f"{value!r} ends in /api/v3, which is added to it; allowed: the URL without")
    return url


def proxy_url(value: str) -> str:
    """The proxy to the vendor; it may hold a password."""
    parts = _split(value)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValidationError("this is no proxy's URL; allowed: http:// or https:// with a host")
    return value


def store_url(value: str) -> str:
    """Where the Redis or Valkey is; it may hold a password."""
    parts = _split(value)
    if parts is None or not (parts.path if parts.scheme == "unix" else parts.netloc):
        parts = None
    if parts is None or parts.scheme not in {"redis", "rediss", "unix", "sentinel"}:
        raise ValidationError(
            "this is no store's URL; allowed: redis://host:port/0, rediss://host:port/0, "
            "unix:///path/to/socket, sentinel://host1,host2/name/0"
        )
    return value


def _split(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value)
        # A sentinel URL lists several hosts; a port out of range shows only when it is asked for.
        valid = parts.scheme == "sentinel" or parts.port != 0
    except ValueError:
        return None
    return parts if valid else None


def vendor_key(value: str) -> str:
    """A WaveSpeed API key, and not one of ours."""
    if value.startswith(_KEY_PREFIX):
        raise ValidationError("that is a Hookreel key; allowed: a key of the vendor's (without one: sandbox)")
    return token(value)


def token(value: str) -> str:
    """A secret that fits into a header."""
    if not re.fullmatch(r"[!-~]{1,512}", value):
        raise ValidationError("it holds a space, a control character or too much; allowed: visible ASCII")
    return value


def secret_keys(value: str) -> tuple[str, ...]:
    """Fernet keys (urlsafe base64 of 32 bytes), comma-separated, the newest first."""
    keys = tuple(key.strip() for key in value.split(",")) if value else ()
    for place, key in enumerate(keys, start=1):
        if not _is_fernet_key(key):
            raise ValidationError(
                f"key {place} of {len(keys)} is no Fernet key; allowed: urlsafe base64 of 32 random bytes, "
                "several of them comma-separated, the newest first"
            )
    return keys


def _is_fernet_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.encode(), altchars=b"-_", validate=True)) == _FERNET_BYTES
    except (binascii.Error, UnicodeEncodeError, ValueError):
        return False


def main(command: list[str]) -> None:
    """Become ``command``, without the caller's settings: ``python -m service.environment pytest``."""
    os.execvpe(command[0], command, clean_environment(os.environ))  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
