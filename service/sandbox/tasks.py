"""The tasks: frozen records, replaced whole, and what the API shows of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from service.sandbox.accounts import Account
from service.sandbox.switchboard import Overrides
from service.sandbox.switches import FINAL, Switches
from service.sandbox.times import rfc3339

MOST_TASKS = 50_000
_MILLISECOND = 1_000_000


@dataclass(frozen=True)
class Task:
    """One task. ``pictures`` are the names of its files by parameter; times are unix nanoseconds."""

    id: str
    account: Account
    model: str
    input: Mapping[str, Any] = field(repr=False)
    switches: Switches = field(repr=False)
    overrides: Overrides = field(repr=False)
    origin: str
    created_ns: int
    webhook: str | None = field(default=None, repr=False)
    base64: bool = False
    pictures: Mapping[str, str] = field(default_factory=dict, repr=False)
    status: str = "created"
    started_ns: int = 0
    ended_ns: int = 0
    outputs: tuple[str, ...] = ()
    error: str = ""
    code: int | None = None
    callbacks: int = 0

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL

    @property
    def get_url(self) -> str:
        """Where its result is."""
        return f"{self.origin}/api/v3/predictions/{self.id}/result"

    @property
    def execution_ms(self) -> int:
        """How long it took; 0 until it has ended."""
        return max(0, self.ended_ns - self.started_ns) // _MILLISECOND if self.final else 0


def prediction(task: Task, *, digits: int = 9, status: str | None = None) -> dict[str, Any]:
    """The prediction object of the API; ``status`` shows the task as it was while it had that one."""
    shown = status or task.status
    ended = shown in FINAL
    outputs = list(task.outputs) if ended else []
    milliseconds = task.execution_ms if ended else 0
    document: dict[str, Any] = {
        "id": task.id,
        "model": task.model,
        "outputs": outputs,
        "urls": {"get": task.get_url},
        "has_nsfw_contents": [False] * len(outputs),
        "status": shown,
        "created_at": rfc3339(task.created_ns, digits),
        "error": task.error if ended else "",
        "executionTime": milliseconds,
        "timings": {"inference": milliseconds},
    }
    if ended and task.code is not None:
        document["code"] = task.code
    if not outputs:
        _emptied(document, "outputs", task.switches.empty_outputs)
    _emptied(document, "has_nsfw_contents", task.switches.nsfw)
    return document


def _emptied(document: dict[str, Any], name: str, how: str) -> None:
    if how == "absent":
        del document[name]
    elif how == "null":
        document[name] = None


class Tasks:
    """All tasks by id, the newest 50,000 of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tasks: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        """Keep a new task."""
        with self._changed:
            self._tasks[task.id] = task
            if len(self._tasks) > MOST_TASKS:
                del self._tasks[next(iter(self._tasks))]

    def get(self, task_id: str, account: Account | None = None) -> Task | None:
        """The task, if there is one (and it is this account's)."""
        with self._changed:
            task = self._tasks.get(task_id)
        return task if task and account in {None, task.account} else None

    def change(self, task_id: str, **changes: Any) -> Task | None:
        """The task with these changes; None when it is gone."""
        with self._changed:
            task = self._tasks.get(task_id)
            if task is None:
                return None
            changed = self._tasks[task_id] = replace(task, **changes)
            self._changed.notify_all()
            return changed

    def called_back(self, task_id: str) -> None:
        """One attempt of its webhook is over."""
        with self._changed:
            task = self._tasks.get(task_id)
            if task is not None:
                self._tasks[task_id] = replace(task, callbacks=task.callbacks + 1)
                self._changed.notify_all()

    def wait(self, task_id: str, until: Callable[[Task], bool], seconds: float) -> Task | None:
        """The task once ``until`` holds, or as it is when the seconds have passed; None when it is gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._holds(task_id, until), seconds)
            return self._tasks.get(task_id)

    def of(self, account: Account) -> list[Task]:
        """The account's tasks, newest first."""
        with self._changed:
            return [task for task in reversed(self._tasks.values()) if task.account is account]

    def delete(self, task_ids: list[str], account: Account) -> list[str]:
        """Forget those of them that are the account's; which that were."""
        with self._changed:
            mine = [each for each in dict.fromkeys(task_ids) if self._belongs(each, account)]
            for task_id in mine:
                del self._tasks[task_id]
            self._changed.notify_all()
            return mine

    def _belongs(self, task_id: str, account: Account) -> bool:
        task = self._tasks.get(task_id)
        return task is not None and task.account is account

    def _holds(self, task_id: str, until: Callable[[Task], bool]) -> bool:
        task = self._tasks.get(task_id)
        return task is None or until(task)
