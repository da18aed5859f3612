"""TLS is verified: the authority, the name, the dates; and what fails says so."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.sender import trusted_authorities


def certificate(directory: Path, *, address: str = "127.0.0.1", days: int = 1) -> Path:
    """A self-signed certificate with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    until = datetime.now(UTC) + timedelta(days=days)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=30))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{address}{days}.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM) + secret)
    return path


def server_context(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_a_certificate_of_a_trusted_authority_is_taken(make_sender, receive, post, tmp_path):
    pem = certificate(tmp_path)
    receiver = receive(tls=server_context(pem))
    sender = make_sender("127.0.0.0/8", ca_file=str(pem))
    first, second = post(sender, receiver.url()), post(sender, receiver.url())
    assert first.delivered
    assert second.delivered
    assert receiver.connections == 1


def test_https_may_go_where_plain_http_may_not(make_sender, receive, post, tmp_path):
    pem = certificate(tmp_path)
    receiver = receive(tls=server_context(pem))
    assert post(make_sender("127.0.0.1", ca_file=str(pem)), receiver.url()).delivered


def test_a_self_signed_certificate_is_refused(sender, receive, post, tmp_path):
    receiver = receive(tls=server_context(certificate(tmp_path)))
    outcome = post(sender, receiver.url())
    assert (outcome.status, outcome.error) == (None, "tls")
    assert "certificate" in outcome.detail
    assert receiver.requests == []


@pytest.mark.parametrize("fault", [{"address": "127.0.0.2"}, {"days": -1}])
def test_another_name_or_an_expired_certificate_is_refused(make_sender, receive, post, tmp_path, fault):
    pem = certificate(tmp_path, **fault)
    receiver = receive(tls=server_context(pem))
    outcome = post(make_sender("127.0.0.0/8", ca_file=str(pem)), receiver.url())
    assert (outcome.status, outcome.error) == (None, "tls")
    assert receiver.requests == []


def test_a_receiver_that_speaks_no_tls_is_told_as_such(sender, receive, post):
    receiver = receive(lambda connection: connection.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert post(sender, receiver.url().replace("http:", "https:")).error == "tls"


def test_plain_http_to_a_receiver_that_wants_tls_fails(sender, receive, post, tmp_path):
    receiver = receive(tls=server_context(certificate(tmp_path)))
    outcome = post(sender, receiver.url().replace("https:", "http:"))
    assert outcome.status is None
    assert outcome.error in {"protocol", "connect"}


def test_the_authorities_are_a_file_that_exists():
    context = ssl.create_default_context(cafile=trusted_authorities())
    assert len(context.get_ca_certs()) > 20
