"""The secret that the vendor signs its callbacks with: set by the operator, or fetched and kept sealed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from service import rediskeys
from service.errors import HookreelError, SignatureInvalid, Unavailable
from service.sealing import Sealer, UnreadableSecret
from service.signing import verify_v3
from service.store import Store

REFETCH_AFTER: Final = 60.0
"""Seconds between two questions because of a signature that fails: the secret may have been rotated."""
PREVIOUS_FOR: Final = 600.0
"""Seconds for which the secret before a rotation is believed: what it signed may be on its way."""
ASK_AGAIN: Final = 5.0
"""Seconds between two questions while no secret is known."""


class VendorSecret:
    """``fetch`` asks the vendor; ``configured`` is WAVESPEED_WEBHOOK_SECRET, with which nobody is asked.

    ``clock`` is in milliseconds since the epoch, ``monotonic`` in seconds.
    """

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        fetch: Callable[[], str],
        *,
        clock: Callable[[], int],
        configured: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.sealer = sealer
        self.fetch = fetch
        self.clock = clock
        self.configured = configured
        self.monotonic = monotonic
        self._secret = configured
        self._lock = threading.Lock()
        self._ask_at = self._refetch_at = self._previous_until = float("-inf")
        self._previous = ""

    def __repr__(self) -> str:
        return f"<VendorSecret {'known' if self.known else 'unknown'}>"

    @property
    def known(self) -> bool:
        """Whether callbacks can be verified without asking anybody."""
        return self._secret is not None

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raise `SignatureInvalid` unless the vendor signed these bytes, `Unavailable` when nobody knows."""
        refused: SignatureInvalid | None = None
        for secret in self._believed():
            try:
                verify_v3(secret, headers, body, self.clock() / 1000)
            except SignatureInvalid as error:
                refused = error
            else:
                return
        if refused is not None:
            raise refused

    def _believed(self) -> Iterator[str]:
        """The secret, the one before it, and last, by asking the vendor, the one after it."""
        current = self.current()
        yield current
        if self.monotonic() < self._previous_until:
            yield self._previous
        rotated = self._rotated(current)
        if rotated is not None:
            yield rotated

    def current(self) -> str:
        """The secret: from memory, else from the store, else from the vendor. Raises `Unavailable`."""
        if self._secret is not None:
            return self._secret
        with self._lock:
            found = self._found() or self._first()
            self._secret = found
            return found

    def _found(self) -> str | None:
        """In memory, where another thread may have put it meanwhile, or in the store."""
        return self._secret or self._stored()

    def _stored(self) -> str | None:
        (sealed,) = self.store.read(lambda pipe: pipe.hget(rediskeys.VENDOR, "secret"))
        try:
            return self.sealer.open(sealed.decode()) if sealed else None
        except UnreadableSecret:
            return None

    def _first(self) -> str:
        now = self.monotonic()
        if now < self._ask_at:
            raise Unavailable("the vendor's signing secret is not known yet")
        self._ask_at = now + ASK_AGAIN
        try:
            return self._keep(self.fetch())
        except HookreelError as error:
            if isinstance(error, Unavailable):
                raise
            raise Unavailable(f"the vendor does not tell its signing secret: {error.detail}") from error

    def _rotated(self, failed: str) -> str | None:
        """Another secret than the one that ``failed``, if there is one now.

        Raises `Unavailable` when the vendor does not say: the caller, who is the vendor, is to come again.
        """
        if self.configured is not None:
            return None
        with self._lock:
            now = self.monotonic()
            if self._secret == failed and now >= self._refetch_at:
                self._refetch_at = now + REFETCH_AFTER
                self._secret = self._asked_again(failed)
                if self._secret != failed:
                    self._previous, self._previous_until = failed, now + PREVIOUS_FOR
            return self._secret if self._secret != failed else None

    def _asked_again(self, failed: str) -> str:
        stored = self._stored()
        if stored not in {None, failed}:
            # Another process has asked already.
            return str(stored)
        try:
            fresh = self.fetch()
        except HookreelError as error:
            self._refetch_at = self.monotonic() + ASK_AGAIN
            logging.getLogger(__name__).warning("vendor_secret.not_told", extra={"detail": error.detail})
            raise Unavailable("the vendor does not tell whether its signing secret has changed") from error
        return failed if fresh == failed else self._keep(fresh)

    def _keep(self, secret: str) -> str:
        row: dict[Any, Any] = {"secret": self.sealer.seal(secret), "secret_at": self.clock()}
        # By the revision, whoever seals anew what he has read (`service.resealing`) sees that it is another.
        self.store.write(
            lambda pipe: pipe.hset(rediskeys.VENDOR, mapping=row).hincrby(rediskeys.VENDOR, "rev", 1)
        )
        return secret
