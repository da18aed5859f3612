"""One POST after another through one easy handle, and what became of each."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, NamedTuple

import pycurl

from service.addresses import Policy

Error = Literal["timeout", "connect", "tls", "dns", "blocked_address", "protocol", "too_large"]

ANSWER_KEPT = 1024
ANSWER_READ = 64 * 1024
CONNECT_TIMEOUT = 10.0
CONNECTION_LIFETIME = 600

# https://curl.se/libcurl/c/libcurl-errors.html; what is not here is a fault of the protocol.
_ERRORS: dict[int, Error] = {
    pycurl.E_COULDNT_RESOLVE_HOST: "dns",
    pycurl.E_COULDNT_CONNECT: "connect",
    pycurl.E_SEND_ERROR: "connect",
    pycurl.E_RECV_ERROR: "connect",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_FILESIZE_EXCEEDED: "too_large",
    pycurl.E_SSL_CONNECT_ERROR: "tls",
    pycurl.E_PEER_FAILED_VERIFICATION: "tls",
    pycurl.E_SSL_CERTPROBLEM: "tls",
    pycurl.E_SSL_CIPHER: "tls",
    pycurl.E_SSL_CACERT_BADFILE: "tls",
    pycurl.E_SSL_ENGINE_INITFAILED: "tls",
    pycurl.E_SSL_SHUTDOWN_FAILED: "tls",
    pycurl.E_SSL_ISSUER_ERROR: "tls",
    pycurl.E_SSL_INVALIDCERTSTATUS: "tls",
}

# For these libcurl has no codes of their own.
_MESSAGES: dict[str, Error] = {"Too large response headers": "too_large", "chunk hex-length": "protocol"}

_RETRY_AFTER = re.compile(rb"^retry-after:[ \t]*([^\r\n]{0,100})", re.IGNORECASE | re.MULTILINE)
_FORBIDDEN = re.compile(r"[\r\n\0]")

_TIMES = (
    pycurl.TOTAL_TIME_T,
    pycurl.NAMELOOKUP_TIME_T,
    pycurl.CONNECT_TIME_T,
    pycurl.APPCONNECT_TIME_T,
    pycurl.STARTTRANSFER_TIME_T,
)


@dataclass(frozen=True, slots=True)
class Request:
    """One POST. ``timeout`` is in seconds and covers everything; ``key`` comes back with the outcome.

    ``resolve`` pins names to addresses as libcurl's CURLOPT_RESOLVE does (``host:port:address``).
    """

    key: Hashable
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout: float
    resolve: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Request(key={self.key!r})"


class Outcome(NamedTuple):
    """What became of a request (a tuple, as there are thousands a second).

    ``status`` is the answer's, None when none was read. ``error`` is None when an answer was read to its end;
    one that is no 2xx counts as read once its headers are, as nobody needs the rest. ``detail`` says more,
    without the URL. Times are in milliseconds, ``dns_ms`` to ``first_byte_ms`` one after the other.
    ``retry_after`` is the header as it stands; ``answer`` the first kilobyte of the body.
    """

    key: Hashable
    status: int | None
    error: Error | None
    detail: str
    duration_ms: int
    dns_ms: int
    connect_ms: int
    tls_ms: int
    first_byte_ms: int
    retry_after: str | None
    answer: bytes

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it: a 2xx, read to its end."""
        return self.error is None and self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


class Transfer:
    """An easy handle that is used again and again: only the URL, the headers and the body change."""

    __slots__ = ("_answer", "_get", "_guard", "_headers", "_pinned", "_request", "_set", "_timeout", "curl")

    def __init__(self, policy: Policy, user_agent: str, ca_file: str) -> None:
        self.curl = pycurl.Curl()
        self._set, self._get = self.curl.setopt, self.curl.getinfo
        self._guard = policy.guard()
        # BytesIO.write is called from C: half the price of a function of ours, and MAXFILESIZE is the bound.
        self._answer, self._headers = BytesIO(), BytesIO()
        self._timeout = 0.0
        self._pinned = False
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.POST, 1),
            (pycurl.USERAGENT, user_agent),
            (pycurl.CAINFO, ca_file),
            (pycurl.SSL_VERIFYPEER, 1),
            (pycurl.SSL_VERIFYHOST, 2),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PROXY, ""),
            (pycurl.NOPROXY, "*"),
            (pycurl.NETRC, pycurl.NETRC_IGNORED),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.MAXFILESIZE, ANSWER_READ),
            (pycurl.MAXLIFETIME_CONN, CONNECTION_LIFETIME),
            (pycurl.OPENSOCKETFUNCTION, self._guard.open_socket),
            (pycurl.WRITEFUNCTION, self._answer.write),
            (pycurl.HEADERFUNCTION, self._headers.write),
        ):
            self._set(option, value)

    def prepare(self, request: Request) -> None:
        """Set what differs from the transfer before; raises ValueError (or libcurl's error) for bad input."""
        self._request = request
        self._guard.reset(plain=request.url[:6].lower() != "https:")
        self._set(pycurl.URL, request.url)
        self._set(pycurl.HTTPHEADER, _header_lines(request.headers))
        self._set(pycurl.POSTFIELDS, request.body)
        if request.timeout != self._timeout:
            self._set(pycurl.TIMEOUT_MS, max(1, round(request.timeout * 1000)))
            self._set(pycurl.CONNECTTIMEOUT_MS, max(1, round(min(request.timeout, CONNECT_TIMEOUT) * 1000)))
            self._timeout = request.timeout
        if request.resolve or self._pinned:
            self._set(pycurl.RESOLVE, list(request.resolve))
            self._pinned = bool(request.resolve)

    def outcome(self, code: int, message: str) -> Outcome:
        """What libcurl's code and the handle's measurements say."""
        said = self._get(pycurl.RESPONSE_CODE)
        status = _final(said)
        error, detail = (None, "") if code == pycurl.E_OK else self._failure(code, message)
        if error and status and status >= 300:  # noqa: PLR2004
            error = None
        elif error is None and status is None:
            error, detail = "protocol", f"an answer ended with status {said}"
        total, dns, connect, tls, first_byte = map(self._get, _TIMES)
        connected = max(connect, tls)
        made = Outcome(
            key=self._request.key,
            status=status,
            error=error,
            detail=detail,
            duration_ms=total // 1000,
            dns_ms=dns // 1000,
            connect_ms=max(0, connect - dns) // 1000,
            tls_ms=(connected - connect) // 1000,
            first_byte_ms=max(0, first_byte - connected) // 1000,
            retry_after=self._retry_after() if status and status >= 400 else None,  # noqa: PLR2004
            answer=self._answer.getvalue()[:ANSWER_KEPT],
        )
        self._forget()
        return made

    def _forget(self) -> None:
        # Now: a thousand idle handles with the 300 kB of headers that they may get are a lot.
        for said in (self._answer, self._headers):
            said.seek(0)
            said.truncate()

    def _failure(self, code: int, message: str) -> tuple[Error, str]:
        if self._guard.refusal:
            return "blocked_address", self._guard.refusal
        detail = _printable(message)
        known = (error for begins, error in _MESSAGES.items() if detail.startswith(begins))
        return next(known, _ERRORS.get(code, "protocol")), detail

    def _retry_after(self) -> str | None:
        # getinfo(RETRY_AFTER) is cut off at six hours.
        found = _RETRY_AFTER.search(self._headers.getvalue())
        return found[1].decode("latin-1").strip() if found else None


def _printable(message: str) -> str:
    # libcurl repeats in it what the receiver has said, as it came.
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in message)


def _final(status: int) -> int | None:
    # After "100 Continue" and silence libcurl says 100.
    return status if status >= 200 else None  # noqa: PLR2004


def _header_lines(headers: tuple[tuple[str, str], ...]) -> list[str]:
    # libcurl writes "Name;" as an empty header, while "Name:" would take the header away, as with Expect.
    lines = [f"{name}: {value}" if value.strip() else f"{name};" for name, value in headers]
    if any(map(_FORBIDDEN.search, lines)):
        raise ValueError("a header with a line break")
    lines.append("Expect:")
    return lines


def refused(request: Request, error: Exception) -> Outcome:
    """The outcome of a request that ``Transfer.prepare`` did not take."""
    detail = "the request cannot be sent: " + (str(error) if type(error) is ValueError else "not ASCII")
    return Outcome(request.key, None, "protocol", detail, 0, 0, 0, 0, 0, None, b"")
