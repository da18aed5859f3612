"""``python -m benchmarks.field [row...]``: the benchmark against the field, as a table and as JSON.

The exit status is 1 when a bound is not held. The JSON is printed last; that of a whole run is kept in
``benchmarks/results/field.json``, and ``docs/field.svg`` is drawn from it. With ``--publish-url`` another
server stands where Hookreel does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.field import costs, drains, fanout, hanging, plot, rates
from benchmarks.field.parts import Contender, Receiver, receiver, send
from benchmarks.field.receiver import DEFAULT_PATTERN
from benchmarks.field.rivals import other
from benchmarks.field.told import FULL, QUICK, Scale, Told
from benchmarks.figures import document, show

ROWS: dict[str, Callable[[Scale], Told]] = {
    "rates": rates.rates,
    "highest": rates.highest,
    "threads": rates.threads,
    "tasks": rates.tasks,
    "fanout": fanout.fan_out,
    "backlog": drains.backlogs,
    "forwarders": drains.by_forwarders,
    "hanging": hanging.hanging,
    "kept": costs.kept,
    "idle": costs.idle,
}
OTHERS = {"rates": rates.other_rates, "highest": rates.other_highest}
"""The rows of another server: what needs more than one subscription is not among them."""
WIDTH = 160
SUBSCRIBED_WITHIN, ASK_AGAIN = 300, 0.5


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for, and tell it."""
    asked = _asked(arguments)
    begun = time.monotonic()
    told = _other(asked) if asked.publish_url else _ours(asked.rows or list(ROWS), _scale(asked))
    show(told.figures, Console(width=WIDTH))
    found = document(told.figures, time.monotonic() - begun)
    found["points"] = [each.document() for each in told.points]
    print(json.dumps(found))
    if not (asked.rows or asked.publish_url or asked.quick or asked.rate):
        plot.RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        plot.main()
    return int(not found["held"])


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.field", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"all, or some of: {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it works")
    parser.add_argument(
        "--rate", type=int, action="append", help="events a second, instead of 50, 200 and 500"
    )
    server = parser.add_argument_group("another server in Hookreel's place")
    server.add_argument("--publish-url", metavar="URL", help="where it takes an event by POST (http)")
    server.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="for its POSTs"
    )
    server.add_argument("--body-template", type=Path, metavar="FILE", help="an event's body, with {id} in it")
    server.add_argument("--receiver-host", default="127.0.0.1", help="where the receiver listens")
    server.add_argument("--receiver-port", type=int, default=0)
    asked = parser.parse_args(arguments)
    known = OTHERS if asked.publish_url else ROWS
    for each in asked.rows:
        if each not in known:
            parser.error(f"there is no row {each} here; the rows are {', '.join(known)}")
    if bool(asked.publish_url) != bool(asked.body_template):
        parser.error("--publish-url and --body-template belong together")
    return asked


def _scale(asked: argparse.Namespace) -> Scale:
    scale = QUICK if asked.quick else FULL
    return replace(scale, rates=tuple(asked.rate)) if asked.rate else scale


def _ours(rows: list[str], scale: Scale) -> Told:
    told = Told()
    for name in rows:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        told = told.and_(ROWS[name](scale))
    return told


def _other(asked: argparse.Namespace) -> Told:
    headers = dict(each.partition(":")[::2] for each in asked.header)
    template = asked.body_template.read_text("utf-8").strip()
    try:
        who = other(asked.publish_url, {name: value.strip() for name, value in headers.items()}, template)
    except ValueError as error:
        sys.exit(f"Error: {error}")
    with receiver(pattern=DEFAULT_PATTERN, host=asked.receiver_host, port=asked.receiver_port) as to:
        _subscribed(who, to)
        told = Told()
        for name in asked.rows or OTHERS:
            told = told.and_(OTHERS[name](who, to, template, _scale(asked)))
        return told


def _subscribed(who: Contender, to: Receiver) -> None:
    """Until a first event has come: meanwhile the subscription is made, by hand."""
    print(f"subscribe {to.url(0)} at {who.name}; waiting for a first event", file=sys.stderr, flush=True)
    deadline = time.monotonic() + SUBSCRIBED_WITHIN
    while not to.count():
        if time.monotonic() > deadline:
            sys.exit(f"Error: nothing came in {SUBSCRIBED_WITHIN} s")
        sent = send(who.address, 1, who.publish(1))
        print(f"an event was answered with {next(iter(sent.values())).status}", file=sys.stderr, flush=True)
        # The other server is told of the subscription by hand, and cannot say when it has it.
        time.sleep(ASK_AGAIN)
    to.take()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
