"""Secrets at rest: sealed with the newest key, opened with any (`cryptography`'s MultiFernet)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.errors import HookreelError


class UnreadableSecret(HookreelError):
    """None of HOOKREEL_SECRET_KEY's keys opens it."""

    code = "unreadable_secret"


class Sealer:
    """``keys``: Fernet keys, newest first."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def __repr__(self) -> str:
        return "<Sealer>"

    def seal(self, text: str) -> str:
        """Encrypt with the newest key."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises `UnreadableSecret`."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise UnreadableSecret("a stored secret cannot be opened with HOOKREEL_SECRET_KEY") from None
