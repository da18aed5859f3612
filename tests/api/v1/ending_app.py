"""The web process as it is shipped, with streams that end when it is told to."""

from __future__ import annotations

from service.api import ending
from service.wsgi import app

__all__ = ["app"]
ending.watch(app)
