"""Signatures of messages, in and out; a bad message raises SignatureInvalid and nothing else.

Both schemes are HMAC-SHA256 over ``{id}.{timestamp}.{raw body}``. ``v1`` is Standard Webhooks
(https://www.standardwebhooks.com): base64, under the *decoded* secret. ``v3`` is the vendor's: lowercase hex,
under the secret's *text*.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import TYPE_CHECKING

from schemas.faults import Complaint
from service.errors import SignatureInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
TOLERANCE = 300
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


def sign_v1(secret: str, msg_id: str, timestamp: int, body: bytes) -> str:
    """One ``v1,<base64>`` entry of ``webhook-signature``. The secret has passed ``check_secret``."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return f"v1,{base64.b64encode(_digest(key, msg_id, timestamp, body)).decode()}"


def sign_v3(secret: str, msg_id: str, timestamp: int, body: bytes) -> str:
    """One ``v3,<hex>`` entry, as the vendor signs: the key is the text after ``whsec_``, not decoded."""
    key = secret.removeprefix(PREFIX).encode()
    return f"v3,{_digest(key, msg_id, timestamp, body).hex()}"


def verify_v3(
    secret: str, headers: Mapping[str, str], body: bytes, now: float, tolerance: float = TOLERANCE
) -> None:
    """Raise SignatureInvalid unless one of the ``v3`` signatures is the secret's over these raw bytes.

    ``now`` is in unix seconds; a timestamp further away than ``tolerance`` seconds, in either direction, is
    refused. The names of the headers may be in any case.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    msg_id = _required(lowered, "webhook-id")
    timestamp = _fresh_timestamp(_required(lowered, "webhook-timestamp"), now, tolerance)
    signatures = _required(lowered, "webhook-signature").split(" ")
    expected = sign_v3(secret, msg_id, timestamp, body).encode()
    if not any(hmac.compare_digest(expected, each.encode()) for each in signatures):
        raise SignatureInvalid("no v3 signature in webhook-signature verifies this body")


def new_secret(random_bytes: bytes) -> str:
    """A secret in Standard Webhooks' form; raises ValueError unless 24 to 64 bytes are given."""
    if len(random_bytes) not in SECRET_BYTES:
        raise ValueError("a webhook secret is made of 24 to 64 random bytes")
    return PREFIX + base64.b64encode(random_bytes).decode()


def check_secret(text: str) -> None:
    """Raise ValueError, its one argument a Complaint, unless the text is a Standard Webhooks secret."""
    if not text.startswith(PREFIX) or _decoded_length(text.removeprefix(PREFIX)) not in SECRET_BYTES:
        raise ValueError(
            Complaint(
                "is not a webhook secret",
                code="invalid_secret",
                allowed=f"{PREFIX} followed by the base64 of 24 to 64 bytes",
            )
        )


def _digest(key: bytes, msg_id: str, timestamp: int, body: bytes) -> bytes:
    # Not `hmac.digest`, which lets go of the interpreter's lock for a message of any length.
    return hmac.new(key, f"{msg_id}.{timestamp}.".encode() + body, "sha256").digest()


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise SignatureInvalid(f"the header {name} is missing")
    if not value.isascii():
        raise SignatureInvalid(f"the header {name} is not plain ASCII")
    return value


def _fresh_timestamp(text: str, now: float, tolerance: float) -> int:
    if not _TIMESTAMP.fullmatch(text) or text != str(int(text)):
        raise SignatureInvalid("webhook-timestamp is not a number of unix seconds")
    if abs(now - int(text)) > tolerance:
        raise SignatureInvalid(f"webhook-timestamp is more than {tolerance:g} s away from now")
    return int(text)


def _decoded_length(text: str) -> int:
    try:
        return len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return 0
