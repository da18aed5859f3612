"""The rest of the vendor's API: results, lists, the account, the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma
from flask import Response

from schemas.documents import MEGABYTE
from schemas.fields import Instant, Items, Object, Strict, Text, Whole, load
from schemas.models import MODELS
from service.sandbox import visits
from service.sandbox.accounts import Account, Accounts
from service.sandbox.answers import Refusal, faulty, reply, success
from service.sandbox.line import Line
from service.sandbox.submit import shown
from service.sandbox.tasks import Task, prediction

_WEEK_NS = 7 * 86_400 * 1_000_000_000


class ListQuery(Strict):
    """The body of ``POST /predictions``."""

    page = Whole(least=1, most=1_000_000, load_default=1)
    page_size = Whole(least=1, most=100, load_default=100)
    model = Text(most=200, load_default=None, allow_none=True)
    status = Text(most=50, load_default=None, allow_none=True)
    created_after = Instant(load_default=None, allow_none=True)
    created_before = Instant(load_default=None, allow_none=True)


class DeleteQuery(Strict):
    """The body of ``POST /predictions/delete``."""

    ids = Items(Text(most=100), least=1, most=1000, required=True)


class PriceQuery(Strict):
    """The body of ``POST /model/price``; what is in ``inputs`` does not change a price here."""

    model_id = Text(most=200, required=True)
    inputs = Object(limit=MEGABYTE, load_default=dict)


@dataclass(frozen=True)
class Wire:
    """The views."""

    accounts: Accounts
    line: Line

    def result(self, task_id: str) -> Response:
        """``GET /predictions/{id}`` and ``GET /predictions/{id}/result``."""
        account = self._admitted("result_get", id=task_id)
        task = self.line.tasks.get(task_id, account)
        current = account.switches()
        how = (task.overrides if task else {}).get("result", current.result)
        if task is not None:
            visits.note(model=task.model)
        if how not in {"ok", "processing"}:
            return faulty(how, current)
        if task is None:
            raise Refusal(404, f"there is no prediction {task_id}")
        if how == "processing":
            return success(prediction(task, status=task.switches.running_status))
        return success(shown(task, self.line))

    def predictions(self) -> Response:
        """``POST /predictions``: newest first, of the last 7 days."""
        account = self._admitted("list")
        query = _loaded(ListQuery())
        found = [task for task in self.line.tasks.of(account) if self._wanted(task, query)]
        start = (query["page"] - 1) * query["page_size"]
        page = [prediction(task) for task in found[start : start + query["page_size"]]]
        return success({"page": query["page"], "total": len(found), "items": page})

    def delete(self) -> Response:
        """``POST /predictions/delete``."""
        account = self._admitted("delete")
        ids = _loaded(DeleteQuery())["ids"]
        visits.note(ids=ids)
        deleted = self.line.tasks.delete(ids, account)
        for task_id in deleted:
            self.line.drop(task_id, account)
        return success({"deleted_count": len(deleted)})

    def secret(self) -> Response:
        """``GET /webhook/secret``, in one of three shapes."""
        account = self._admitted("secret_get")
        switches = account.switches()
        how, shape = switches.secret_get, switches.secret_shape
        if how != "ok":
            return faulty(how, switches)
        if shape == "top":
            return reply({"code": 200, "message": "success", "secret": account.secret})
        return success(account.secret if shape == "data_string" else {"secret": account.secret})

    def balance(self) -> Response:
        """``GET /balance``."""
        switches = self._admitted("balance_get").switches()
        if switches.balance_get != "ok":
            return faulty(switches.balance_get, switches)
        return success({"balance": switches.balance})

    def price(self) -> Response:
        """``POST /model/price``: the base price."""
        self._admitted("price_get")
        model = MODELS.get(_loaded(PriceQuery())["model_id"])
        if model is None:
            raise Refusal(404, f"there is no such model; the sandbox has: {', '.join(MODELS)}")
        return success({"price": float(model.price)})

    def models(self) -> Response:
        """``GET /models``."""
        self._admitted("models_get")
        return success([model.catalogue_entry for model in MODELS.values()])

    def _admitted(self, kind: str, **about: Any) -> Account:
        return visits.admitted(self.accounts, self.line.book, kind, **about)

    def _wanted(self, task: Task, query: dict[str, Any]) -> bool:
        created = datetime.fromtimestamp(task.created_ns / 1e9, UTC)
        after, before = query["created_after"], query["created_before"]
        return (
            task.created_ns > self.line.now_ns() - _WEEK_NS
            and (after is None or created >= after)
            and (before is None or created <= before)
            and query["model"] in {None, task.model}
            and query["status"] in {None, task.status}
        )


def _loaded(schema: Strict) -> dict[str, Any]:
    try:
        return dict(load(schema, visits.json_object()))
    except ma.ValidationError as error:
        raise Refusal(400, visits.sentence(error.messages)) from None
