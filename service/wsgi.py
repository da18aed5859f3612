"""What granian serves: ``granian --interface wsgi service.wsgi:app``."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from service import rediskeys
from service.api import SECRET, create_app, ending
from service.bootstrap import Service, begin
from service.connection import LOST
from service.errors import Unavailable
from service.vendorsecret import VendorSecret

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0


def announce(service: Service, bound: str) -> None:
    """Tell the store that this process is there, and where the vendor calls back unless that was set."""
    if service.settings.public_url is None:
        service.store.write(lambda pipe: pipe.hset(rediskeys.SERVICE, "public_url", bound))
    service.presence.start()


def prepare(service: Service, secret: VendorSecret, bound: str) -> None:
    """What may have to wait for the store and the vendor: tried until it is done, beside the serving."""
    for step in (lambda: announce(service, bound), secret.current):
        pause = FIRST_PAUSE
        while not _done(step):
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _done(step: Callable[[], object]) -> bool:
    try:
        step()
    except (Unavailable, *LOST) as error:
        logging.getLogger(__name__).warning("web.waits", extra={"detail": str(error)})
        return False
    return True


_service = begin("web")
app = create_app(_service)
ending.watch(app)
# `hookreel serve` says where it listens; granian itself is told by the Procfile, with the runner's PORT.
_bound = os.environ.get("HOOKREEL_BOUND_URL") or f"http://127.0.0.1:{os.environ.get('PORT', '8080')}"
threading.Thread(
    target=prepare, args=(_service, app.extensions[SECRET], _bound), name="prepare", daemon=True
).start()
