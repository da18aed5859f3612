"""The form of a URL. Whether its address may be called is decided where the socket is opened."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from schemas.faults import refusal

MAX_URL: Final = 2048
MAX_HOST: Final = 253
ALLOWED: Final = f"an http or https URL of at most {MAX_URL} characters, without user and password"

_HOST = re.compile(r"[^\W_]([\w.-]*[^\W_])?\.?")


def check_url(text: str) -> str:
    """``text`` when it is an http(s) URL with a host and without credentials; else ValidationError.

    Nothing of the URL is echoed but its scheme: the rest may hold a token or a password.
    """
    if len(text) > MAX_URL:
        raise _bad(f"is {len(text)} characters long", "too_long")
    if any(char.isspace() or not char.isprintable() or char == "\\" for char in text):
        raise _bad("holds a space, a control character or a backslash")
    parts = _split(text)
    if parts.scheme not in {"http", "https"}:
        raise _bad(f"has the scheme {parts.scheme[:16]!r}" if parts.scheme else "is not a URL")
    if "@" in parts.netloc:
        raise _bad("holds a user or a password")
    host = parts.hostname or ""
    if len(host) > MAX_HOST:
        raise _bad(f"names a host of {len(host)} characters", allowed=f"a host of at most {MAX_HOST}")
    if not _is_host(host, bracketed="[" in parts.netloc):
        raise _bad("names no host")
    return text


def check_callable_url(text: str) -> str:
    """`check_url`, and ASCII without a fragment: a URL that we are to call ourselves."""
    check_url(text)
    if not text.isascii():
        raise _bad("holds characters beyond ASCII", allowed="percent-encode them, the host in Punycode")
    if "#" in text:
        raise _bad("has a fragment", allowed="leave out what begins with #, it is never sent")
    return text


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _bad("is not a URL that can be read") from None
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise _bad("has a port that is none", allowed="a port from 1 to 65535")
    return parts


def _is_host(host: str, *, bracketed: bool) -> bool:
    if not bracketed:
        return _HOST.fullmatch(host) is not None
    try:
        address = IPv6Address(host)
    except ValueError:
        return False
    return address.scope_id is None


def _bad(fault: str, code: str = "invalid_url", allowed: str = ALLOWED) -> Exception:
    return refusal(fault, code=code, allowed=allowed)
