"""A model of a job's life over the real store and rules: every transaction boundary is a place to crash.

One process plays the web, workers, forwarders, the clock, the vendor and a subscriber; hypothesis decides who
goes next, who dies, and what the vendor does. The vendor's and the subscriber's books are plain dictionaries.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, TypeVar

import pytest
import redis
from cryptography.fernet import Fernet
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas.inputs import Input
from schemas.outcomes import Observation, classify
from schemas.predictions import Prediction
from schemas.states import FINAL, PRESUMED, JobState
from service import rediskeys
from service.acceptance import Order
from service.addresses import Policy
from service.bootstrap import Service
from service.records import Job
from service.settings import Settings
from service.store import CLAIM, EXPAND, OUTCOMES, PRUNE
from tests.store.crowds import happen
from workers.forwarder import free

T = TypeVar("T")
WINDOW = 3
MOST_JOBS = 6
MOST_TOLD = 12
POSTS = {
    "taken": Observation(sent=True, status=200),
    "taken_unheard": Observation(sent=True, trouble="cut"),
    "not_taken_unheard": Observation(sent=True, status=502, body=b"error code: 502"),
    "unreachable": Observation(sent=False, trouble="refused"),
    "slow_down": Observation(sent=True, status=429, body=b"{}"),
    "no_credit": Observation(sent=True, status=400, body=b'{"code":400,"message":"Insufficient credits."}'),
}
OPEN = frozenset("pr")
QUEUES = (rediskeys.wait, rediskeys.late, rediskeys.line)
Lines = dict[str, dict[str, tuple[str, str]]]
"""Event -> endpoint -> state and claim of its delivery; "-" where there is none."""


def _state_and_holder(line: bytes | None) -> tuple[str, str]:
    state, _, holder, _ = line.decode().split("|", 3) if line else ("-", "", "", "")
    return state, holder


@dataclass
class Worker:
    """A worker between two boundaries: what it would do next."""

    job: Job
    token: str
    posted: Observation | None = None


class Lot:
    """Choices out of whatever there is, by numbers that were drawn before it was known."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers

    def of(self, things: Sequence[T]) -> T:
        return things[self.index(things)]

    def index(self, things: Sequence[object]) -> int:
        return next(self._numbers) % len(things)


class Life(RuleBasedStateMachine):
    store_url = ""

    @initialize()
    def begin(self) -> None:
        client = redis.Redis.from_url(self.store_url)
        client.flushall()
        client.close()
        environ = {
            "REDIS_URL": self.store_url,
            "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode(),
            "HOOKREEL_MAX_IN_FLIGHT": str(WINDOW),
        }
        self.service = Service(Settings.from_env(environ), self.store_url, "model", f"model-{os.getpid()}")
        self.ahead = 0
        self.ids = itertools.count(1)
        self.service.token = lambda: f"{next(self.ids):032x}"  # type: ignore[method-assign]
        real = self.service.clock
        self.service.clock = lambda: real() + self.ahead
        self.service.apikeys.create("default")
        self.service.endpoints.policy = Policy((ip_network("127.0.0.0/8"),))
        url = "http://127.0.0.1:9/"
        self.endpoints = [
            self.service.endpoints.create("default", {"url": url, "ordered": ordered})[0].id
            for ordered in (False, True)
        ]
        self.jobs: list[str] = []
        self.told: list[str] = []
        self.workers: list[Worker] = []
        self.tasks: dict[str, tuple[str, str]] = {}
        self.words: dict[str, str] = {}
        self.posts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.claims: list[tuple[bytes, ...]] = []
        self.received: dict[tuple[str, str], int] = defaultdict(int)
        self.final_word: dict[str, tuple[str, str]] = {}

    @rule(numbers=st.tuples(*[st.integers(0, 2**16)] * 4))
    def act(self, numbers: tuple[int, ...]) -> None:
        """One step of somebody who has something to do."""
        lot = Lot(iter(numbers))
        able = {
            "accept": 3 * (len(self.jobs) < MOST_JOBS),
            "call_back": 4 * bool(self.tasks),
            "ring": 6 * bool(self.jobs),
            "post": 8 * any(worker.posted is None for worker in self.workers),
            "conclude": 8 * any(worker.posted is not None for worker in self.workers),
            "die": 2 * bool(self.workers),
            "be_taken_for_dead": bool(self.workers),
            "time_passes": 2,
            "the_vendor_answers_a_probe": 2,
            "presume": 1,
            "look_up": 2 * bool(self.tasks),
            "prune_what_is_owed_nothing": 1,
            "fan_out": 5,
            "claim": 6,
            "record": 4 * bool(self.claims),
            "a_forwarder_dies": bool(self.claims),
            "pause_or_resume": 1,
            "tell_of_something_else": 4 * (len(self.told) < MOST_TOLD),
        }
        choices = [name for name, weight in able.items() for _ in range(weight)]
        getattr(self, lot.of(choices))(lot)

    # -- web --------------------------------------------------------------------------------------------

    def accept(self, _lot: Lot) -> None:
        fields = {"image": "https://example.com/a.jpg"}
        order = Order("default", Input("minimax/hailuo-02/fast", fields, {}))
        self.jobs.append(self.service.acceptance.accept(order).id)

    def call_back(self, lot: Lot) -> None:
        """The vendor's word about a task; a final one is repeated, never changed."""
        status = lot.of(["completed", "failed", "timeout", "processing"])
        upstream = lot.of(sorted(self.tasks))
        job_id, token = self.tasks[upstream]
        status = self.words.get(upstream, status)
        word = Prediction(id=upstream, status=status, outputs=("https://cdn.example.com/v.mp4",))
        if word.final:
            self.words[upstream] = status
        self.service.jobs.settle(job_id, token, word)

    # -- workers ----------------------------------------------------------------------------------------

    def ring(self, lot: Lot) -> None:
        """A bell, a doubled bell, or one for a job that needs none: the worker writes its token."""
        rung = self._members(rediskeys.WINDOW) * 4 + self.jobs
        job = self.service.jobs.admitted(lot.of(rung))
        token = self.service.token()
        begun = self.service.jobs.begin(job, token, "worker-1") if job else None
        if begun is not None:
            self.workers.append(Worker(begun, token))

    def post(self, lot: Lot) -> None:
        outcome = lot.of(sorted(POSTS))
        waiting = [index for index, worker in enumerate(self.workers) if worker.posted is None]
        worker = self.workers[lot.of(waiting)]
        seen = POSTS[outcome]
        if outcome.startswith("taken"):
            upstream = f"{next(self.ids):032x}"
            self.tasks[upstream] = (worker.job.id, worker.token)
            if outcome == "taken":
                body = f'{{"code":200,"data":{{"id":"{upstream}"}}}}'.encode()
                seen = Observation(sent=True, status=200, body=body)
        if outcome in {"unreachable", "slow_down"}:
            self.refusals[worker.job.id] += 1
        else:
            self.posts[worker.job.id] += 1
        worker.posted = seen

    def conclude(self, lot: Lot) -> None:
        done = [index for index, worker in enumerate(self.workers) if worker.posted is not None]
        worker = self.workers.pop(lot.of(done))
        assert worker.posted is not None
        self.service.jobs.conclude(worker.job.id, worker.token, classify(worker.posted))

    def die(self, lot: Lot) -> None:
        """A worker dies before or after its POST; the clock finds it."""
        worker = self.workers.pop(lot.index(self.workers))
        if worker.posted is None:
            self.posts[worker.job.id] += 0
        self.service.jobs.lose(worker.job.id, worker.token)

    def be_taken_for_dead(self, lot: Lot) -> None:
        """A worker that was only stopped comes back after its submission was called uncertain."""
        worker = self.workers[lot.index(self.workers)]
        self.service.jobs.lose(worker.job.id, worker.token)
        if worker.posted is None:
            # Its fence has run out: it finds its token dead and never sends.
            self.workers.remove(worker)

    # -- clock ------------------------------------------------------------------------------------------

    def time_passes(self, lot: Lot | None = None) -> None:
        seconds = lot.of(range(1, 4000)) if lot else 4000
        self.ahead += seconds * 1000
        self.service.store.client.hincrby(rediskeys.SERVICE, "shift", seconds * 1000)
        self.service.store.client.hdel(rediskeys.VENDOR, "not_before")
        for job_id in self._members(rediskeys.LATER):
            self.service.jobs.wait_again(job_id)
        self.service.jobs.let_in()

    def the_vendor_answers_a_probe(self, _lot: Lot | None = None) -> None:
        (unknowns,) = self.service.store.read(lambda pipe: pipe.hget(rediskeys.VENDOR, "unknowns"))
        if int(unknowns or 0) >= 3:
            self.service.jobs.let_one_pass()

    def presume(self, _lot: Lot | None = None) -> None:
        for job_id in self._members(rediskeys.UNCERTAIN):
            self.service.jobs.presume_unknown(job_id)

    def look_up(self, lot: Lot) -> None:
        upstream = lot.of(sorted(self.tasks))
        job = self.service.jobs.begin_look(self.tasks[upstream][0])
        if job is not None and job.upstream_id in self.words and job.submission is not None:
            status = self.words[job.upstream_id]
            word = Prediction(id=job.upstream_id, status=status, outputs=("https://cdn.example.com/v.mp4",))
            self.service.jobs.settle(job.id, job.submission.token, word)

    def prune_what_is_owed_nothing(self, lot: Lot) -> None:
        final = [job for job in self._records() if job.is_final]
        if final:
            job = lot.of(sorted(final, key=lambda each: each.id))
            args: list[Any] = [job.id, job.workspace, job.rev, job.own_endpoint, *job.events]
            if self.service.store.run(PRUNE, args, [rediskeys.job(job.id)]):
                self.jobs.remove(job.id)
                self.tasks = {key: task for key, task in self.tasks.items() if task[0] != job.id}
                self.workers = [worker for worker in self.workers if worker.job.id != job.id]

    # -- forwarders -------------------------------------------------------------------------------------

    def fan_out(self, lot: Lot | None = None) -> None:
        """Not acknowledged: the forwarder dies half-way, and another does it again."""
        acknowledge = lot.of([True, False]) if lot else True
        (rows,) = self.service.store.read(lambda pipe: pipe.xrange(rediskeys.stream("default"), count=2))
        if lot:
            # Another forwarder has the rest, and is not as quick.
            rows = lot.of([rows, rows[:1], rows[-1:]])
        wanted = [self.endpoints[0], f">{self.endpoints[1]}"]
        for entry, fields in rows:
            self.service.store.run(EXPAND, ["default", fields[b"e"], entry, int(acknowledge), *wanted])

    def claim(self, lot: Lot | None = None) -> None:
        turn = lot.of(range(4)) if lot else 0
        before = self._lines()
        _, _, *rows = self.service.store.run(CLAIM, [f"forwarder-{turn}.0", 2 if lot else 20, 4, 0])
        for at in range(0, len(rows), 4):
            self.claims.append((*rows[at : at + 3], f"forwarder-{turn}.0".encode()))
            assert self._may_be_claimed(before, rows[at + 1].decode(), rows[at + 2].decode())

    def _may_be_claimed(self, lines: Lines, endpoint: str, event: str) -> bool:
        if endpoint == self.endpoints[0]:
            return not lines[event][endpoint][1]
        # What is not fanned out yet is owed as well.
        (first, *_) = [each for each, held in lines.items() if held[endpoint][0] in {*OPEN, "-"}]
        return first == event and not any(held[endpoint][1] for held in lines.values())

    def record(self, lot: Lot) -> None:
        verdict = lot.of(["d", "r0", "late", "b0", "u"])
        workspace, endpoint, event, token = self.claims.pop(lot.index(self.claims))
        received = verdict in {"d", "late"}
        self.received[endpoint.decode(), event.decode()] += received
        if verdict == "late":
            self.service.store.run(OUTCOMES, [workspace, endpoint, event, token, "r0", ""])
        said = "d" if received else verdict
        self.service.store.run(OUTCOMES, [workspace, endpoint, event, token, said, ""])

    def tell_of_something_else(self, _lot: Lot) -> None:
        """An event that is about no job."""
        self.told += happen(self.service)

    def pause_or_resume(self, lot: Lot) -> None:
        endpoint = self.service.endpoints.get("default", lot.of(self.endpoints))
        self.service.endpoints.update("default", endpoint.id, {"paused": not endpoint.paused})

    def a_forwarder_dies(self, lot: Lot) -> None:
        turn = lot.of(range(4))
        free(self.service, f"forwarder-{turn}", lambda _: "r0")
        prefix = f"forwarder-{turn}.".encode()
        self.claims = [claim for claim in self.claims if not claim[3].startswith(prefix)]

    # -- what always holds ------------------------------------------------------------------------------

    def _members(self, key: str) -> list[str]:
        (ids,) = self.service.store.read(lambda pipe: pipe.zrange(key, 0, -1))
        return [each.decode() for each in ids]

    def _records(self) -> list[Job]:
        return [job for job in self.service.jobs.get_all(self.jobs) if job is not None]

    @invariant()
    def the_books_agree(self) -> None:
        if not hasattr(self, "service"):
            return
        window = set(self._members(rediskeys.WINDOW))
        uncertain = set(self._members(rediskeys.UNCERTAIN))
        waiting = set(self._members(rediskeys.waiting("default"))) | set(self._members(rediskeys.LATER))
        for job in self._records():
            assert self.posts[job.id] <= 1, "paid twice"
            assert (job.id in uncertain) == (job.state is JobState.UNCERTAIN)
            if job.state is JobState.QUEUED:
                assert (job.id in window) != (job.id in waiting), "a queued job is in one place"
            else:
                assert job.id not in waiting
            if job.state in {JobState.SUBMITTING, JobState.PROCESSING}:
                assert job.id in window
            if job.state in FINAL:
                assert job.id not in window
                assert job.last_word in job.events
                self._final_stays(job)

    def _final_stays(self, job: Job) -> None:
        if job.reason in PRESUMED:
            return
        told = (job.state.value, job.upstream_id)
        assert self.final_word.setdefault(job.id, told) == told, "final by the vendor's word stays final"

    def _lines(self) -> Lines:
        """The deliveries of each event, in the order of the events."""
        events = self._members(rediskeys.events("default"))
        keys = [rediskeys.event(each) for each in events]
        found = self.service.store.read(lambda pipe: [pipe.hmget(key, self.endpoints) for key in keys])
        return {
            event: {
                endpoint: _state_and_holder(line)
                for endpoint, line in zip(self.endpoints, lines, strict=True)
            }
            for event, lines in zip(events, found, strict=True)
        }

    @invariant()
    def every_delivery_is_in_one_place(self) -> None:
        if not hasattr(self, "service"):
            return
        lines = self._lines()
        queues = [queue(endpoint) for endpoint in self.endpoints for queue in QUEUES]
        keys = [rediskeys.FLIGHT, rediskeys.OPEN_EVENTS, *queues]
        owed = [rediskeys.event(event) for event in lines]
        flight, owing, *found = self.service.store.read(
            lambda pipe: [pipe.zrange(key, 0, -1) for key in keys]
        )
        running, *counts = self.service.store.read(
            lambda pipe: [
                pipe.hgetall(rediskeys.running("default")),
                *(pipe.hmget(key, "open", "entry") for key in owed),
            ]
        )
        for number, endpoint in enumerate(self.endpoints):
            wait, late, line = found[3 * number : 3 * number + 3]
            held = {event.encode(): deliveries[endpoint] for event, deliveries in lines.items()}
            under_way = {event for event, (_, holder) in held.items() if holder}
            is_open = {event for event, (state, _) in held.items() if state in OPEN}
            assert under_way == {each.split()[0] for each in flight if each.endswith(endpoint.encode())}
            assert int(running.get(endpoint.encode(), 0)) == len(under_way)
            places = line if number else [*wait, *late, *(is_open & under_way)]
            assert sorted(places) == sorted(is_open), "what is open is in one place"
            assert not (wait + late if number else line)
            self._is_tried(endpoint, waits=bool(is_open - under_way), under_way=bool(under_way))
        for (event, deliveries), (count, entry) in zip(lines.items(), counts, strict=True):
            owes = sum(state in OPEN for state, _ in deliveries.values()) + bool(entry)
            assert int(count) == owes
            assert (event.encode() in owing) == (owes > 0)

    def _is_tried(self, endpoint: str, *, waits: bool, under_way: bool) -> None:
        off, due, turn, (seconds, _), shift = self.service.store.read(
            lambda pipe: (
                pipe.hget(rediskeys.endpoint(endpoint), "off")
                .zscore(rediskeys.due("default"), endpoint)
                .zscore(rediskeys.TURNS, "default")
                .time()
                .hget(rediskeys.SERVICE, "shift")
            )
        )
        if not waits or off == b"1":
            return
        assert due is not None, "what waits is tried some time"
        if due == math.inf:
            assert under_way, "an outcome decides only where there is one to come"
        else:
            assert turn <= max(due, (seconds + 1) * 1000 + int(shift or 0))

    def teardown(self) -> None:
        """Everything comes to rest: each event was received, nothing is left anywhere."""
        if not hasattr(self, "service"):
            return
        for worker in list(self.workers):
            self.service.jobs.lose(worker.job.id, worker.token)
        self.workers.clear()
        for turn in range(4):
            free(self.service, f"forwarder-{turn}", lambda _: "r0")
        for endpoint in self.endpoints:
            self.service.endpoints.update("default", endpoint, {"paused": False})
        self._come_to_rest()
        for job in self._records():
            assert job.is_final, job
            self.told += job.events
        for endpoint in self.endpoints:
            assert all(self.received[endpoint, event] >= 1 for event in self.told)
        for key in (
            *(rediskeys.WINDOW, rediskeys.WAITING, rediskeys.LATER, rediskeys.UNCERTAIN, rediskeys.SILENT),
            *(rediskeys.OPEN_EVENTS, rediskeys.FLIGHT, rediskeys.TURNS, rediskeys.running("default")),
            *(rediskeys.due("default"), rediskeys.unfanned("default"), rediskeys.NOTES),
            *(queue(each) for queue in QUEUES for each in self.endpoints),
        ):
            assert self.service.store.client.exists(key) == 0, key
        assert self.service.store.client.xlen(rediskeys.stream("default")) == 0
        self.service.close()

    def _come_to_rest(self) -> None:
        for _ in range(40 * (len(self.jobs) + 1)):
            self.time_passes()
            self.the_vendor_answers_a_probe()
            for job_id in self._members(rediskeys.WINDOW):
                self.service.jobs.leave(job_id)
                job = self.service.jobs.admitted(job_id)
                if job is not None:
                    self.service.jobs.give_up_on(job.id, "the end")
            for upstream, (job_id, token) in self.tasks.items():
                status = self.words.setdefault(upstream, "completed")
                self.service.jobs.settle(job_id, token, Prediction(id=upstream, status=status))
            self.presume()
            self.service.health.tell()
            self.fan_out()
            self.claim()
            while self.claims:
                self._deliver(self.claims.pop())
            at_rest = not self._members(rediskeys.OPEN_EVENTS) and not self._members(rediskeys.TURNS)
            if at_rest and all(job.is_final for job in self._records()):
                return

    def _deliver(self, claim: tuple[bytes, ...]) -> None:
        self.received[claim[1].decode(), claim[2].decode()] += 1
        self.service.store.run(OUTCOMES, [*claim, "d", ""])


@pytest.mark.timeout(240)
def test_every_interleaving_keeps_the_books(store_url: str) -> None:
    Life.store_url = store_url
    case: Any = Life.TestCase
    case.settings = settings(
        max_examples=int(os.environ.get("MODEL_EXAMPLES", "40")),
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        phases=[Phase.generate],
    )
    store = redis.Redis.from_url(store_url)
    # No machine dies here; the disk would be most of the time.
    store.config_set("appendfsync", "no")
    try:
        case("runTest").runTest()
    finally:
        store.config_set("appendfsync", "always")
        store.close()
