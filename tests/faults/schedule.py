"""What happens to whom, and when: drawn from a seed, so that a failing run can be had again."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from dataclasses import dataclass

import psutil
import redis

from tests.faults.house import House, Role

TARGETS = {
    "web": 3,
    "server": 1,  # granian's own child alone
    "worker-1": 4,
    "worker-2": 3,
    "forwarder-1": 3,
    "forwarder-2": 2,
    "clock": 2,
    "valkey": 3,
    "guardian": 1,  # whose Valkey ends with it
}
ROLES = {"server": "web", "valkey": "store", "guardian": "store"}
KINDS = {"kill": 10, "end": 3, "pause": 5}
LONGER_THAN_ANY_LIMIT = 10.0
SHORT = 3.0


@dataclass(frozen=True)
class Fault:
    """At ``at`` seconds; ``seconds``: how long the pause is, or until it is started again."""

    at: float
    kind: str
    """kill (SIGKILL), end (SIGTERM), pause (SIGSTOP, SIGCONT), cut (every connection to the store)."""
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.at:5.1f} s  {self.kind} {self.target}, {self.seconds:.1f} s"


def drawn(seed: int, seconds: float, pace: float) -> list[Fault]:
    """A fault about every ``pace`` seconds; the last one early enough to fall into the load."""
    dice = random.Random(f"faults {seed}")
    faults, at, paused = [], 1.0, dict.fromkeys(TARGETS, 0.0)
    while at < seconds - 1:
        faults.append(fault := _one(dice, at, paused, seconds))
        if fault.kind == "pause":
            paused[fault.target] = at + fault.seconds
        at += dice.uniform(0.5, 1.5) * pace
    return faults


def _one(dice: random.Random, at: float, paused: dict[str, float], seconds: float) -> Fault:
    if dice.random() < 0.12:
        return Fault(at, "cut", "connections", 0.0)
    # Who is stopped is not hit a second time: a paused process that is killed never comes back.
    free = [name for name in TARGETS if paused[name] <= at]
    target = dice.choices(free, [TARGETS[name] for name in free])[0]
    kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
    if kind == "pause":
        # One pause in two is longer than every limit, if there is time for it.
        long = dice.random() < 0.5 and seconds > 2 * LONGER_THAN_ANY_LIMIT
        least = LONGER_THAN_ANY_LIMIT if long else 0.5
        return Fault(at, kind, target, dice.uniform(least, least + SHORT))
    return Fault(at, kind, target, dice.choice((0.05, dice.uniform(0.2, 2.0))))


class Hand:
    """Lets faults befall a house; ``watched`` is asked what is in flight at that moment."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.done: list[tuple[float, Fault]] = []
        """When (monotonic), and what."""
        self._timers: list[threading.Timer] = []

    def play(self, faults: list[Fault]) -> None:
        """In time from now on."""
        begun = time.monotonic()
        pause = threading.Event()
        for fault in faults:
            pause.wait(max(0.0, begun + fault.at - time.monotonic()))
            if self._strike(fault):
                self.done.append((time.monotonic(), fault))

    def rest(self) -> None:
        """Whoever is paused goes on."""
        for timer in self._timers:
            timer.join()

    def _strike(self, fault: Fault) -> bool:
        if fault.kind == "cut":
            return self._cut()
        role = self.house.roles[ROLES.get(fault.target, fault.target)]
        victims = self._victims(role, fault)
        if fault.kind == "pause":
            timer = threading.Timer(fault.seconds, self._resume, (victims,))
            self._timers.append(timer)
            timer.start()
        else:
            role.delay = fault.seconds
        number = {"kill": signal.SIGKILL, "end": signal.SIGTERM, "pause": signal.SIGSTOP}[fault.kind]
        sent = [self._send(process, number) for process in victims]
        return any(sent)

    @staticmethod
    def _victims(role: Role, fault: Fault) -> list[psutil.Process]:
        """Whom it befalls: the process, of web and store also what it has started, or that alone."""
        family = role.family()
        if fault.target in {"valkey", "server"}:
            return family[1:]
        return family[:1] if fault.target == "guardian" or fault.kind == "end" else family

    def _resume(self, stopped: list[psutil.Process]) -> None:
        for process in stopped:
            self._send(process, signal.SIGCONT)

    @staticmethod
    def _send(process: psutil.Process, number: signal.Signals) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            return True
        return False

    def _cut(self) -> bool:
        client = self.house.service.store.client
        with contextlib.suppress(redis.RedisError, OSError):
            for kind in ("normal", "pubsub"):
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            return True
        return False
