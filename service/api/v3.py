"""The vendor-compatible API beside submissions: results, lists, deletion, and what only the vendor knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, request
from marshmallow import Schema

from schemas.faults import Fault
from schemas.fields import load
from schemas.queries import DeleteBody, PredictionsBody, PriceBody, UploadBody
from service.api import answers, http
from service.api.submissions import LIMIT, wire
from service.bootstrap import Service
from service.catalogue import Catalogue
from service.errors import InvalidInput, VendorUnavailable
from service.predictions import Filter
from service.records import Job
from service.vendor import UploadUnsupported

_PREDICTIONS, _DELETE, _PRICE, _UPLOAD = PredictionsBody(), DeleteBody(), PriceBody(), UploadBody()


@dataclass(frozen=True)
class Api:
    """The views, and what they need."""

    service: Service
    catalogue: Catalogue

    def register(self, app: Flask) -> None:
        """Every route under ``/api/v3`` but the submission's."""
        routes = (
            ("GET", "/predictions/<job_id>/result", self.result),
            ("GET", "/predictions/<job_id>", self.result),
            ("POST", "/predictions", self.page),
            ("POST", "/predictions/delete", self.delete),
            ("GET", "/models", self.models),
            ("GET", "/webhook/secret", self.secret),
            ("GET", "/balance", self.balance),
            ("POST", "/model/price", self.price),
            ("POST", "/media/uploads", self.ticket),
            ("POST", "/media/upload/binary", self.upload),
        )
        for method, path, view in routes:
            app.add_url_rule(f"/api/v3{path}", f"v3 {method} {path}", view, methods=[method])

    def result(self, job_id: str) -> Response:
        """One prediction, as far as it is."""
        job = self.service.predictions.get(self._workspace(), job_id)
        return answers.good(self._shown(job))

    def page(self) -> Response:
        """Newest first, of the last 7 days; the items carry no input."""
        workspace = self._workspace()
        asked = _loaded(_PREDICTIONS)
        page, size = asked.pop("page"), asked.pop("page_size")
        jobs = self.service.predictions.page(workspace, Filter(**asked), page, size)
        return answers.good({"page": page, "items": [self._shown(job) for job in jobs]})

    def delete(self) -> Response:
        """Finished predictions only; all of them or none."""
        workspace = self._workspace()
        count = self.service.predictions.delete(workspace, _loaded(_DELETE)["ids"])
        return answers.good({"deleted_count": count})

    def models(self) -> Response:
        """The vendor's catalogue, as far as it is offered here."""
        self._workspace()
        return answers.good(self.catalogue.rows())

    def secret(self) -> Response:
        """What the caller's ``?webhook=`` deliveries are signed with."""
        return answers.good({"secret": self.service.workspace_secrets.of(self._workspace()).newest})

    def balance(self) -> Response:
        """The vendor's account, in USD."""
        self._workspace()
        return answers.good({"balance": self.service.vendor.balance()})

    def price(self) -> Response:
        """What one job would cost, in USD."""
        self._workspace()
        asked = _loaded(_PRICE)
        return answers.good({"price": self.service.vendor.price(asked["model_id"], asked["inputs"])})

    def ticket(self) -> Response:
        """The vendor's own upload ticket: the bytes go to the vendor's storage and not through here."""
        self._workspace()
        asked = {name: value for name, value in _loaded(_UPLOAD).items() if value is not None}
        return answers.good(self.service.vendor.ticket(asked))

    def upload(self) -> Response:
        """The old way to upload: a multipart form with the bytes in ``file``."""
        self._workspace()
        http.check_size(request, LIMIT)
        request.max_content_length = LIMIT
        given = request.files.get("file")
        if given is None:
            raise InvalidInput(
                Fault("/file", "required", "is required; a file in a multipart form", "a file")
            )
        name, kind, data = (
            given.filename or "file",
            given.mimetype or "application/octet-stream",
            given.read(),
        )
        try:
            url = self.service.vendor.upload(name, data, kind)
        except UploadUnsupported as error:
            raise VendorUnavailable(error.detail) from error
        return answers.good({"type": kind, "download_url": url, "filename": name, "size": len(data)})

    def _workspace(self) -> str:
        return http.authorize(self.service.apikeys).workspace

    def _shown(self, job: Job) -> dict[str, Any]:
        base = self.service.settings.api_url or http.origin()
        return wire(self.service.shown(job, base), base)


def _loaded(schema: Schema) -> dict[str, Any]:
    loaded: dict[str, Any] = load(schema, http.read_json())
    return loaded
