"""What passes through: realistic inputs, and finished jobs written by the very script that settles them."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from schemas.eventtypes import COMPLETED
from schemas.inputs import Input
from schemas.outcomes import Outcome, SubmissionOutcome
from schemas.states import JobState
from service import events, rediskeys
from service.acceptance import Order
from service.bootstrap import Service
from service.records import Job, Submission, dump_job
from service.store import COMMIT, Change

WORKSPACE = "default"
MODEL = "minimax/hailuo-02/fast"
VENDOR_FILES = "https://d2p7pge43lyniu.cloudfront.net/output"
AT_ONCE = 200
SENTENCES = (
    "A woman in a mustard raincoat turns from the harbour railing and laughs as the wind takes her hood.",
    "The camera begins close on her hands, then pulls back slowly until the whole quay is in the frame.",
    "Behind her, fishing boats knock against each other and gulls lift off one after another.",
    "Warm evening light comes from the left, low over the water, with long soft shadows on wet stone.",
    "Keep the colours of the photograph: faded teal, rust, and the pale yellow of the warehouse wall.",
    "Nothing in the background may morph; the lettering on the crates stays readable from start to end.",
    "Slow dolly in, shallow depth of field, a little grain as of 35 mm film, no text and no logos.",
    "An old tram rounds the corner, its bell silent, and its windows mirror the shopfronts opposite.",
    "Two children chase a red balloon across the square while pigeons scatter before their feet.",
    "Steam rises from the noodle stall, and the cook tosses the pan once without looking down.",
    "The dog shakes off the river, drops flying in slow motion, then looks straight into the lens.",
    "Clouds race over the ridge in time-lapse while the hiker in the foreground stands perfectly still.",
    "Her hair moves naturally; the earrings catch a glint each time she tilts her head.",
    "The perfume bottle turns by a quarter, liquid swaying inside, caustics dancing on marble.",
    "Petals drift down from outside the frame and settle around the base without touching the glass.",
    "Handheld, as if filmed by a friend walking beside them, with one gentle stumble in the middle.",
    "Neon signs flicker on along the alley, first pink, then blue, and puddles double every tube.",
    "A violinist lifts the bow, breathes in, and the first note makes the curtains stir.",
    "Snow begins to fall halfway through, large flakes at first, thickening towards the last second.",
    "The astronaut raises the visor, revealing a tired smile and the curve of a blue planet in her eyes.",
    "End on a held frame that could serve as a poster, the subject a third from the right edge.",
    "Avoid extra fingers, warped faces, jump cuts, flicker, and any change of the product's proportions.",
    "Leaves rustle in the upper corner, and a cyclist crosses far away, out of focus.",
    "The barista pours the milk in one go, and a fern opens on the surface of the coffee.",
    "Mist hangs between the pines; a stag steps out, waits, and goes back the way it came.",
    "Let the car's headlights sweep across the room before the door on the far side opens.",
    "Grandfather's hand rests on the clock; the pendulum swings at one beat a second.",
    "Use the mood of a documentary: patient, observant, without music-video energy.",
)
PROMPT = 900
CUSTOMERS = ("acme-outdoor", "lumen-studio", "north-quay", "pixelgarten", "tidewater-media")


def prompt(dice: random.Random) -> str:
    """About 900 characters of English, no sentence twice."""
    taken = itertools.accumulate(
        dice.sample(SENTENCES, len(SENTENCES)), lambda text, next_: f"{text} {next_}"
    )
    return next(text for text in taken if len(text) >= PROMPT - 60)


def fields(dice: random.Random) -> dict[str, Any]:
    """The input of a submission with an image by URL."""
    image = f"https://assets.example.com/campaigns/{dice.randrange(10**6)}/{dice.randbytes(8).hex()}.jpg"
    return {
        "image": f"{image}?v={dice.randrange(10**9)}",
        "prompt": prompt(dice),
        "duration": dice.choice((6, 10)),
        "enable_prompt_expansion": dice.random() < 0.5,  # noqa: PLR2004
    }


def metadata(dice: random.Random) -> dict[str, Any]:
    """What a backend hangs on its job."""
    return {
        "customer": dice.choice(CUSTOMERS),
        "order_id": f"ord_{dice.randbytes(10).hex()}",
        "shot": dice.randrange(1, 48),
        "requested_by": f"user-{dice.randrange(10**5)}@example.com",
        "return_url": f"https://app.example.com/projects/{dice.randbytes(6).hex()}/shots",
        "campaign": {"name": "Autumn, second cut", "territories": ["DE", "FR", "JP"], "priority": "normal"},
        "note": dice.choice(SENTENCES),
        "trace": f"00-{dice.randbytes(16).hex()}-{dice.randbytes(8).hex()}-01",
    }


def output(dice: random.Random, job: str) -> str:
    """Where the vendor puts a video."""
    return f"{VENDOR_FILES}/{job[:8]}-{dice.randbytes(4).hex()}-u1_{dice.randbytes(16).hex()}.mp4"


def queued(service: Service, dice: random.Random) -> Job:
    """A job as acceptance makes it, not kept yet."""
    return Job(
        id=secrets.token_hex(16),
        workspace=WORKSPACE,
        model=MODEL,
        created_at=service.clock(),
        input=fields(dice),
        metadata=metadata(dice),
        channel="renders",
    )


def processing(service: Service, job: Job, token: str) -> Job:
    """The job as the vendor has it: submitted under ``token``."""
    row = Submission(token, service.clock(), "worker-4711-0a1b2c3d", "accepted", secrets.token_hex(16))
    timeline = ((job.created_at, "accepted"), (row.at, "submitting"), (row.at, "processing"))
    return replace(
        job, state=JobState.PROCESSING, submissions=(row,), upstream_id=row.upstream_id, timeline=timeline
    )


def begun(service: Service, dice: random.Random) -> tuple[str, str, str]:
    """A job that the vendor has taken, by every verb on the way there: its id, token and task."""
    jobs, token, task = service.jobs, service.token(), service.token()
    order = Order(WORKSPACE, Input(MODEL, fields(dice), {}), channel="renders", metadata=metadata(dice))
    admitted = jobs.admitted(service.acceptance.accept(order).id)
    if admitted is None:
        raise RuntimeError("the window is full")
    jobs.begin(admitted, token, "worker-4711-0a1b2c3d")
    jobs.conclude(admitted.id, token, SubmissionOutcome(Outcome.ACCEPTED, "accepted", upstream_id=task))
    return admitted.id, token, task


def finish(service: Service, count: int, seed: int) -> None:
    """Write ``count`` completed jobs with their events, not fanned out, many to an fsync."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    keep(service, (finished(service, queued(service, dice), dice) for _ in range(count)))


def keep(service: Service, changes: Iterable[Change]) -> None:
    """Commit them, many to an fsync."""
    rows = iter(changes)
    while batch := list(itertools.islice(rows, AT_ONCE)):
        service.store.run_all([(COMMIT, (each.key,), each.argv()) for each in batch])


def finished(service: Service, job: Job, dice: random.Random) -> Change:
    """The queued job as completed, with its event, in one change."""
    job = processing(service, job, service.token())
    now = service.clock()
    job = replace(
        job,
        state=JobState.COMPLETED,
        vendor_status="completed",
        outputs=(output(dice, job.id),),
        nsfw=(False,),
        execution_time=41234,
        timings={"inference": 41234},
        ended_at=now,
        timeline=(*job.timeline, (now, "completed")),
    )
    event = events.about(job, service.jobs.context.event_id(), COMPLETED, now, service.public_url)
    job = replace(job, events=(event.id,), last_word=event.id)
    ops = (
        ("HSET", rediskeys.job(job.id), "doc", dump_job(job)),
        ("ZADD", rediskeys.jobs(WORKSPACE), job.created_at, job.id),
        ("ZADD", rediskeys.FINAL, now, job.id),
        event.op(job),
    )
    return Change(rediskeys.job(job.id), 0, service.token(), ops)


def bodies(service: Service, count: int, seed: int = 1) -> Iterator[bytes]:
    """Event bodies as subscribers get them, nothing kept."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(count):
        job = processing(service, queued(service, dice), service.token())
        done = replace(job, state=JobState.COMPLETED, outputs=(output(dice, job.id),), nsfw=(False,))
        yield events.about(done, "evt_0", COMPLETED, service.clock(), "https://hooks.example.com").body
