"""`hookreel up`: how long it takes from a kill until what was waiting goes on. Each kill is a SIGKILL."""

from __future__ import annotations

import base64
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import quote

import psutil
import redis
from PIL import Image

from benchmarks.figures import Figure
from benchmarks.hook import Hook, hook
from benchmarks.processes import wait_until
from benchmarks.up import Up, up
from benchmarks.vendor import SECRET, Post, Vendor, quick_vendor
from service import embedded

IN_FLIGHT = 20
WAITING = 20
TAKEN = 8
PENDING = 10
STORE_KILLS = 3
OURS, STORES = 15.0, 5.0
SCHEDULE = ",".join(["0", *["1"] * 19])


@dataclass(frozen=True)
class Scene:
    """A running one, between a vendor and a subscriber of ours."""

    running: Up
    vendor: Vendor
    hook: Hook

    def submitted(self, count: int) -> list[Post]:
        """So many new jobs, once the vendor has them all.

        Each has a subscriber of its own: an endpoint that fails would be given a rest.
        """
        query = f"?webhook={quote(f'http://127.0.0.1:{self.hook.server_port}/', safe='')}"
        return self.posts_of([self.running.submit(query) for _ in range(count)])

    def posts_of(self, jobs: list[str]) -> list[Post]:
        """Their one submission each."""
        wanted = set(jobs)
        wait_until(lambda: wanted <= {post.job for post in tuple(self.vendor.posts)})
        posts = [post for post in self.vendor.posts if post.job in wanted]
        if len(posts) != len(wanted):
            raise RuntimeError(f"{len(posts)} submissions of {len(wanted)} jobs")
        return posts

    def finished(self, posts: Iterable[Post]) -> None:
        """The vendor calls back for each."""
        for post in posts:
            self.vendor.call_back(post)

    def forwarder_killed(self) -> tuple[float, float]:
        """Seconds until the last of the events in flight has gone out again; of those that waited, too."""
        posts, begun = self.submitted(IN_FLIGHT + WAITING), time.monotonic()
        self.hook.status = None
        self.finished(posts[:IN_FLIGHT])
        wait_until(lambda: len(self.hook.after(begun)) == IN_FLIGHT)
        in_flight = self.hook.after(begun).keys()
        forwarder = self.running.named("workers.forwarder")
        # Stopped, it takes no more; it is killed long before it would be taken for dead.
        forwarder.suspend()
        self.finished(posts[IN_FLIGHT:])
        self.hook.status = 200
        at = _killed(forwarder)
        wait_until(lambda: len(self.hook.after(at)) == IN_FLIGHT + WAITING)
        came = self.hook.after(at)
        again = max(when for event, when in came.items() if event in in_flight)
        return again - at, max(when for event, when in came.items() if event not in in_flight) - at

    def worker_killed(self) -> float:
        """Seconds until the last job that it had taken and not begun is submitted, each of them once."""
        uploads = self.vendor.uploads
        self.vendor.gate.clear()
        jobs = [self.running.submit(image=_photograph()) for _ in range(TAKEN)]
        wait_until(lambda: self.vendor.uploads == uploads + TAKEN)
        at = _killed(self.running.named("workers.worker"))
        self.vendor.gate.set()
        return max(post.at for post in self.posts_of(jobs)) - at

    def store_killed(self) -> tuple[float, float]:
        """Seconds from its answer until a fresh job is at the vendor; until all that was pending is out."""
        posts, begun = self.submitted(PENDING), time.monotonic()
        self.hook.status = 503
        self.finished(posts)
        wait_until(lambda: len(self.hook.after(begun)) == PENDING)
        victim = self.running.named("valkey-server")
        _killed(victim)
        wait_until(lambda: self._store_answers(victim))
        at = time.monotonic()
        self.hook.status = 200
        (post,) = self.posts_of([self._accepted()])
        wait_until(lambda: len(self.hook.after(at)) >= PENDING)
        return post.at - at, max(self.hook.after(at).values()) - at

    def _store_answers(self, victim: psutil.Process) -> bool:
        url = embedded.url(self.running.directory)
        try:
            return bool(url and not victim.is_running() and redis.Redis.from_url(url).ping())
        except redis.RedisError:
            return False

    def _accepted(self) -> str:
        """A job, submitted until it is taken."""
        taken: list[str] = []

        def submit() -> bool:
            try:
                taken.append(self.running.submit())
            except OSError:
                return False
            return True

        wait_until(submit)
        return taken[0]


def _killed(victim: psutil.Process) -> float:
    """When it was."""
    at = time.monotonic()
    victim.kill()
    return at


def _photograph() -> str:
    kept = BytesIO()
    Image.effect_noise((512, 384), 40).save(kept, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(kept.getvalue()).decode()


def figures() -> list[Figure]:
    """One kill of the forwarder and one of the worker, several of the store."""
    settings = {"WAVESPEED_WEBHOOK_SECRET": SECRET, "HOOKREEL_RETRY_SCHEDULE": SCHEDULE}
    with (
        quick_vendor() as vendor,
        hook() as subscriber,
        up(WAVESPEED_BASE_URL=vendor.url, **settings) as running,
    ):
        scene = Scene(running, vendor, subscriber)
        in_flight, waiting = scene.forwarder_killed()
        taken = scene.worker_killed()
        # Last: a beat that the store was not there for would make the others look dead earlier.
        kills = [scene.store_killed() for _ in range(STORE_KILLS)]
    submitted, pending = (statistics.median(each) for each in zip(*kills, strict=True))
    return [
        _figure("forwarder: in flight goes out again", in_flight, OURS, f"the last of {IN_FLIGHT} events"),
        _figure("forwarder: waiting goes out", waiting, OURS, f"the last of {WAITING} events"),
        _figure("worker: taken is submitted", taken, OURS, f"the last of {TAKEN} jobs whose image it sent"),
        _figure(
            "store: a new job is submitted", submitted, STORES, f"from its answering; {STORE_KILLS} kills"
        ),
        _figure(
            "store: pending goes out", pending, STORES, f"the last of {PENDING} that are tried each second"
        ),
    ]


def _figure(name: str, seconds: float, bound: float, detail: str) -> Figure:
    return Figure("recovery", name, seconds, "s", "<=", bound, detail)
