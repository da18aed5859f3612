"""The whole app on a real store, two workspaces, and jobs whose lives are told by the service's own verbs."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from schemas.inputs import Input
from schemas.outcomes import Outcome, SubmissionOutcome
from schemas.predictions import Prediction
from service.acceptance import Order
from service.api import create_app
from service.api.v1.stream import end
from service.bootstrap import Service
from service.records import Attempt, Job
from service.settings import Settings
from service.store import CLAIM, EXPAND, OUTCOMES


@pytest.fixture
def service(store_url: str) -> Iterator[Service]:
    environ = {"REDIS_URL": store_url, "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode()}
    made = Service(Settings.from_env(environ), store_url, "web", f"web-{os.getpid()}")
    yield made
    made.close()


@pytest.fixture
def app(service: Service) -> Flask:
    return create_app(service)


@pytest.fixture
def origin(app: Flask) -> Iterator[str]:
    """The app over real HTTP."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    end(app)
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Caller:
    """A client with an API key."""

    app: Flask
    workspace: str
    key: str

    def __call__(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return self.app.test_client().open(path, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> Any:
        answer = self("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json


@pytest.fixture
def call(app: Flask, service: Service) -> Caller:
    """Calls as the workspace ``default``."""
    return Caller(app, "default", service.apikeys.create("default")[1])


@pytest.fixture
def stranger(app: Flask, service: Service) -> Caller:
    """Calls as another workspace."""
    return Caller(app, "other", service.apikeys.create("other")[1])


@pytest.fixture
def operator(app: Flask, service: Service) -> Caller:
    """Calls as an operator."""
    return Caller(app, "default", service.apikeys.create("default", operator=True)[1])


@dataclass
class Story:
    """Makes jobs and what follows from them, as workers and forwarders do."""

    service: Service
    numbers: Iterator[int]

    def accepted(self, workspace: str = "default", **changes: Any) -> Job:
        fields = {"image": "https://example.com/a.jpg", "prompt": "She smiles.", "duration": 6}
        order = Order(workspace, Input("minimax/hailuo-02/fast", fields, {}), **changes)
        return self.service.acceptance.accept(order)

    def begun(self, job: Job, token: str) -> None:
        admitted = self.service.jobs.admitted(job.id)
        assert admitted is not None
        assert self.service.jobs.begin(admitted, token, "worker-1") is not None

    def completed(self, workspace: str = "default", **changes: Any) -> Job:
        job, token, task = (
            self.accepted(workspace, **changes),
            f"t{next(self.numbers)}",
            f"{next(self.numbers):032x}",
        )
        self.begun(job, token)
        self.service.jobs.conclude(job.id, token, SubmissionOutcome(Outcome.ACCEPTED, "", upstream_id=task))
        outputs = ("https://cdn.example.com/a.mp4",)
        return self.service.jobs.settle(
            job.id, token, Prediction(id=task, status="completed", outputs=outputs)
        )

    def fanned_out(self, job: Job, *endpoints: str) -> str:
        (event,) = job.events
        self.service.store.run(EXPAND, [job.workspace, event, "0-0", 1, *endpoints])
        return event

    def attempted(self, verdict: str, attempt: Attempt) -> None:
        """The one attempt that is due now ends with ``verdict``."""
        _, _, workspace, endpoint, event, _ = self.service.store.run(CLAIM, ["token", 1, 64])
        self.service.store.run(OUTCOMES, [workspace, endpoint, event, "token", verdict, attempt.item()])


@pytest.fixture
def story(service: Service) -> Story:
    return Story(service, itertools.count(1))


@pytest.fixture
def endpoint(call: Caller) -> Callable[..., Any]:
    """Makes an endpoint of the workspace ``default``."""

    def make(**body: Any) -> Any:
        answer = call("POST", "/v1/endpoints", json={"url": "https://example.com/hooks", **body})
        assert answer.status_code == 201, answer.text
        return answer.json

    return make
