"""The worker: one RQ worker on one queue that runs several tasks at once, each in a thread.

RQ's own workers run one task at a time; a submission is a second of waiting for the vendor. Here one loop
takes entries, and only when a thread is free, so that nothing taken waits in memory.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.worker import WorkerStatus

from service.archive.archivist import Archivist
from service.archive.download import Downloads
from service.bootstrap import USER_AGENT, Service, begin, boottime
from service.connection import connect
from service.queue import COPIES, QUEUE, TASKS
from service.sender import trusted_authorities
from service.submission import Submitter
from workers import tasks

LOOK_FOR_STOP = 1
"""Seconds for which the loop waits for an entry. RQ strands an entry that a signal interrupts while it is
taken, so a stop is only looked for in between."""

BEAT_EVERY = 10.0
"""Seconds between what RQ is told of the worker itself; it forgets one that says nothing for 8 minutes."""

COPIES_AT_ONCE = 8
"""Downloads of one process: each may take minutes, and all together the line."""


class ClosedJob(Job):
    """An entry that can name nothing but our tasks: RQ would import and call anything."""

    @property
    def func(self) -> Any:
        """The task for the job that the entry's id names; raises ValueError for any other name."""
        name = self.func_name or ""
        if name not in TASKS.values():
            raise ValueError(f"{name[:80]} is no task")
        return partial(getattr(tasks, name.rpartition(".")[2]), self.id.partition("-")[2])


class StoppableQueue(Queue):
    """A queue that is asked for a second at a time, and not at all once the worker is to stop."""

    job_class = ClosedJob
    # No Event: its lock may be held by the very thread that a signal interrupts.
    stopping = False

    @classmethod
    def stop(cls, *_: object) -> None:
        """Take nothing more. A signal's handler, too."""
        cls.stopping = True

    @classmethod
    def dequeue_any(cls, queues: Any, timeout: int | None, *args: Any, **kwargs: Any) -> Any:
        """As RQ's, or StopRequested. What cannot be read is dropped: it would end worker after worker."""
        if cls.stopping:
            raise StopRequested
        try:
            return super().dequeue_any(queues, timeout and min(timeout, LOOK_FOR_STOP), *args, **kwargs)
        except ResponseError as error:
            # It is full, or its replica is away, and tells nobody when that is over: RQ would end the worker.
            logging.getLogger(__name__).warning("task.not_taken", extra={"why": str(error)[:80]})
            time.sleep(LOOK_FOR_STOP)
            raise DequeueTimeout from error
        except Exception as error:
            task, queue = getattr(error, "job_id", None), getattr(error, "queue", None)
            if task is None or queue is None or isinstance(error, RedisError):
                raise
            logging.getLogger(__name__).exception("task.unreadable", extra={"task": task})
            queue.intermediate_queue.remove(task)
            queue.connection.delete(ClosedJob.key_for(task))
            raise DequeueTimeout from error


class NoDeathPenalty(BaseDeathPenalty):
    """RQ's time limit works in the main thread only; every call inside a task has a deadline of its own."""

    def setup_death_penalty(self) -> None:
        """Nothing."""

    def cancel_death_penalty(self) -> None:
        """Nothing."""


class ThreadedWorker(SimpleWorker):
    """Takes entries one by one and runs up to ``concurrency`` of them at once."""

    job_class = ClosedJob
    queue_class = StoppableQueue
    death_penalty_class = NoDeathPenalty

    def __init__(self, *args: Any, concurrency: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._running: set[str] = set()
        self._next_beat = 0.0
        self._free = threading.Semaphore(concurrency)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="task")

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        """Wait for a free thread first: an entry that is taken starts at once."""
        while not self._free.acquire(timeout=LOOK_FOR_STOP):
            if StoppableQueue.stopping:
                raise StopRequested
            self.heartbeat()
        taken = None
        try:
            taken = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        finally:
            if taken is None:
                self._free.release()
        return taken

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """RQ's own, and the state, now and then.

        RQ says four times for each task that the worker lives, by three writes each, and waits for the disk
        every time before it takes the next.
        """
        if timeout is not None:
            super().heartbeat(timeout, pipeline)
        elif pipeline is None and time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + BEAT_EVERY
            self._beat()

    def _beat(self) -> None:
        pipeline = self.connection.pipeline()
        super().heartbeat(pipeline=pipeline)
        super().set_state(WorkerStatus.BUSY if self._running else WorkerStatus.IDLE, pipeline)
        try:
            pipeline.execute()
        except ResponseError as error:
            # Nobody dies of it: the store takes no writes just now.
            logging.getLogger(__name__).warning("task.no_beat", extra={"why": str(error)[:80]})

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Idle is told by the heartbeat: RQ would say so whenever it looks for the next task."""
        if state != WorkerStatus.IDLE:
            super().set_state(state, pipeline)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """In one of the threads; returns at once."""
        self._running.add(job.id)
        self._threads.submit(self._execute, job, queue)

    def _execute(self, job: Job, queue: Queue) -> None:
        try:
            self.perform_job(job, queue, self.prepare_execution(job))
        except Exception:
            logging.getLogger(__name__).exception("task.bookkeeping_failed", extra={"task": job.id})
        finally:
            self._running.discard(job.id)
            self._free.release()

    def _install_signal_handlers(self) -> None:
        """`main` has its own; RQ's would raise in the middle of taking an entry."""

    def finish(self) -> None:
        """Wait for the tasks that run."""
        self._threads.shutdown(wait=True)


def make(service: Service) -> list[ThreadedWorker]:
    """A worker for the vendor's queue, and one for copies where those are kept."""
    submitter = Submitter(
        service.jobs,
        service.vendor,
        service.incarnation,
        service.token,
        boottime,
        service.callback_url,
        service.settings.wait_replicas,
    )
    tasks.hands[:] = [tasks.Hands(submitter, service.inquiry, _archivist(service))]
    made = [_worker(service, QUEUE, service.incarnation, service.settings.submit_concurrency)]
    if service.depot is not None:
        made.append(_worker(service, COPIES, f"{service.incarnation}-archive", COPIES_AT_ONCE))
    return made


def _worker(service: Service, queue: str, name: str, concurrency: int) -> ThreadedWorker:
    """One queue each, with a connection of its own for RQ's bookkeeping."""
    patient = Retry(ExponentialWithJitterBackoff(base=0.05, cap=1), 300)
    connection = connect(service.url, retry=patient)
    return ThreadedWorker(
        [queue],
        connection=connection,
        serializer=JSONSerializer,
        name=name,
        concurrency=concurrency,
    )


def _archivist(service: Service) -> Archivist | None:
    if service.depot is None:
        return None
    downloads = Downloads(service.policy, USER_AGENT, trusted_authorities(), lambda: StoppableQueue.stopping)
    return Archivist(service.jobs, service.depot, downloads, service.incarnation)


def _work(worker: ThreadedWorker) -> None:
    """Until all are to stop. RQ's loop may also end by itself, at an error: then so do the others."""
    try:
        worker.work(logging_level="WARNING")
    finally:
        StoppableQueue.stop()
    worker.finish()


def main() -> None:
    """The process: until SIGTERM, then the tasks that run are finished."""
    # A submission has five seconds from its token to its POST: a name server that is dead must not take them.
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:2")
    service = begin("worker")
    first, *others = make(service)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, StoppableQueue.stop)
    service.presence.start()
    threads = [threading.Thread(target=_work, args=(each,), name="archive") for each in others]
    for thread in threads:
        thread.start()
    _work(first)
    for thread in threads:
        thread.join()
    service.presence.stop()


if __name__ == "__main__":
    main()
