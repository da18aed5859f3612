"""The vendor's HTTP API in front of its book."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.faults.servers import Handler, Server
from tests.faults.vendor import OK, SECRET, Post, Vendor, shown

HELD = 50.0
"""Seconds for which an answer is held back at most."""
OVERTAKEN = 1.0
NOT_FOUND = {"code": 404, "message": "there is no such thing"}


class VendorServer(Server):
    def __init__(self, vendor: Vendor) -> None:
        super().__init__(VendorHandler)
        self.vendor = vendor


class VendorHandler(Handler):
    server: VendorServer

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        words = urlsplit(self.path).path.removeprefix("/api/v3/").split("/")
        if words[0] == "predictions":
            found = self.server.vendor.find(words[1])
            return self._good(found) if found else self.answer(404, NOT_FOUND)
        if words == ["webhook", "secret"]:
            return self._good({"secret": SECRET})
        return self._good({"balance": 1000.0}) if words == ["balance"] else self.answer(404, NOT_FOUND)

    def do_PUT(self) -> None:  # noqa: N802
        self.body()
        self.server.vendor.uploads += 1
        if self.server.vendor.uploads_held:
            self.server.vendor.gate.wait(HELD)
        self.answer(OK)

    def do_POST(self) -> None:  # noqa: N802
        address = urlsplit(self.path)
        path, body = address.path.removeprefix("/api/v3/"), json.loads(self.body())
        if path == "media/uploads":
            place = f"{self.server.url}/files/{body['filename']}"
            upload = {"method": "PUT", "url": place, "headers": {}, "expires_at": "2100-01-01T00:00:00Z"}
            self._good({"download_url": place, "upload": upload})
        elif path == "predictions":
            page, size = body.get("page", 1), body.get("page_size", 10)
            self._good({"items": self.server.vendor.list(body["model"], page, size), "page": page})
        else:
            webhook = parse_qs(address.query)["webhook"][0]
            self._treat(self.server.vendor.post(path, webhook, body))

    def _treat(self, post: Post) -> None:
        threading.Event().wait(post.seconds)
        match post.how:
            case "500":
                self.answer(500, {"code": 500, "message": "internal"})
            case "502":
                self.answer(502, "error code: 502")
            case "cut" | "cut_made":
                self.cut()
            case "429":
                self.answer(429, {"code": 429, "message": "too many requests"})
            case "400":
                self.answer(400, {"code": 400, "message": "Insufficient credits. Please top up."})
            case "held":
                self.server.vendor.gate.wait(HELD)
                self.cut()
            case _:
                if post.how == "held_made":
                    self.server.vendor.gate.wait(HELD)
                # Its callback is sent at once.
                threading.Event().wait(OVERTAKEN if post.how == "overtaken" else 0.0)
                self._good(shown(self.server.vendor.tasks[post.task], ended=False))

    def _good(self, data: Any) -> None:
        self.answer(OK, {"code": OK, "message": "success", "data": data})
