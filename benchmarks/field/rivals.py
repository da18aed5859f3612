"""Whoever stands where Hookreel does: nobody, one of the usual ways, or a server of the caller's."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from benchmarks import corpus, load
from benchmarks.callers import free_port
from benchmarks.field.parts import JOBS_ID, Contender, Event, Receiver
from benchmarks.field.usual import NEWS
from benchmarks.processes import listens, place, process, wait_until
from service.bootstrap import Service

THREADS, TASKS, RELAY, DIRECT = "thread pool", "RQ tasks", "bare relay", "direct POST"
USUAL = {THREADS: "threads", TASKS: "tasks", RELAY: "relay"}
MOST = {THREADS: 5000, TASKS: 600}
"""Deliveries of one run."""
ID_IN_TEMPLATE = "{id}"


def posts(service: Service, count: int, path: str) -> list[Event]:
    """Events as Hookreel's subscribers get them, each a POST to ``path``."""
    bodies = corpus.bodies(service, count)
    found = ((re.search(JOBS_ID.encode(), body), body) for body in bodies)
    return [(each[1].decode(), load.post(path, {}, body)) for each, body in found if each]


def direct(to: Receiver, publish: Callable[[int], list[Event]]) -> Contender:
    """From the load generator to the subscriber; ``publish`` makes the requests."""
    return Contender(DIRECT, (to.host, to.port), publish)


@contextmanager
def usual(name: str, urls: list[str]) -> Iterator[Contender]:
    """Its processes, on a store of its own."""
    way, port = USUAL[name], free_port()
    module = ["-m", "benchmarks.field.usual"]
    with place() as at, process([*module, way, str(port), *urls], at, way), ExitStack() as stack:
        if name == TASKS:
            stack.enter_context(process([*module, "work"], at, "work"))
        if name == RELAY:
            stack.enter_context(process([*module, "forward", *urls], at, "forward"))
            wait_until(lambda: bool(at.service.store.client.pubsub_numsub(NEWS)[0][1]))
        wait_until(lambda: listens(port))
        most = MOST.get(name, Contender.most)
        yield Contender(name, ("127.0.0.1", port), lambda count: posts(at.service, count, "/publish"), most)


def templated(url: str, headers: Mapping[str, str], template: str) -> Callable[[int], list[Event]]:
    """Events made from a body template, each a POST to ``url``."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    told = {"host": parts.netloc, **{name.lower(): value for name, value in headers.items()}}

    def publish(count: int) -> list[Event]:
        ids = [f"field-{secrets.token_hex(16)}" for _ in range(count)]
        bodies = [template.replace(ID_IN_TEMPLATE, each).encode() for each in ids]
        return [(each, load.post(path, told, body)) for each, body in zip(ids, bodies, strict=True)]

    return publish


def other(url: str, headers: Mapping[str, str], template: str) -> Contender:
    """A server that takes an event by POST of ``template`` to ``url``. Raises ValueError where it cannot."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url} is no http URL, and the load generator speaks nothing else")
    if ID_IN_TEMPLATE not in template:
        raise ValueError(
            f"the body template has no {ID_IN_TEMPLATE} in it, by which its event could be known"
        )
    publish = templated(url, headers, template)
    return Contender(parts.netloc, (parts.hostname, parts.port or 80), publish, strict=False)
