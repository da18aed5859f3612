"""A vendor with a book: which job each POST was for, whether it made a task, and what was told of that.

How it behaves towards a job is decided by dice that are thrown for the run's seed and the job's prompt, so
that a seed meets the same vendor again.
"""

from __future__ import annotations

import hmac
import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

SECRET = "whsec_" + "ZmF1bHRzLWZhdWx0cy1mYXVsdHMtZmF1bHRzLWZhdWx0cy0="
ANSWERS = {
    "ok": 62,
    "overtaken": 6,  # the callback is sent before the answer
    "slow": 8,
    "500": 3,  # no task
    "502": 3,  # as text, and the task is made
    "cut": 3,  # no task
    "cut_made": 4,
    "429": 1,  # once, then ok: the window halves and grows again
    "400": 4,
}
CALLBACKS = {"once": 60, "none": 9, "late": 15, "twice": 8, "failed": 8}
MADE = {"ok", "overtaken", "slow", "502", "cut_made", "held_made"}
"""Answers with a task. ``held`` and ``held_made`` wait until the gate is opened."""
SLOW, LATE, LONGEST_TASK = 3.0, 12.0, 5.0
QUICK = 0.8
"""Seconds in which most submissions are answered; with every one of them a kill may come in between."""
CALL_AGAIN = (0.5, 1.5, 4.0)
OK = 200


@dataclass(frozen=True)
class Temper:
    """How a POST is treated: by which answer, after how many seconds, and how its end is called back."""

    answer: str
    callback: str
    seconds: float = 0.0


@dataclass
class Post:
    """One submission, as it came."""

    at: float
    job: str
    token: str
    how: str
    seconds: float
    """After which it is answered."""
    task: str = ""


@dataclass
class Task:
    """What was billed."""

    id: str
    job: str
    model: str
    webhook: str
    ends: str
    """completed or failed, from ``ready`` on."""
    ready: float
    created: float
    calls: list[tuple[float, int | None]] = field(default_factory=list)
    """Callbacks: when, and how they were answered."""
    told: list[float] = field(default_factory=list)
    """When its end was told to a GET."""


class Vendor:
    """``plan``: how the POST with a prompt is treated."""

    def __init__(self, plan: Callable[[str], Temper]) -> None:
        self.plan = plan
        self.posts: list[Post] = []
        self.tasks: dict[str, Task] = {}
        self.uploads = 0
        self.gate = threading.Event()
        self.uploads_held = False
        """Whether uploads wait for the gate, too."""
        self.lock = threading.Lock()
        self.news = threading.Condition(self.lock)
        self.dice = random.Random(1)

    def post(self, model: str, webhook: str, body: dict[str, Any]) -> Post:
        """Write a submission down, and make its task."""
        temper = self.plan(body["prompt"])
        how = temper.answer
        *_, job, token = urlsplit(webhook).path.split("/")
        with self.news:
            if how == "429" and any(post.job == job for post in self.posts):
                how = "ok"
            post = Post(time.monotonic(), job, token, how, temper.seconds)
            self.posts.append(post)
            if how in MADE:
                post.task = f"{self.dice.getrandbits(128):032x}"
                self._make(post, model, webhook, temper.callback)
            self.news.notify_all()
        return post

    def _make(self, post: Post, model: str, webhook: str, called: str) -> None:
        now = time.monotonic()
        takes = 0.0 if post.how == "overtaken" else self.dice.uniform(0.3, LONGEST_TASK)
        ends = "failed" if called == "failed" else "completed"
        task = Task(post.task, post.job, model, webhook, ends, now + takes, time.time())
        self.tasks[task.id] = task
        for after in _delays(called):
            self._later(takes + after, self._call, task, CALL_AGAIN)

    @staticmethod
    def _later(seconds: float, what: Callable[..., None], *arguments: object) -> None:
        timer = threading.Timer(seconds, what, arguments)
        timer.daemon = True
        timer.start()

    def _call(self, task: Task, again: tuple[float, ...]) -> None:
        status = _posted(task.webhook, task.id, json.dumps(shown(task, ended=True)).encode())
        with self.news:
            task.calls.append((time.monotonic(), status))
            self.news.notify_all()
        if status != OK and again:
            self._later(again[0], self._call, task, again[1:])

    def find(self, task_id: str) -> dict[str, Any] | None:
        """What a GET is told."""
        with self.lock:
            task = self.tasks.get(task_id)
            if task is None:
                return None
            ended = time.monotonic() >= task.ready
            if ended:
                task.told.append(time.monotonic())
            return shown(task, ended=ended)

    def list(self, model: str, page: int, size: int) -> list[dict[str, Any]]:
        with self.lock:
            of_model = [task for task in reversed(self.tasks.values()) if task.model == model]
        now = time.monotonic()
        return [shown(task, ended=now >= task.ready) for task in of_model[(page - 1) * size : page * size]]


def _delays(called: str) -> tuple[float, ...]:
    """When the callback is sent, in seconds after the end; ``after 3`` says it itself."""
    if called.startswith("after "):
        return (float(called.removeprefix("after ")),)
    return {"none": (), "late": (LATE,), "twice": (0.0, 0.3)}.get(called, (0.0,))


def spoken(prompt: str) -> Temper:
    """A temper that the prompt itself asks for: ``<answer>, <callback>``."""
    answer, _, callback = prompt.partition(", ")
    return Temper(answer, callback)


def planned(seed: int) -> Callable[[str], Temper]:
    """The vendor's temper for a seed."""

    def plan(prompt: str) -> Temper:
        dice = random.Random(f"{seed} {prompt}")
        answer, callback = _drawn(dice, ANSWERS), _drawn(dice, CALLBACKS)
        return Temper(answer, callback, SLOW if answer == "slow" else dice.uniform(0.0, QUICK))

    return plan


def _drawn(dice: random.Random, weights: dict[str, int]) -> str:
    return dice.choices(list(weights), list(weights.values()))[0]


def shown(task: Task, *, ended: bool) -> dict[str, Any]:
    """The bare prediction object."""
    status = task.ends if ended else "processing"
    done = status == "completed"
    told = {
        "id": task.id,
        "model": task.model,
        "outputs": [output_of(task)] if done else [],
        "urls": {"get": f"https://vendor.example/api/v3/predictions/{task.id}/result"},
        "has_nsfw_contents": [False] if done else [],
        "status": status,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(task.created)),
        "error": "the task failed" if status == "failed" else "",
        "executionTime": 900 if ended else 0,
        "timings": {"inference": 900 if ended else 0},
    }
    return {**told, "code": 1403} if status == "failed" else told


def output_of(task: Task) -> str:
    return f"https://files.vendor.example/{task.id}.mp4"


def _posted(url: str, task_id: str, body: bytes) -> int | None:
    """Sign and send one callback; the status, or None without an answer."""
    at = str(int(time.time()))
    digest = hmac.digest(SECRET.removeprefix("whsec_").encode(), f"{task_id}.{at}.".encode() + body, "sha256")
    headers = {
        "content-type": "application/json",
        "webhook-id": task_id,
        "webhook-timestamp": at,
        "webhook-signature": f"v3,{digest.hex()}",
    }
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return None
