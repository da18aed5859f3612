"""A server of one's own making: it reads one request per connection, counts it, and then misbehaves."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class RawServer:
    """``script(connection, request)`` answers; the connection is closed when it returns.

    ``nonsense`` is what somebody gets who sends no HTTP; ``pause`` are seconds before anything is read.
    """

    def __init__(
        self,
        script: Callable,
        context: ssl.SSLContext | None = None,
        nonsense: bytes = b"",
        pause: float = 0.0,
    ) -> None:
        self.script = script
        self._nonsense = nonsense
        self._pause = pause
        self.requests: list[Request] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self.stopping.is_set():
                connection.close()
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if self._context is None:
                self._answer(connection)
                return
            with self._context.wrap_socket(connection, server_side=True) as secured:
                self._answer(secured)

    def _answer(self, connection: socket.socket) -> None:
        self.stopping.wait(self._pause)
        request = read_request(connection)
        if request is None:
            connection.sendall(self._nonsense)
            return
        self.requests.append(request)
        self.script(connection, request)

    def close(self) -> None:
        self.stopping.set()
        socket.create_connection(self._listener.getsockname()).close()
        self._threads[0].join()
        self._listener.close()
        for thread in self._threads:
            thread.join()


def read_request(connection: socket.socket) -> Request | None:
    """None when the peer went away or sent no HTTP."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        head += more
        if not more or not head[:1].isalpha():
            return None
    head, _, body = head.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        more = connection.recv(1 << 20)
        if not more:
            return None
        body += more
    return Request(method, target, headers, body)


def reply(status: int, body: object = b"", **headers: str) -> bytes:
    """An answer's bytes; anything that is no bytes becomes JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(raw)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


def says(*answers: bytes) -> Callable:
    """A script that gives these answers in turn, and the last one for ever."""
    left = list(answers)

    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return script


@contextmanager
def serving(script: Callable, *args, **options):
    server = RawServer(script, *args, **options)
    try:
        yield server
    finally:
        server.close()


def certificate(directory: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    encoding = serialization.Encoding.PEM
    pem = signed.public_bytes(encoding) + key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, plain
    )
    path = directory / "server.pem"
    path.write_bytes(pem)
    return path


def tls(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
