"""Many events at once, a receiver that counts who is there, and time that passes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from schemas.eventtypes import COMPLETED
from schemas.states import DeliveryState
from service import events, rediskeys
from service.bootstrap import Service, boottime
from service.deliveries import delivery_id
from service.records import Delivery, Endpoint
from service.store import CLAIM, COMMIT, EXPAND, OUTCOMES, Change, Script, Word
from service.timekeeping import read
from workers.forwarder import Forwarder

AT_ONCE = 500


class Gate(ThreadingHTTPServer):
    """Keeps what comes in the order of arrival, as ``path id``, and how many were there at once at most.

    Answers what ``statuses`` says for the next, else ``status``; while it is shut it answers nobody.
    """

    request_queue_size = 512
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[str] = []
        self.bodies: dict[str, tuple[dict[str, str], bytes]] = {}
        self.statuses: list[int] = []
        self.status = 200
        self.inside = self.most = 0
        self.news = threading.Condition()
        self.is_open = threading.Event()
        self.is_open.set()

    def url(self, path: str = "hook") -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Nobody is answered, until the end of the block."""
        self.is_open.clear()
        try:
            yield
        finally:
            self.is_open.set()

    def wait_for(self, count: int, path: str = "") -> list[str]:
        """The ids that came to ``path``, once there are so many."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.ids(path)) >= count, 15), (count, self.got)
            return self.ids(path)

    def ids(self, path: str = "") -> list[str]:
        pairs = (each.split(" ") for each in self.got)
        return [event for at, event in pairs if not path or at == path]


class _Handler(BaseHTTPRequestHandler):
    server: Gate
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        gate = self.server
        body = self.rfile.read(int(self.headers["content-length"]))
        with gate.news:
            status = gate.statuses.pop(0) if gate.statuses else gate.status
            event = self.headers["webhook-id"]
            gate.got.append(f"{self.path[1:]} {event}")
            gate.bodies[event] = ({name.lower(): value for name, value in self.headers.items()}, body)
            gate.inside += 1
            gate.most = max(gate.most, gate.inside)
            gate.news.notify_all()
        gate.is_open.wait(20)
        with gate.news:
            gate.inside -= 1
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def gate() -> Iterator[Gate]:
    with Gate() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.is_open.set()
        server.shutdown()


def happen(
    service: Service, count: int = 1, *, workspace: str = "default", kind: str = COMPLETED
) -> list[str]:
    """So many events that are about no job; their ids, in their order."""
    told = [
        events.without_job(f"evt_{service.token()[-22:]}", kind, service.clock(), {}) for _ in range(count)
    ]
    calls: list[tuple[Script, list[str], list[Word]]] = [
        (
            COMMIT,
            [rediskeys.event(each.id)],
            Change(rediskeys.event(each.id), 0, each.id, (each.op_in(workspace),)).argv(),
        )
        for each in told
    ]
    for start in range(0, count, AT_ONCE):
        service.store.run_all(calls[start : start + AT_ONCE])
    return [each.id for each in told]


def fan_out(service: Service, workspace: str = "default", *, but: tuple[str, ...] = ()) -> None:
    """As a forwarder would, all that happened, except the events of ``but``."""
    (rows,) = service.store.read(lambda pipe: pipe.xrange(rediskeys.stream(workspace)))
    directory = service.endpoints.directory(workspace)
    calls: list[tuple[Script, list[str], list[Word]]] = []
    for entry, fields in rows:
        if fields[b"e"].decode() not in but:
            wanted = directory.matching(fields[b"t"].decode(), fields[b"c"].decode(), int(fields[b"s"]))
            calls.append((EXPAND, [], [workspace, fields[b"e"], entry, 1, *wanted]))
    if calls:
        service.store.run_all(calls)


def claim(service: Service, most: int = 100, by: str = "forwarder-1.0", share: int = 64) -> list[str]:
    """The events of the deliveries that a forwarder would be given."""
    _, _, *rows = service.store.run(CLAIM, [by, most, share, 0])
    return [event.decode() for event in rows[2::4]]


def wait_of_claim(service: Service) -> int:
    """In how many ms the store wants to be asked for claims again."""
    return int(service.store.run(CLAIM, ["forwarder-1.0", 100, 64, 0])[0])


def record(
    service: Service,
    endpoint: Endpoint,
    event: str,
    verdict: str,
    item: str = "",
    by: str = "forwarder-1.0",
) -> None:
    """What came of a claim."""
    service.store.run(OUTCOMES, [endpoint.workspace, endpoint.id, event, by, verdict, item])


def pass_time(service: Service, seconds: float, forwarder: Forwarder | None = None) -> None:
    """For everybody, at once."""
    service.store.client.hincrby(rediskeys.SERVICE, "shift", round(seconds * 1000))
    if forwarder is not None:
        forwarder.ring()


def runtime(service: Service, endpoint: Endpoint, field: str) -> str:
    """What the scripts keep of an endpoint."""
    found: Any = service.store.client.hget(rediskeys.endpoint(endpoint.id), field)
    return found.decode() if found else ""


def delivery(service: Service, endpoint: Endpoint, event: str) -> Delivery:
    return service.deliveries.get(endpoint.workspace, delivery_id(event, endpoint.id))


def states(service: Service, endpoint: Endpoint, ids: list[str]) -> set[DeliveryState | None]:
    """The states of these events' deliveries; None of those that are not there."""
    return {
        next((each.state for each in deliveries if each.endpoint == endpoint.id), None)
        for _, deliveries in service.deliveries.of_events(ids)
    }


def now(service: Service) -> int:
    """The service's time at this moment, in ms."""
    return read(service.store, boottime).ms


def is_at_rest(service: Service, workspace: str = "default") -> bool:
    """Nothing is owed, under way, or waits."""
    keys = [
        *(rediskeys.OPEN_EVENTS, rediskeys.FLIGHT, rediskeys.TURNS, rediskeys.due(workspace)),
        *(rediskeys.running(workspace), rediskeys.unfanned(workspace)),
    ]
    return not any(service.store.read(lambda pipe: [pipe.exists(key) for key in keys]))
