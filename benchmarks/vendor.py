"""A vendor that takes every job: ``python -m benchmarks.vendor SECONDS`` prints its port.

Each submission is answered after so many seconds. ``GET /`` tells as JSON how many submissions it has
answered, and for how many jobs (by their callback URLs).
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from schemas.predictions import envelope, prediction_object
from service.signing import new_secret, sign_v3

SECRET = new_secret(b"benchmarks' own secret!!")
FILM = bytes(1000)
LONGEST_HELD = 60.0


def completed(task: str, output: str) -> tuple[dict[str, str], bytes]:
    """The vendor's signed word that a task has ended: the headers and the body of its callback."""
    word = prediction_object(
        id=task,
        model="minimax/hailuo-02/fast",
        status="completed",
        created_at=time.time(),
        url=f"https://api.wavespeed.ai/api/v3/predictions/{task}/result",
        outputs=[output],
        has_nsfw_contents=[False],
        execution_time=41234,
    )
    body, at = json.dumps(word, separators=(",", ":")).encode(), int(time.time())
    signature = sign_v3(SECRET, task, at, body)
    return {"webhook-id": task, "webhook-timestamp": str(at), "webhook-signature": signature}, body


@dataclass(frozen=True)
class Post:
    """A submission: when it came (seconds of the monotonic clock), whither its end is told, and its task."""

    at: float
    webhook: str
    task: str

    @property
    def job(self) -> str:
        """The job's id, out of the callback's URL."""
        return self.webhook.split("/")[-2]


class Vendor(ThreadingHTTPServer):
    """Keeps what has come; ``gate`` holds uploads back while it is clear."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.delay = delay
        self.lock = threading.Lock()
        self.posts: list[Post] = []
        self.answered = 0
        self.uploads = 0
        self.gate = threading.Event()
        self.gate.set()

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.server_port}"

    def call_back(self, post: Post) -> float:
        """Tell that its task is completed; when that was begun, once it is taken."""
        headers, body = completed(post.task, f"{self.url}/films/{post.task}.mp4")
        headers["content-type"] = "application/json"
        begun = time.monotonic()
        with urllib.request.urlopen(urllib.request.Request(post.webhook, body, headers), timeout=10):  # noqa: S310
            return begun

    def handle_error(self, *_: object) -> None:
        """Who called may have been killed meanwhile."""


class Handler(BaseHTTPRequestHandler):
    """The paths that are asked for."""

    server: Vendor
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A film, or what was counted."""
        if self.path.startswith("/films/"):
            return self._send("video/mp4", FILM)
        jobs = {post.webhook for post in self.server.posts}
        return self._tell({"answered": self.server.answered, "jobs": len(jobs)})

    def do_PUT(self) -> None:
        """An upload."""
        self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            self.server.uploads += 1
        self.server.gate.wait(LONGEST_HELD)
        self._tell({})

    def do_POST(self) -> None:
        """A submission, or the wish for an upload."""
        at = time.monotonic()
        self.rfile.read(int(self.headers["content-length"]))
        address = urlsplit(self.path)
        if address.path.endswith("/media/uploads"):
            self._tell(envelope(self._ticket()))
        else:
            self._take(Post(at, parse_qs(address.query)["webhook"][0], secrets.token_hex(16)))

    def _take(self, post: Post) -> None:
        with self.server.lock:
            self.server.posts.append(post)
        # A vendor that takes its time is what the row is about.
        time.sleep(self.server.delay)
        url = f"{self.server.url}/api/v3/predictions/{post.task}/result"
        told = prediction_object(id=post.task, model="", status="created", created_at=time.time(), url=url)
        with self.server.lock:
            self.server.answered += 1
        self._tell(envelope(told))

    def _ticket(self) -> dict[str, Any]:
        place = f"{self.server.url}/uploads/{secrets.token_hex(8)}"
        upload = {"method": "PUT", "url": place, "headers": {}, "expires_at": "2100-01-01T00:00:00Z"}
        return {"download_url": place, "upload": upload}

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _tell(self, document: Any) -> None:
        self._send("application/json", json.dumps(document).encode())

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def quick_vendor() -> Iterator[Vendor]:
    """One in this process, that answers at once."""
    with Vendor() as vendor:
        threading.Thread(target=vendor.serve_forever, args=(0.05,), daemon=True).start()
        yield vendor
        vendor.gate.set()
        vendor.shutdown()


def main(seconds: str) -> None:
    """Until the process is ended."""
    with Vendor(float(seconds)) as vendor:
        sys.stdout.write(f"{vendor.server_port}\n")
        sys.stdout.flush()
        vendor.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
