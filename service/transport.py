"""One HTTP exchange on one fresh connection: what was sent is known, not guessed, and the deadline holds.

``requests`` alone would follow a redirect with the body, take a key from ``.netrc`` and a proxy from the
environment, and count its timeout anew for every byte of a dripping answer; and its exceptions do not tell
whether anything had been sent. Here the connection itself says when it stands (TLS and a proxy's CONNECT
included): until then nothing has been sent, afterwards everything may have been.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

MB = 1024 * 1024

# The sockets' own timeouts run a little longer than the deadline, so that it is the deadline that decides.
_GRACE = 5.0


@dataclass(frozen=True)
class Question:
    """One request; its answer may take ``seconds``, all in all, and be ``limit`` bytes long."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    seconds: float = 60.0
    limit: int = MB


@dataclass(frozen=True)
class Reply:
    """An answer whose status line and headers were read; ``body`` is None when it could not be read whole."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Exchange:
    """What came of one question. ``sent`` is False only when it is certain that no byte of it went out.

    ``trouble`` says in one phrase, free of URLs and headers, what kept the answer from being read.
    """

    sent: bool
    reply: Reply | None = None
    trouble: str = ""


class NotOpened(Exception):
    """The line may not be used: too late, or the caller no longer wants it. Nothing was sent."""


class Line:
    """One request's way to the other side: whether it was opened, and the deadline that shuts it down.

    It keeps a duplicate of the socket's descriptor: shutting that down ends any phase, the TLS handshake
    included, and its number cannot meanwhile belong to another connection.
    """

    def __init__(self, seconds: float, may_send: Callable[[], bool]) -> None:
        self.seconds = seconds
        self.patience = seconds + _GRACE
        self.opened = False
        self.expired = False
        self._may_send = may_send
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    @contextmanager
    def deadline(self) -> Iterator[None]:
        """The clock runs while this is open."""
        self._timer.start()
        try:
            yield
        finally:
            self._timer.cancel()
            with self._lock:
                self._release()

    def hold(self, connected: socket.socket) -> None:
        """A TCP connection stands; nothing of the request has been sent."""
        with self._lock:
            self._release()
            self._socket = connected.dup()
            if self.expired:
                self._shut_down()

    def open(self) -> None:
        """The last moment at which nothing has been sent; from here on everything may have been.

        Raises NotOpened when the deadline has passed, ``may_send`` says no, or it was opened before: a second
        connection for the same request is never made.
        """
        with self._lock:
            if self.opened:
                raise NotOpened("the connection was lost")
            if self.expired:
                raise NotOpened("the deadline had passed")
            if not self._may_send():
                raise NotOpened("it was no longer wanted when the connection stood")
            self.opened = True

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _release(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Plain(HTTPConnection):
    """A connection that tells its line when it stands."""

    def __init__(self, *args: Any, line: Line, **options: Any) -> None:
        super().__init__(*args, **options)
        self._line = line

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        self._line.hold(connected)
        return connected

    def connect(self) -> None:
        """Raises NotOpened besides what urllib3 raises."""
        super().connect()
        self._line.open()
        # urllib3 would send under the connect timeout, and Python counts that for a whole `sendall`.
        self.timeout = self._line.patience
        self.sock.settimeout(self.timeout)


class _Secure(_Plain, HTTPSConnection):
    """The same over TLS: ``connect`` is urllib3's for HTTPS, by the order of the bases."""


class _Adapter(HTTPAdapter):
    """Pools whose connections belong to one line; never retries."""

    def __init__(self, line: Line, context: Callable[[], ssl.SSLContext]) -> None:
        self._line = line
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """The pool, with our connections in it."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = _Secure if isinstance(pool, HTTPSConnectionPool) else _Plain
        pool.conn_kw["line"] = self._line
        return pool

    def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> tuple[Any, Any]:
        """Verify against the one context that was loaded once; loading the authorities takes milliseconds."""
        host, tls = super().build_connection_pool_key_attributes(*args, **options)
        if host["scheme"] == "https":
            tls["ssl_context"] = self._context()
        return host, tls

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to add: the context verifies."""

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """A proxy that itself speaks TLS is verified like the vendor."""
        if proxy.lower().startswith("https:"):
            options["proxy_ssl_context"] = self._context()
        return super().proxy_manager_for(proxy, **options)


class _Session(requests.Session):
    """Knows nothing of the environment and no redirects (``requests`` would read one's whole body first)."""

    def __init__(self, adapter: HTTPAdapter) -> None:
        super().__init__()
        self.trust_env = False
        self.headers.clear()
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: an answer is an answer."""
        _ = resp
        return None


class Transport:
    """Makes exchanges. ``proxy`` is the only proxy there is; ``ca_file`` replaces the public authorities.

    ``connect_timeout`` (seconds) holds for each address that a name resolves to, and for each step of the
    handshakes.
    """

    def __init__(
        self, proxy: str | None = None, connect_timeout: float = 10.0, ca_file: str | None = None
    ) -> None:
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        self._connect_timeout = connect_timeout
        self._ca_file = ca_file
        _keep_queries_out_of_logs()

    @cached_property
    def _context(self) -> ssl.SSLContext:
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        context.load_verify_locations(self._ca_file or DEFAULT_CA_BUNDLE_PATH)
        return context

    def exchange(self, question: Question, may_send: Callable[[], bool] = lambda: True) -> Exchange:
        """Send it once and read the answer. Never raises an ``Exception``: what went wrong is in the result.

        ``may_send`` is asked once, when the connection stands and nothing has been sent; False ends it there.
        """
        line = Line(question.seconds, may_send)
        try:
            with line.deadline():
                return self._converse(question, line)
        except Exception as error:  # noqa: BLE001 - whatever it was, what is known about the line decides
            return Exchange(line.opened, trouble=_trouble(error, line))

    def _converse(self, question: Question, line: Line) -> Exchange:
        with _Session(_Adapter(line, lambda: self._context)) as session:
            answer = session.request(
                question.method,
                question.url,
                data=question.body,
                headers=dict(question.headers),
                timeout=(min(self._connect_timeout, question.seconds), line.patience),
                allow_redirects=False,
                stream=True,
                proxies=dict(self._proxies),
            )
            with closing(answer):
                body, trouble = _read(answer, question.limit, line)
        return Exchange(line.opened, Reply(answer.status_code, answer.headers, body), trouble)


def _read(answer: requests.Response, limit: int, line: Line) -> tuple[bytes | None, str]:
    try:
        body = answer.raw.read(limit + 1, decode_content=True)
    except Exception as error:  # noqa: BLE001 - a body that breaks off in whatever way is a body not read
        return None, _trouble(error, line)
    if len(body) > limit:
        return None, f"its answer is longer than {limit} bytes"
    return body, ""


def _trouble(error: BaseException, line: Line) -> str:
    if isinstance(error, NotOpened):
        return str(error)
    if line.expired:
        return f"the deadline of {line.seconds:g} s passed"
    return _root(error)


def _root(error: BaseException) -> str:
    """The innermost cause in the system's own words; the outer ones quote the URL, secrets and all."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return error.strerror or str(error)
    return type(error).__name__


def _without_query(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(re.sub(r"\?\S*", "?...", a) if isinstance(a, str) else a for a in record.args)
    return True


def _keep_queries_out_of_logs() -> None:
    """urllib3 logs whole URLs, and in ours the query holds a callback's token or an upload's signature."""
    for name in ("urllib3.connectionpool", "urllib3.connection"):
        logging.getLogger(name).addFilter(_without_query)
