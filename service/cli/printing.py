"""What the commands print: for people, or with ``--json`` one JSON object a line and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, and nothing else.")

_WIDE: Final = 200
"""Columns where nobody looks: what is piped is not to be cut to the width of a terminal that is not there."""


def line(document: Mapping[str, Any]) -> None:
    """A JSON object on a line of its own, at once."""
    click.echo(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def facts(document: Mapping[str, Any], *, as_json: bool, leave_out: Iterable[str] = ()) -> None:
    """One thing: a line for each of its fields; what is null or empty is left out."""
    if as_json:
        line(document)
        return
    shown = {name: _words(value) for name, value in document.items() if name not in {*leave_out}}
    shown = {name.replace("_", " "): words for name, words in shown.items() if words}
    width = max(map(len, shown), default=0)
    for name, words in shown.items():
        click.echo(f"{name:<{width}}  {words}")


def table(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool, nothing: str
) -> None:
    """Several things. ``columns``: field -> heading; ``nothing`` is said on stderr when there are none."""
    if as_json:
        for row in rows:
            line(row)
        return
    drawn = Table(*columns.values(), box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*(Text(_words(row.get(name)), overflow="fold") for name in columns))
    if drawn.row_count:
        _console().print(drawn)
    else:
        click.echo(nothing, err=True)


def _console() -> Console:
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def _words(value: Any) -> str:
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(each, (str, int, float)) for each in value):
        return ", ".join(map(str, value))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return safe(text)


def safe(text: str) -> str:
    """What came from elsewhere must not steer the terminal."""
    return "".join(each if each.isprintable() else " " for each in text)
