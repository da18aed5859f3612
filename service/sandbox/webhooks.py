"""Webhooks: what is sent when a task ends, how it is signed, and when it is tried again."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from service.addresses import Policy
from service.sandbox.book import Book
from service.sandbox.calls import post
from service.sandbox.switches import Switches
from service.sandbox.tasks import Task, Tasks, prediction
from service.sandbox.timeline import Lane, Timeline
from service.signing import new_secret, sign_v3

NOBODY = "http://127.0.0.1:9/"
"""The discard service, which nobody runs: the connection is refused."""
HUGE = 1_100_000


@dataclass(frozen=True)
class Message:
    """One webhook on its way; ``status`` is what it says of the prediction, ``rest`` what comes after it."""

    task: Task
    status: str
    webhook_id: str
    attempt: int = 1
    rest: tuple[str, ...] = ()


class Courier:
    """Sends the webhooks of tasks, with the retries that their switches say."""

    def __init__(self, book: Book, tasks: Tasks, timeline: Timeline, lane: Lane, policy: Policy) -> None:
        self._book = book
        self._tasks = tasks
        self._timeline = timeline
        self._lane = lane
        self._policy = policy
        self._lock = threading.Lock()
        self._held: list[Task] = []

    def announce(self, task: Task) -> None:
        """The task has begun."""
        if task.webhook and task.switches.callback == "processing_first":
            self._send(task, task.status)

    def report(self, task: Task) -> None:
        """The task has ended."""
        switches = task.switches
        if not task.webhook or switches.callback == "none" or task.status not in switches.callback_statuses:
            return
        if switches.callback == "held":
            self._hold(task)
        else:
            self._timeline.after(switches.callback_delay, self._lane, partial(self._final, task))

    def release(self, account: str | None) -> int:
        """Send what is held, for the account of this name or (None) for all; how many that were."""
        with self._lock:
            held = [task for task in self._held if account in {None, task.account.name}]
            self._held = [task for task in self._held if account not in {None, task.account.name}]
        for task in held:
            self._lane.put(partial(self._final, task))
        return len(held)

    def _hold(self, task: Task) -> None:
        with self._lock:
            self._held.append(task)
        self._book.note("callback_held", task.account.name, id=task.id, model=task.model)

    def _final(self, task: Task) -> None:
        again = {"twice": (task.status,), "processing_last": (task.switches.running_status,)}
        self._send(task, task.status, again.get(task.switches.callback, ()))

    def _send(self, task: Task, status: str, rest: tuple[str, ...] = ()) -> None:
        webhook_id = task.id if task.switches.callback_id == "prediction" else secrets.token_hex(16)
        self._lane.put(partial(self._attempt, Message(task, status, webhook_id, rest=rest)))

    def _attempt(self, message: Message) -> None:
        task, switches = message.task, message.task.switches
        if switches.callback_id == "fresh" and message.attempt > 1:
            message = replace(message, webhook_id=secrets.token_hex(16))
        url = NOBODY if switches.callback_to == "nobody" else str(task.webhook)
        body = _body(task, message.status)
        headers = _headers(message, body, int(time.time()) + switches.callback_timestamp)
        entry = self._book.open("callback", task.account.name, **_about(message), url=url)
        answer = post(url, headers, body, switches.callback_timeout, self._policy)
        self._book.close(entry, status=answer.status, error=answer.error)
        self._tasks.called_back(task.id)
        self._go_on(message, delivered=answer.delivered)

    def _go_on(self, message: Message, *, delivered: bool) -> None:
        retries = message.task.switches.callback_retries
        if not delivered and message.attempt <= len(retries):
            again = partial(self._attempt, replace(message, attempt=message.attempt + 1))
            self._timeline.after(retries[message.attempt - 1], self._lane, again)
        elif message.rest:
            self._send(message.task, message.rest[0], message.rest[1:])


def _about(message: Message) -> dict[str, Any]:
    return {
        "id": message.task.id,
        "model": message.task.model,
        "prediction_status": message.status,
        "webhook_id": message.webhook_id,
        "attempt": message.attempt,
    }


def _body(task: Task, status: str) -> bytes:
    document = prediction(task, status=status)
    if task.switches.callback_input:
        document["input"] = dict(task.input)
    if task.switches.callback_body == "not_json":
        return b"<html><body>completed</body></html>"
    shaped = _SHAPES[task.switches.callback_body](document)
    return json.dumps(shaped, separators=(",", ":"), ensure_ascii=False).encode()


_SHAPES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "bare": lambda bare: bare,
    "enveloped": lambda bare: {"code": 200, "message": "success", "data": bare},
    "no_id": lambda bare: {name: value for name, value in bare.items() if name != "id"},
    "other_id": lambda bare: bare | {"id": secrets.token_hex(16)},
    "huge": lambda bare: bare | {"padding": "x" * HUGE},
}


def _headers(message: Message, body: bytes, timestamp: int) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message.webhook_id,
        "webhook-timestamp": str(timestamp),
    }
    signature = _signature(message.task, message.task.switches, message.webhook_id, timestamp, body)
    return headers | ({"webhook-signature": signature} if signature else {})


def _signature(task: Task, switches: Switches, webhook_id: str, timestamp: int, body: bytes) -> str | None:
    how = switches.callback_signature
    if how == "missing":
        return None
    signed = body + b" " if how == "tampered" else body
    signature = sign_v3(_secret(task, how), webhook_id, timestamp, signed)
    return signature.replace("v3,", "v2,", 1) if how == "other_version" else signature


def _secret(task: Task, how: str) -> str:
    if how == "wrong":
        return new_secret(secrets.token_bytes(32))
    return task.account.old_secret if how == "old_secret" else task.account.secret
