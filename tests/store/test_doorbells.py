"""RQ's entries: what the script writes is what RQ reads, and what RQ cannot read stops nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rq.exceptions import DequeueTimeout
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from service.acceptance import Order
from service.bootstrap import Service
from service.queue import DECIDE, LOOK_UP, SUBMIT
from workers import tasks
from workers.worker import ClosedJob, StoppableQueue, make

Orders = Callable[..., Order]


def taken(service: Service) -> Any:
    connection = service.store.client
    queue = StoppableQueue("vendor", connection=connection, serializer=JSONSerializer)
    return StoppableQueue.dequeue_any(
        [queue], 1, connection=connection, job_class=ClosedJob, serializer=JSONSerializer
    )


def test_the_bell_that_comes_with_the_admission_is_an_entry_as_rq_reads_it(
    service: Service, order: Orders
) -> None:
    job = service.acceptance.accept(order())
    entry, queue = taken(service)
    assert (entry.id, queue.name, entry.get_status()) == (f"submit-{job.id}", "vendor", JobStatus.QUEUED)
    assert (entry.func.func, entry.func.args) == (tasks.submit, (job.id,))


@pytest.mark.parametrize("task", [SUBMIT, LOOK_UP, DECIDE])
def test_a_bell_names_the_task_and_the_job(service: Service, task: str) -> None:
    service.doorbells.ring(["1" * 32], task)
    entry, _ = taken(service)
    assert (entry.func.func, entry.func.args) == (getattr(tasks, task), ("1" * 32,))


def test_an_entry_that_cannot_be_read_is_dropped_and_the_next_one_is_taken(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.doorbells.ring(["1" * 32, "2" * 32])
    client = service.store.client
    client.hset(f"rq:job:submit-{'1' * 32}", "status", "nonsense")
    with pytest.raises(DequeueTimeout):
        taken(service)
    assert [each.message for each in caplog.records] == ["task.unreadable"]
    entry, queue = taken(service)
    assert entry.id == f"submit-{'2' * 32}"
    assert client.lrange(queue.intermediate_queue.key, 0, -1) == [entry.id.encode()]
    assert client.exists(f"rq:job:submit-{'1' * 32}") == 0


def test_a_worker_does_not_wait_for_the_disk_before_each_task_to_say_that_it_lives(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "hands", [])
    worker = make(service)[0]
    service.doorbells.ring([f"{each:032}" for each in range(20)])
    client = service.store.client
    with client.monitor() as seen:
        assert worker.work(max_jobs=20)
        worker.finish()
        client.echo("done")
        commands = list(iter(lambda: seen.next_command()["command"], "ECHO done"))
    beats = [each for each in commands if each.startswith(f"EXPIRE {worker.key} {worker.worker_ttl + 60}")]
    assert len(beats) <= 2
    assert client.llen("rq:queue:vendor") == 0
