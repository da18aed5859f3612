"""The way not taken: one RQ task for each delivery, one POST by `requests` in it.

``python -m benchmarks.rqposts COUNT BODY_FILE PORT...`` with ``REDIS_URL`` runs so many tasks by RQ's
`SimpleWorker` in burst mode, and prints seconds and CPU seconds. Putting them into the queue is not counted.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import redis
import requests
from rq import Queue, SimpleWorker

session = requests.Session()


def post(url: str, body: str) -> int:
    """The task."""
    headers = {"content-type": "application/json", "webhook-id": "evt_0123456789abcdef0123"}
    return session.post(url, data=body.encode(), headers=headers, timeout=15).status_code


def main(count: str, body_file: str, *ports: str) -> None:
    """Queue, then run."""
    connection = redis.Redis.from_url(os.environ["REDIS_URL"])
    queue = Queue("bench-posts", connection=connection)
    body = Path(body_file).read_text("utf-8")
    for number in range(int(count)):
        queue.enqueue("benchmarks.rqposts.post", f"http://127.0.0.1:{ports[number % len(ports)]}/hook", body)
    worker = SimpleWorker([queue], connection=connection)
    begun, cpu = time.perf_counter(), time.process_time()
    worker.work(burst=True, logging_level="ERROR")
    told = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}
    if queue.failed_job_registry.count or queue.count:
        raise RuntimeError("not every task succeeded")
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
