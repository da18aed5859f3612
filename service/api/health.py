"""``/livez``: this process answers. ``/readyz``: it reaches its store, and what else there is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Flask, Response, jsonify

from service.bootstrap import Service
from service.errors import SettingsError, Unavailable
from service.presence import Watch
from service.vendorsecret import VendorSecret

ROLES: Final = ("worker", "forwarder", "clock")
REMEMBERED: Final = 60.0


class Durability:
    """What the store may forget, asked for once a minute; here it is no more than a warning."""

    def __init__(self, ask: Callable[[], tuple[str, ...]], monotonic: Callable[[], float]) -> None:
        self.ask = ask
        self.monotonic = monotonic
        self._until = 0.0
        self._detail = ""

    def check(self) -> dict[str, Any]:
        """As ``/readyz`` shows it."""
        if self.monotonic() >= self._until:
            self._until = self.monotonic() + REMEMBERED
            try:
                self._detail = "; ".join(self.ask())
            except SettingsError as error:
                self._detail = "; ".join(error.problems)
            except Unavailable:
                self._until = 0.0
        return _check(ok=True, detail=self._detail and f"warning: {self._detail}")


@dataclass(frozen=True)
class Health:
    """The views, and what they need."""

    service: Service
    secret: VendorSecret
    durability: Durability
    _looking: threading.Lock = field(default_factory=threading.Lock)

    def register(self, app: Flask) -> None:
        """Neither asks for an API key."""
        watch = Watch(self.service.store, time.monotonic)
        app.add_url_rule("/livez", "livez", lambda: jsonify({"live": True}))
        app.add_url_rule("/readyz", "readyz", lambda: self.readiness(watch))

    def readiness(self, watch: Watch) -> Response:
        """503 only without the store: a worker's absence must not take the callback from a load balancer."""
        try:
            with self._looking:
                alive, _ = watch.look()
        except Unavailable as error:
            return _told({"store": _check(ok=False, detail=error.detail)}, ready=False)
        checks = {"store": _check(ok=True), "durability": self.durability.check(), **_roles(alive)}
        return _told({**checks, "vendor_secret": self._secret()}, ready=True)

    def _secret(self) -> dict[str, Any]:
        known = self.secret.known
        return _check(ok=known, detail="" if known else "not known yet; callbacks are answered with 503")


def _roles(alive: set[str]) -> dict[str, Any]:
    names = [incarnation.partition("-")[0] for incarnation in alive]
    return {role: _check(ok=role in names, detail=f"{names.count(role)} running") for role in ROLES}


def _check(*, ok: bool, detail: str = "") -> dict[str, Any]:
    return {"ok": ok, "detail": detail}


def _told(checks: dict[str, Any], *, ready: bool) -> Response:
    response = jsonify({"ready": ready, "checks": checks})
    response.status_code = 200 if ready else 503
    if not ready:
        response.headers["Retry-After"] = "5"
    return response
