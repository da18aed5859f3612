"""What the tests of the sandbox talk to it with: a client for one account, and a receiver of webhooks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import requests

FAST = "minimax/hailuo-02/fast"
T2V = "minimax/hailuo-02/t2v-pro"


class Process:
    """One sandbox as a process of its own, on a free port."""

    def __init__(self, temporary: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "service.sandbox", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": temporary},
        )
        assert self.child.stdout is not None
        self.url = self.child.stdout.readline().strip().removeprefix("sandbox on ")

    def end(self) -> int:
        self.child.terminate()
        status = self.child.wait(30)
        assert self.child.stdout is not None
        self.child.stdout.close()
        return status


@dataclass(frozen=True)
class Client:
    """One API key at one sandbox."""

    url: str
    key: str

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        options = {"timeout": 40, "allow_redirects": False, **options}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, headers=headers, **options)

    def submit(self, model: str = T2V, webhook: str | None = None, **body: Any) -> requests.Response:
        query = f"?webhook={quote(webhook, safe='')}" if webhook else ""
        body = body if "image" in body or "prompt" in body else {"prompt": "a cat", **body}
        return self.call("POST", f"/api/v3/{model}{query}", json=body)

    def created(self, webhook: str | None = None, **body: Any) -> str:
        response = self.submit(webhook=webhook, **body)
        assert response.status_code == 200, response.text
        return str(response.json()["data"]["id"])

    def get(self, task_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/api/v3/predictions/{task_id}/result").json()["data"])

    def ended(self, task_id: str) -> dict[str, Any]:
        """The prediction once it is final."""
        self.log("ended", 1, id=task_id)
        return self.get(task_id)

    def switch(self, **switches: Any) -> None:
        """Films are for the tests that look at them; the others need none, and no patience."""
        quick = {"render": "none", "fetch": False, "callback_retries": [0.01, 0.01]}
        response = self.call("PUT", "/sandbox/switches", json=quick | switches)
        assert response.status_code == 200, response.text

    def next(self, count: int = 1, **switches: Any) -> None:
        response = self.call("POST", "/sandbox/next", json={"count": count, "switches": switches})
        assert response.status_code == 200, response.text

    def log(self, kind: str, count: int = 0, *, done: bool = True, **wanted: Any) -> list[dict[str, Any]]:
        """The entries of this kind, at least ``count`` of them."""
        params = {"kind": kind, "count": count, "wait": 30 if count else 0, **wanted}
        if done:
            params["done"] = "true"
        entries = self.call("GET", "/sandbox/log", params=params).json()
        assert len(entries) >= count, entries
        return list(entries)

    def counts(self) -> dict[str, int]:
        return dict(self.call("GET", "/sandbox/counts").json())

    def secret(self) -> str:
        return str(self.call("GET", "/api/v3/webhook/secret").json()["data"]["secret"])


@dataclass(frozen=True)
class Received:
    """One request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Receiver:
    """A server that keeps what it is sent, and answers with the statuses in ``answers``, then with 200."""

    def __init__(self) -> None:
        self.got: list[Received] = []
        self.answers: list[int] = []
        self.location = ""
        self.changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = receiver.take(Received(self.path, headers, body))
                self.send_response(status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - the name that http.server calls

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, received: Received) -> int:
        with self.changed:
            self.got.append(received)
            self.changed.notify_all()
            return self.answers.pop(0) if self.answers else 200

    def wait(self, count: int = 1) -> list[Received]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.got) >= count, 30), f"got {len(self.got)}"
            return list(self.got)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
