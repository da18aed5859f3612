"""The web process as one Flask app: the vendor-compatible API, the management API, callback and health."""

from __future__ import annotations

import time

from flask import Flask, Response, request
from flask.json.provider import DefaultJSONProvider

from schemas.documents import MEGABYTE
from service.api import answers, problems, v1
from service.api.callbacks import Callbacks
from service.api.files import Files
from service.api.health import Durability, Health
from service.api.proxies import TrustedProxies
from service.api.submissions import Submissions
from service.api.v3 import Api
from service.bootstrap import Service
from service.catalogue import Catalogue
from service.vendorsecret import VendorSecret
from service.waiters import Waiters

SECRET = "hookreel.vendor_secret"  # noqa: S105 - a name, in the app's `extensions`


class Json(DefaultJSONProvider):
    """Compact, fields in their own order."""

    compact = True
    sort_keys = False
    ensure_ascii = False


def create_app(service: Service, waiters: Waiters | None = None) -> Flask:
    """The app on ``service``. Nothing is connected to before the first request.

    ``waiters``: for sync mode, where they are not to be 16 for 90 s each.
    """
    app = Flask("service", static_folder=None)
    app.json = Json(app)
    app.config["MAX_CONTENT_LENGTH"] = MEGABYTE
    # A redirect would have clients POST a second time.
    app.url_map.merge_slashes = False
    app.register_error_handler(Exception, _answer)
    _register(app, service, waiters or Waiters(service.jobs.get, service.notices))
    v1.register(app, service)
    app.wsgi_app = Callbacks(app.wsgi_app, service.jobs, app.extensions[SECRET])  # type: ignore[method-assign]
    if service.settings.trusted_proxies:
        app.wsgi_app = TrustedProxies(app.wsgi_app, service.settings.trusted_proxies)  # type: ignore[method-assign]
    return app


def _register(app: Flask, service: Service, waiters: Waiters) -> None:
    settings = service.settings
    secret = VendorSecret(
        service.store,
        service.sealer,
        service.vendor.webhook_secret,
        clock=service.clock,
        configured=settings.vendor_webhook_secret,
    )
    catalogue = Catalogue(service.vendor.models, sandbox=settings.sandbox, allowed=settings.models)
    app.extensions[SECRET] = secret
    Api(service, catalogue).register(app)
    Submissions(service, catalogue, waiters).register(app)
    Files(service).register(app)
    Health(service, secret, Durability(service.durability, time.monotonic)).register(app)


def _answer(error: Exception) -> Response:
    """Each surface has its own shape for errors."""
    vendors = request.path.startswith(("/api/v3", "/callbacks"))
    return answers.answer(error) if vendors else problems.answer(error)
