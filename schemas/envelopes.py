"""The vendor's envelope around every answer, and how its words may be repeated.

``{"code": 200, "message": "success", "data": {...}}``. Errors have been seen in four other shapes besides:
``{"error"}``, ``{"message", "error_code"}``, ``{"code", "message", "data": {"error"}}``, and no JSON at all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas import documents

FINE = 200
"""The envelope's ``code`` when all is well, and what an absent one means."""

MESSAGE_LIMIT = 500
"""Characters of a message that we keep."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# The official client pays for a failed task again when its text contains "HTTP 5" or "HTTP 429".
_PAYS_AGAIN = re.compile(r"http ?(?=5|429)", re.IGNORECASE)
_CODES = range(100, 10_000)


@dataclass(frozen=True)
class Envelope:
    """The vendor's envelope, as far as it could be read.

    ``readable`` is False when the body is no JSON object. ``code`` is 200 when absent and None when it is no
    integer; ``upstream_id`` is a well-formed ``data.id``; ``said`` is what the vendor put into words, raw.
    """

    readable: bool = False
    document: dict[str, Any] = field(default_factory=dict, repr=False)
    code: int | None = None
    upstream_id: str | None = None
    said: str = ""

    @property
    def data(self) -> Any:
        """The content, of whatever shape; None when absent."""
        return self.document.get("data")

    @property
    def complaint(self) -> int | None:
        """The vendor's number for an error, in either spelling; None when it gives none."""
        numbers = (self.document.get("code"), self.document.get("error_code"))
        return next((number for number in numbers if _is_code(number) and number != FINE), None)


def _is_code(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _CODES


def read_envelope(body: bytes | None) -> Envelope:
    """Whatever these bytes are, as an envelope. Never raises."""
    try:
        document = json.loads(body or b"", parse_constant=lambda _name: None, parse_float=_finite)
        if body and b"\\ud" in body.lower():
            document = documents.without_surrogates(document)
    except (ValueError, RecursionError):
        return Envelope(said=_plain_text(body or b""))
    if not isinstance(document, dict):
        return Envelope()
    code = document.get("code")
    return Envelope(
        readable=True,
        document=document,
        code=FINE if code is None else code if _is_code(code) else None,
        upstream_id=_identifier(document.get("data")),
        said=_words(document),
    )


def _finite(text: str) -> float | None:
    return value if math.isfinite(value := float(text)) else None


def _identifier(data: Any) -> str | None:
    candidate = data.get("id") if isinstance(data, dict) else None
    return candidate if isinstance(candidate, str) and _ID.fullmatch(candidate) else None


def _words(document: dict[str, Any]) -> str:
    """What an error says, in any of the four shapes in which the vendor's errors have been seen."""
    data = document.get("data")
    inner = data.get("error") if isinstance(data, dict) else None
    told = (document.get("message"), document.get("error"), inner)
    return "; ".join(dict.fromkeys(words for words in told if isinstance(words, str) and words))


def _plain_text(body: bytes) -> str:
    """A gateway in front of the vendor answers in plain text, ``error code: 502``; its pages say nothing."""
    text = body[: 4 * MESSAGE_LIMIT].decode("utf-8", "replace").strip()
    return "" if text.startswith(("<", "{", "[")) else text


def safe_text(text: str, hide: Iterable[str] = ()) -> str:
    """One printable line of at most ``MESSAGE_LIMIT``, without ``hide``, "HTTP 5" and "HTTP 429".

    Unprintable characters go first: one between "HTTP" and "5" must not shield the two.
    """
    line = " ".join("".join(c for c in word if c.isprintable()) for word in text.split())
    line = " ".join(line.split())
    for secret in sorted(filter(None, hide), key=len, reverse=True):
        line = line.replace(secret, "[hidden]")
    return _PAYS_AGAIN.sub("status ", line)[:MESSAGE_LIMIT]
