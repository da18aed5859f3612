"""The same work as it is usually done: a Flask route takes the event, and `requests` posts it on.

``python -m benchmarks.field.usual WAY PORT URL...`` takes ``POST /publish``. WAY is ``threads``: a pool of
threads, whose waiting events are lost with the process; or ``tasks``: one RQ task for each delivery, in the
store at ``REDIS_URL``, run by one `SimpleWorker` (``python -m benchmarks.field.usual work``).

And little more than the least that can stand between: ``relay`` keeps the event by one write, as a bare WSGI
app, and ``python -m benchmarks.field.usual forward URL`` sends what it hears of by libcurl, one after the
other, without a signature, a claim or a record of what became of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pycurl
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
NEWS = "relay"


def store() -> redis.Redis:
    """The store."""
    return redis.Redis.from_url(os.environ["REDIS_URL"])


def queue() -> Queue:
    """Where tasks wait."""
    return Queue("field-posts", connection=store())


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


def relay() -> Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]:
    """The app of the relay: nobody is answered, and nothing is told, before the event is on disk."""
    client = store()

    def publish(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        with client.pipeline(transaction=True) as pipe:
            pipe.set(f"relay:{os.urandom(16).hex()}", body)
            pipe.publish(NEWS, body)
            pipe.execute()
        start("200 OK", [("content-type", "application/json"), ("content-length", "13")])
        return [b'{"code": 200}']

    return publish


def forward(url: str) -> None:
    """Send whatever is heard of, until terminated."""
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.HTTPHEADER, ["content-type: application/json", "Expect:"])
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.WRITEFUNCTION, lambda _: None)
    with store().pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
        heard.subscribe(NEWS)
        for message in heard.listen():
            curl.setopt(pycurl.POSTFIELDS, message["data"])
            curl.perform()


def main(way: str, port: str = "", *urls: str) -> None:
    """Serve as `hookreel serve` does, or work."""
    if way == "work":
        SimpleWorker([queue()], connection=queue().connection).work(logging_level="ERROR")
        return
    if way == "forward":
        forward(port)
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
