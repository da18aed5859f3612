"""``GET /files/{job}/{name}``: archived videos, to whoever has a link that is good; in ranges if wanted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final

from flask import Flask, Response, request, send_file

from service.archive import Directory, media_type
from service.bootstrap import Service
from service.errors import NotFound, Unavailable

READERS: Final = 16
"""Files that one process sends at once; each holds a thread for as long as its reader takes."""
_SHOWN_INLINE: Final = ("video/", "audio/", "image/png", "image/jpeg", "image/webp", "image/gif")
"""What a browser may show; anything else could be a page, with our origin's rights."""


@dataclass(frozen=True)
class Files:
    """The view, and what it needs."""

    service: Service
    places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(READERS))

    def register(self, app: Flask) -> None:
        """One route; HEAD comes with GET."""
        app.add_url_rule("/files/<job_id>/<name>", "file", self.show)

    def show(self, job_id: str, name: str) -> Response:
        """403 for a link that is not good (any more), 404 for a file that is not kept any more."""
        depot = self.service.depot
        if not isinstance(depot, Directory):
            raise NotFound("no files are served here")
        path = depot.find(job_id, name, request.args.get("expires", ""), request.args.get("signature", ""))
        if not self.places.acquire(blocking=False):
            raise Unavailable("too many files are being sent by this process")
        try:
            content_type = media_type(name)
            response = send_file(
                path,
                mimetype=content_type,
                as_attachment=not content_type.startswith(_SHOWN_INLINE),
                download_name=f"{job_id}-{name}",
                conditional=True,
            )
        except BaseException:
            self.places.release()
            raise
        response.headers.update({"Cache-Control": "private", "X-Content-Type-Options": "nosniff"})
        response.call_on_close(self.places.release)
        # Passed through, the file would be closed at the end, but not the response.
        response.direct_passthrough = False
        return response
