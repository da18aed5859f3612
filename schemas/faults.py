"""What was wrong with a value, in the words that every surface shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from marshmallow import ValidationError

SHOWN = 40


class Complaint(str):
    """A validation message that also carries its code and what would have been allowed.

    It is a ``str`` so that marshmallow keeps it as it is in ``ValidationError.messages``.
    """

    __slots__ = ("allowed", "code")

    code: str
    allowed: str

    def __new__(cls, detail: str, *, code: str = "invalid", allowed: str = "") -> Self:
        """``detail`` is the whole sentence, with what is allowed in it."""
        complaint = super().__new__(cls, detail)
        complaint.code = code
        complaint.allowed = allowed
        return complaint


@dataclass(frozen=True)
class Fault:
    """One field's fault: a JSON pointer (``""`` is the whole body), a code, a sentence, what is allowed."""

    pointer: str
    code: str
    detail: str
    allowed: str = ""

    @property
    def field(self) -> str:
        """The pointer as people write it: ``event_types.0``."""
        dotted = self.pointer.lstrip("/").replace("/", ".")
        return dotted.replace("~1", "/").replace("~0", "~")

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}" if self.field else self.detail


def refusal(fault: str, *, code: str, allowed: str = "") -> ValidationError:
    """The error to raise for a bad value: ``fault`` says what it is, ``allowed`` what it may be."""
    detail = f"{fault}; {allowed}" if allowed else fault
    return ValidationError(Complaint(detail, code=code, allowed=allowed))


def shown(value: Any) -> str:
    """``value`` as JSON, shortened to 40 characters and safe to print, for a fault that names it.

    Never call it with a secret, nor with a URL: those carry credentials.
    """
    if isinstance(value, (str, bytes)):
        value = value[: SHOWN + 1]
    elif isinstance(value, Mapping):
        return "an object"
    elif isinstance(value, (list, tuple)):
        return "a list"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        return f"a {type(value).__name__}"
    return _shortened(text)


def flatten(messages: Mapping[Any, Any] | list[Any] | str, pointer: str = "") -> tuple[Fault, ...]:
    """The nested messages of marshmallow as a flat tuple, in the order of the fields."""
    return tuple(_walk(messages, pointer))


def _walk(messages: Any, pointer: str) -> Iterator[Fault]:
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            yield from _walk(inner, pointer if key == "_schema" else f"{pointer}/{_segment(key)}")
    elif isinstance(messages, list):
        for inner in messages:
            yield from _walk(inner, pointer)
    elif isinstance(messages, Complaint):
        yield Fault(pointer, messages.code, str(messages), messages.allowed)
    else:
        yield Fault(pointer, "invalid", str(messages))


def _segment(key: Any) -> str:
    """A key of the caller's own making may be anything: shortened, printable, escaped as RFC 6901 says."""
    text = _shortened(str(key)[: SHOWN + 1])
    printable = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return printable.replace("~", "~0").replace("/", "~1")


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
