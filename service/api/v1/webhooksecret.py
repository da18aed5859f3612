"""``/v1/webhook-secret``: what the deliveries to jobs' own ``?webhook=`` are signed with."""

from __future__ import annotations

from typing import Any

from schemas.rotation import RotationSchema
from service.api.v1.endpoints import secrets_shown
from service.api.v1.resource import Resource, caller, here
from service.api.v1.shapes import RotatedView, SecretView

webhook_secret = Resource("webhook-secret", "The workspace's secret for jobs' own `?webhook=` URLs.")


@webhook_secret.on("GET", "/webhook-secret")
@webhook_secret.gives(200, SecretView())
def show() -> dict[str, Any]:
    """Show the workspace's webhook secret.

    The one that `/api/v3/webhook/secret` shows, and those before it that sign as well.
    """
    return secrets_shown(here().workspace_secrets.of(caller().workspace))


@webhook_secret.on("POST", "/webhook-secret/rotate")
@webhook_secret.takes(RotationSchema(), example={"overlap": 0})
@webhook_secret.gives(200, RotatedView())
def rotate(body: dict[str, Any]) -> dict[str, Any]:
    """Change the workspace's webhook secret.

    The one before it goes on signing for `overlap` seconds, 0 when not given: a receiver written as the
    vendor's page shows refuses two signatures. At most 10 are live at once.
    """
    return secrets_shown(here().workspace_secrets.rotate(caller().workspace, **body))
