"""The only wiring: settings in, a service out. Time, ids and randomness enter here and nowhere else."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from service import embedded, lifeline, logs, rediskeys
from service.acceptance import Acceptance, Capacity
from service.addresses import Policy
from service.apikeys import ApiKeys
from service.archive import Depot, open_depot, shown
from service.connection import connect
from service.deliveries import Deliveries
from service.durability import check
from service.endpoints import Endpoints
from service.errors import SettingsError, StoreUnavailable, Unavailable
from service.events import EventLog
from service.health import Health
from service.ids import CHANCE_BITS, sortable
from service.inquiry import Inquiry, Patience
from service.jobs import Jobs
from service.ledger import Context
from service.mending import Mender
from service.notices import Notices
from service.predictions import Predictions
from service.presence import Presence, keyrings
from service.queue import Doorbells
from service.records import Job
from service.replays import Replays
from service.samples import Samples
from service.sealing import Sealer
from service.settings import Settings
from service.signingsecrets import WorkspaceSecrets
from service.store import Store
from service.timekeeping import ServiceTime
from service.vendor import Vendor

VERSION = "0.1.0"
USER_AGENT = f"Hookreel/{VERSION}"
SANDBOX_KEY = "sandbox"
ASK_AGAIN = 1.0


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def boottime() -> float:
    """Seconds that go on while the machine sleeps; macOS's monotonic clock does not stop either."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def sortable_id(prefix: str, at_ms: int, seed: bytes | None = None) -> str:
    """An id that sorts by ``at_ms``, and is chance besides, or follows from ``seed``."""
    chance = secrets.randbits(CHANCE_BITS) if seed is None else int.from_bytes(sha256(seed).digest()) >> 191
    return sortable(prefix, at_ms, chance)


@dataclass
class Service:
    """Everything that a process needs, made when it is first used."""

    settings: Settings
    url: str
    role: str
    incarnation: str
    clock: Callable[[], int] = now_ms

    @cached_property
    def store(self) -> Store:
        return Store(self.url)

    @cached_property
    def time(self) -> Callable[[], int]:
        return ServiceTime(self.store, boottime).now

    def durability(self) -> tuple[str, ...]:
        return check(self.store, allow_volatile=self.settings.allow_volatile_store)

    @cached_property
    def sealer(self) -> Sealer:
        return Sealer(self.settings.secret_keys, lambda: keyrings(self.store).values())

    @cached_property
    def policy(self) -> Policy:
        return Policy(self.settings.egress_allow)

    @cached_property
    def presence(self) -> Presence:
        return Presence(self.store, self.incarnation, self.sealer.ring)

    @cached_property
    def notices(self) -> Notices:
        # A subscription is silent for as long as nothing happens.
        return Notices(lambda: connect(self.url, socket_timeout=None))

    @cached_property
    def doorbells(self) -> Doorbells:
        return Doorbells(connect(self.url))

    @cached_property
    def apikeys(self) -> ApiKeys:
        return ApiKeys(self.store, lambda: secrets.token_urlsafe(32), self.clock)

    @cached_property
    def workspace_secrets(self) -> WorkspaceSecrets:
        return WorkspaceSecrets(
            self.store, self.sealer, clock=self.clock, token=self.token, random_bytes=secrets.token_bytes
        )

    @cached_property
    def endpoints(self) -> Endpoints:
        return Endpoints(
            self.store,
            self.sealer,
            self.policy,
            self.workspace_secrets,
            clock=self.clock,
            new_id=lambda: sortable_id("ep_", self.clock()),
            random_bytes=secrets.token_bytes,
        )

    @cached_property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.store, self.endpoints, USER_AGENT)

    @cached_property
    def events(self) -> EventLog:
        return EventLog(self.store)

    @cached_property
    def jobs(self) -> Jobs:
        settings = self.settings
        context = Context(
            clock=self.clock,
            time=self.time,
            token=self.token,
            event_id=self.event_id,
            max_in_flight=settings.max_in_flight,
            submit_for=settings.submit_for,
            api_url=lambda: settings.api_url or self.public_url,
            tells_processing=self.endpoints.tells_processing,
            overdue_after=self.patience.overdue_after,
            archives=self.depot is not None,
            shown=self.shown,
        )
        return Jobs(self.store, context)

    @cached_property
    def depot(self) -> Depot | None:
        settings = self.settings
        if settings.archive is None:
            return None
        return open_depot(settings.archive, settings.secret_keys, self.clock)

    def shown(self, job: Job, base: str) -> Job:
        """The job as it is shown: with links below ``base`` to the copies of its outputs, if there are."""
        return shown(job, base, self.depot) if self.depot and job.files else job

    @cached_property
    def patience(self) -> Patience:
        return Patience(self.store, self.settings.overdue_after)

    @cached_property
    def inquiry(self) -> Inquiry:
        return Inquiry(self.jobs, self.vendor, self.settings.on_uncertain)

    @cached_property
    def mender(self) -> Mender:
        return Mender(self.jobs, self.events, self.endpoints, self.settings.retry_schedule)

    @cached_property
    def health(self) -> Health:
        settings = self.settings
        return Health(
            self.store,
            self.endpoints,
            clock=self.clock,
            event_id=lambda at, seed: sortable_id("evt_", at, seed),
            disable_after=settings.disable_after,
            held_retention=settings.held_retention,
            retention=settings.retention,
        )

    @cached_property
    def samples(self) -> Samples:
        return Samples(self.store, self.endpoints, self.clock, self.event_id)

    @cached_property
    def replays(self) -> Replays:
        return Replays(
            self.store,
            self.endpoints,
            self.jobs,
            clock=self.clock,
            now=self.time,
            new_id=lambda: sortable_id("rpl_", self.clock()),
            retention=self.settings.retention,
        )

    @cached_property
    def predictions(self) -> Predictions:
        return Predictions(self.jobs, self.vendor, self.clock)

    @cached_property
    def acceptance(self) -> Acceptance:
        return Acceptance(
            self.jobs,
            self.endpoints,
            Capacity(self.store, None if self.settings.redis_url else self.settings.data_dir),
            clock=self.clock,
            new_id=self.token,
            max_pending_bytes=self.settings.max_pending_bytes,
            max_queued=self.settings.max_queued,
        )

    @cached_property
    def vendor(self) -> Vendor:
        settings = self.settings
        return Vendor(
            settings.vendor_base_url, settings.vendor_key or SANDBOX_KEY, proxy=settings.vendor_proxy
        )

    @cached_property
    def public_url(self) -> str:
        """What the vendor calls back: as set, else where the web process says that it listens."""
        if self.settings.public_url is not None:
            return self.settings.public_url
        (told,) = self.store.read(lambda pipe: pipe.hget(rediskeys.SERVICE, "public_url"))
        return told.decode() if told else "http://127.0.0.1:8080"

    def close(self) -> None:
        """Give up every connection that was made."""
        made = vars(self)
        if "notices" in made:
            self.notices.close()
        if "doorbells" in made:
            self.doorbells.connection.close()
        if "store" in made:
            self.store.client.close()

    def callback_url(self, job_id: str, token: str) -> str:
        return f"{self.public_url}/callbacks/wavespeed/{job_id}/{token}"

    def event_id(self) -> str:
        return sortable_id("evt_", self.clock())

    @staticmethod
    def token() -> str:
        """Fresh and unguessable: 128 bits."""
        return secrets.token_hex(16)


def build(settings: Settings, role: str) -> Service:
    """A service on the store that the settings name, or on the one embedded in the data directory."""
    url = settings.redis_url or embedded.url(settings.data_dir)
    if url is None:
        raise StoreUnavailable(
            f"no store is running in {settings.data_dir}: start `hookreel up`, or set REDIS_URL"
        )
    return Service(settings, url, role, f"{role}-{os.getpid()}-{secrets.token_hex(4)}")


def begin(role: str) -> Service:
    """What each of our processes does first; it ends, in words, when it may not begin."""
    try:
        settings = Settings.from_env(os.environ)
        settings.check_secret_key()
        settings.check_public()
        settings.check_archive()
        logs.configure(settings.log_level, role)
        lifeline.watch()
        _give_memory_back()
        service = build(settings, role)
        insist_on_durability(service)
    except SettingsError as error:
        sys.exit("\n".join(f"Error: {each}" for each in error.problems))
    return service


def insist_on_durability(service: Service) -> None:
    """Raise `SettingsError` for a store that may forget; one that is away is asked as soon as it is back."""
    if service.settings.redis_url is None:
        return
    try:
        service.durability()
    except Unavailable:
        threading.Thread(target=_insist_later, args=(service,), name="durability", daemon=True).start()


def _insist_later(service: Service) -> None:
    while True:
        # A store that is away tells nobody when it is back.
        time.sleep(ASK_AGAIN)
        try:
            service.durability()
        except Unavailable:
            continue
        except SettingsError as error:
            logging.getLogger(__name__).critical("store.refused", extra={"why": list(error.problems)})
            os.kill(os.getpid(), signal.SIGTERM)
        return


def _give_memory_back() -> None:
    """What importing has left behind: 11 of 76 MB in each process (redis-py's is the largest part).

    glibc keeps freed memory for itself until it is asked; elsewhere there is nothing to ask.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
