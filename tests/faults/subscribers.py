"""Subscribers with a book: what came for whom, whether its signature verifies, and how it was answered."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from standardwebhooks import Webhook, WebhookVerificationError

from tests.faults.servers import Handler, Server

TIMEOUT = 2.0
"""Seconds that an endpoint is given; who hangs is silent for longer."""
SLOW, THINKS = 0.3, 0.7
"""The share of answers that take so many seconds: a forwarder that is killed meanwhile never hears them."""
FLAKY = {"500": 20, "hang": 4, "cut": 4, "200": 72}
ORDERED = {"500": 8, "hang": 1, "slow": 5, "200": 86}
"""Everybody behind an event that is not taken waits for it, so it is treated more kindly."""


@dataclass(frozen=True)
class Receipt:
    """One POST. ``status`` is None when it was not answered."""

    at: float
    """When it was about to be answered: whoever waits for the answer sends the next one later."""
    event: str
    digest: str
    job: str
    type: str
    verified: bool
    status: int | None


class Subscribers:
    """All of them, by the path of their URL: ``/steady``, ``/flaky``, ... and ``/own/<prompt>``."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.secrets: dict[str, str] = {}
        self.own_secret = ""
        self.receipts: dict[str, list[Receipt]] = defaultdict(list)
        self.lock = threading.Lock()
        self._seen: Counter[tuple[str, str]] = Counter()

    def treat(self, path: str, event: str) -> str:
        """How this attempt is answered; by the seed, the event and how often it came."""
        with self.lock:
            count = self._seen[path, event]
            self._seen[path, event] += 1
        dice = random.Random(f"{self.seed} {path} {event} {count}")
        kinds = {"/flaky": FLAKY, "/ordered": ORDERED}.get(path)
        if kinds is None:
            return "slow" if dice.random() < SLOW else "200"
        return dice.choices(list(kinds), list(kinds.values()))[0]

    def keep(self, at: float, path: str, headers: Mapping[str, str], body: bytes, status: int | None) -> None:
        told = json.loads(body)
        own = path.startswith("/own/")
        receipt = Receipt(
            at,
            headers["webhook-id"],
            hashlib.sha256(body).hexdigest(),
            told["id"] if own else told["data"]["id"],
            "" if own else told["type"],
            self._verifies(path, headers, body),
            status,
        )
        with self.lock:
            self.receipts[path].append(receipt)

    def _verifies(self, path: str, headers: Mapping[str, str], body: bytes) -> bool:
        if path.startswith("/own/"):
            key = self.own_secret.removeprefix("whsec_").encode()
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            return headers["webhook-signature"] == f"v3,{hmac.digest(key, signed, 'sha256').hex()}"
        try:
            Webhook(self.secrets[path]).verify(body, dict(headers))
        except WebhookVerificationError:
            return False
        return True

    def taken(self, path: str) -> dict[str, list[Receipt]]:
        """The receipts of a subscriber that it answered 200, by event."""
        with self.lock:
            by_event: dict[str, list[Receipt]] = defaultdict(list)
            for each in self.receipts[path]:
                if each.status is not None and each.status < 300:
                    by_event[each.event].append(each)
        return by_event


class SubscriberServer(Server):
    def __init__(self, subscribers: Subscribers) -> None:
        super().__init__(SubscriberHandler)
        self.subscribers = subscribers


class SubscriberHandler(Handler):
    server: SubscriberServer

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        body = self.body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        how = self.server.subscribers.treat(self.path, headers["webhook-id"])
        status = {"200": 200, "slow": 200, "500": 500}.get(how)
        threading.Event().wait({"hang": TIMEOUT * 1.5, "slow": THINKS}.get(how, 0.0))
        at = time.monotonic()
        try:
            if status is None:
                self.cut()
            else:
                self.answer(status)
        except OSError:
            status = None
        finally:
            self.server.subscribers.keep(at, self.path, headers, body, status)
