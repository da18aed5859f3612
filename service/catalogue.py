"""Which models are offered: the Hailuo family in the sandbox, whatever the vendor has with a real one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from marshmallow import ValidationError

from schemas import inputs
from schemas.inputs import Input
from schemas.models import MODELS, check_model_id
from service.errors import HookreelError, NotFound

FRESH: Final = 3600.0
TRIED_AGAIN: Final = 60.0

Rows = list[dict[str, Any]]


class Catalogue:
    """``fetch`` asks the vendor for its catalogue; ``allowed`` is HOOKREEL_MODELS, None for every model."""

    def __init__(
        self,
        fetch: Callable[[], Rows],
        *,
        sandbox: bool,
        allowed: tuple[str, ...] | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fetch = fetch
        self.sandbox = sandbox
        self.allowed = allowed
        self.monotonic = monotonic
        self._rows: Rows = []
        self._until = 0.0
        self._asking = threading.Lock()

    def rows(self) -> Rows:
        """The vendor's catalogue as it is offered here. Raises `VendorUnavailable`."""
        rows = [model.catalogue_entry for model in MODELS.values()] if self.sandbox else self.fetch()
        return [row for row in rows if self.allowed is None or row.get("model_id") in self.allowed]

    def check(self, model_id: str) -> None:
        """Raise `NotFound` for a model that is not offered; it names those that are, where they are few."""
        offered = [name for name in MODELS if self._allows(name)] if self.sandbox else self.allowed
        if offered is not None and model_id not in offered:
            names = ", ".join(offered) or "none"
            raise NotFound(f"there is no model {model_id[:128]!r} here; the models are {names}")
        try:
            check_model_id(model_id)
        except ValidationError:
            raise NotFound(
                f"there is no model {model_id[:128]!r}; a model is like minimax/hailuo-02/fast"
            ) from None

    def parse(self, model_id: str, body: Any) -> Input:
        """A submission's body: our own table for the family, the vendor's schema for any other model.

        Raises ValidationError.
        """
        if model_id in MODELS:
            return inputs.parse(model_id, body)
        return inputs.parse_generic(model_id, body, self._schema(model_id))

    def _allows(self, model_id: str) -> bool:
        return self.allowed is None or model_id in self.allowed

    def _schema(self, model_id: str) -> Any:
        """The vendor's word about the model; None when it says nothing or cannot be asked."""
        if self.monotonic() >= self._until and self._asking.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._asking.release()
        return next((row.get("api_schema") for row in self._rows if row.get("model_id") == model_id), None)

    def _refresh(self) -> None:
        try:
            self._rows, fresh = self.fetch(), FRESH
        except HookreelError as error:
            logging.getLogger(__name__).warning("catalogue.missing", extra={"detail": error.detail})
            fresh = TRIED_AGAIN
        self._until = self.monotonic() + fresh
