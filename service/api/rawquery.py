"""The query of a submission, as it stands in the URL.

Clients of the vendor write ``?webhook=https://x.example/hook?job=1&kind=a`` as well as the percent-encoded
form. A webhook with a ``?`` of its own was not encoded: all that follows is part of it, up to a parameter
that is ours.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

_OURS = ("webhook", "channel", "metadata")
_WEBHOOK = re.compile(r"(?:^|&)webhook=")
_NEXT_OURS = re.compile(r"&(?:channel|metadata)=")


def submit_query(raw: bytes) -> dict[str, str]:
    """The parameters that are ours, the first of each, decoded; what is no UTF-8 becomes surrogates."""
    text = raw.decode("utf-8", "surrogateescape")
    found: dict[str, str] = {}
    at = _WEBHOOK.search(text)
    if at is not None:
        webhook, rest = _webhook(text[at.end() :])
        found["webhook"] = webhook
        text = f"{text[: at.start()]}&{rest}"
    for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape"):
        if name in _OURS:
            found.setdefault(name, value)
    return found


def _webhook(text: str) -> tuple[str, str]:
    """The webhook at the beginning of ``text``, and what comes after it."""
    value, _, rest = text.partition("&")
    if "?" not in value:
        # Without a "?" of its own a URL that was not encoded ends here too; only its path may then hold
        # percent signs, unless it is the "?" itself that is encoded.
        plain = "://" in value and "%3f" not in value.lower()
        return (value if plain else unquote(value, errors="surrogateescape")), rest
    end = _NEXT_OURS.search(text)
    return (text, "") if end is None else (text[: end.start()], text[end.start() + 1 :])
