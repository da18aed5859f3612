"""``hookreel repair``: after the store was restored from a backup, or has lost the end of its file."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service import embedded, rediskeys
from service.settings import Settings

if TYPE_CHECKING:
    from service.bootstrap import Service

_AT_A_TIME = 1000
_PATIENCE = 2.0
"""Seconds for a store that is just ending."""
_TOLD = {
    "uncertain": "they waited or were being submitted; nothing more is submitted for them by itself, "
    "unless HOOKREEL_ON_UNCERTAIN is resubmit",
    "processing": "they are at the vendor, and are looked up as soon as Hookreel runs",
}


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="As of `hookreel up`, without REDIS_URL.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def repair(data_dir: Path | None, yes: bool) -> None:
    """Before Hookreel starts on a store that was set back: doubt every unfinished job.

    What was done after the backup is not in the store: a job that waits there may be submitted and paid
    for already. See docs/guarantees.md.
    """
    environ = dict(os.environ)
    if data_dir is not None:
        environ["HOOKREEL_DATA_DIR"] = str(data_dir.absolute())
    settings = Settings.from_env(environ)
    if not yes:
        click.confirm("Every unfinished job becomes uncertain. Go on?", abort=True)
    with _service(settings) as service:
        found = doubt_all(service)
    for state, words in _TOLD.items():
        click.echo(f"{state}: {found[state]} ({words})")
    if found["uncertain"]:
        click.echo("Look for them at the vendor, then: hookreel jobs resolve ID --submitted PREDICTION_ID")


def doubt_all(service: Service) -> Counter[str]:
    """Doubt every job that has not ended; how many are in which state now."""
    states: Counter[str] = Counter()
    seen: set[bytes] = set()
    for job_id, _ in service.store.client.zscan_iter(rediskeys.OPEN_JOBS, count=_AT_A_TIME):
        if job_id not in seen:
            seen.add(job_id)
            states[service.jobs.doubt(job_id.decode()).state.value] += 1
    return states


@contextlib.contextmanager
def _service(settings: Settings) -> Iterator[Service]:
    from service.bootstrap import Service

    if settings.redis_url is None:
        # Here the refusal is in words; the store that is started next would have it in its log.
        os.close(embedded.own(settings.data_dir, _PATIENCE))
    with contextlib.ExitStack() as stack:
        url = settings.redis_url or stack.enter_context(embedded.running(settings.data_dir))
        made = Service(settings, url, "repair", f"repair-{os.getpid()}")
        stack.callback(made.close)
        yield made
