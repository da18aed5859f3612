"""Signed links to archived files, which expire."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from urllib.parse import urlencode

from service.errors import Forbidden

VALID_FOR = 7 * 24 * 3600
"""Seconds, for every link that is shown; S3's own links cannot be good for longer."""
_PURPOSE = b"hookreel/files/v1"


class Signer:
    """Signs with the first of ``secret_keys`` (Fernet keys), believes all of them. ``clock`` is in ms."""

    def __init__(self, secret_keys: tuple[str, ...], clock: Callable[[], int]) -> None:
        # Derived: what is signed here must say nothing about what is encrypted elsewhere.
        self._keys = [hmac.digest(base64.urlsafe_b64decode(key), _PURPOSE, "sha256") for key in secret_keys]
        self._clock = clock

    def query(self, path: str) -> str:
        """What makes a link of ``path``: when it expires (unix seconds), and the signature over both."""
        expires = str(self._clock() // 1000 + VALID_FOR)
        return urlencode({"expires": expires, "signature": _sign(self._keys[0], path, expires)})

    def check(self, path: str, expires: str, signature: str) -> None:
        """Raises `Forbidden` for a link that is not ours, or not good any more."""
        given = signature.encode()
        good = [hmac.compare_digest(given, _sign(key, path, expires).encode()) for key in self._keys]
        if not any(good):
            raise Forbidden("this link was not made here; links are in results and events, whole")
        if int(expires) * 1000 < self._clock():
            raise Forbidden("this link has expired; ask for the result again for a fresh one")


def _sign(key: bytes, path: str, expires: str) -> str:
    return hmac.digest(key, f"{path}\n{expires}".encode(), "sha256").hex()
