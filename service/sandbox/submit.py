"""``POST /api/v3/{model}``: the submission, and every way in which it can go wrong."""

from __future__ import annotations

import base64
import secrets
import threading
from dataclasses import dataclass
from typing import Any

from flask import Response, g, request
from marshmallow import ValidationError

from schemas import inputs
from schemas.models import MODELS
from schemas.urls import check_callable_url
from service.errors import InvalidInput
from service.sandbox import visits
from service.sandbox.accounts import Account, Accounts
from service.sandbox.answers import NO_BASE64, NO_CREDITS, Refusal, faulty, success
from service.sandbox.book import TASKS
from service.sandbox.gate import Admission
from service.sandbox.line import Line
from service.sandbox.switchboard import from_prompt
from service.sandbox.switches import Switches
from service.sandbox.tasks import Task, prediction

OVERTAKING_SECONDS = 60
"""How long a submission waits for the webhook that is to overtake it."""


@dataclass(frozen=True)
class Order:
    """A submission that was read: its parameters, and the switches that its job goes by."""

    account: Account
    model: str
    body: dict[str, Any]
    sync: bool
    base64: bool
    webhook: str | None
    overrides: dict[str, Any]
    switches: Switches


@dataclass(frozen=True)
class Counter:
    """Takes submissions."""

    accounts: Accounts
    line: Line
    ending: threading.Event

    def submit(self, model: str) -> Response:
        """The view."""
        account = visits.admitted(
            self.accounts, self.line.book, "submit", model=model, id=None, created=False
        )
        order = _read(account, model)
        created = order.switches.task_created
        if not created and order.switches.submit != "accept":
            return self._refuse(order)
        task = self._create(order) if created else None
        self.ending.wait(order.switches.answer_delay)
        data = prediction(task, digits=3, status="created") if task else {"id": secrets.token_hex(16)}
        if order.switches.submit != "accept":
            return faulty(order.switches.submit, order.switches, data)
        return self._wait(task) if task and order.sync else success(data)

    def _refuse(self, order: Order) -> Response:
        self.ending.wait(order.switches.answer_delay)
        return faulty(order.switches.submit, order.switches, {"id": secrets.token_hex(16)})

    def _create(self, order: Order) -> Task:
        parsed = _parsed(order)
        now_ns = self.line.now_ns()
        task = Task(
            id=secrets.token_hex(16),
            account=order.account,
            model=order.model,
            input=parsed.fields,
            switches=order.switches,
            overrides=order.overrides,
            origin=request.host_url.rstrip("/"),
            created_ns=now_ns,
            webhook=order.webhook,
            base64=order.base64,
            pictures=self._pictures(order, parsed),
        )
        admission = order.account.gate.enter(task.id, order.account.switches(), now_ns)
        if admission is Admission.REFUSED:
            raise Refusal(429)
        self.line.tasks.add(task)
        self.line.book.count(TASKS, order.account.name)
        visits.note(id=task.id, created=True, webhook=task.webhook, input=dict(parsed.fields))
        if admission is Admission.START:
            self.line.start(task.id, order.account)
        if task.webhook and order.switches.callback == "before_answer":
            self.line.tasks.wait(task.id, _overtaken, OVERTAKING_SECONDS)
        return task

    def _pictures(self, order: Order, parsed: inputs.Input) -> dict[str, str]:
        if order.switches.render != "real":
            return {}
        return {name: self.line.files.write(image.data) for name, image in parsed.images.items()}

    def _wait(self, task: Task) -> Response:
        seconds = task.switches.sync_seconds
        ended = self.line.tasks.wait(task.id, lambda changed: changed.final, seconds)
        if ended is not None and ended.final:
            return success(shown(ended, self.line))
        error = (
            f"Sync mode timed out after {seconds:g} seconds. The task is still running; "
            "query its result by the URL in urls.get."
        )
        waiting = {"id": task.id, "status": "processing", "code": 5004, "error": error}
        return success({**waiting, "urls": {"get": task.get_url}})


def shown(task: Task, line: Line) -> dict[str, Any]:
    """The prediction as its owner sees it: with the films themselves when base64 was asked for."""
    document = prediction(task)
    name = "tiny.mp4" if task.switches.render == "tiny" else f"{task.id}.mp4"
    path = line.files.path(name)
    if task.base64 and task.outputs and path is not None:
        document["outputs"] = [base64.b64encode(path.read_bytes()).decode()]
    return document


def _read(account: Account, model: str) -> Order:
    body = visits.json_object()
    overrides = _overrides(account, body)
    switches = account.switches(overrides)
    g.shape = switches.error_shape
    sync, base64_output = _flag(body, "enable_sync_mode"), _flag(body, "enable_base64_output")
    return Order(
        account=account,
        model=model,
        body=body,
        sync=sync,
        base64=base64_output,
        webhook=request.args.get("webhook") or None,
        overrides=overrides,
        switches=switches,
    )


def _overrides(account: Account, body: dict[str, Any]) -> dict[str, Any]:
    queued = account.take_next()
    try:
        return {**queued, **from_prompt(body.get("prompt"))}
    except InvalidInput as error:
        raise Refusal(400, f"[sandbox: ...] in the prompt: {error}") from None


def _overtaken(task: Task) -> bool:
    silent = task.final and task.status not in task.switches.callback_statuses
    return task.callbacks > 0 or silent


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.pop(name, False)
    if not isinstance(value, bool):
        raise Refusal(400, f"{name}: is not true or false")
    return value


def _parsed(order: Order) -> inputs.Input:
    """Everything that a submission is refused for, in the vendor's order; raises Refusal."""
    if order.model not in MODELS:
        raise Refusal(404, f"there is no model {order.model}; the sandbox has: {', '.join(MODELS)}")
    if order.webhook and order.base64:
        raise Refusal(400, NO_BASE64, "error")
    try:
        parsed = inputs.parse(order.model, order.body)
    except ValidationError as error:
        raise Refusal(400, visits.sentence(error.messages)) from None
    _check_webhook(order.webhook)
    if order.account.switches().balance < MODELS[order.model].price:
        raise Refusal(400, NO_CREDITS)
    return parsed


def _check_webhook(url: str | None) -> None:
    if url is None:
        return
    try:
        check_callable_url(url)
    except ValidationError as error:
        raise Refusal(400, f"webhook: {error.messages[0]}") from None
