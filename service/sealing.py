"""Secrets at rest: sealed with the newest key that every process has, opened with any.

A new key can be added to one process after the other: as long as somebody alive has it not, it seals
nothing. The tokens are Fernet's (`cryptography`).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterable, Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.errors import HookreelError


class UnreadableSecret(HookreelError):
    """None of HOOKREEL_SECRET_KEY's keys opens it."""

    code = "unreadable_secret"


_PURPOSE = b"hookreel/sealing/v1"


class Sealer:
    """``keys``: Fernet keys, newest first; ``rings``: asks for the ``ring`` of each process that is alive."""

    def __init__(self, keys: Sequence[str], rings: Callable[[], Iterable[tuple[str, ...]]] = tuple) -> None:
        self._keys = {_name(key): Fernet(key) for key in keys}
        self._fernet = MultiFernet(list(self._keys.values()))
        self._rings = rings

    def __repr__(self) -> str:
        return "<Sealer>"

    @property
    def ring(self) -> tuple[str, ...]:
        """The names of its keys, newest first; they tell nothing of the keys."""
        return tuple(self._keys)

    def seal(self, text: str) -> str:
        """Encrypt with the newest key that everybody has; with the oldest where none is known to be."""
        *newer, oldest = self._keys
        rings = list(self._rings()) if newer else []
        name = next((each for each in newer if all(each in ring for ring in rings)), oldest)
        return self._keys[name].encrypt(text.encode()).decode()

    def renewed(self, sealed: str) -> str:
        """The same under the newest key, unchanged if it is already. Raises `UnreadableSecret`."""
        try:
            self._keys[self.ring[0]].decrypt(sealed.encode())
        except InvalidToken:
            return self._opened(self._fernet.rotate, sealed)
        return sealed

    def open(self, sealed: str) -> str:
        """Raises `UnreadableSecret`."""
        return self._opened(self._fernet.decrypt, sealed)

    @staticmethod
    def _opened(way: Callable[[bytes], bytes], sealed: str) -> str:
        try:
            return way(sealed.encode()).decode()
        except InvalidToken:
            raise UnreadableSecret("a stored secret cannot be opened with HOOKREEL_SECRET_KEY") from None


def _name(key: str) -> str:
    return hmac.digest(base64.urlsafe_b64decode(key), _PURPOSE, "sha256")[:8].hex()
