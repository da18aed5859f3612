"""What was wrong with a value, in the words that every surface shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class Complaint(str):
    """A validation message that also carries its code and what would have been allowed.

    It is a ``str`` so that marshmallow keeps it as it is in ``ValidationError.messages``.
    """

    __slots__ = ("allowed", "code")

    code: str
    allowed: str

    def __new__(cls, detail: str, *, code: str = "invalid", allowed: str = "") -> Complaint:
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
        return self.pointer.lstrip("/").replace("/", ".")

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}" if self.field else self.detail


def flatten(messages: Mapping[Any, Any] | list[Any] | str, pointer: str = "") -> tuple[Fault, ...]:
    """marshmallow's nested messages as a flat tuple, in the order of the fields."""
    return tuple(_walk(messages, pointer))


def _walk(messages: Any, pointer: str) -> Iterator[Fault]:
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            yield from _walk(inner, pointer if key == "_schema" else f"{pointer}/{key}")
    elif isinstance(messages, list):
        for inner in messages:
            yield from _walk(inner, pointer)
    elif isinstance(messages, Complaint):
        yield Fault(pointer, messages.code, str(messages), messages.allowed)
    else:
        yield Fault(pointer, "invalid", str(messages))
