"""``/v1/replays``: everything that an endpoint has missed, delivered in the background."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from schemas.queries import PageQuery
from schemas.replays import MissingSchema, RecoverSchema
from service.api.v1.resource import Resource, caller, here, lists
from service.api.v1.shapes import ReplayView, listed
from service.events import timestamp
from service.records import Replay

_LAST: Final = 253_402_300_799_999
"""The last moment of the year 9999, in ms."""

replays = Resource("replays", "What was given up, or never there, delivered in the background.")


@replays.on("POST", "/endpoints/<endpoint_id>/recover")
@replays.takes(RecoverSchema(), example={"since": "2026-11-22T05:00:00Z"})
@replays.gives(202, ReplayView())
def recover(body: dict[str, Any], endpoint_id: str) -> dict[str, Any]:
    """Deliver again what was given up.

    Each exhausted or cancelled delivery of this endpoint, of events since `since`. It goes on in the
    background, with all replays together at most 500 deliveries a second; at most 10 of a workspace run at a
    time.
    """
    since, until = ms(body["since"]), body["until"] and ms(body["until"])
    return shown(here().replays.recover(caller().workspace, endpoint_id, since, until))


@replays.on("POST", "/endpoints/<endpoint_id>/replay-missing")
@replays.takes(MissingSchema(), example={"include_earlier": True}, required=False)
@replays.gives(202, ReplayView())
def replay_missing(body: dict[str, Any], endpoint_id: str) -> dict[str, Any]:
    """Deliver what an endpoint never had.

    Each event of its types and channels that it has no delivery of; with `include_earlier` those from before
    it was made as well. In the background, as `recover`.
    """
    since, until = (moment and ms(moment) for moment in (body["since"], body["until"]))
    earlier = body["include_earlier"]
    return shown(
        here().replays.replay_missing(caller().workspace, endpoint_id, since, until, earlier=earlier)
    )


@replays.on("GET", "/replays")
@replays.takes(PageQuery(), "query")
@replays.gives(200, listed(ReplayView))
def show_all(query: dict[str, Any]) -> dict[str, Any]:
    """List replays.

    Those that go on, and those that have ended, for as long as jobs are kept.
    """
    load = here().replays.find_all
    page = lists().replays(caller().workspace, query["limit"], query["cursor"], load)
    return {"data": [shown(each) for each in page.rows], "next": page.next}


@replays.on("GET", "/replays/<replay_id>")
@replays.gives(200, ReplayView())
def show(replay_id: str) -> dict[str, Any]:
    """Show a replay."""
    return shown(here().replays.get(caller().workspace, replay_id))


@replays.on("DELETE", "/replays/<replay_id>")
@replays.gives(200, ReplayView())
def stop(replay_id: str) -> dict[str, Any]:
    """Stop a replay.

    What it has made to wait goes on waiting. One that has ended stays as it is.
    """
    return shown(here().replays.stop(caller().workspace, replay_id))


def shown(replay: Replay) -> dict[str, Any]:
    """As `ReplayView` dumps it."""
    return {
        **{name: getattr(replay, name) for name in ReplayView().fields},
        "since": _at(replay.since),
        "until": _at(replay.until),
        "created_at": _at(replay.created_at),
        "ended_at": _at(replay.ended_at or None),
    }


def ms(moment: dt.datetime) -> int:
    """Since the epoch; a time of which nothing is kept anyway becomes one that can be shown."""
    return min(max(0, int(moment.timestamp() * 1000)), _LAST)


def _at(ms: int | None) -> str | None:
    return None if ms is None else timestamp(ms)
