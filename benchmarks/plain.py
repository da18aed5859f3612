"""The web process's yardstick: a bare Flask route that keeps the body by one SET, behind the same server."""

from __future__ import annotations

import os
import sys

import redis
from flask import Flask, request
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from service.cli.roles import BLOCKING_THREADS

app = Flask(__name__)
store = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.post("/plain/<key>")
def keep(key: str) -> dict[str, object]:
    """All that it does."""
    store.set(f"plain:{key}", request.get_data())
    return {"code": 200, "message": "success"}


def main(port: str) -> None:
    """Serve as `hookreel serve` does."""
    Granian(
        "benchmarks.plain:app",
        port=int(port),
        interface=Interfaces.WSGI,
        blocking_threads=BLOCKING_THREADS,
        log_level=LogLevels.error,
    ).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
