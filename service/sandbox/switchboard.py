"""From what people write to switches: JSON objects, ``[sandbox: ...]`` in a prompt; and their table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import marshmallow as ma

from schemas.faults import flatten
from schemas.fields import Choice, Items, is_integer, load
from service.errors import InvalidInput
from service.sandbox.switches import Switches, SwitchesSchema

SCHEMA = SwitchesSchema()
NAMES = tuple(each.name for each in fields(Switches))
_MAGIC = re.compile(r"\[sandbox:([^\]]*)\]")

Overrides = Mapping[str, Any]


def parse(body: object) -> dict[str, Any]:
    """The switches that a JSON object sets; raises InvalidInput with one fault for each bad one.

    A number may stand for the word that spells it: ``{"submit": 429}``.
    """
    given = {name: _spelled(name, value) for name, value in body.items()} if isinstance(body, dict) else body
    try:
        return dict(load(SCHEMA, given))
    except ma.ValidationError as error:
        raise InvalidInput(*flatten(error.messages)) from None


def from_prompt(prompt: object) -> dict[str, Any]:
    """The switches of ``[sandbox: callback=none delay=2]`` in a prompt; a list is written ``0.1,0.2``."""
    if not isinstance(prompt, str):
        return {}
    pairs = [pair.partition("=") for text in _MAGIC.findall(prompt) for pair in text.split()]
    return parse({name: _value(name, text) for name, _, text in pairs})


def in_force(*layers: Overrides) -> Switches:
    """The defaults with each layer over the one before."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return Switches(**merged)


def table() -> str:
    """The switches as a table in Markdown: name, what it may be, default, what it does."""
    rows = [f"| `{name}` | {_cell(name)} | {SCHEMA.fields[name].metadata['description']} |" for name in NAMES]
    return "\n".join(("| switch | values (**default**) | what it does |", "|---|---|---|", *rows))


def _cell(name: str) -> str:
    default = asdict(Switches())[name]
    choices = _choices(name)
    if choices:
        return " ".join(_word(word, bold=word == default) for word in choices)
    return f"{_allowed(name)} ({_word(default, bold=True)})"


def _word(value: object, *, bold: bool = False) -> str:
    text = f"`{value if isinstance(value, str) else json.dumps(value)}`"
    return f"**{text}**" if bold else text


def _choices(name: str) -> tuple[object, ...]:
    field = SCHEMA.fields[name]
    words = getattr(field, "choices", ())
    return (*words, None) if words and field.allow_none else tuple(words)


def _allowed(name: str) -> str:
    field = SCHEMA.fields[name]
    words = getattr(getattr(field, "inner", None), "choices", ())
    each = f", each {' '.join(map(_word, words))}" if words else ""
    return f"{getattr(field, 'allowed', '')}{each}{' or null' if field.allow_none else ''}"


def _spelled(name: str, value: object) -> object:
    return str(value) if isinstance(SCHEMA.fields.get(name), Choice) and is_integer(value) else value


def _value(name: str, text: str) -> Any:
    if isinstance(SCHEMA.fields.get(name), Items):
        return [_scalar(each) for each in text.split(",") if each]
    return _scalar(text)


def _scalar(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
