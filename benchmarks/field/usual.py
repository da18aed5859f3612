"""The same work as it is usually done: a Flask route takes the event, and `requests` posts it on.

``python -m benchmarks.field.usual WAY PORT URL...`` takes ``POST /publish``. WAY is ``threads``: a pool of
threads, whose waiting events are lost with the process; or ``tasks``: one RQ task for each delivery, in the
store at ``REDIS_URL``, run by one `SimpleWorker` (``python -m benchmarks.field.usual work``).
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import redis
import requests
from flask import Flask, request
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels
from requests.adapters import HTTPAdapter
from rq import Queue, SimpleWorker

from benchmarks.rqposts import post
from service.cli.roles import BLOCKING_THREADS

URLS = "FIELD_URLS"
THREADS = 64
JSON = {"content-type": "application/json"}


def queue() -> Queue:
    """Where tasks wait."""
    return Queue("field-posts", connection=redis.Redis.from_url(os.environ["REDIS_URL"]))


def threads() -> Flask:
    """The app of the pool."""
    app = Flask(__name__)
    pool, session = ThreadPoolExecutor(THREADS), requests.Session()
    session.mount("http://", HTTPAdapter(pool_connections=THREADS, pool_maxsize=THREADS))

    @app.post("/publish")
    def publish() -> dict[str, object]:
        body = request.get_data()
        for url in os.environ[URLS].split():
            pool.submit(session.post, url, body, headers=JSON, timeout=15)
        return {"code": 200}

    return app


def tasks() -> Flask:
    """The app of the tasks."""
    app, waiting = Flask(__name__), queue()

    @app.post("/publish")
    def publish() -> dict[str, object]:
        body = request.get_data(as_text=True)
        for url in os.environ[URLS].split():
            waiting.enqueue(post, url, body, result_ttl=0)
        return {"code": 200}

    return app


def main(way: str, port: str = "", *urls: str) -> None:
    """Serve as `hookreel serve` does, or work."""
    if way == "work":
        SimpleWorker([queue()], connection=queue().connection).work(logging_level="ERROR")
        return
    os.environ[URLS] = " ".join(urls)
    Granian(
        f"benchmarks.field.usual:{way}",
        factory=True,
        port=int(port),
        interface=Interfaces.WSGI,
        blocking_threads=BLOCKING_THREADS,
        log_level=LogLevels.error,
    ).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
