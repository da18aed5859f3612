"""JSON texts that cross our boundary: read strictly, measured, never trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final

from schemas.faults import refusal, shown

KILOBYTE: Final = 1024
MEGABYTE: Final = 1024 * 1024
DEPTH: Final = 64


def read(raw: bytes, *, limit: int = MEGABYTE) -> Any:
    """The value of the JSON text ``raw`` (UTF-8, at most ``limit`` bytes).

    Raises ValidationError, and nothing else, for what RFC 8259 and I-JSON (RFC 7493) leave open:
    NaN and infinities, duplicate names, lone surrogates, more than 64 levels.
    """
    if len(raw) > limit:
        raise refusal(f"is {len(raw)} bytes long", code="too_large", allowed=f"at most {limit} bytes")
    try:
        value = _DECODER.decode(raw.decode())
    except UnicodeDecodeError:
        raise refusal("is not UTF-8", code="invalid_json", allowed="JSON in UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        # Also integers over the interpreter's limit of 4300 digits, which are no JSONDecodeError.
        raise refusal(f"is not JSON: {_reason(error)}", code="invalid_json") from None
    if b"\\u" in raw or raw.count(b"[") + raw.count(b"{") > DEPTH:
        # Of what `check` looks for, no other text can hold anything.
        check(value)
    return value


def check(value: Any) -> None:
    """Refuse a parsed JSON value that could not be written again: see `read`. Raises ValidationError."""
    level = [value]
    for _ in range(DEPTH + 1):
        level = [inner for item in level for inner in _parts(item)]
        if not level:
            return
    raise _too_deep()


def without_surrogates(value: Any) -> Any:
    """A parsed JSON value in which a ``?`` stands for each lone surrogate."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def check_text(text: str) -> None:
    """Refuse a text with a lone surrogate, which no UTF-8 can carry. Raises ValidationError."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refusal("holds a lone surrogate", code="invalid_unicode", allowed="Unicode text") from None


def compact(value: Any) -> bytes:
    """``value`` (one that `check` has passed) as compact JSON in UTF-8: what its size is measured on."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _parts(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return [*item, *item.values()]
    if isinstance(item, list):
        return item
    if isinstance(item, str):
        check_text(item)
    elif isinstance(item, float) and not math.isfinite(item):
        raise refusal("holds a number that is not finite", code="invalid_json", allowed="finite numbers")
    return ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {shown(twice)} stands twice in one object")
    return value


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{shown(text)} is not finite")
    return value


def _constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=_constant)


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (line {error.lineno}, column {error.colno})"
    text = str(error)
    return "an integer of more than 4300 digits" if "digits" in text else text


def _too_deep() -> Exception:
    return refusal("is nested too deeply", code="too_deep", allowed=f"at most {DEPTH} levels")
