"""Deliveries: what is sent for a claim, and what its outcome means."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service import backoff, events, rediskeys
from service.endpoints import Endpoints
from service.errors import NotFound
from service.records import Attempt, Delivery, Endpoint
from service.sender import ANSWER_KEPT, Outcome, Request
from service.signing import sign_v1, sign_v3
from service.signingsecrets import Secrets
from service.store import Store, Word

GONE = 410
SLOW_DOWN = frozenset({429, 502, 503, 504})
MOST_MESSAGES = 1024
ID_PREFIX = "dlv_"
CONTENT_TYPES = {"cloudevents": "application/cloudevents+json"}
"""By the format, where it is not plain JSON."""


class Claim(NamedTuple):
    """A delivery that is ours to attempt; ``attempt`` counts from 1. Once sent: when, in ms, and to where."""

    workspace: str
    endpoint: str
    event: str
    token: str
    attempt: int
    sent_at: int = 0
    host: str = ""

    def outcome(self, verdict: str, attempt: Attempt | None = None, answer: str = "") -> list[Word]:
        """The words that scripts/outcomes.lua wants."""
        item = attempt.item() if attempt else ""
        said = f"{item}\n{answer}" if answer else item
        return [self.workspace, self.endpoint, self.event, self.token, verdict, said]


class Message:
    """An event as it is sent, once for each form in which an endpoint may want it."""

    def __init__(self, stored: bytes) -> None:
        self.standard = events.body_of(stored)
        self._forms: dict[str, bytes] = {}

    def body(self, endpoint: Endpoint) -> bytes:
        """The raw body that this endpoint gets."""
        if endpoint.format == "wavespeed":
            return self._form("wavespeed", events.bare_prediction)
        told = self.standard if endpoint.include_input else self._form("bare", events.without_input)
        if endpoint.format == "cloudevents":
            name = f"cloudevents {endpoint.include_input}"
            return self._form(name, lambda _: events.cloud_event(told, endpoint.workspace))
        return told

    def _form(self, name: str, make: Callable[[bytes], bytes]) -> bytes:
        if name not in self._forms:
            self._forms[name] = make(self.standard)
        return self._forms[name]


@dataclass
class Mailroom:
    """Turns claims into signed requests; keeps what it has read of endpoints, secrets and events.

    ``clock``: unix seconds; ``user_agent``: as webhooks say it.
    """

    store: Store
    endpoints: Endpoints
    clock: Callable[[], float]
    user_agent: str
    _directories: dict[str, tuple[str, dict[str, Endpoint]]] = field(default_factory=dict)
    _own: OrderedDict[str, Endpoint] = field(default_factory=OrderedDict)
    _secrets: dict[tuple[str, str], Secrets] = field(default_factory=dict)
    _messages: OrderedDict[str, Message] = field(default_factory=OrderedDict)

    def load(self, claims: list[Claim], revisions: dict[str, str], documents: dict[str, bytes]) -> None:
        """Keep the events' documents, and read what else the claims need and is not known yet."""
        for workspace, revision in revisions.items():
            if self._directories.get(workspace, ("", {}))[0] != revision:
                listed = {each.id: each for each in self.endpoints.list(workspace)}
                self._directories[workspace] = (revision, listed)
                self._secrets.clear()
        self._load_own([claim.endpoint for claim in claims if self._listed(claim) is None])
        for event, stored in documents.items():
            if event not in self._messages:
                self._messages[event] = Message(stored)
            self._messages.move_to_end(event)
        _trim(self._messages, keep=len(claims))

    def endpoint(self, claim: Claim) -> Endpoint | None:
        """None: it was deleted."""
        return self._listed(claim) or self._own.get(claim.endpoint)

    def request(self, claim: Claim, endpoint: Endpoint) -> Request | None:
        """The signed POST of this attempt. None: the event itself is gone."""
        message = self._messages.get(claim.event)
        if message is None:
            return None
        body = message.body(endpoint)
        sent_at = int(self.clock() * 1000)
        at = sent_at // 1000
        sign = sign_v3 if endpoint.format == "wavespeed" else sign_v1
        signatures = [sign(each, claim.event, at, body) for each in self._opened(endpoint).live(sent_at)]
        headers = (
            ("content-type", CONTENT_TYPES.get(endpoint.format, "application/json")),
            ("user-agent", self.user_agent),
            ("webhook-id", claim.event),
            ("webhook-timestamp", str(at)),
            ("webhook-signature", " ".join(signatures)),
            *endpoint.headers.items(),
        )
        claim = claim._replace(sent_at=sent_at, host=host_of(endpoint.url))
        return Request(key=claim, url=endpoint.url, headers=headers, body=body, timeout=endpoint.timeout)

    def _listed(self, claim: Claim) -> Endpoint | None:
        return self._directories.get(claim.workspace, ("", {}))[1].get(claim.endpoint)

    def _opened(self, endpoint: Endpoint) -> Secrets:
        key = (endpoint.workspace, endpoint.secret)
        if key not in self._secrets:
            self._secrets[key] = self.endpoints.secrets(endpoint)
        return self._secrets[key]

    def _load_own(self, ids: list[str]) -> None:
        unknown = [each for each in dict.fromkeys(ids) if each not in self._own]
        if unknown:
            found = zip(unknown, self.endpoints.find_all(unknown), strict=True)
            self._own.update((each, endpoint) for each, endpoint in found if endpoint and endpoint.job)
        _trim(self._own)


def host_of(url: str) -> str:
    """Host and port as the URL has them; cheaper than taking all of it apart."""
    return url.split("/", 3)[2]


def _trim(cache: OrderedDict[str, Any], keep: int = 0) -> None:
    while len(cache) > MOST_MESSAGES + keep:
        cache.popitem(last=False)


class Verdict(NamedTuple):
    """What an outcome means: the word for the store, the attempt, and the answer if it is worth keeping."""

    word: str
    attempt: Attempt
    answer: str = ""

    @property
    def disables(self) -> bool:
        """Whether nothing more is to be sent there: it is gone, or an ordered endpoint has to stop."""
        return self.word in {"g", "s"}


def judge(
    outcome: Outcome,
    claim: Claim,
    schedule: tuple[float, ...],
    *,
    now_ms: int,
    jitter: float,
    stops: bool = False,
) -> Verdict:
    """2xx is delivered, 410 disables, everything else is tried again while the schedule lasts.

    ``jitter`` in [-1, 1]. A 429, 502, 503 or 504 may ask for more time by ``Retry-After``. ``stops``: the
    endpoint goes no further when the schedule is over.
    """
    phases = (outcome.dns_ms, outcome.connect_ms, outcome.tls_ms, outcome.first_byte_ms)
    at = claim.sent_at or now_ms
    if outcome.delivered:
        return Verdict("d", Attempt(at, outcome.status, None, outcome.duration_ms, phases))
    attempt = Attempt(at, outcome.status, outcome.error, outcome.duration_ms, phases, outcome.detail)
    answer = _text(outcome.answer)
    if outcome.error is None and outcome.status == GONE:
        return Verdict("g", attempt, answer)
    asked = None
    if outcome.status in SLOW_DOWN:
        asked = backoff.parse_retry_after(outcome.retry_after, now_ms / 1000)
    word = again(claim.attempt, schedule, jitter, asked)
    return Verdict("s" if stops and word == "x" else word, attempt, answer)


def _text(answer: bytes) -> str:
    # What stands for a byte that is no UTF-8 is three bytes long.
    text = answer.decode("utf-8", "replace").encode()
    return text[:ANSWER_KEPT].decode("utf-8", "ignore")


def again(attempt: int, schedule: tuple[float, ...], jitter: float, asked: float | None = None) -> str:
    """The word for a failed attempt: when the next one is due, or that there is none."""
    delay = backoff.delay(schedule, attempt, jitter, asked)
    return "x" if delay is None else f"r{math.ceil(delay * 1000)}"


def delivery_id(event: str, endpoint: str) -> str:
    """``dlv_<event>_<endpoint>``: nothing has to be looked up to find it."""
    return f"{ID_PREFIX}{event.removeprefix('evt_')}_{endpoint.removeprefix('ep_')}"


def parts_of(delivery: str) -> tuple[str, str]:
    """The ids of its event and its endpoint; what is no delivery's id has none that exist."""
    event, _, endpoint = delivery.removeprefix(ID_PREFIX).partition("_")
    return f"evt_{event}", f"ep_{endpoint}"


class Deliveries:
    """Reading deliveries; they are fields of their event, so a list walks the workspace's events."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def get(self, workspace: str, wanted: str) -> Delivery:
        """Raises `NotFound`."""
        event, endpoint = parts_of(wanted)
        found, off = self.store.read(
            lambda pipe: pipe.hmget(rediskeys.event(event), "ws", endpoint).hget(
                rediskeys.endpoint(endpoint), "off"
            )
        )
        owner, line = found
        if line is None or owner.decode() != workspace:
            raise NotFound(f"there is no delivery {wanted[:96]}")
        return Delivery.from_line(event, endpoint, line, off=off == b"1")

    def answers(self, event: str, endpoint: str) -> dict[int, str]:
        """The first answer and the last of a delivery that is not made, by when their attempts were."""
        (kept,) = self.store.read(
            lambda pipe: pipe.hmget(rediskeys.event(event), f"first:{endpoint}", f"last:{endpoint}")
        )
        pairs = (each.decode("utf-8", "replace").split("|", 1) for each in kept if each)
        return {int(at): answer for at, answer in pairs}

    def of_events(self, events_: list[str]) -> list[tuple[str, list[Delivery]]]:
        """Every delivery of each event, with the job it is about, in one round trip."""

        def ask(pipe: Any) -> None:
            for each in events_:
                pipe.hgetall(rediskeys.event(each))

        found = self.store.read(ask) if events_ else []
        off = self._off({name for fields in found for name in fields if name.startswith(b"ep_")})
        return [
            (
                fields.get(b"job", b"").decode(),
                [
                    Delivery.from_line(event, name.decode(), line, off=name in off)
                    for name, line in fields.items()
                    if name.startswith(b"ep_")
                ],
            )
            for event, fields in zip(events_, found, strict=True)
        ]

    def _off(self, endpoints: set[bytes]) -> set[bytes]:
        """Those of ``endpoints`` to which nothing is sent just now."""
        names = list(endpoints)

        def ask(pipe: Any) -> None:
            for each in names:
                pipe.hget(rediskeys.endpoint(each.decode()), "off")

        told = self.store.read(ask) if names else []
        return {name for name, off in zip(names, told, strict=True) if off == b"1"}
