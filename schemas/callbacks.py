"""What the vendor POSTs when a task ends: the bare prediction object, without an envelope."""

from __future__ import annotations

from typing import Final

from schemas import documents
from schemas.predictions import Prediction, read_prediction

MAX_BYTES: Final = documents.MEGABYTE


def read_callback(body: bytes) -> Prediction:
    """The prediction in the raw ``body`` of a callback, whose signature was verified on these bytes.

    Raises ValidationError and nothing else, whatever the bytes are; at most 1 MB of them.
    """
    return read_prediction(documents.read(body, limit=MAX_BYTES))
