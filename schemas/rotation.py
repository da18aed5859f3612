"""Putting another signing secret in the place of the present one."""

from __future__ import annotations

from typing import Final

from schemas.endpoints import Secret
from schemas.fields import Number, Strict

DAY: Final = 86_400
LONGEST_OVERLAP: Final = 7 * DAY


class RotationSchema(Strict):
    """The body of ``POST .../rotate``. ``secret`` None: make one; ``overlap`` None: what is usual there."""

    overlap = Number(least=0, most=LONGEST_OVERLAP, unit="seconds", load_default=None)
    secret = Secret(load_default=None)
