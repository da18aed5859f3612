"""Every transition, its answer lost after it was applied: it is applied once, and known to be.

Each is done twice, in two worlds that are alike: over a connection that works, and over one that is cut
between the store and us. What is then kept must be the same, up to names and times.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, cast

import pytest

from schemas.images import Image
from schemas.inputs import Input
from schemas.outcomes import Observation, classify
from schemas.predictions import Prediction
from service import rediskeys
from service.acceptance import Order
from service.addresses import Policy
from service.bootstrap import Service
from service.errors import StoreUnavailable
from service.records import File, Job
from service.store import CLAIM, COMMIT, EXPAND, OUTCOMES, PRUNE, Script
from tests.store.cutter import Cutter
from workers.forwarder import free

TOKEN, UPSTREAM = "5" * 32, "a" * 32
WORKER = "worker-1"
IMAGE = Image("image/png", b"x" * 11, 400, 400)
ACCEPTED = classify(
    Observation(sent=True, status=200, body=json.dumps({"code": 200, "data": {"id": UPSTREAM}}).encode())
)
OUTCOMES_SEEN = {
    "accepted": ACCEPTED,
    "refused": classify(Observation(sent=False, trouble="refused")),
    "slowed down": classify(Observation(sent=True, status=429, body=b"{}")),
    "failed": classify(Observation(sent=True, status=400, body=b'{"code":400,"message":"no credits"}')),
    "unknown": classify(Observation(sent=True, trouble="cut")),
}
COPY = (File(0, "a.mp4", 1, "0" * 64, "video/mp4"),)


def order(**changes: Any) -> Order:
    described = {"image": IMAGE.describe(), "prompt": "She smiles."}
    fields = Input("minimax/hailuo-02/fast", described, {"image": IMAGE})
    return Order(**{"workspace": "default", "input": fields, "request": b"request", **changes})


def word(status: str = "completed") -> Prediction:
    outputs = ("https://cdn.example.com/a.mp4",) if status == "completed" else ()
    return Prediction(id=UPSTREAM, status=status, outputs=outputs)


# -- a job on its way, by one working connection --------------------------------------------------------


def queued(service: Service) -> Job:
    return service.acceptance.accept(order())


def submitting(service: Service) -> Job:
    job = service.jobs.admitted(queued(service).id)
    assert job is not None
    begun = service.jobs.begin(job, TOKEN, WORKER)
    assert begun is not None
    return begun


def concluded(seen: str) -> Callable[[Service], Job]:
    return lambda service: service.jobs.conclude(submitting(service).id, TOKEN, OUTCOMES_SEEN[seen])


processing, uncertain, refused = concluded("accepted"), concluded("unknown"), concluded("refused")


def presumed(service: Service) -> Job:
    return service.jobs.presume_unknown(uncertain(service).id)


def completed(service: Service) -> Job:
    return service.jobs.settle(processing(service).id, TOKEN, word())


def copying(service: Service) -> Job:
    job = completed(service)
    service.store.client.zadd(rediskeys.ARCHIVE, {job.id: 1})
    claimed = service.jobs.begin_copy(job.id, WORKER)
    assert claimed is not None
    return claimed


def slotted(service: Service) -> Job:
    """Uncertain, and in the window all the same."""
    job = uncertain(service)
    service.store.client.zadd(rediskeys.WINDOW, {job.id: 1})
    return job


def kept_out(service: Service) -> Job:
    """Waiting although there is room."""
    job = queued(service)
    service.store.client.zrem(rediskeys.WINDOW, job.id)
    service.store.client.zadd(rediskeys.waiting("default"), {job.id: 1})
    service.store.client.zadd(rediskeys.WAITING, {"default": 1})
    return job


def paused(service: Service) -> Job:
    """Admitted, then paused."""
    job = queued(service)
    service.store.client.hset(rediskeys.VENDOR, "unknowns", 3)
    return job


def nothing(service: Service) -> Job:
    return Job("", "default", "", 0, {})


# -- the transitions ------------------------------------------------------------------------------------

Verb = tuple[Callable[[Service], Job], Callable[[Service, Job], Any]]
VERBS: dict[str, Verb] = {
    "accept": (nothing, lambda s, _: s.acceptance.accept(order())),
    "accept with a key": (nothing, lambda s, _: s.acceptance.accept(order(idempotency_key="k"))),
    "accept with a webhook": (nothing, lambda s, _: s.acceptance.accept(order(webhook="http://127.0.0.1/"))),
    "begin": (queued, lambda s, job: s.jobs.begin(job, TOKEN, WORKER)),
    **{
        f"conclude: {seen}": (submitting, lambda s, job, found=found: s.jobs.conclude(job.id, TOKEN, found))  # type: ignore[misc]
        for seen, found in OUTCOMES_SEEN.items()
    },
    "conclude late": (uncertain, lambda s, job: s.jobs.conclude(job.id, TOKEN, ACCEPTED)),
    "lose": (submitting, lambda s, job: s.jobs.lose(job.id, TOKEN)),
    "settle": (processing, lambda s, job: s.jobs.settle(job.id, TOKEN, word())),
    "settle as failed": (processing, lambda s, job: s.jobs.settle(job.id, TOKEN, word("failed"))),
    "settle before the answer": (submitting, lambda s, job: s.jobs.settle(job.id, TOKEN, word())),
    "settle the uncertain": (uncertain, lambda s, job: s.jobs.settle(job.id, TOKEN, word())),
    "settle late": (presumed, lambda s, job: s.jobs.settle(job.id, TOKEN, word())),
    "refuse": (queued, lambda s, job: s.jobs.refuse(job.id, "no ticket", None)),
    "give up": (queued, lambda s, job: s.jobs.give_up_on(job.id, "a bad image")),
    "presume": (uncertain, lambda s, job: s.jobs.presume_unknown(job.id)),
    "resubmit": (uncertain, lambda s, job: s.jobs.resubmit(job.id)),
    "not made, again": (uncertain, lambda s, job: s.jobs.not_made(job.id, "the list", submit=True)),
    "not made": (uncertain, lambda s, job: s.jobs.not_made(job.id, "the list", submit=False)),
    "made": (uncertain, lambda s, job: s.jobs.was_made(job.id, word("processing"))),
    "wait again": (refused, lambda s, job: s.jobs.wait_again(job.id)),
    "leave": (slotted, lambda s, job: s.jobs.leave(job.id)),
    "give back": (paused, lambda s, job: s.jobs.admitted(job.id)),
    "let in": (kept_out, lambda s, _: s.jobs.let_in()),
    "let one pass": (kept_out, lambda s, _: s.jobs.let_one_pass()),
    "begin to look": (processing, lambda s, job: s.jobs.begin_look(job.id)),
    "mark deleted": (completed, lambda s, job: s.jobs.mark_deleted(job.id)),
    "begin to copy": (
        completed,
        lambda s, job: (
            s.store.client.zadd(rediskeys.ARCHIVE, {job.id: 1}),
            s.jobs.begin_copy(job.id, WORKER),
        ),
    ),
    "copied": (copying, lambda s, job: s.jobs.copied(job, COPY)),
    "not copied": (copying, lambda s, job: s.jobs.not_copied(job, (), "404", again=True, now=False)),
    "never copied": (copying, lambda s, job: s.jobs.not_copied(job, (), "gone", again=False, now=False)),
    "make an endpoint": (nothing, lambda s, _: s.endpoints.create("default", {"url": "http://127.0.0.1/"})),
}


@pytest.fixture
def loopback(service: Service, behind: Service) -> None:
    policy = Policy((ip_network("127.0.0.0/8"),))
    service.endpoints.policy = behind.endpoints.policy = policy
    service.store.load()


def world(service: Service) -> None:
    service.store.client.flushall()
    service.apikeys.create("default")


@pytest.mark.parametrize("verb", VERBS)
def test_a_transition_whose_answer_was_lost_is_applied_once_and_known_to_be(
    verb: str, service: Service, behind: Service, cutter: Cutter, loopback: None
) -> None:
    prepare, act = VERBS[verb]
    world(service)
    told = act(service, prepare(service))
    expected = kept(service)

    world(service)
    job = prepare(service)
    cutter.lose_answers(2, COMMIT.sha.encode())
    told_again = act(behind, job)
    assert cutter.lost == 2
    assert kept(service) == expected
    assert shape(told_again) == shape(told)


@pytest.mark.parametrize("script", [EXPAND, CLAIM, OUTCOMES, PRUNE], ids=lambda script: script.name)
def test_a_script_whose_answer_was_lost_may_be_run_again(
    script: Script, service: Service, behind: Service, cutter: Cutter, loopback: None
) -> None:
    world(service)
    delivered(service, service, script)
    expected = kept(service)

    world(service)
    cutter.lose_answers(1, script.sha.encode())
    delivered(service, behind, script)
    assert cutter.lost == 1
    assert kept(service) == expected


def delivered(service: Service, behind: Service, cut: Script) -> None:
    """One event's whole way, as the forwarder and the clock go it; ``behind`` runs the script that is cut."""
    endpoint, _ = service.endpoints.create("default", {"url": "http://127.0.0.1/"})
    done = completed(service)
    event = done.events[-1]
    ((entry, _),) = cast("Any", service.store.client.xrange(rediskeys.stream("default")))

    def run(script: Script, args: list[Any], keys: tuple[str, ...] = ()) -> Any:
        store = (behind if script is cut else service).store
        try:
            return store.run(script, args, keys)
        except StoreUnavailable:
            if script is CLAIM:
                # Its token is given up: what it has claimed was never sent.
                assert free(service, str(args[0]), lambda _: "u") == 1
                args = ["forwarder-1.again", *args[1:]]
            return store.run(script, args, keys)

    run(EXPAND, ["default", event, entry.decode(), 1, endpoint.id])
    run(CLAIM, ["forwarder-1.0", 10, 10, 1])
    (line,) = service.store.read(lambda pipe: pipe.hget(rediskeys.event(event), endpoint.id))
    token = line.split(b"|")[2].decode()
    run(OUTCOMES, ["default", endpoint.id, event, token, "d", "[1,200,null,1]"])
    if cut is PRUNE:
        run(PRUNE, [done.id, "default", done.rev, "", event], (rediskeys.job(done.id),))


def test_an_acceptance_whose_job_was_begun_before_it_could_be_asked_about_is_an_acceptance(
    service: Service, behind: Service, cutter: Cutter, loopback: None
) -> None:
    def lose_patience() -> float:
        if cutter.lost:
            (ids,) = service.store.read(lambda pipe: pipe.zrange(rediskeys.WINDOW, 0, -1))
            job = service.jobs.admitted(ids[0].decode())
            if job is not None:
                service.jobs.begin(job, TOKEN, WORKER)
        return 0.0

    world(service)
    behind.store.monotonic = lose_patience
    cutter.lose_answers(1, COMMIT.sha.encode())
    accepted = behind.acceptance.accept(order())
    assert service.jobs.get(accepted.id).submission is not None


# -- what is kept, up to names and times -----------------------------------------------------------------

NAMES = re.compile(rb"[0-9a-f]{32}|(evt|ep|key)_[0-9a-z]+")


def kept(service: Service) -> Counter[Any]:
    """Every key of ours and what is in it; RQ's are doorbells, and a lost one is rung again."""
    client = cast("Any", service.store.client)
    return Counter((nameless(key), content(client, key)) for key in client.scan_iter("hr:*", count=1000))


def content(client: Any, key: bytes) -> Any:
    match client.type(key):
        case b"string":
            return nameless(client.get(key))
        case b"zset":
            return str(sorted(nameless(member) for member in client.zrange(key, 0, -1)))
        case b"stream":
            return client.xlen(key)
        case b"set":
            return str(sorted(client.smembers(key)))
        case b"list":
            return client.llen(key)
    return str(sorted((nameless(name), field(name, value)) for name, value in client.hgetall(key).items()))


def field(name: bytes, value: bytes) -> Any:
    """A hash's field; documents, secrets and times only by being there."""
    telling = name in {b"rev", b"open", b"seq", b"unknowns", b"probe", b"window", b"duplicates", b"endpoints"}
    line = re.match(rb"\w\|\d+\|", value)
    return nameless(value) if telling else line.group() if line else None


def nameless(text: bytes) -> bytes:
    return NAMES.sub(b"#", text)


def shape(told: Any) -> Any:
    """What a verb returned, as far as it is not chance."""
    if isinstance(told, Job):
        rows = [(row.outcome, row.status) for row in told.submissions]
        return (told.state, told.reason, told.rev, rows, len(told.events), len(told.timeline))
    return [shape(each) for each in told] if isinstance(told, tuple) else type(told)
