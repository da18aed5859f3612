"""Files over HTTP: tickets and what is uploaded by them, the old multipart upload, the films."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import marshmallow as ma
from flask import Response, request, send_file
from werkzeug.utils import secure_filename

from schemas.fields import Strict, Text, Whole, load
from service.sandbox import visits
from service.sandbox.accounts import Account, Accounts
from service.sandbox.answers import Refusal, faulty, success
from service.sandbox.line import Line
from service.sandbox.media import Ticket
from service.sandbox.studio import TINY
from service.sandbox.times import rfc3339

LARGEST = 200 * 1024 * 1024
_PART_HEADERS = 1 << 20


class TicketQuery(Strict):
    """The body of ``POST /media/uploads``."""

    filename = Text(least=1, most=255, required=True)
    size = Whole(least=1, most=LARGEST, required=True)
    content_type = Text(pattern=r"[\w.+-]+/[\w.+-]+", most=255, load_default="application/octet-stream")


@dataclass(frozen=True)
class Depot:
    """The views."""

    accounts: Accounts
    line: Line

    def ticket(self) -> Response:
        """``POST /media/uploads``."""
        account = self._admitted("upload_ticket")
        switches = account.switches()
        if switches.upload.isdigit():
            return faulty(switches.upload, switches)
        try:
            query = load(TicketQuery(), visits.json_object())
        except ma.ValidationError as error:
            raise Refusal(400, visits.sentence(error.messages)) from None
        expired = switches.upload == "expired"
        query["filename"] = _safe(query["filename"])
        ticket = self.line.uploads.ticket(account, **query, expired=expired)
        return success({"download_url": _download_url(ticket), "upload": _instruction(ticket)})

    def put(self, token: str) -> Response:
        """The PUT of a ticket: exactly its headers, no Authorization; repeatable."""
        ticket = self.line.uploads.get(token)
        if ticket is None:
            raise Refusal(404)
        visits.begun(self.line.book, "upload", ticket.account, size=request.content_length)
        how = ticket.account.switches().upload
        if how in {"put_403", "put_500"}:
            raise Refusal(int(how[-3:]))
        self._check(ticket)
        return self._received(ticket)

    def binary(self) -> Response:
        """``POST /media/upload/binary``: multipart, the field ``file``."""
        account = self._admitted("upload")
        request.max_content_length = LARGEST + _PART_HEADERS
        file = request.files.get("file")
        if file is None:
            raise Refusal(400, "file: is missing")
        filename = _safe(file.filename or "file")
        ticket = self.line.uploads.ticket(account, filename, LARGEST, file.mimetype)
        size = self.line.uploads.receive(ticket, file.stream, exact=False)
        if size is None:
            raise Refusal(413)
        return success(
            {
                "type": file.mimetype.partition("/")[0],
                "download_url": _download_url(ticket),
                "filename": ticket.filename,
                "size": size,
            }
        )

    def download(self, token: str, filename: str) -> Response:
        """An uploaded file, to everybody who knows its URL."""
        ticket, path = self.line.uploads.get(token), self.line.uploads.path(token)
        if ticket is None or path is None or filename != ticket.filename:
            raise Refusal(404)
        return send_file(path, mimetype=ticket.content_type, conditional=True, etag=False)

    def output(self, task_id: str) -> Response:
        """A film, to everybody, in ranges if wanted."""
        task = self.line.tasks.get(task_id)
        name = TINY if task and task.switches.render == "tiny" else f"{task_id}.mp4"
        path = self.line.files.path(name)
        if task is None or not task.final or path is None:
            raise Refusal(404)
        visits.begun(self.line.book, "output_get", task.account, id=task_id, model=task.model)
        return send_file(path, mimetype="video/mp4", conditional=True, etag=task_id)

    def _admitted(self, kind: str, **about: Any) -> Account:
        return visits.admitted(self.accounts, self.line.book, kind, **about)

    def _check(self, ticket: Ticket) -> None:
        if self.line.uploads.expired(ticket):
            raise Refusal(403, "the ticket has expired")
        if "Authorization" in request.headers:
            raise Refusal(403, "an upload carries no Authorization")
        for name, value in ticket.headers.items():
            if request.headers.get(name) != value:
                raise Refusal(403, f"the header {name} is not the ticket's")

    def _received(self, ticket: Ticket) -> Response:
        request.max_content_length = LARGEST
        if (request.content_length or 0) > ticket.size:
            raise Refusal(413, f"the file is larger than the ticket's {ticket.size} bytes")
        if self.line.uploads.receive(ticket, request.stream) is None:
            raise Refusal(400, f"the file is not the ticket's {ticket.size} bytes long")
        return Response(status=200)


def _safe(filename: str) -> str:
    return secure_filename(filename) or "file"


def _download_url(ticket: Ticket) -> str:
    return f"{request.host_url}media/{ticket.token}/{ticket.filename}"


def _instruction(ticket: Ticket) -> dict[str, Any]:
    return {
        "method": "PUT",
        "url": f"{request.host_url}media/put/{ticket.token}",
        "headers": ticket.headers,
        "expires_at": rfc3339(ticket.expires_ns, 0),
    }
