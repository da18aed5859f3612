"""The assembly line: a task begins, its pictures come, its film is made, it ends, its webhook goes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from marshmallow import ValidationError

from schemas import images
from service.addresses import Policy
from service.sandbox.accounts import Account
from service.sandbox.book import Book
from service.sandbox.calls import Unfetched, fetch
from service.sandbox.media import Files, Uploads
from service.sandbox.studio import Studio, Unfilmed
from service.sandbox.tasks import Task, Tasks
from service.sandbox.timeline import Lane, Timeline
from service.sandbox.webhooks import Courier

PICTURES = ("image", "end_image")
TEXTS = {
    1200: "The content was flagged by moderation",
    1400: "A required parameter is missing",
    1401: "A parameter is invalid",
    1402: "The media could not be fetched",
    1403: "The execution failed",
    1405: "The task failed",
    1406: "The task failed after the maximum number of retries",
    1407: "Insufficient credits",
    5000: "Internal error",
    5003: "The service is unavailable",
    5004: "The task timed out",
}


class Failed(Exception):
    """The task cannot be done: the vendor's code, and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True)
class Line:
    """What the stations of the line work with."""

    book: Book
    tasks: Tasks
    files: Files
    uploads: Uploads
    studio: Studio
    courier: Courier
    timeline: Timeline
    lane: Lane
    policy: Policy
    now_ns: Callable[[], int] = time.time_ns

    def start(self, task_id: str, account: Account) -> None:
        """Let the task begin."""
        self.lane.put(self._station(self._begin, task_id, account))

    def drop(self, task_id: str, account: Account) -> None:
        """The task was deleted: its place is free."""
        for waiting in account.gate.leave(task_id, account.switches()):
            self.start(waiting, account)

    def _begin(self, task: Task) -> None:
        begun = self.tasks.change(task.id, status=task.switches.running_status, started_ns=self.now_ns())
        if begun is None:
            self.drop(task.id, task.account)
            return
        self.courier.announce(begun)
        if task.switches.outcome != "completed":
            self._later(task)
            return
        pictures = self._pictures(begun)
        if task.switches.render == "none":
            self._later(task)
        else:
            film = partial(self._film, pictures=pictures)
            self.studio.lane.put(self._station(film, task.id, task.account))

    def _film(self, task: Task, pictures: dict[str, str]) -> None:
        if task.switches.render == "tiny":
            self.studio.tiny()
        else:
            self._film_really(task, pictures)
        self._later(task)

    def _film_really(self, task: Task, pictures: dict[str, str]) -> None:
        paths = {parameter: self.files.path(name) for parameter, name in pictures.items()}
        if None in paths.values():
            raise Failed(1402, "the picture is gone")
        shot = {parameter: str(path) for parameter, path in paths.items()}
        prompt, seconds = task.input.get("prompt") or "", task.input.get("duration") or 6
        try:
            self.studio.film(f"{task.id}.mp4", prompt=prompt, seconds=seconds, **shot)
        finally:
            for name in pictures.values():
                self.files.forget(name)

    def _later(self, task: Task) -> None:
        end = self._station(self._end, task.id, task.account)
        self.timeline.after(task.switches.delay, self.lane, end)

    def _end(self, task: Task) -> None:
        switches = task.switches
        if switches.outcome == "completed":
            self._finish(task, status="completed", outputs=(f"{task.origin}/outputs/{task.id}.mp4",))
            return
        code = switches.code or (1403 if switches.outcome == "failed" else None)
        text = TEXTS.get(code or 0, f"The task ended as {switches.outcome}")
        self._finish(task, status=switches.outcome, error=switches.error or text, code=code)

    def _finish(self, task: Task, **how: Any) -> None:
        ended = self.tasks.change(task.id, ended_ns=self.now_ns(), **how)
        self.drop(task.id, task.account)
        if ended is None:
            return
        about = {"id": ended.id, "model": ended.model, "prediction_status": ended.status}
        self.book.note("ended", ended.account.name, **about)
        self.courier.report(ended)

    def _station(self, work: Callable[[Task], None], task_id: str, account: Account) -> Callable[[], None]:
        return partial(self._guarded, work, task_id, account)

    def _guarded(self, work: Callable[[Task], None], task_id: str, account: Account) -> None:
        """Whatever goes wrong at a station ends the task as failed; a task that was deleted just leaves."""
        task = self.tasks.get(task_id)
        if task is None:
            self.drop(task_id, account)
            return
        try:
            work(task)
        except Failed as failed:
            self._finish(task, status="failed", code=failed.code, error=f"{TEXTS[failed.code]}: {failed}")
        except (Unfilmed, OSError) as error:
            self._finish(task, status="failed", code=1403, error=f"{TEXTS[1403]}: {error}")
        except Exception:
            self._finish(task, status="failed", code=5000, error=TEXTS[5000])
            raise

    def _pictures(self, task: Task) -> dict[str, str]:
        """The task's pictures as files by parameter; those given by URL are fetched and looked at now."""
        pictures = dict(task.pictures)
        for parameter in PICTURES:
            url = task.input.get(parameter)
            if isinstance(url, str) and (task.switches.fetch or task.switches.render == "real"):
                pictures[parameter] = self.files.write(self._fetched(task, parameter, url))
        return pictures

    def _fetched(self, task: Task, parameter: str, url: str) -> bytes:
        entry = self.book.open("image_get", task.account.name, id=task.id, model=task.model, url=url)
        try:
            data = self._own(task, url) or fetch(url, self.policy)
            images.read(data)
        except Unfetched as error:
            self.book.close(entry, status=None, error=str(error))
            raise Failed(1402, f"{parameter}: {error}") from None
        except ValidationError as error:
            self.book.close(entry, status=200, error=error.messages[0])
            raise Failed(1401, f"{parameter}: {error.messages[0]}") from None
        self.book.close(entry, status=200, error=None)
        return data

    def _own(self, task: Task, url: str) -> bytes | None:
        """What was uploaded here is read without a call: our own name may not be one that we may call."""
        prefix = f"{task.origin}/media/"
        path = (
            self.uploads.path(url.removeprefix(prefix).partition("/")[0]) if url.startswith(prefix) else None
        )
        return path.read_bytes() if path else None
