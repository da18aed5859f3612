"""The sandbox put together: one Flask app over one set of accounts, tasks, files and lanes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from service.addresses import Network, Policy
from service.sandbox.accounts import Accounts
from service.sandbox.answers import Refusal, failure
from service.sandbox.book import Book
from service.sandbox.control import Control
from service.sandbox.depot import Depot
from service.sandbox.line import Line
from service.sandbox.media import Files, Uploads
from service.sandbox.studio import Studio
from service.sandbox.submit import Counter
from service.sandbox.tasks import Tasks
from service.sandbox.timeline import Lane, Timeline
from service.sandbox.visits import LARGEST_BODY
from service.sandbox.webhooks import Courier
from service.sandbox.wire import Wire

CALLS_AT_ONCE = 32
LOOPBACK = ("127.0.0.0/8", "::1/128")
# A callback address comes from the operator's own software and may well be another container's; a picture's
# comes from whoever uses that software.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")


@dataclass(frozen=True)
class Sandbox:
    """The app, and how it ends: ``close`` frees those who wait and kills the renders."""

    app: Flask
    close: Callable[[], None]


def build(directory: Path, allow: tuple[Network, ...] = ()) -> Sandbox:
    """A sandbox with its files in ``directory``; pictures are also fetched from the networks in ``allow``."""
    loopback = (*map(ip_network, LOOPBACK), *allow)
    book, tasks, files, timeline, ending = Book(), Tasks(), Files(directory), Timeline(), threading.Event()
    lane = Lane("calls", CALLS_AT_ONCE)
    studio = Studio(files)
    line = Line(
        book=book,
        tasks=tasks,
        files=files,
        uploads=Uploads(files, time.time_ns),
        studio=studio,
        courier=Courier(book, tasks, timeline, lane, Policy((*loopback, *map(ip_network, PRIVATE)))),
        timeline=timeline,
        lane=lane,
        policy=Policy(loopback),
    )

    def close() -> None:
        ending.set()
        studio.close()

    return Sandbox(_app(Accounts(), line, ending), close)


def _app(accounts: Accounts, line: Line, ending: threading.Event) -> Flask:
    app = Flask("hookreel-sandbox", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    _route_api(app, Counter(accounts, line, ending), Wire(accounts, line))
    _route_files(app, Depot(accounts, line))
    _route_control(app, Control(accounts, line))
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(HTTPException, _refused_by_flask)
    app.after_request(close_entry)
    return app


def _route_api(app: Flask, counter: Counter, wire: Wire) -> None:
    _route(app, "GET", "/api/v3/predictions/<task_id>", wire.result)
    _route(app, "GET", "/api/v3/predictions/<task_id>/result", wire.result, "result_long")
    _route(app, "POST", "/api/v3/predictions", wire.predictions)
    _route(app, "POST", "/api/v3/predictions/delete", wire.delete)
    _route(app, "GET", "/api/v3/webhook/secret", wire.secret)
    _route(app, "GET", "/api/v3/balance", wire.balance)
    _route(app, "POST", "/api/v3/model/price", wire.price)
    _route(app, "GET", "/api/v3/models", wire.models)
    _route(app, "POST", "/api/v3/<path:model>", counter.submit)


def _route_files(app: Flask, depot: Depot) -> None:
    _route(app, "POST", "/api/v3/media/uploads", depot.ticket)
    _route(app, "POST", "/api/v3/media/upload/binary", depot.binary)
    _route(app, "PUT", "/media/put/<token>", depot.put)
    _route(app, "GET", "/media/<token>/<filename>", depot.download)
    _route(app, "GET", "/outputs/<task_id>.mp4", depot.output)


def _route_control(app: Flask, control: Control) -> None:
    _route(app, "GET PUT DELETE", "/sandbox/switches", control.switches)
    _route(app, "GET POST DELETE", "/sandbox/next", control.queue)
    _route(app, "GET DELETE", "/sandbox/log", control.log)
    _route(app, "GET", "/sandbox/counts", control.counts)
    _route(app, "POST", "/sandbox/rotate-secret", control.rotate)
    _route(app, "POST", "/sandbox/release", control.release)
    _route(app, "GET", "/livez", control.ready)


def _route(
    app: Flask, methods: str, rule: str, view: Callable[..., Any], endpoint: str | None = None
) -> None:
    app.add_url_rule(rule, endpoint or view.__name__, view, methods=methods.split())


def _refused(refusal: Refusal) -> Response:
    return failure(refusal.status, refusal.message, refusal.shape or g.get("shape", "code_message"))


def _refused_by_flask(error: HTTPException) -> Response:
    return failure(error.code or 500, error.description or "")


def close_entry(response: Response) -> Response:
    """Note how the request ended; then, for a connection that is to be cut, cut it."""
    cut = g.get("cut", False)
    if "entry" in g:
        g.book.close(g.entry, status=None if cut else response.status_code)
    if cut:
        request.environ["werkzeug.socket"].shutdown(SHUT_RDWR)
    return response
