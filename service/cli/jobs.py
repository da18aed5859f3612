"""``hookreel jobs``: submit one, see what became of it."""

from __future__ import annotations

import base64
import json
import mimetypes
from pathlib import Path
from typing import Any

import click

from service.cli import printing
from service.cli.client import Client, connect, segment
from service.cli.following import follow

_COLUMNS = {
    "prediction_id": "ID",
    "state": "STATE",
    "model": "MODEL",
    "created_at": "ACCEPTED",
    "error": "ERROR",
}
_FINAL = ("completed", "failed")


@click.group()
def jobs() -> None:
    """Submit jobs and see what became of them."""


@jobs.command()
@click.argument("model")
@click.option("--image", metavar="FILE_OR_URL", help="The image.")
@click.option("--prompt", help="What is to happen in it.")
@click.option("--duration", type=int, help="Seconds of video.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other parameter, its value as JSON or as text.",
)
@click.option("--webhook", metavar="URL", help="Hears of this job alone.")
@click.option("--channel", help="The channel of its events.")
@click.option("--metadata", metavar="JSON", help="An object that comes back in its events.")
@click.option("--idempotency-key", help="Submitting again with it makes no second job.")
@click.option("--wait", is_flag=True, help="Until it has ended; the exit status says how.")
@printing.as_json
def submit(  # noqa: PLR0917 - click gives them by name
    model: str,
    image: str | None,
    prompt: str | None,
    duration: int | None,
    settings: tuple[str, ...],
    webhook: str | None,
    channel: str | None,
    metadata: str | None,
    idempotency_key: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Submit a job for MODEL, such as minimax/hailuo-02/fast."""
    body = {"image": image and _image(image), "prompt": prompt, "duration": duration}
    body = {name: value for name, value in body.items() if value is not None} | dict(map(_setting, settings))
    query = {"webhook": webhook, "channel": channel, "metadata": metadata}
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    client = connect()
    answer = client.call("POST", f"/api/v3/{segment(model, '/')}", json=body, params=query, headers=headers)
    job_id = answer["data"]["id"]
    click.echo(f"accepted as {job_id}", err=True)
    job = _ended(client, job_id) if wait else _job(client, job_id)
    _print(job, as_json=as_json)
    if wait and job["state"] != "completed":
        raise click.exceptions.Exit(1)


@jobs.command()
@click.argument("job_id", metavar="ID")
@printing.as_json
def show(job_id: str, as_json: bool) -> None:
    """Show a job with its timeline."""
    job = _job(connect(), job_id)
    _print(job, as_json=as_json)
    if not as_json:
        click.echo()
        printing.table(job["timeline"], {"at": "AT", "what": "WHAT"}, as_json=False, nothing="")


@jobs.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many.")
@printing.as_json
def list_jobs(limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    rows = connect().call("GET", "/v1/jobs", params={"limit": limit})["data"]
    printing.table(rows, _COLUMNS, as_json=as_json, nothing="There are no jobs.")


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--submitted", "upstream_id", metavar="PREDICTION_ID", help="The vendor's prediction for it.")
@click.option("--not-submitted", is_flag=True, help="The vendor has no task for it: it is submitted again.")
@printing.as_json
def resolve(job_id: str, upstream_id: str | None, not_submitted: bool, as_json: bool) -> None:
    """Say what became of an uncertain job, when you have looked it up at the vendor's.

    Nothing is submitted twice but by --not-submitted, when the vendor has a task all the same.
    """
    if (upstream_id is not None) == not_submitted:
        raise click.UsageError("give either --submitted PREDICTION_ID or --not-submitted")
    body = {"submitted": False} if not_submitted else {"submitted": True, "upstream_id": upstream_id}
    _print(connect().call("POST", f"/v1/jobs/{segment(job_id)}/resolve", json=body), as_json=as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@printing.as_json
def remove(job_id: str, as_json: bool) -> None:
    """Delete a job that has ended, here and at the vendor, with its events and the copies of its outputs."""
    connect().call("DELETE", f"/v1/jobs/{segment(job_id)}")
    printing.facts({"removed": job_id}, as_json=as_json)


def _print(job: dict[str, Any], *, as_json: bool) -> None:
    more = () if job["maybe_billed"] else ("maybe_billed",)
    printing.facts(job, as_json=as_json, leave_out=("timeline", "submissions", *more))


def _job(client: Client, job_id: str) -> Any:
    return client.call("GET", f"/v1/jobs/{segment(job_id)}")


def _ended(client: Client, job_id: str) -> Any:
    """The job when it has ended: told by the stream, and looked at whenever that begins anew."""
    for message in follow(client):
        if message is None or (message.data and json.loads(message.data)["data"].get("id") == job_id):
            job = _job(client, job_id)
            if job["state"] in _FINAL:
                return job
    raise AssertionError


def _image(given: str) -> str:
    """A URL as it stands, a file as a data URI; the service looks at the bytes, not at the label."""
    if given.lower().startswith(("http://", "https://", "data:")):
        return given
    try:
        data = Path(given).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{given}: {error.strerror}", param_hint="--image") from None
    media_type = mimetypes.guess_type(given)[0] or "image/jpeg"
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _setting(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--set")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
