"""Deliveries: what is sent for a claim, and what its outcome means."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service import backoff, events, rediskeys
from service.endpoints import Endpoints
from service.errors import NotFound
from service.records import Attempt, Delivery, Endpoint
from service.sender import Outcome, Request
from service.signing import sign_v1, sign_v3
from service.signingsecrets import Secrets
from service.store import Store, Word

GONE = 410
SLOW_DOWN = frozenset({429, 502, 503, 504})
MOST_MESSAGES = 1024
ID_PREFIX = "dlv_"


class Claim(NamedTuple):
    """A delivery that is ours to attempt; ``attempt`` counts from 1."""

    workspace: str
    endpoint: str
    event: str
    token: str
    attempt: int

    def outcome(self, verdict: str, attempt: Attempt | None = None) -> list[Word]:
        """The words that scripts/outcomes.lua wants."""
        item = attempt.item() if attempt else ""
        return [self.workspace, self.endpoint, self.event, self.token, verdict, item]


class Message:
    """An event as it is sent, once for each form in which an endpoint may want it."""

    def __init__(self, stored: bytes) -> None:
        self.standard = events.body_of(stored)
        self._forms: dict[str, bytes] = {}

    def body(self, endpoint: Endpoint) -> bytes:
        """The raw body that this endpoint gets."""
        if endpoint.format == "wavespeed":
            return self._form("wavespeed", events.bare_prediction)
        if not endpoint.include_input:
            return self._form("bare", events.without_input)
        return self.standard

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
        now = self.clock()
        at = int(now)
        sign = sign_v3 if endpoint.format == "wavespeed" else sign_v1
        signatures = [sign(each, claim.event, at, body) for each in self._opened(endpoint).live(now * 1000)]
        headers = (
            ("content-type", "application/json"),
            ("user-agent", self.user_agent),
            ("webhook-id", claim.event),
            ("webhook-timestamp", str(at)),
            ("webhook-signature", " ".join(signatures)),
            *endpoint.headers.items(),
        )
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


def _trim(cache: OrderedDict[str, Any], keep: int = 0) -> None:
    while len(cache) > MOST_MESSAGES + keep:
        cache.popitem(last=False)


class Verdict(NamedTuple):
    """What an outcome means: the word for the store, and whether it disables the endpoint."""

    word: str
    attempt: Attempt
    disables: bool = False


def judge(
    outcome: Outcome, claim: Claim, schedule: tuple[float, ...], *, now_ms: int, jitter: float
) -> Verdict:
    """2xx is delivered, 410 disables, everything else is tried again while the schedule lasts.

    ``jitter`` in [-1, 1]. A 429, 502, 503 or 504 may ask for more time by ``Retry-After``.
    """
    if outcome.delivered:
        return Verdict("d", Attempt(now_ms, outcome.status, None, outcome.duration_ms))
    attempt = Attempt(now_ms, outcome.status, outcome.error, outcome.duration_ms, outcome.detail)
    if outcome.error is None and outcome.status == GONE:
        return Verdict("h", attempt, disables=True)
    asked = None
    if outcome.status in SLOW_DOWN:
        asked = backoff.parse_retry_after(outcome.retry_after, now_ms / 1000)
    return Verdict(again(claim.attempt, schedule, jitter, asked), attempt)


def again(attempt: int, schedule: tuple[float, ...], jitter: float, asked: float | None = None) -> str:
    """The word for a failed attempt: when the next one is due, or that there is none."""
    delay = backoff.delay(schedule, attempt, jitter, asked)
    return "x" if delay is None else f"r{int(delay * 1000)}"


def delivery_id(event: str, endpoint: str) -> str:
    """``dlv_<event>_<endpoint>``: nothing has to be looked up to find it."""
    return f"{ID_PREFIX}{event.removeprefix('evt_')}_{endpoint.removeprefix('ep_')}"


class Deliveries:
    """Reading deliveries; they are fields of their event, so a list walks the workspace's events."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def get(self, workspace: str, wanted: str) -> Delivery:
        """Raises `NotFound`."""
        event, _, endpoint = wanted.removeprefix(ID_PREFIX).partition("_")
        event, endpoint = f"evt_{event}", f"ep_{endpoint}"
        (found,) = self.store.read(lambda pipe: pipe.hmget(rediskeys.event(event), "ws", endpoint))
        owner, line = found
        if not wanted.startswith(ID_PREFIX) or line is None or owner.decode() != workspace:
            raise NotFound(f"there is no delivery {wanted[:96]}")
        return Delivery.from_line(event, endpoint, line)

    def of_events(self, events_: list[str]) -> list[tuple[str, list[Delivery]]]:
        """Every delivery of each event, with the job it is about, in one round trip."""

        def ask(pipe: Any) -> None:
            for each in events_:
                pipe.hgetall(rediskeys.event(each))

        return [
            (
                fields.get(b"job", b"").decode(),
                [
                    Delivery.from_line(event, name.decode(), line)
                    for name, line in fields.items()
                    if name.startswith(b"ep_")
                ],
            )
            for event, fields in zip(events_, self.store.read(ask), strict=True)
        ]
