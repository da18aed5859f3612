"""A process of one release: ``python -m tests.store.release VERSION INCARNATION STORE_URL``.

Version 1 is the code as it is. Version 2 is what a later release may be like: from that form on a job's
``model`` is kept under another name; whatever the form, it adds fields that version 1 has never heard of.

It beats, and does what each line says: ``touch JOB``, ``tag ENDPOINT``; the answer is a line each.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from cryptography.fernet import Fernet

from service import presence, records, versions
from service.errors import HookreelError

ADDED: dict[str, Any] = {"priority": [3, "high"], "submissions": {"region": "eu"}, "files": {"codec": "av1"}}


def become_the_next_release() -> None:
    """Before anybody imports what is changed here."""
    versions.VERSION = 2
    dump, load = records.dump_job, records.load_job

    def dump_job(job: records.Job) -> bytes:
        document = {**records.unpack(dump(job)), "priority": ADDED["priority"]}
        for name in {"submissions", "files"} & document.keys():
            document[name] = [{**row, **ADDED[name]} for row in document[name]]
        if versions.FORMAT.written > 1:
            document["engine"] = document.pop("model")
        return records.pack(document)

    def load_job(rev: int, data: bytes) -> records.Job:
        document = records.unpack(data)
        if "engine" in document:
            document["model"] = document.pop("engine")
        return load(rev, records.pack(document))

    records.dump_job, records.load_job = dump_job, load_job


def answer(service: Any, verb: str, name: str) -> str:
    """What one line asks for."""
    try:
        if verb == "touch":
            service.jobs.touch(name)
        elif verb == "tag":
            endpoint = service.endpoints.find(name)
            service.endpoints._commit(replace(endpoint, unknown={"owner": "team-1"}), ())
    except HookreelError as error:
        return f"refused: {error.detail}"
    return f"writes {versions.FORMAT.written}"


def say(line: str) -> None:
    """To whoever has started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(version: str, incarnation: str, url: str) -> None:
    """Until stdin ends."""
    if version == "2":
        become_the_next_release()
    from service.bootstrap import Service  # noqa: PLC0415
    from service.settings import Settings  # noqa: PLC0415

    environ = {"REDIS_URL": url, "HOOKREEL_SECRET_KEY": Fernet.generate_key().decode()}
    service = Service(Settings.from_env(environ), url, "worker", incarnation)
    presence.BEAT_EVERY = 0.2
    service.presence.start()
    say("ready")
    for line in sys.stdin:
        say(answer(service, *line.split()))
    service.presence.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
