"""One GET of one file through libcurl: streamed, measured, bounded, and every address judged."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO

import pycurl

from service.addresses import Guard, Policy

MOST_BYTES = 1_000_000_000
LONGEST = 1800.0
"""Seconds, in all."""
CONNECT = 10
STALLED_BELOW, STALLED_FOR = 1000, 60
"""Bytes a second, and for how many seconds they may be fewer."""
KEPT_FOR = 15
"""Seconds for which a connection without work is kept: what lies between may forget it without a word."""
BLOCK = 1 << 19
_REDIRECTS = 3
_GENERIC = frozenset({"application/octet-stream", "binary/octet-stream"})
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")


class Unfetched(Exception):
    """It could not be had; the text says why, without the URL. ``permanent``: and never will be."""

    def __init__(self, why: str, *, permanent: bool = False) -> None:
        super().__init__(why)
        self.permanent = permanent


class Interrupted(Unfetched):
    """This process is about to end."""


@dataclass(frozen=True)
class Fetched:
    """What was written. ``content_type`` is "" where the origin has not said."""

    bytes: int
    sha256: str
    content_type: str


@dataclass(frozen=True)
class Downloads:
    """Safe to share between threads. ``stopping`` is asked all the time: whether to let everything be."""

    policy: Policy
    user_agent: str
    ca_file: str
    stopping: Callable[[], bool] = bool
    most_bytes: int = MOST_BYTES
    stalled_for: int = STALLED_FOR
    _own: threading.local = field(default_factory=threading.local, init=False, repr=False, compare=False)

    def fetch(self, url: str, target: BinaryIO, seconds: float = LONGEST) -> Fetched:
        """Write the file at ``url`` to ``target``, in at most ``seconds``.

        Raises `Unfetched` unless it came whole, with status 200, and its length was known; OSError when it
        cannot be written.
        """
        handle = self._handle()
        curl, guard, body = handle.curl, handle.guard, _Body(target, self.most_bytes, handle.block)
        schemes = pycurl.PROTO_HTTPS if url.startswith("https:") else pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
        guard.reset(plain=False)
        try:
            curl.setopt(pycurl.URL, url.encode())
        except ValueError:
            raise Unfetched("its URL is none", permanent=True) from None
        try:
            for option, value in (
                (pycurl.PROTOCOLS, schemes),
                (pycurl.REDIR_PROTOCOLS, schemes),
                (pycurl.TIMEOUT_MS, max(1, int(seconds * 1000))),
                (pycurl.WRITEFUNCTION, body.write),
                (pycurl.HEADERFUNCTION, body.header),
            ):
                curl.setopt(option, value)
            curl.perform()
            body.flush()
            _check(curl, body)
            return Fetched(body.size, body.digest.hexdigest(), _type(curl.getinfo_raw(pycurl.CONTENT_TYPE)))
        except pycurl.error as error:
            raise self._told(error, guard.refusal, curl, body) from None

    def _handle(self) -> _Handle:
        """The thread's own: an origin's connection, and for https its handshake, serve the next file, too."""
        found: _Handle | None = getattr(self._own, "handle", None)
        if found is None:
            found = _Handle(pycurl.Curl(), self.policy.guard(), memoryview(bytearray(BLOCK)))
            self._set_up(found)
            self._own.handle = found
        return found

    def _set_up(self, handle: _Handle) -> None:
        for option, value in (
            (pycurl.OPENSOCKETFUNCTION, handle.guard.open_socket),
            (pycurl.NOSIGNAL, 1),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.FOLLOWLOCATION, 1),
            (pycurl.MAXREDIRS, _REDIRECTS),
            (pycurl.PROXY, ""),
            (pycurl.NOPROXY, "*"),
            (pycurl.CAINFO, self.ca_file),
            (pycurl.USERAGENT, self.user_agent),
            (pycurl.FAILONERROR, 1),
            (pycurl.MAXFILESIZE_LARGE, self.most_bytes),
            (pycurl.CONNECTTIMEOUT, CONNECT),
            (pycurl.LOW_SPEED_LIMIT, STALLED_BELOW),
            (pycurl.LOW_SPEED_TIME, self.stalled_for),
            (pycurl.BUFFERSIZE, BLOCK),
            (pycurl.MAXAGE_CONN, KEPT_FOR),
            (pycurl.NOPROGRESS, 0),
            (pycurl.XFERINFOFUNCTION, lambda *_: int(self.stopping())),
        ):
            handle.curl.setopt(option, value)

    def _told(self, error: pycurl.error, refusal: str | None, curl: pycurl.Curl, body: _Body) -> Exception:
        """The error behind libcurl's."""
        code, message = error.args[0], str(error.args[-1])
        if body.trouble is not None:
            return body.trouble
        if code == pycurl.E_ABORTED_BY_CALLBACK:
            return Interrupted("the worker was stopped")
        if code == pycurl.E_FILESIZE_EXCEEDED or body.size > self.most_bytes:
            return Unfetched(f"it is larger than {self.most_bytes} bytes", permanent=True)
        if code == pycurl.E_HTTP_RETURNED_ERROR:
            return Unfetched(f"it was answered with status {curl.getinfo(pycurl.RESPONSE_CODE)}")
        return Unfetched(refusal or message)


@dataclass(frozen=True)
class _Handle:
    """What one thread downloads with. ``block``: BLOCK bytes, in which it gathers what comes."""

    curl: pycurl.Curl
    guard: Guard
    block: memoryview


class _Body:
    """What comes, on its way to the file: gathered into blocks, since libcurl gives 16 kB at a time."""

    def __init__(self, target: BinaryIO, most_bytes: int, block: memoryview) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self.framed = False
        self.trouble: OSError | None = None
        self._target = target
        self._most_bytes = most_bytes
        self._block = block
        self._gathered = 0

    def header(self, line: bytes) -> None:
        """A header; a status line begins the next answer, after a redirect."""
        name, _, value = line.lower().partition(b":")
        if line.startswith(b"HTTP/"):
            self.framed = False
        elif name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value):
            self.framed = True

    def write(self, data: bytes) -> int | None:
        """A part of the body. Any number but its length makes libcurl give up."""
        self.size += len(data)
        if self.size > self._most_bytes:
            return -1
        try:
            if self._gathered + len(data) > len(self._block):
                self.flush()
        except OSError as error:
            # Raised in here it would be printed and lost.
            self.trouble = error
            return -1
        begun, self._gathered = self._gathered, self._gathered + len(data)
        self._block[begun : self._gathered] = data
        return None

    def flush(self) -> None:
        """Write what is gathered. Raises OSError."""
        rest = self._block[: self._gathered]
        self._gathered = 0
        self.digest.update(rest)
        while rest:
            rest = rest[self._target.write(rest) :]


def _check(curl: pycurl.Curl, body: _Body) -> None:
    """That a length was announced; libcurl has compared it with what came."""
    status = curl.getinfo(pycurl.RESPONSE_CODE)
    if status != HTTPStatus.OK:
        raise Unfetched(f"it was answered with status {status}")
    if not body.framed:
        raise Unfetched("its length was not announced, so that a part could not be told from the whole")
    if not body.size:
        raise Unfetched("it is empty")


def _type(header: bytes | None) -> str:
    told = (header or b"").decode("latin-1").partition(";")[0].strip().lower()
    return "" if told in _GENERIC or not _TYPE.fullmatch(told) else told
