"""``/sandbox/...``: the switches and the book, over HTTP.

The account is the one of ``Authorization: Bearer KEY`` or ``?key=KEY``; without either it is everybody.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from flask import Response, request

from service.errors import InvalidInput
from service.sandbox import visits
from service.sandbox.accounts import Account, Accounts
from service.sandbox.answers import Refusal, reply
from service.sandbox.book import KINDS
from service.sandbox.line import Line
from service.sandbox.switchboard import Overrides, parse

LONGEST_WAIT = 60
MOST_AT_ONCE = 10_000


@dataclass(frozen=True)
class Control:
    """The views."""

    accounts: Accounts
    line: Line

    def switches(self) -> Response:
        """GET, PUT (replaces all of them) and DELETE ``/sandbox/switches``."""
        account = self._account()
        if request.method == "PUT":
            account.switch(_parsed(visits.json_object()))
        elif request.method == "DELETE":
            account.switch({})
        return reply({"set": account.overrides(), "in_force": asdict(account.switches())})

    def queue(self) -> Response:
        """GET, POST (``{"count": 2, "switches": {...}}``) and DELETE ``/sandbox/next``."""
        account = self._account()
        if request.method == "POST":
            self._enqueue(account, visits.json_object())
        elif request.method == "DELETE":
            account.clear_queue()
        return reply({"queued": account.queued()})

    def log(self) -> Response:
        """GET (by kind, id, model, done; until ``count`` or ``wait`` seconds) and DELETE ``/sandbox/log``."""
        if request.method == "DELETE":
            self.line.book.clear()
            return reply([])
        wanted = self._wanted()
        seconds = min(_number("wait", 0.0), LONGEST_WAIT)
        return reply(self.line.book.wait(int(_number("count", 1)), seconds, **wanted))

    def counts(self) -> Response:
        """``GET /sandbox/counts``."""
        account = self._account()
        return reply(self.line.book.counts(account.name or None))

    def rotate(self) -> Response:
        """``POST /sandbox/rotate-secret``."""
        account = self._account()
        if account is self.accounts.everybody:
            raise Refusal(400, "which account's? give its key as Authorization: Bearer or as ?key=")
        return reply({"secret": account.rotate()})

    def release(self) -> Response:
        """``POST /sandbox/release``: send the webhooks that are held."""
        return reply({"released": self.line.courier.release(self._account().name or None)})

    def ready(self) -> Response:
        """``GET /livez``."""
        return reply({"ready": True, "service": "hookreel sandbox"})

    def _account(self) -> Account:
        return self.accounts.of(visits.key() or request.args.get("key", ""))

    def _enqueue(self, account: Account, body: dict[str, Any]) -> None:
        count = body.pop("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_AT_ONCE:
            raise Refusal(400, f"count: {count!r} is not an integer from 1 to {MOST_AT_ONCE}")
        if set(body) != {"switches"}:
            raise Refusal(400, 'the body is {"count": N, "switches": {...}}')
        if not account.queue(_parsed(body["switches"]), count):
            raise Refusal(400, "too many submissions have switches queued")

    def _wanted(self) -> dict[str, Any]:
        args = request.args
        wanted: dict[str, Any] = {name: args[name] for name in ("kind", "id", "model") if name in args}
        if wanted.get("kind", KINDS[0]) not in KINDS:
            raise Refusal(400, f"kind: {wanted['kind']!r} is not one of {', '.join(KINDS)}")
        if "done" in args:
            wanted["done"] = args["done"] == "true"
        account = self._account()
        return wanted | ({"account": account.name} if account.name else {})


def _parsed(body: object) -> Overrides:
    try:
        return parse(body)
    except InvalidInput as error:
        raise Refusal(400, str(error)) from None


def _number(name: str, default: float) -> float:
    text = request.args.get(name, str(default))
    if not text.replace(".", "", 1).isdigit():
        raise Refusal(400, f"{name}: {text!r} is not a number")
    return float(text)
