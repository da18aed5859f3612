"""Deliveries: what is sent for a claim, and what its outcome means."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from schemas.eventtypes import INTERRUPTED
from service import backoff, events, rediskeys
from service.endpoints import Endpoints
from service.errors import Conflict, NotFound
from service.records import DELIVERY_STATES, Attempt, Delivery, Endpoint
from service.sender import ANSWER_KEPT, Outcome, Request
from service.signing import sign_v1, sign_v3
from service.signingsecrets import Secrets
from service.store import REVIVE, WITHDRAW, Store, Word

GONE = 410
SLOW_DOWN = frozenset({429, 502, 503, 504})
MOST_MESSAGES = 1024
ID_PREFIX = "dlv_"
ENDED = "dxc"
"""The letters of the states in which nothing is owed any more, as the store keeps them."""
OPEN = "pr"
HIDDEN = "***"
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
        self.stored = stored
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
    refused: set[str] = field(default_factory=set)
    """Endpoints that only a later release can read."""
    _directories: dict[str, tuple[str, dict[str, Endpoint]]] = field(default_factory=dict)
    _own: OrderedDict[str, Endpoint] = field(default_factory=OrderedDict)
    _secrets: dict[tuple[str, str], Secrets] = field(default_factory=dict)
    _messages: OrderedDict[str, Message] = field(default_factory=OrderedDict)

    def load(self, claims: list[Claim], revisions: dict[str, str], documents: dict[str, bytes]) -> None:
        """Keep the events' documents, and read what else the claims need and is not known yet."""
        for workspace, revision in revisions.items():
            if self._directories.get(workspace, ("", {}))[0] != revision:
                self._directories[workspace] = (revision, self._read(self.endpoints.ids(workspace)))
                self._secrets.clear()
        self._load_own([claim.endpoint for claim in claims if self._listed(claim) is None])
        for event, stored in documents.items():
            known = self._messages.get(event)
            # It may have been redacted meanwhile.
            if known is None or known.stored != stored:
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
        sent = claim._replace(sent_at=int(self.clock() * 1000), host=host_of(endpoint.url))
        return _signed(sent, endpoint, message, self._opened(endpoint), self.user_agent)

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
            self._own.update((id_, each) for id_, each in self._read(unknown).items() if each.job)
        _trim(self._own)

    def _read(self, ids: list[str]) -> dict[str, Endpoint]:
        found, refused = self.endpoints.readable(ids)
        for each in refused - self.refused:
            logging.getLogger(__name__).warning("endpoint.unreadable", extra={"endpoint": each})
        self.refused = (self.refused - {*ids}) | refused
        return found


def _signed(claim: Claim, endpoint: Endpoint, message: Message, secrets: Secrets, user_agent: str) -> Request:
    """The POST of ``claim`` as of the moment at which it is sent."""
    body, at = message.body(endpoint), claim.sent_at // 1000
    sign = sign_v3 if endpoint.format == "wavespeed" else sign_v1
    signatures = [sign(each, claim.event, at, body) for each in secrets.live(claim.sent_at)]
    headers = (
        ("content-type", CONTENT_TYPES.get(endpoint.format, "application/json")),
        ("user-agent", user_agent),
        ("webhook-id", claim.event),
        ("webhook-timestamp", str(at)),
        ("webhook-signature", " ".join(signatures)),
        *endpoint.headers.items(),
    )
    return Request(key=claim, url=endpoint.url, headers=headers, body=body, timeout=endpoint.timeout)


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
    """What was sent to whom; deliveries are fields of their event, so a list walks the workspace's events.

    ``user_agent``: as webhooks say it.
    """

    def __init__(self, store: Store, endpoints: Endpoints, user_agent: str) -> None:
        self.store = store
        self.endpoints = endpoints
        self.user_agent = user_agent

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
            raise _unknown(wanted)
        return Delivery.from_line(event, endpoint, line, off=off == b"1")

    def retry(self, workspace: str, wanted: str) -> None:
        """Due at once, whatever became of it, and with its whole schedule before it again.

        Raises `NotFound`, and `Conflict` while it is under way or when its endpoint was deleted.
        """
        found = self.get(workspace, wanted)
        words: list[Word] = [workspace, found.endpoint, OPEN + ENDED, found.event]
        revived, under_way, _ = self.store.run(REVIVE, words)
        if under_way:
            raise _under_way(wanted)
        if not revived:
            self.get(workspace, wanted)
            raise _endpoint_deleted(wanted)

    def cancel(self, workspace: str, wanted: str) -> None:
        """Nobody wants it any more. Raises `NotFound`, and `Conflict` unless it is open and waits."""
        found = self.get(workspace, wanted)
        letter, under_way = self.store.run(WITHDRAW, [workspace, found.endpoint, found.event])
        state = letter.decode()
        if under_way:
            raise _under_way(wanted)
        if not state:
            raise _unknown(wanted)
        if state in ENDED:
            word = DELIVERY_STATES[state].value
            raise Conflict(f"delivery {wanted[:96]} is {word}; only one that waits can be cancelled")

    def request(self, workspace: str, wanted: str, number: int) -> Request:
        """The POST of an attempt (the first is 1); the values of the endpoint's own headers are hidden.

        It is made anew from the event, the endpoint as it is set now, and the moment of the attempt: what was
        set otherwise then is not told, and where the secret was changed since, it is signed with those that
        are live now. Raises `NotFound`, and `Conflict` where it cannot be made any more.
        """
        delivery = self.get(workspace, wanted)
        attempt = _attempt(delivery, number)
        endpoint = self.endpoints.find(delivery.endpoint)
        if endpoint is None:
            raise _endpoint_deleted(wanted)
        (found,) = self.store.read(lambda pipe: pipe.hmget(rediskeys.event(delivery.event), "doc", "label"))
        doc, label = found
        if doc is None:
            raise _unknown(wanted)
        if label is not None:
            raise Conflict(f"event {delivery.event} was redacted: what was sent is not kept")
        shown = replace(endpoint, headers=dict.fromkeys(endpoint.headers, HIDDEN))
        claim = Claim(workspace, endpoint.id, delivery.event, "", number, attempt.at)
        return _signed(claim, shown, Message(doc), self.endpoints.secrets(endpoint), self.user_agent)

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


def _unknown(delivery: str) -> NotFound:
    return NotFound(f"there is no delivery {delivery[:96]}")


def _under_way(delivery: str) -> Conflict:
    return Conflict(f"delivery {delivery[:96]} is under way just now; wait until that attempt has ended")


def _endpoint_deleted(delivery: str) -> Conflict:
    return Conflict(f"the endpoint of delivery {delivery[:96]} was deleted")


def _attempt(delivery: Delivery, number: int) -> Attempt:
    if not 1 <= number <= len(delivery.attempts):
        raise NotFound(f"there is no attempt {number}; {len(delivery.attempts)} have ended")
    attempt = delivery.attempts[number - 1]
    if attempt.error == INTERRUPTED:
        raise Conflict(f"attempt {number} was interrupted: nobody knows whether it was sent")
    return attempt
