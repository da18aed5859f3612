"""Every key in the store: its type, its fields, and when it goes.

Scores and times are milliseconds by the service's time, unless a line says otherwise: the store's own TIME
plus ``shift``, which takes back every jump of it (`service.timekeeping`).
RQ's keys (``rq:*``) are RQ's own; none of them is a record.
"""

from __future__ import annotations

PREFIX = "hr:"

APIKEYS = f"{PREFIX}apikeys"
"""hash: SHA-256 of the key -> JSON {id, workspace, name, operator, created_at, hint}. Until revoked."""
SERVICE = f"{PREFIX}service"
"""hash: public_url of the web process that has no HOOKREEL_PUBLIC_URL; shift; replays (until when those that
were made to wait by replays are on their way, at the rate that they may have). Stays.
"""
VENDOR = f"{PREFIX}vendor"
"""hash: rev, tok; window (jobs at once; absent: as set), slowed_at, not_before; unknowns (in a row), probe
(1: one job may pass; or that job); duplicates (second results of a job); secret (sealed), secret_at. Stays.
"""
WORKSPACES = f"{PREFIX}workspaces"
"""set: workspace names. Stays."""
BEATS = f"{PREFIX}beats"
"""hash: incarnation -> beat counter and the latest form of records that it reads, ``17 1``; or ``gone``.
A dead incarnation's field goes when its claims are freed.
"""
KEYRINGS = f"{PREFIX}keyrings"
"""hash: incarnation -> names of the keys that it opens secrets with, ``9f.. 02..``. Goes with the beat."""

OPEN_JOBS = f"{PREFIX}open-jobs"
"""zset: unfinished job -> its place. What else it has to be in is rebuilt from here. Goes when it ends."""
WAITING = f"{PREFIX}waiting"
"""zset: workspace with waiting jobs -> turn. A workspace goes when nothing of it waits."""
LATER = f"{PREFIX}later"
"""zset: refused job -> when it may wait again. Goes back to its waiting set when due."""
WINDOW = f"{PREFIX}window"
"""zset: job at the vendor, or on its way there -> when it was admitted. Leaves by `leave`."""
TURN = f"{PREFIX}turn"
"""string: counter of turns, for fairness between workspaces. Stays."""
SILENT = f"{PREFIX}silent"
"""zset: job at the vendor -> when it is looked up if nothing was heard. Goes when the job ends."""
UPSTREAM = f"{PREFIX}upstream"
"""zset: the vendor's id of a task of ours -> when it was accepted. Older than two days go."""
UNCERTAIN = f"{PREFIX}uncertain"
"""zset: uncertain job -> since when. Goes when the job leaves that state."""
PENDING_BYTES = f"{PREFIX}pending-bytes"
"""string: bytes of all images that wait. Stays."""
FINAL = f"{PREFIX}final"
"""zset: final job -> when it ended. Goes when the job is pruned."""
ARCHIVE = f"{PREFIX}archive"
"""zset: completed job -> when its outputs are copied next. Goes when they are, or cannot be any more."""
ARCHIVING = f"{PREFIX}archiving"
"""hash: job -> incarnation that copies its outputs. Goes with the outcome, or with the incarnation."""
DISCARD = f"{PREFIX}discard"
"""zset: job that is deleted, or about to be pruned -> when its copies are removed. Goes when they are."""

OPEN_EVENTS = f"{PREFIX}open-events"
"""zset: event with anything owed -> when it happened. Streams and waiting sets are rebuilt from it."""
TURNS = f"{PREFIX}turns"
"""zset: workspace with deliveries to try -> when its turn comes. Goes when nothing of it can be tried."""
ODD_EVENTS = f"{PREFIX}odd-events"
"""zset: event that is about no job (operational, or a test) -> when it happened. Until pruned."""
FAILING = f"{PREFIX}failing"
"""zset: endpoint -> for how long nothing was delivered to it, as of its last failure. Until it delivers."""
NOTES = f"{PREFIX}notes"
"""list: JSON of what a script has seen and Python tells: kind (gone, stopped, exhausted, recovered), ws,
endpoint, event, at, attempts, item, answer. Until it is told.
"""
LEAVING = f"{PREFIX}leaving"
"""zset: deleted endpoint -> since when. Until what waited for it is cancelled."""
REPLAYING = f"{PREFIX}replaying"
"""zset: replay that goes on -> when it was advanced last. Goes when it ends."""
REPLAYED = f"{PREFIX}replayed"
"""zset: replay that has ended -> when. Until pruned."""
FLIGHT = f"{PREFIX}flight"
"""zset: "event endpoint" under a claim -> when it was claimed. Goes with the outcome."""

NEWS = f"{PREFIX}news"
"""channel: "workspace job event" whenever an event is written. A hint; the records are the truth."""

GROUP = "forwarders"
"""The one consumer group of every event stream."""


def job(job_id: str) -> str:
    """hash: rev, tok (of the last change), doc, state ("queued default": state, workspace). Until pruned."""
    return f"{PREFIX}job:{job_id}"


def blob(job_id: str, field: str) -> str:
    """string: the bytes of an image that waits for its submission. Goes when it is settled or not needed."""
    return f"{PREFIX}blob:{job_id}:{field}"


def idempotency(workspace: str, digest: str) -> str:
    """string: "fingerprint job". Expires after 24 h, as the contract says."""
    return f"{PREFIX}idem:{workspace}:{digest}"


def workspace(name: str) -> str:
    """hash: seq (of the last event), endpoints (revision), rev, tok, secret, old_secrets (v3). Stays.

    The last four are about the secrets of the v3 scheme: sealed, and JSON [[sealed, ms at which it ends]].
    """
    return f"{PREFIX}ws:{name}"


def waiting(workspace_name: str) -> str:
    """zset: job that waits for the window -> when it was accepted. Leaves by `admit`."""
    return f"{PREFIX}waiting:{workspace_name}"


def jobs(workspace_name: str) -> str:
    """zset: job -> when it was accepted. Goes when the job is pruned."""
    return f"{PREFIX}jobs:{workspace_name}"


def events(workspace_name: str) -> str:
    """zset: event -> its number in the workspace. Goes when the event is pruned."""
    return f"{PREFIX}events:{workspace_name}"


def stream(workspace_name: str) -> str:
    """stream: e (event), s (number), t (type), c (channel), w (the job's own endpoint). Until fanned out."""
    return f"{PREFIX}stream:{workspace_name}"


def event(event_id: str) -> str:
    """hash: doc (body), ws, job, seq, entry (in the stream), open (what is owed), <endpoint> -> line.

    ``open`` counts the deliveries that are open, and one for the fan-out until that is done.
    first:<endpoint> and last:<endpoint>: "when the attempt was|answer" of a delivery that was not made; until
    it is. label: JSON of what a redacted event was about (type, channel, whether it was a test).
    """
    return f"{PREFIX}event:{event_id}"


def took(model: str) -> str:
    """list: milliseconds that the last completed jobs of a model took, newest first. At most 200."""
    return f"{PREFIX}took:{model}"


def endpoints(workspace_name: str) -> str:
    """zset: endpoint -> when it was made. Goes when it is deleted."""
    return f"{PREFIX}endpoints:{workspace_name}"


def endpoint(endpoint_id: str) -> str:
    """hash: rev, tok, doc, ws (of a workspace's). Goes when deleted; a job's own endpoint with the job.

    A workspace's has besides, for the scripts: off (1: nothing is sent), ordered (1), rate (a second), all
    three as set; halted (1: a script has set off, and a note tells why), tat (when the next may go by the
    rate), fails (in a row), since (the first of them), probe (until when nothing is tried), rest (for how
    long, in ms), at_once, next (of an ordered one), failed (the last failure), down (1: to be told when it
    delivers again).
    """
    return f"{PREFIX}endpoint:{endpoint_id}"


def replay(replay_id: str) -> str:
    """hash: rev, tok, ws, kind, endpoint, state, and how far it is. Until pruned, once it has ended.

    which (letters of the deliveries meant, as scripts/again.lua has them), at (number of the last event that
    was looked at), last (of the last one to look at), since and until (ms or nothing), total, examined and
    revived (how many), created_at, ended_at.
    """
    return f"{PREFIX}replay:{replay_id}"


def replays(workspace_name: str) -> str:
    """zset: replay -> when it was asked for. Goes when it is pruned."""
    return f"{PREFIX}replays:{workspace_name}"


def due(workspace_name: str) -> str:
    """zset: endpoint with waiting deliveries -> when to try next (+inf: at its limit). Until none waits."""
    return f"{PREFIX}due:{workspace_name}"


def running(workspace_name: str) -> str:
    """hash: endpoint -> attempts under way. A field goes at zero."""
    return f"{PREFIX}running:{workspace_name}"


def wait(endpoint_id: str) -> str:
    """zset: event that waits for its first attempt at this endpoint -> when it is due. Leaves by a claim."""
    return f"{PREFIX}wait:{endpoint_id}"


def late(endpoint_id: str) -> str:
    """zset: event that waits for another attempt at this endpoint -> when it is due. Leaves by a claim."""
    return f"{PREFIX}late:{endpoint_id}"


def line(endpoint_id: str) -> str:
    """zset: event that is owed to this ordered endpoint -> its number. Leaves when it is owed no more."""
    return f"{PREFIX}line:{endpoint_id}"


def unfanned(workspace_name: str) -> str:
    """zset: event -> its number in the workspace. Until it is fanned out."""
    return f"{PREFIX}unfanned:{workspace_name}"


def tally(endpoint_day: str) -> str:
    """hash: delivered, failed (attempts), exhausted, b<n> (deliveries that took about 1.2^n ms).

    Named "endpoint:day since the epoch"; expires after 8 days.
    """
    return f"{PREFIX}tally:{endpoint_day}"
