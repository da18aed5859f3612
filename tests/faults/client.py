"""The client: submits at a constant rate, repeats under the same key until answered, keeps every answer."""

from __future__ import annotations

import base64
import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

IMAGE = Path(__file__).parents[1] / "data" / "rocket.jpg"
T2V, I2V = "minimax/hailuo-02/t2v-pro", "minimax/hailuo-02/fast"
PATIENCE = 8.0
OK = 200
DONE = {200, 202}
TRY_AGAIN = {None, 409, 429, 502, 503, 504}
"""Answers after which a client of the API repeats a submission; None: there was no answer."""


@dataclass
class Order:
    """One submission and all its answers: (status, prediction id)."""

    key: str
    prompt: str
    model: str
    query: str = ""
    channel: str = ""
    own: str = ""
    image: bool = False
    answers: list[tuple[int | None, str]] = field(default_factory=list)

    @property
    def ids(self) -> set[str]:
        return {job for _, job in self.answers if job}

    @property
    def job(self) -> str:
        """The accepted job; empty while there is none."""
        return next(iter(self.ids), "")


class Client:
    """``url``: the service; ``hooks``: where the subscribers listen."""

    def __init__(self, seed: int, url: str, key: str, hooks: str) -> None:
        self.url = url
        self.orders: list[Order] = []
        self.endpoints: dict[str, str] = {}
        """By the path of their URL."""
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._hooks = hooks
        self._dice = random.Random(f"client {seed}")
        self._image = "data:image/jpeg;base64," + base64.b64encode(IMAGE.read_bytes()).decode()
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()

    def submit_for(self, seconds: float, rate: float) -> None:
        """Submit ``rate`` jobs a second, whatever becomes of those before."""
        begun = time.monotonic()
        for number in range(int(seconds * rate)):
            self._over.wait(max(0.0, begun + number / rate - time.monotonic()))
            order = self._order(number)
            self.orders.append(order)
            thread = threading.Thread(target=self.submit, args=(order,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def pause_for(self, path: str, seconds: float) -> None:
        """Pause an endpoint and let it go on, again and again; it goes on when the time is over."""
        until, dice = time.monotonic() + seconds, random.Random(f"pauses {path}")
        while time.monotonic() < until:
            for paused in (True, False):
                self._over.wait(dice.uniform(0.5, 3.0))
                self._insist("PATCH", f"/v1/endpoints/{self.endpoints[path]}", {"paused": paused})

    def catch_up(self, path: str, seconds: float) -> None:
        """After so many seconds an endpoint hears of everything, and of what it has missed until then."""
        self._over.wait(seconds)
        endpoint = f"/v1/endpoints/{self.endpoints[path]}"
        self._insist("PATCH", endpoint, {"channels": []})
        self._insist("POST", f"{endpoint}/replay-missing", {})

    def _insist(self, method: str, path: str, body: Any) -> None:
        while self.call(method, path, body)[0] not in DONE and not self._over.wait(0.2):
            pass

    def _order(self, number: int) -> Order:
        prompt, kind = f"job {number}", self._dice.random()
        order = Order(f"key-{number}", prompt, T2V)
        if kind < 0.25:
            order.model, order.image = I2V, True
        elif kind < 0.5:
            order.channel = "vip"
            order.query = "?channel=vip"
        elif kind < 0.7:
            order.own = f"/own/{number}"
            order.query = f"?webhook={quote(self._hooks + order.own, safe='')}"
        return order

    def place(self, prompt: str, **fields: Any) -> Order:
        """One job, accepted."""
        order = Order(f"key-{len(self.orders)}", prompt, **{"model": T2V, **fields})
        self.orders.append(order)
        self.submit(order)
        return order

    def submit(self, order: Order) -> None:
        """Until it is accepted, or refused for good, or nobody wants to know any more."""
        body = {"prompt": order.prompt, **({"image": self._image} if order.image else {})}
        pause = 0.2
        while True:
            status, told = self.call("POST", f"/api/v3/{order.model}{order.query}", body, order.key)
            order.answers.append((status, told["data"]["id"] if status == OK else ""))
            if status not in TRY_AGAIN or self._over.wait(pause):
                return
            pause = min(2 * pause, 2.0)

    def call(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int | None, Any]:
        """The status and the JSON of an answer; None when there was none."""
        headers = {**self._headers, **({"Idempotency-Key": key} if key else {})}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, error.read()[:500].decode(errors="replace")
        except (OSError, ValueError, http.client.HTTPException) as error:
            return None, str(error)

    def job(self, order: Order) -> dict[str, Any]:
        """What the service says of it."""
        status, told = self.call("GET", f"/v1/jobs/{order.job}")
        assert status == OK, told
        return dict(told)

    def waits(self) -> bool:
        """Whether some order has no answer yet."""
        return any(thread.is_alive() for thread in self._threads)

    def give_up(self) -> None:
        self._over.set()
