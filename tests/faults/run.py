"""One run: the service under load, faults, rest, and the ledger."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import redis

from tests.faults.client import Client
from tests.faults.house import House, running
from tests.faults.ledger import Ledger, leftovers
from tests.faults.schedule import Hand, drawn
from tests.faults.subscribers import TIMEOUT, Subscribers, SubscriberServer
from tests.faults.vendor import Vendor, planned
from tests.faults.vendorside import VendorServer

SETTINGS = {
    "HOOKREEL_RETRY_SCHEDULE": "0,0.5,1,2,2,2,4,4,4,4,4,4,4,4,4,4",
    "HOOKREEL_UNCERTAIN_AFTER": "6",
    "HOOKREEL_OVERDUE_AFTER": "5",
    "HOOKREEL_SUBMIT_CONCURRENCY": "8",
    "HOOKREEL_LOG_LEVEL": "info",
}

ENDPOINTS: dict[str, dict[str, Any]] = {
    "/steady": {},
    "/flaky": {},
    "/vip": {"channels": ["vip"]},
    "/ordered": {"ordered": True},
    "/paused": {},
    "/late": {"channels": ["nobody"]},
}
"""Who hears of what from the beginning.

``/paused`` is paused every now and then; ``/late`` hears of nothing at first, and later of what it missed.
"""


@dataclass(frozen=True)
class Run:
    """``pace``: seconds between two faults, on average; ``settle``: how long everything may take to end."""

    seed: int
    seconds: float = 60.0
    rate: float = 5.0
    pace: float = 3.0
    settle: float = 120.0
    verbose: bool = False
    """Tell on stderr what is left while it settles."""


@dataclass(frozen=True)
class Report:
    """What came of a run."""

    run: Run
    ledger: Ledger
    settled_in: float
    where: Path
    """The logs and data of every process; gone when the ledger is whole."""

    @property
    def faults(self) -> Counter[str]:
        return Counter(fault.kind for _, fault in self.ledger.faults)

    def __str__(self) -> str:
        ledger, run = self.ledger, self.run
        ends = ", ".join(f"{count} {end}" for end, count in sorted(ledger.ends.items()))
        made = len(ledger.vendor.tasks)
        summary = f"seed {run.seed}: {len(ledger.client.orders)} jobs ({ends}), {made} tasks"
        struck = ", ".join(f"{count} {kind}s" for kind, count in sorted(self.faults.items()))
        books = f"{len(ledger.lost)} lost, {len(ledger.paid_twice)} paid twice, {len(ledger.wrong)} wrong"
        copies = f"{ledger.duplicates} of {ledger.deliveries} deliveries doubled ({ledger.bound} excused)"
        lines = [summary, f"  {struck}", f"  {books}; {copies}; settled in {self.settled_in:.1f} s"]
        if not ledger.whole:
            lines += [f"  ! {each}" for each in (*ledger.lost, *ledger.paid_twice, *ledger.wrong)][:40]
            lines += [f"    {fault}" for _, fault in ledger.faults]
            words = f"--seed {run.seed} --seconds {run.seconds:g} --rate {run.rate:g} --pace {run.pace:g}"
            lines += [f"  again: python -m tests.faults {words}", f"  logs: {self.where}"]
        return "\n".join(lines)


def play(run: Run) -> Report:
    """The whole of it."""
    where = Path(tempfile.mkdtemp(prefix=f"hookreel-faults-{run.seed}-"))
    vendor, subscribers = Vendor(planned(run.seed)), Subscribers(run.seed)
    with (
        VendorServer(vendor).listening() as upstream,
        SubscriberServer(subscribers).listening() as hooks,
        running(where, upstream, **SETTINGS) as house,
    ):
        client = _customer(run, house, subscribers, hooks)
        hand = Hand(house)
        load = Thread(target=client.submit_for, args=(run.seconds, run.rate), daemon=True)
        pausing = Thread(target=client.pause_for, args=("/paused", run.seconds), daemon=True)
        late = Thread(target=client.catch_up, args=("/late", run.seconds / 2), daemon=True)
        for thread in (load, pausing, late):
            thread.start()
        hand.play(drawn(run.seed, run.seconds, run.pace))
        load.join()
        hand.rest()
        pausing.join()
        late.join()
        begun = time.monotonic()
        left = _settle(client, house, run)
        ledger = Ledger(client, vendor, subscribers, hand.done)
        settled_in = time.monotonic() - begun
        ledger.close(left)
    if ledger.whole:
        shutil.rmtree(where)
    return Report(run, ledger, settled_in, where)


def _customer(run: Run, house: House, subscribers: Subscribers, hooks: str) -> Client:
    """A key, and the endpoints that are there from the beginning."""
    _, key = house.service.apikeys.create("default")
    client = Client(run.seed, house.url, key, hooks)
    for path, fields in ENDPOINTS.items():
        body = {"url": hooks + path, "timeout": TIMEOUT, **fields}
        status, made = client.call("POST", "/v1/endpoints", body)
        assert status == 201, made
        subscribers.secrets[path] = made["secret"]
        client.endpoints[path] = made["id"]
    _, answer = client.call("GET", "/api/v3/webhook/secret")
    subscribers.own_secret = answer["data"]["secret"]
    return client


def _settle(client: Client, house: House, run: Run) -> list[str]:
    """Wait until nobody waits for anything any more; what is left when that takes too long."""
    begun, left, told = time.monotonic(), ["?"], 0.0
    while time.monotonic() - begun < run.settle:
        with contextlib.suppress(redis.RedisError, OSError):
            left = leftovers(house.service)
            if not left and not client.waits():
                return []
        passed = time.monotonic() - begun
        if run.verbose and passed > told:
            print(f"  {passed:5.1f} s: {', '.join(left)}", file=sys.stderr)
            told += 5.0
        time.sleep(0.3)
    client.give_up()
    return left or ["clients still wait for an answer"]
