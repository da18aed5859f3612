"""Three books that know nothing of each other, and whether they agree: client's, vendor's, subscribers'.

What the service says of a job is asked for over HTTP when all is over, like any client would; what it must
not have forgotten anywhere is looked for in its store.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from service import rediskeys
from service.bootstrap import Service
from tests.faults.client import Client, Order
from tests.faults.schedule import Fault
from tests.faults.subscribers import Receipt, Subscribers
from tests.faults.vendor import OK, Task, Vendor, output_of

UNKNOWN, REFUSED, NEVER = 9001, 9003, 9004
ATTEMPTS_OF = ("forwarder-1", "forwarder-2", "valkey", "guardian", "connections")
"""Whose fault may lose the outcome of an attempt, which is then made again."""
IN_FLIGHT = 1.0
"""Seconds around the beginning and the end of a fault: an attempt of then may not have been recorded."""


@dataclass
class Ledger:
    """``faults``: when each was done, and which it was."""

    client: Client
    vendor: Vendor
    subscribers: Subscribers
    faults: list[tuple[float, Fault]]
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the service says of each job that it knows, by id."""
    events: dict[str, list[str]] = field(default_factory=dict)
    """The final events of each job, oldest first."""
    order: list[str] = field(default_factory=list)
    """All events, oldest first."""
    lost: list[str] = field(default_factory=list)
    paid_twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    duplicates: int = 0
    deliveries: int = 0
    ends: Counter[str] = field(default_factory=Counter)

    @property
    def whole(self) -> bool:
        return not (self.lost or self.paid_twice or self.wrong)

    def close(self, left: list[str]) -> None:
        """Compare the books. ``left``: what the store still holds."""
        self.wrong += left
        self._read_the_service()
        self._check_answers()
        for order in self.client.orders:
            if order.job:
                self._check_job(order)
        self._check_order()
        self._check_duplicates()

    def _read_the_service(self) -> None:
        path = "/v1/jobs?limit=100"
        while path:
            _, page = self.client.call("GET", path)
            self.told.update((each["prediction_id"], each) for each in page["data"])
            path = f"/v1/jobs?limit=100&cursor={page['next']}" if page["next"] else ""
        after, events = "0", defaultdict(list)
        while True:
            _, page = self.client.call("GET", f"/v1/events?limit=100&after={after}")
            if not page["data"]:
                break
            for each in page["data"]:
                events[each["data"]["id"]].append(each["id"])
                self.order.append(each["id"])
            after = page["next"]
        self.events = dict(events)

    # -- the client's book --------------------------------------------------------------------------------

    def _check_answers(self) -> None:
        known = set()
        for order in self.client.orders:
            known |= order.ids
            strange = {status for status, _ in order.answers} - {None, OK, 409, 429, 502, 503, 504}
            if strange:
                self.wrong.append(f"{order.key}: answered {strange}")
            if len(order.ids) > 1:
                self.wrong.append(f"{order.key}: one key, several jobs {order.ids}")
            if not order.job:
                self.lost.append(f"{order.key}: never accepted, last answers {order.answers[-3:]}")
        self.lost += [f"{job}: accepted and forgotten" for job in sorted(known - set(self.told))]
        self.wrong += [f"{job}: nobody's job" for job in sorted(set(self.told) - known)]

    # -- the vendor's book --------------------------------------------------------------------------------

    def _check_job(self, order: Order) -> None:
        told = self.told.get(order.job)
        if told is None:
            return
        posts = [post for post in self.vendor.posts if post.job == order.job]
        billable = [post for post in posts if post.how != "429"]
        if len(billable) > 1:
            self.paid_twice.append(f"{order.job}: {[(post.how, post.token[:6]) for post in posts]}")
        task = self.vendor.tasks.get(next((post.task for post in posts if post.task), ""))
        self._check_end(order, told, [post.how for post in billable], task)
        self._check_events(order, told)

    def _check_end(self, order: Order, told: dict[str, Any], hows: list[str], task: Task | None) -> None:
        state, code = told["state"], told["code"]
        self.ends[f"{state} {code}" if code else state] += 1
        outputs = list(told["outputs"])
        if state == "completed":
            good = task is not None and outputs == [output_of(task)]
        elif state != "failed":
            good = False
        elif code == UNKNOWN:
            # Honest as long as nobody told: no callback was taken, and no GET was answered with the end.
            heard = task is not None and (task.told or any(status == OK for _, status in task.calls))
            good = not heard
        elif code == REFUSED:
            good = hows == ["400"]
        elif code == NEVER:
            good = task is None
        else:
            good = task is not None and task.ends == "failed"
        if not good:
            row = (
                order.key,
                state,
                code,
                told["error"],
                hows,
                task and (task.ends, task.calls, len(task.told)),
            )
            self.lost.append(f"{order.job}: {row}")

    # -- the subscribers' books ---------------------------------------------------------------------------

    def _check_events(self, order: Order, told: dict[str, Any]) -> None:
        events = self.events.get(order.job, [])
        if set(events) != set(told["events"]) or not events:
            self.wrong.append(f"{order.job}: its events are {told['events']}, listed are {events}")
        for path in self._hear_of(order):
            taken = self.subscribers.taken(path)
            for event in told["events"]:
                receipts = taken.get(event, [])
                if not receipts:
                    self.lost.append(f"{order.job}: {path} never heard of {event}")
                self._check_receipts(order, path, receipts)
                self.deliveries += 1

    @staticmethod
    def _hear_of(order: Order) -> list[str]:
        vip = ["/vip"] if order.channel == "vip" else []
        return [
            "/steady",
            "/flaky",
            "/ordered",
            "/paused",
            "/late",
            *vip,
            *([order.own] if order.own else []),
        ]

    def _check_receipts(self, order: Order, path: str, receipts: list[Receipt]) -> None:
        self.duplicates += max(0, len(receipts) - 1)
        if len({each.digest for each in receipts}) > 1:
            self.wrong.append(f"{order.job}: {path} was told different things")
        if not all(each.verified and each.job == order.job for each in receipts):
            self.wrong.append(f"{order.job}: {path} got what does not verify")

    def _check_order(self) -> None:
        """Whoever is told in order takes no event before the one that happened earlier."""
        first = {event: receipts[0].at for event, receipts in self.subscribers.taken("/ordered").items()}
        came = sorted((event for event in self.order if event in first), key=lambda event: first[event])
        early = [event for event, due in zip(came, self.order, strict=False) if event != due]
        if early:
            self.wrong.append(f"/ordered: {len(early)} of {len(came)} out of order, the first is {early[0]}")

    def _check_duplicates(self) -> None:
        stray = {
            (path, each.event)
            for path, receipts in self.subscribers.receipts.items()
            for each in receipts
            if each.event not in self.events.get(each.job, ())
        }
        self.wrong += [f"{path} got {event}, which nobody knows" for path, event in sorted(stray)]
        if self.duplicates > self.bound:
            self.wrong.append(f"{self.duplicates} duplicates, at most {self.bound} are excused")

    @property
    def bound(self) -> int:
        """Attempts whose outcome the faults may have kept from being recorded."""
        moments = [
            moment
            for at, fault in self.faults
            if fault.target in ATTEMPTS_OF
            for moment in (at, at + fault.seconds)
        ]
        ends = [each.at for receipts in self.subscribers.receipts.values() for each in receipts]
        return sum(any(abs(end - moment) <= IN_FLIGHT for moment in moments) for end in ends)


def leftovers(service: Service) -> list[str]:
    """What the store still holds of work: nothing, when all is over."""
    client: Any = service.store.client
    found = {
        name: client.zcard(getattr(rediskeys, name))
        for name in (
            "WAITING",
            "LATER",
            "WINDOW",
            "UNCERTAIN",
            "SILENT",
            "OPEN_EVENTS",
            "FLIGHT",
            "TURNS",
            "LEAVING",
            "REPLAYING",
        )
    }
    found["PENDING_BYTES"] = int(client.get(rediskeys.PENDING_BYTES) or 0)
    found["RQ's queue"] = client.llen("rq:queue:vendor")
    for pattern in ("waiting:*", "blob:*", "running:*", "due:*", "wait:*", "late:*", "line:*", "unfanned:*"):
        found[pattern] = sum(1 for _ in client.scan_iter(rediskeys.PREFIX + pattern, count=1000))
    for workspace in (name.decode() for name in client.smembers(rediskeys.WORKSPACES)):
        found[f"stream of {workspace}"] = client.xlen(rediskeys.stream(workspace))
        found[f"pending of {workspace}"] = client.xpending(rediskeys.stream(workspace), rediskeys.GROUP)[
            "pending"
        ]
    for key in client.scan_iter(rediskeys.event("*"), count=1000):
        found["open deliveries"] = found.get("open deliveries", 0) + int(client.hget(key, "open") or 0)
    return [f"{count} left in {name}" for name, count in found.items() if count]
