"""What the demo does once everything runs: the way of one job, seen from outside, and its ledger."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import requests

from service.cli.subscriber import Subscriber

MODEL: Final = "minimax/hailuo-02/fast"
STAGES: Final = (
    *("accepted", "submitted", "rendering", "called back", "verified"),
    *("delivered", "delivered", "archived"),
)
PATIENCE: Final = 120.0
"""Seconds for all of it; a film of 10 s takes 2 to 20, by the machine."""
_LOOK_UP: Final = 1
"""Seconds after which a wait at the sandbox's book looks whether it is still needed."""
_TIMEOUT: Final = 30


class StoryFailed(Exception):
    """It did not come to its end; the text is a sentence."""


@dataclass(frozen=True)
class Ledger:
    """What was counted: the first three in the sandbox's own book, the last by the subscribers."""

    posts: int
    result_gets: int
    callbacks: int
    expected: int
    verified: int

    @property
    def whole(self) -> bool:
        """One paid submission, no polling, one callback, every subscriber told exactly once."""
        return asdict(self) == {**asdict(self), **WHOLE}


WHOLE: Final = {"posts": 1, "result_gets": 0, "callbacks": 1, "expected": 2, "verified": 2}


@dataclass
class Story:
    """One photograph on its way. ``keeper`` hears of its copy alone.

    ``told`` gets each stage that is over, its seconds, and a remark.
    """

    service: str
    sandbox: str
    key: str
    subscribers: tuple[Subscriber, ...]
    keeper: Subscriber
    told: Callable[[str, float, str], None]

    def __post_init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = self._deadline = 0.0
        self._job = ""
        self._http = requests.Session()
        # Neither a proxy nor a .netrc of the caller's has a say in what stays on this machine.
        self._http.trust_env = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def subscribe(self) -> None:
        """Make an endpoint for each subscriber."""
        for each in self.subscribers:
            self._subscribe(each)
        self._subscribe(self.keeper, event_types=["prediction.archived"])

    def follow(self, body: Mapping[str, Any]) -> None:
        """Submit ``body`` and wait until every subscriber has heard of its end.

        Raises `StoryFailed`, and requests' errors when the service is gone.
        """
        self._since = time.monotonic()
        self._deadline = self._since + PATIENCE
        self._job = self._call("POST", f"/api/v3/{MODEL}", json=dict(body))["data"]["id"]
        self._tell("accepted", f"job {self._job}")
        self._watch_the_vendor()
        for each in self.subscribers:
            if not each.wait(self._deadline):
                raise StoryFailed(self._silence(each))
            self._tell("delivered", f"to {each.name}, who verified the signature")

    def ledger(self) -> Ledger:
        """What was counted until now."""
        counts = self._get(f"{self.sandbox}/sandbox/counts").json()
        told = [each.event for one in self.subscribers for each in one.events if each.event]
        verified = sum(event["data"]["id"] == self._job for event in told)
        expected = len(self.subscribers)
        return Ledger(counts["submit"], counts["result_get"], counts["callback"], expected, verified)

    def save(self, output: Path) -> Path:
        """Take the film out of the archive, once it is there. Raises `StoryFailed`."""
        event = self.subscribers[0].events[0].event or {}
        if event["type"] != "prediction.completed":
            raise StoryFailed(f"there is no video: {event['data']['error'] or event['data']['status']}")
        film = self._archived()
        draft = output.with_name(f".{output.name}.part")
        try:
            with self._get(film["url"], stream=True) as answer, draft.open("w+b") as file:
                file.writelines(answer.iter_content(65_536))
                file.seek(0)
                if hashlib.file_digest(file, "sha256").hexdigest() != film["sha256"]:
                    raise StoryFailed("the video is not the one that was archived")
            draft.replace(output)
        except requests.RequestException:
            raise
        except OSError as error:
            raise StoryFailed(f"{output} cannot be written: {error.strerror or error}") from error
        finally:
            draft.unlink(missing_ok=True)
        return output

    def _archived(self) -> dict[str, Any]:
        """What is told of the film's copy; the vendor's is gone after a week."""
        if not self.keeper.wait(self._deadline):
            raise StoryFailed(self._silence(self.keeper))
        event = self.keeper.events[0].event or {}
        film: dict[str, Any] = event["data"]["files"][0]
        self._tell("archived", f"{film['bytes'] / 1000:.0f} kB, with a link that stays good")
        return film

    def _subscribe(self, subscriber: Subscriber, **more: Any) -> None:
        body = {"url": subscriber.url, "description": f"demo: {subscriber.name}", **more}
        subscriber.secret = self._call("POST", "/v1/endpoints", json=body)["secret"]

    def _watch_the_vendor(self) -> None:
        """The stages that the sandbox's book shows; a job that fails on its way has fewer."""
        if self._seen("submit", lambda entry: entry["id"]):
            self._tell("submitted", "one POST to the vendor, with a webhook URL")
        if self._seen("ended", lambda entry: entry["prediction_status"] == "completed"):
            self._tell("rendering", "a slow pan over the photograph; there is no AI in it")
        if self._seen("callback", lambda _: True, done=False):
            self._tell("called back", "by the vendor's webhook")
        # The callback answers 200 only to a good signature, after the event is on disk.
        if self._seen("callback", lambda entry: entry["status"] == requests.codes.ok):
            self._tell("verified", "its v3 signature is good; the event is on disk")

    def _seen(self, kind: str, good: Callable[[dict[str, Any]], object], *, done: bool = True) -> bool:
        """Whether the book shows it before all is over."""
        count = 1
        while True:
            over = self._over()
            query = {"kind": kind, "count": count, "wait": 0 if over else _LOOK_UP}
            found = self._get(
                f"{self.sandbox}/sandbox/log", params=query | ({"done": "true"} if done else {})
            )
            entries = found.json()
            if over or any(good(entry) for entry in entries):
                return any(good(entry) for entry in entries)
            count = len(entries) + 1

    def _over(self) -> bool:
        heard = all(each.events or each.closed for each in self.subscribers)
        return heard or time.monotonic() > self._deadline

    def _silence(self, subscriber: Subscriber) -> str:
        if subscriber.received:
            return f"{subscriber.name} refused what it got: {subscriber.received[-1].refusal}"
        state = self._call("GET", f"/v1/jobs/{self._job}")["state"]
        return f"{subscriber.name} has heard nothing for {PATIENCE:.0f} s; the job is {state}"

    def _tell(self, stage: str, remark: str) -> None:
        now = time.monotonic()
        taken, self._since = now - self._since, now
        name = stage.replace(" ", "_")
        self.seconds[name] = round(self.seconds.get(name, 0.0) + taken, 3)
        self.told(stage, taken, remark)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = self._http.request(method, self.service + path, headers=headers, timeout=_TIMEOUT, **options)
        body: dict[str, Any] = answer.json()
        if not answer.ok:
            raise StoryFailed(f"{path} was answered {answer.status_code}: {body}")
        return body

    def _get(self, url: str, **options: Any) -> requests.Response:
        answer = self._http.get(url, timeout=_TIMEOUT, **options)
        answer.raise_for_status()
        return answer
